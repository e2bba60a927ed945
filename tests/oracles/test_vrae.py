"""VRAE against its equations in float64, and the uses that the paper makes of it."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.networks import affine, array, gaussian_head, join, mlp
from tests.oracles.support import frames, randomise
from tfdvae.types import Batch

X, U, Z, H = 3, 2, 4, 5
CLOSE = {"rtol": 2e-5, "atol": 2e-5}
SHAPES = {
    "lstm": {},
    "gru, two layers, reversed": {"cell": "gru", "num_layers": 2, "reverse": True, "decoder_units": ()},
    "free running, two layers": {"decoder": "free_running", "num_layers": 2, "scale": "softplus"},
}


def make(u_dim: int = 0, **options: Any) -> tfdvae.VRAE:
    model = tfdvae.VRAE(Z, **{"units": H, "decoder_units": (2,), **options})
    model.build_for(X, u_dim)
    randomise(model, 0.5, 0)
    return model


def encoded(model: Any, x: np.ndarray, u: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """q(s | x), from the encoder's last state."""
    xu = join(array(x), u)
    stack = reference.Stack(model.cell.encoder_rnn, len(x))
    for t in range(x.shape[1]):
        h = stack.step(xu[:, -1 - t if model.cell.reverse else t])
    return gaussian_head(model.cell.posterior_head, h)


def decoder(model: Any, s: np.ndarray) -> reference.Stack:
    """The decoder's recurrence at h_0 = tanh(W s + b)."""
    stack = reference.Stack(model.cell.rnn, len(s))
    outputs = np.split(np.tanh(affine(model.cell.decoder_start, s)), model.cell.num_layers, axis=-1)
    stack.state = [(h, np.zeros_like(h)) for h in outputs]
    return stack


def decoded(model: Any, s: np.ndarray, x: np.ndarray, u: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """h_1:T, and parameters of p(x_t | .), for frames x that the decoder is told."""
    stack, free = decoder(model, s), model.cell.decoder == "free_running"
    before = np.zeros([len(x), 2 if free else X])
    states, params = [], []
    for t in range(x.shape[1]):
        states.append(stack.step(join(before, None if u is None else u[:, t])))
        features = mlp(model.cell.output_net, states[-1])
        params.append(features @ array(model.observation.head.kernel) + array(model.observation.bias))
        before = features if free else x[:, t]
    return np.stack(states, axis=1), np.stack(params, axis=1)


@pytest.mark.alternating
@pytest.mark.parametrize("u_dim", [0, U], ids=["undriven", "driven"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.slow
def test_terms_follow_the_equations(shape: str, u_dim: int) -> None:
    model = make(u_dim, **SHAPES[shape])
    mask = np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 1], [0, 0, 1, 0, 0]], bool)
    x, u = frames("gaussian", 3, 5, X), frames("gaussian", 3, 5, U, seed=8) if u_dim else None
    x[~mask] = np.nan
    noise = np.random.default_rng(5).normal(size=[3, Z]).astype(np.float32)
    given = tf.constant(x), tf.constant(mask), None if u is None else tf.constant(u)
    path = model.infer(*given, noise={"s": tf.constant(noise)})
    terms = model.terms(path, Batch(*given))
    assert list(path.latents) == ["s"]
    latent = path.latents["s"]
    for b in range(3):
        short, own = x[b : b + 1, mask[b]], None if u is None else u[b : b + 1, mask[b]]
        q = encoded(model, short, own)
        s = q[0] + q[1] * noise[b]
        _, params = decoded(model, s, short, own)
        np.testing.assert_allclose(latent.q.loc[b], q[0][0], **CLOSE)
        np.testing.assert_allclose(latent.q.scale[b], q[1][0], **CLOSE)
        np.testing.assert_allclose(latent.z[b], s[0], **CLOSE)
        np.testing.assert_allclose(path.x.numpy()[b, mask[b]], params[0], **CLOSE)
        kl = reference.normal_divergence(q, reference.standard(s)).sum()
        np.testing.assert_allclose(terms.sequence_kl[b], kl, rtol=1e-4)
        np.testing.assert_allclose(model.latent_map(*given)[b], q[0][0], **CLOSE)
    assert terms.of_frames() == {} and terms.kl.shape == (3, 5)
    np.testing.assert_array_equal(terms.kl, np.zeros([3, 5]))


@pytest.mark.parametrize("shape", SHAPES)
def test_generation_decodes_the_given_latent(shape: str) -> None:
    model = make(**SHAPES[shape])
    s = np.random.default_rng(3).normal(size=[2, Z]).astype(np.float32)
    drawn = model.generate(4, latents={"s": s}, seed=1)
    np.testing.assert_allclose(drawn.params, decoded(model, array(s), array(drawn.x))[1], **CLOSE)
    assert drawn.latents == {}


