"""TCN-DVAE against float64 equations, its convolutions, how far back they reach, and the product of two Gaussians."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.reference import affine, gaussian_head, join, mlp, sigmoid
from tests.oracles.support import frames, randomise
from tfdvae import random
from tfdvae.layers.causal_convolutions import CausalConvolutions, dilations
from tfdvae.types import Batch

BATCH, LENGTH, X, U = 3, 7, 3, 2
CLOSE = {"rtol": 2e-5, "atol": 2e-5}
VARIANTS: dict[str, dict[str, Any]] = {
    "dense": {"upper_dims": (3,), "kernel_size": 3, "prior_units": (3,), "posterior_units": (4,)},
    "three levels": {"upper_dims": (3, 4), "num_layers": 1, "max_dilation": 2, "dense": False, "scale": "exp"},
    "one level": {"upper_dims": (), "output_layers": 1},
}

Gaussian = tuple[np.ndarray, np.ndarray]


class Found(NamedTuple):
    """By the level of a latent, from 1: its sample `[N, T, Z]`, q and p. Parameters of p(x_t | .), `[N, T, P]`."""

    z: dict[int, np.ndarray]
    q: dict[int, Gaussian]
    p: dict[int, Gaussian]
    params: np.ndarray


def make(variant: str, u_dim: int = 0, **options: Any) -> tfdvae.TCNDVAE:
    sizes = {"latent_dim": 2, "units": 4, "phi_x": (3,), "decoder_units": (3,)}
    model = tfdvae.TCNDVAE(**{**sizes, **VARIANTS[variant], **options})
    model.build_for(X, u_dim)
    randomise(model, 0.5, seed=0)
    return model


def draw(model: tfdvae.TCNDVAE) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {k.name: rng.normal(size=[BATCH, LENGTH, k.latent_dim]).astype(np.float32) for k in model.latents}


def convolve(stack: CausalConvolutions, x: np.ndarray, steps: list[int]) -> np.ndarray:
    """Each layer: y_t = x_t + W_o [tanh(sum_j W_fj x_{t - j d}) sigmoid(sum_j W_gj x_{t - j d})] with dilation d."""
    for i, step in enumerate(steps):
        y = np.zeros_like(x)
        for t in range(x.shape[1]):
            past = [t - (stack.kernel_size - 1 - j) * step for j in range(stack.kernel_size)]
            met = join(*(x[:, s] if s >= 0 else np.zeros_like(x[:, 0]) for s in past))
            signal, gate = np.split(affine(stack.gates[i], met), 2, axis=-1)
            y[:, t] = x[:, t] + affine(stack.outputs[i], np.tanh(signal) * sigmoid(gate))
        x = y
    return x


def follow(model: tfdvae.TCNDVAE, x: np.ndarray, u: np.ndarray | None, noise: dict[str, np.ndarray]) -> Found:
    """The factorisations of the docstring, a level at a time: no latent of a frame sees one of another frame."""
    cell, count = model.cell, len(model.latents)
    doubling = [2**i for i in range(20)]
    cycle = doubling[: doubling.index(cell.max_dilation) + 1] * 9
    d, levels = affine(cell.x_channels, join(mlp(cell.x_features, x), u)), []
    for level in range(count):
        own = cycle[level * cell.num_layers : (level + 1) * cell.num_layers]
        d = convolve(cell.levels[level], d, own)
        levels.append(d)
    found = Found({}, {}, {}, np.zeros(0))
    for level in range(count, 0, -1):
        now, above = levels[level - 1], found.z.get(level + 1)
        before = np.concatenate([np.zeros_like(now[:, :1]), now[:, :-1]], axis=1)
        p = gaussian_head(cell.prior_heads[level - 1], mlp(cell.prior_nets[level - 1], join(before, above, u)))
        loc, scale = gaussian_head(cell.posterior_heads[level - 1], mlp(cell.posterior_nets[level - 1], now))
        precision = p[1] ** -2 + scale**-2
        q = ((p[0] * p[1] ** -2 + loc * scale**-2) / precision, precision**-0.5)
        found.p[level], found.q[level] = p, q
        found.z[level] = q[0] + q[1] * noise[f"z{level}"]
    seen = [found.z[level] for level in range(1, count + 1)] if cell.dense else [found.z[1]]
    h = convolve(cell.output_convolutions, affine(cell.z_channels, join(*seen, u)), cycle[: cell.output_layers])
    head = model.observation
    return found._replace(params=mlp(cell.decoder, h) @ reference.array(head.head.kernel) + reference.array(head.bias))


@pytest.mark.alternating
@pytest.mark.parametrize("driven", [False, True], ids=["undriven", "driven"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_terms_follow_the_equations(variant: str, driven: bool) -> None:
    model = make(variant, U if driven else 0)
    x, noise = frames("gaussian", BATCH, LENGTH, X), draw(model)
    u = np.random.default_rng(6).normal(size=[BATCH, LENGTH, U]).astype(np.float32) if driven else None
    batch = Batch(tf.constant(x), None, None if u is None else tf.constant(u))
    path = model.infer(*batch, {name: tf.constant(y) for name, y in noise.items()})
    terms, expected = model.terms(path, batch), follow(model, x, u, noise)

    assert list(path.latents) == [f"z{level}" for level in sorted(expected.z, reverse=True)]
    total, ratio = np.zeros([BATCH, LENGTH]), np.zeros([BATCH, LENGTH])
    for level, z in expected.z.items():
        found, q, p = path.latents[f"z{level}"], expected.q[level], expected.p[level]
        for got, right in zip((found.z, *found.q, *found.p), (z, *q, *p), strict=True):
            np.testing.assert_allclose(got, right, **CLOSE)
        kl = reference.normal_divergence(q, p)
        np.testing.assert_allclose(terms.latents[f"z{level}"].kl, kl, rtol=1e-4, atol=1e-4)
        total += kl.sum(axis=-1)
        ratio += reference.normal_log_density(z, *p) - reference.normal_log_density(z, *q)
    np.testing.assert_allclose(path.x, expected.params, **CLOSE)
    log_px = reference.observation_log_density(model.observation, expected.params, x)
    for got, right in ((terms.log_px, log_px), (terms.kl, total), (terms.log_ratio, ratio)):
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-4)


def test_masked_sequences_are_the_short_sequences() -> None:
    """Frames that do not exist, holding NaN, in front, in between and behind, are skipped by the convolutions."""
    model = make("dense")
    mask = np.array([[1, 1, 0, 1, 0, 0, 1], [0, 1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 1, 1, 1]], bool)
    x, noise = frames("gaussian", BATCH, LENGTH, X), draw(model)
    x[~mask] = np.nan
    path = model.infer(tf.constant(x), tf.constant(mask), noise={k: tf.constant(y) for k, y in noise.items()})
    for b in range(BATCH):
        short = {name: y[b : b + 1, mask[b]] for name, y in noise.items()}
        expected = follow(model, x[b : b + 1, mask[b]], None, short)
        for level, z in expected.z.items():
            np.testing.assert_allclose(np.asarray(path.latents[f"z{level}"].z)[b, mask[b]], z[0], **CLOSE)
        np.testing.assert_allclose(np.asarray(path.x)[b, mask[b]], expected.params[0], **CLOSE)


def test_frames_reach_as_far_as_the_dilations_say() -> None:
    """Level 1 of one layer sees 2 frames, level 2 above it 2 more, level 3 starts again with dilation 1."""
    model = make("three levels")
    x = tf.constant(frames("gaussian", 1, LENGTH, X))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        e = model.cell.embed(x)
        state = model.cell.initial_state(1)
        last = [tf.reduce_sum(y[:, -1]) for y in model.cell.convolve(state["memory"], e, None)[0]]
    for y, reach in zip(last, (2, 4, 5), strict=True):
        slope = np.abs(tape.gradient(y, x).numpy()).sum(axis=(0, 2))
        np.testing.assert_array_equal(slope > 0.0, [False] * (LENGTH - reach) + [True] * reach)


@pytest.mark.parametrize("kernel_size", [2, 3])
def test_convolutions_run_at_once_in_pieces_and_frame_by_frame(kernel_size: int) -> None:
    layer = CausalConvolutions(4, (1, 2, 4), kernel_size)
    layer.build((None, 4))
    randomise(layer, 0.6, seed=2)
    x = np.random.default_rng(0).normal(size=[BATCH, 9, 4]).astype(np.float32)
    expected = convolve(layer, x.astype(np.float64), [1, 2, 4])
    start = layer.initial_memory(BATCH)
    np.testing.assert_allclose(layer(tf.constant(x), start)[0], expected, **CLOSE)
    first, memory = layer(tf.constant(x[:, :4]), start)
    rest, end = layer(tf.constant(x[:, 4:]), memory)
    np.testing.assert_allclose(tf.concat([first, rest], axis=1), expected, **CLOSE)
    memory = start
    for t in range(9):
        y, memory = layer(tf.constant(x[:, t]), memory)
        np.testing.assert_allclose(y, expected[:, t], **CLOSE)
    for kept, other, step in zip(memory, end, (1, 2, 4), strict=True):
        assert kept.shape == (BATCH, (kernel_size - 1) * step, 4)
        np.testing.assert_allclose(kept, other, **CLOSE)


def test_dilations_double_and_start_again() -> None:
    assert dilations(5, largest=4) == (1, 2, 4, 1, 2)
    assert dilations(3, largest=4, first=2) == (4, 1, 2)
    assert dilations(3, largest=1) == (1, 1, 1)
    assert dilations(4, largest=3) == (1, 2, 1, 2)
    cell = tfdvae.TCNDVAECell(3, upper_dims=(2, 2), num_layers=3, max_dilation=16)
    assert [level.dilations for level in cell.levels] == [(1, 2, 4), (8, 16, 1), (2, 4, 8)]


def test_the_default_s_top_level_sees_64_frames() -> None:
    cell = tfdvae.TCNDVAECell()
    assert 1 + (cell.kernel_size - 1) * sum(sum(level.dilations) for level in cell.levels) == 64


def test_dropout_of_convolutions_is_one_mask_per_sequence_on_the_gated_features() -> None:
    layer = CausalConvolutions(8, (1,), dropout=0.5)
    layer.build((None, 8))
    randomise(layer, 0.6, seed=2)
    [output] = layer.outputs
    output.kernel.assign(np.eye(8))
    output.bias.assign(np.zeros(8))
    x = tf.constant(frames("gaussian", BATCH, LENGTH, 8))
    gated = layer(x, layer.initial_memory(BATCH))[0] - x
    with random.dropout_scope(random.make_seed(4)):
        kept = (layer(x, layer.initial_memory(BATCH))[0] - x).numpy() / gated.numpy()
    first = kept[:, :1].round()
    np.testing.assert_allclose(kept, np.broadcast_to(first, kept.shape), atol=1e-3)
    assert set(first.ravel()) == {0.0, 2.0} and (first[0] != first[1]).any()


def test_the_posterior_is_the_normalised_product_of_two_densities() -> None:
    from tfdvae.models.tcn import product

    z = np.linspace(-30.0, 30.0, 60001)
    p, other = (1.5, 0.7), (-0.5, 2.0)
    density = np.exp(sum(reference.normal_log_density(z[:, None], *dist) for dist in (p, other)))
    density /= np.trapezoid(density, z)
    mean = np.trapezoid(z * density, z)
    spread = np.sqrt(np.trapezoid((z - mean) ** 2 * density, z))
    found = product(*(tfdvae.Gaussian(*map(tf.constant, dist)) for dist in (p, other)))
    np.testing.assert_allclose([found.loc, found.scale], [mean, spread], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "gru"}, "TCNDVAE has no use for `cell`, since it has no recurrent layers"),
        (
            {"latent_dim": 32, "family": "categorical"},
            "TCNDVAE adds the precisions of its posteriors: it needs family='gaussian'",
        ),
        ({"posterior_flow": 2}, "it needs family='gaussian' and posterior_flow=0, got 'gaussian' and 2"),
        ({"kernel_size": 1}, "`kernel_size` must be at least 2, got 1: one frame has no past"),
        ({"latent_dim": 0}, "`latent_dim` must be at least 1, got 0"),
        ({"num_layers": 0}, "`num_layers` must be at least 1, got 0"),
        ({"output_layers": 0}, "`output_layers` must be at least 1, got 0"),
        ({"max_dilation": 0}, "`max_dilation` must be at least 1, got 0"),
        ({"upper_dims": (4, 0)}, r"`upper_dims\[1\]` must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.TCNDVAE(**options)
