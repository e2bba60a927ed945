"""The transformer DVAE against float64 equations, with positions as complex numbers; its attention at once, in pieces
and frame by frame; and how far back it sees."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.reference import affine, array, gaussian_head, join, mlp, sigmoid
from tests.oracles.support import frames, randomise
from tfdvae import random
from tfdvae.layers.causal_attention import CausalAttention
from tfdvae.types import Batch

BATCH, LENGTH, X, U, Z = 3, 6, 3, 2, 2
CLOSE = {"rtol": 3e-5, "atol": 3e-5}
VARIANTS: dict[str, dict[str, Any]] = {
    "long window": {"window": 8, "num_layers": 1, "phi_z": (3,), "prior_units": (3,), "posterior_units": (4,)},
    "short window": {"window": 3, "num_layers": 2, "scale": "exp"},
}


def make(variant: str, u_dim: int = 0) -> tfdvae.TransformerDVAE:
    sizes = {"latent_dim": Z, "units": 5, "num_heads": 2, "head_dim": 4, "phi_x": (3,), "decoder_units": (3,)}
    model = tfdvae.TransformerDVAE(**{**sizes, **VARIANTS[variant]})
    model.build_for(X, u_dim)
    randomise(model, 0.5, seed=0)
    return model


def norm(layer: Any, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-3)
    return scaled * array(layer.gamma) + array(layer.beta)


def attend(stack: CausalAttention, x: np.ndarray) -> np.ndarray:
    """Frame by frame and head by head: y_t from x of the last `window` frames."""
    heads, width = stack.num_heads, stack.head_dim
    # Pairs of features as complex numbers turn with time; the real part of a product hangs on the difference alone.
    speed = 10000.0 ** (-np.arange(width // 2) / (width // 2))
    for i in range(stack.num_layers):
        met = norm(stack.norms[2 * i], x)
        q, k, v = np.split(affine(stack.projections[i], met), 3, axis=-1)
        found = np.zeros_like(q)
        for t in range(x.shape[1]):
            seen = range(max(0, t - stack.window + 1), t + 1)
            for head in range(heads):
                own = slice(head * width, (head + 1) * width)
                asks = q[:, t, own][:, : width // 2] + 1j * q[:, t, own][:, width // 2 :]
                scores = []
                for s in seen:
                    key = k[:, s, own][:, : width // 2] + 1j * k[:, s, own][:, width // 2 :]
                    turned = asks * np.exp(1j * speed * (t - s)) * key.conj()
                    scores.append(turned.real.sum(axis=-1) / np.sqrt(width))
                weights = np.exp(np.stack(scores, axis=-1))
                weights /= weights.sum(axis=-1, keepdims=True)
                found[:, t, own] = sum(weights[:, [n]] * v[:, s, own] for n, s in enumerate(seen))
        x = x + affine(stack.outputs[i], found)
        hidden = affine(stack.first[i], norm(stack.norms[2 * i + 1], x))
        x = x + affine(stack.second[i], hidden * sigmoid(hidden))
    return norm(stack.norms[-1], x)


def follow(model: tfdvae.TransformerDVAE, x: np.ndarray, u: np.ndarray | None, noise: np.ndarray) -> reference.Path:
    """The equations of the docstring."""
    cell = model.cell
    f = attend(cell.x_attention, affine(cell.x_channels, join(mlp(cell.x_features, x), u)))
    before = np.concatenate([np.zeros_like(f[:, :1]), f[:, :-1]], axis=1)
    q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, f))
    p = gaussian_head(cell.prior_head, mlp(cell.prior_net, join(before, u)))
    z = q[0] + q[1] * noise
    h = attend(cell.z_attention, affine(cell.z_channels, join(before, mlp(cell.z_features, z), u)))
    head = model.observation
    return reference.Path(z, q, p, mlp(cell.decoder, h) @ array(head.head.kernel) + array(head.bias))


@pytest.mark.alternating
@pytest.mark.parametrize("driven", [False, True], ids=["undriven", "driven"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_terms_follow_the_equations(variant: str, driven: bool) -> None:
    model = make(variant, U if driven else 0)
    rng = np.random.default_rng(5)
    x, noise = frames("gaussian", BATCH, LENGTH, X), rng.normal(size=[BATCH, LENGTH, Z]).astype(np.float32)
    u = rng.normal(size=[BATCH, LENGTH, U]).astype(np.float32) if driven else None
    batch = Batch(tf.constant(x), None, None if u is None else tf.constant(u))
    path = model.infer(*batch, {"z": tf.constant(noise)})
    terms, latent, expected = model.terms(path, batch), path.latents["z"], follow(model, x, u, noise)
    for got, right in zip((latent.z, *latent.q, *latent.p), (expected.z, *expected.q, *expected.p), strict=True):
        np.testing.assert_allclose(got, right, **CLOSE)
    np.testing.assert_allclose(path.x, expected.params, **CLOSE)
    log_px = reference.observation_log_density(model.observation, expected.params, x)
    kl = reference.normal_divergence(expected.q, expected.p)
    np.testing.assert_allclose(terms.log_px, log_px, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(terms.latents["z"].kl, kl, rtol=1e-4, atol=1e-4)


def test_masked_sequences_are_the_short_sequences() -> None:
    """Frames that do not exist, holding NaN, in front, in between and behind, are skipped: positions count frames."""
    model = make("short window")
    mask = np.array([[1, 1, 0, 1, 0, 1], [0, 1, 1, 1, 1, 0], [1, 0, 0, 0, 1, 1]], bool)
    x, noise = frames("gaussian", BATCH, LENGTH, X), np.random.default_rng(5).normal(size=[BATCH, LENGTH, Z])
    x[~mask] = np.nan
    path = model.infer(tf.constant(x), tf.constant(mask), noise={"z": tf.constant(noise, tf.float32)})
    for b in range(BATCH):
        expected = follow(model, x[b : b + 1, mask[b]], None, noise[b : b + 1, mask[b]])
        np.testing.assert_allclose(np.asarray(path.latents["z"].z)[b, mask[b]], expected.z[0], **CLOSE)
        np.testing.assert_allclose(np.asarray(path.x)[b, mask[b]], expected.params[0], **CLOSE)


@pytest.mark.parametrize("window", [2, 4, 16])
@pytest.mark.slow
def test_attention_runs_at_once_in_pieces_and_frame_by_frame(window: int) -> None:
    layer = CausalAttention(6, 2, num_heads=2, head_dim=4, window=window)
    layer.build((None, 6))
    randomise(layer, 0.6, seed=2)
    x = np.random.default_rng(0).normal(size=[BATCH, 9, 6]).astype(np.float32)
    expected = attend(layer, x.astype(np.float64))
    whole, none = layer(tf.constant(x))
    assert none is None
    np.testing.assert_allclose(whole, expected, **CLOSE)
    first, memory = layer(tf.constant(x[:, :4]), layer.initial_memory(BATCH))
    rest, end = layer(tf.constant(x[:, 4:]), memory)
    np.testing.assert_allclose(tf.concat([first, rest], axis=1), expected, **CLOSE)
    memory = layer.initial_memory(BATCH)
    for t in range(9):
        y, memory = layer(tf.constant(x[:, t]), memory)
        np.testing.assert_allclose(y, expected[:, t], **CLOSE)
    for kept, other in zip(tf.nest.flatten(memory), tf.nest.flatten(end), strict=True):
        assert kept.shape[:2] == (BATCH, window - 1)
        np.testing.assert_allclose(kept, other, **CLOSE)


@pytest.mark.parametrize("silent", ["second", "outputs"])
def test_dropout_acts_behind_attention_and_in_the_two_layers_with_one_mask_per_sequence(silent: str) -> None:
    """The weights that end one of the two are zero; frames and sequences are all the same."""
    layer = CausalAttention(6, 1, num_heads=2, head_dim=4, window=3, dropout=0.5)
    layer.build((None, 6))
    randomise(layer, 0.6, seed=2)
    [last] = getattr(layer, silent)
    last.kernel.assign(np.zeros(last.kernel.shape))
    last.bias.assign(np.zeros(6))
    x = np.tile(frames("gaussian", 1, 1, 6), [BATCH, LENGTH, 1])
    plain = layer(tf.constant(x))[0]
    with random.dropout_scope(random.make_seed(4)):
        dropped = layer(tf.constant(x))[0].numpy()
    np.testing.assert_allclose(dropped, np.broadcast_to(dropped[:, :1], dropped.shape), **CLOSE)
    assert np.abs(dropped - plain).max() > 0.1 and np.abs(dropped[0] - dropped[1]).max() > 0.1


def test_frames_reach_as_far_as_the_window_says() -> None:
    """Two blocks of a window of 3: the last frame and four before it."""
    cell = make("short window").cell
    x = tf.constant(frames("gaussian", 1, LENGTH, X))
    with tf.GradientTape() as tape:
        tape.watch(x)
        last = tf.reduce_sum(cell.attend(None, cell.embed(x), None)[0][:, -1] ** 3)
    slope = np.abs(tape.gradient(last, x).numpy()).sum(axis=(0, 2))
    np.testing.assert_array_equal(slope > 0.0, [False] * (LENGTH - 5) + [True] * 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "gru"}, "TransformerDVAE has no use for `cell`, since it has no recurrent layers"),
        ({"head_dim": 5}, "`head_dim` must be even, since positions rotate pairs; got 5"),
        ({"window": 1}, "`window` must be at least 2, got 1: one frame has no past"),
        ({"latent_dim": 0}, "`latent_dim` must be at least 1, got 0"),
        ({"num_layers": 0}, "`num_layers` must be at least 1, got 0"),
        ({"num_heads": 0}, "`num_heads` must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.TransformerDVAE(**options)