def test_the_authors_weigh_the_divergence_by_a_hundredth() -> None:
    model = make()
    model.compile(beta=0.01, optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    history = model.fit(frames("gaussian", 4, 5, X), verbose=0).history
    expected = 0.01 * history["kl_nats_per_frame"][0] - history["log_likelihood_nats_per_frame"][0]
    assert history["kl_nats_per_frame"][0] > 0.01
    assert history["loss"][0] == pytest.approx(expected, rel=1e-5)


def follow_means(model: Any, s: np.ndarray, length: int, past: np.ndarray | None = None) -> np.ndarray:
    """Frames that each are the mean of p(x_t | .), after those of the past."""
    x = np.zeros([len(s), 0, X]) if past is None else past
    for _ in range(length):
        longer = np.concatenate([x, np.zeros([len(s), 1, X])], axis=1)
        x = np.concatenate([x, decoded(model, s, longer)[1][:, -1:, :X]], axis=1)
    return x[:, x.shape[1] - length :]


@pytest.mark.slow
def test_interpolation_walks_from_one_mean_to_the_other() -> None:
    model = make()
    a, b = frames("gaussian", 2, 5, X, seed=1), frames("gaussian", 2, 4, X, seed=2)
    found = model.interpolate(a, b, 3, length=6)
    assert found.shape == (3, 2, 6, X)
    start, end = encoded(model, a)[0], encoded(model, b)[0]
    for frame, s in zip(found, (start, (start + end) / 2.0, end), strict=True):
        np.testing.assert_allclose(frame, follow_means(model, s, 6), **CLOSE)
    assert model.interpolate(a, b, 2).shape == (2, 2, 5, X)
    driven, u = make(U), frames("gaussian", 2, 5, U)
    assert driven.interpolate({"x": a, "u": u}, {"x": a[::-1], "u": u}, 2, u=u).shape == (2, 2, 5, X)
    with pytest.raises(ValueError, match="must be at least 2, got 1"):
        model.interpolate(a, b, 1)
    with pytest.raises(ValueError, match="as many sequences in `x_b` as in `x_a`, got 1 and 2"):
        model.interpolate(a, b[:1])


@pytest.mark.slow
def test_endless_sequences_go_from_window_to_overlapping_window() -> None:
    model = make()
    s = np.random.default_rng(3).normal(size=[2, Z])
    expected = follow_means(model, s, 5)
    while expected.shape[1] < 13:
        half = expected[:, -2:]
        expected = np.concatenate([expected, follow_means(model, encoded(model, half)[0], 3, half)], axis=1)
    found = model.endless(13, window=5, start=s, sample=False)
    np.testing.assert_allclose(found, expected[:, :13], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.endless(4, window=5, start=s, sample=False), expected[:, :4], **CLOSE)


@pytest.mark.slow
def test_endless_sequences_follow_their_seed_and_inputs() -> None:
    model, driven = make(), make(U)
    first, again, other = (model.endless(11, window=4, batch_size=2, seed=seed).numpy() for seed in (1, 1, 2))
    assert first.shape == (2, 11, X) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)
    assert (np.abs(first - other).max(axis=(0, 2)) > 1e-3).all()
    u = frames("gaussian", 2, 11, U)
    changed = u.copy()
    changed[:, 6] += 3.0
    start = np.zeros([2, Z])
    a, b = (driven.endless(11, window=4, start=start, u=y, seed=1).numpy() for y in (u, changed))
    np.testing.assert_array_equal(a[:, :6], b[:, :6])
    assert (np.abs(a - b)[:, 6] > 1e-4).any()
    with pytest.raises(ValueError, match="`window` must be at least 2 and `length` at least 1, got 1 and 5"):
        model.endless(5, window=1)


def hidden(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """What the recurrent layers of a supervised network give to its output layer."""
    return keras.Model(model.inputs, model.layers[-1].input).predict(x, verbose=0)


@pytest.mark.parametrize("options", [{}, {"cell": "gru", "num_layers": 2}], ids=["lstm", "gru, two layers"])
@pytest.mark.parametrize("u_dim", [0, U], ids=["undriven", "driven"])
@pytest.mark.slow
def test_a_supervised_network_starts_with_the_decoder(options: dict, u_dim: int, tmp_path: Path) -> None:
    """Its hidden states are the decoder's, for the latent vector of the prior's mean or of given sequences."""
    model = make(u_dim, **options)
    x, u = frames("gaussian", 2, 4, X), frames("gaussian", 2, 4, U, seed=8) if u_dim else None
    told = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
    inputs = join(told, u).astype(np.float32)
    mean = np.repeat(encoded(model, x, u)[0].mean(axis=0, keepdims=True), 2, axis=0)
    for given, s in (({}, np.zeros([2, Z])), ({"x": x, "u": u}, mean)):
        network = model.to_rnn(6, activation="softmax", **given)
        np.testing.assert_allclose(hidden(network, inputs), decoded(model, s, x, u)[0], **CLOSE)
    assert network.output_shape == (None, None, 6)

    before = model.get_weights()
    network = model.to_rnn(1, return_sequences=False)
    start = [w.numpy() for w in network.trainable_variables]
    network.compile(keras.optimizers.Adam(0.05), "mse")
    target = x[:, -1, :1]
    losses = network.fit(inputs, target, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert all(np.abs(w.numpy() - old).max() > 0.0 for w, old in zip(network.trainable_variables, start, strict=True))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(again.predict(inputs, verbose=0), network.predict(inputs, verbose=0))


def test_a_supervised_network_starts_with_the_encoder() -> None:
    model = make(decoder="free_running")
    x = frames("gaussian", 2, 4, X)
    network = model.to_rnn(2, part="encoder")
    np.testing.assert_allclose(hidden(network, x), reference.run(model.cell.encoder_rnn, array(x)), **CLOSE)
    with pytest.raises(ValueError, match="A free-running decoder reads no frames"):
        model.to_rnn(2)
    with pytest.raises(ValueError, match="`part` must be 'decoder' or 'encoder', got 'middle'"):
        model.to_rnn(2, part="middle")
    with pytest.raises(ValueError, match="`to_rnn` needs a model with weights"):
        tfdvae.VRAE(Z).to_rnn(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "loose"}, "`decoder` must be 'teacher_forced' or 'free_running', got 'loose'"),
        ({"latent_dim": 0}, "`latent_dim` must be at least 1, got 0"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.VRAE(**options)
