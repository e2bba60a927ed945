"""Masks, the loop, randomness and dropout against plain loops and known moments."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.oracles.support import assert_mean, randomise
from tfdvae import masks, random
from tfdvae.layers.recurrent import Recurrent
from tfdvae.loop import scan

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 7)))
EXAMPLES = settings(max_examples=40, deadline=None)


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    """[B, T, 2], every entry another positive number."""
    return np.arange(1.0, 2.0 * shape[0] * shape[1] + 1.0, dtype=np.float32).reshape(*shape, 2)


@EXAMPLES
@given(MASKS)
@pytest.mark.slow
def test_packing_moves_frames_to_the_left_and_back(mask: np.ndarray) -> None:
    x = numbered(mask.shape)
    how = masks.packing(tf.constant(mask))
    packed = masks.pack(tf.constant(np.where(mask[..., None], x, np.nan)), how).numpy()
    for b, row in enumerate(mask):
        np.testing.assert_array_equal(packed[b, : row.sum()], x[b, row])
        np.testing.assert_array_equal(how.mask[b], np.arange(len(row)) < row.sum())
    np.testing.assert_array_equal(masks.unpack(tf.constant(packed), how), np.where(mask[..., None], x, 0.0))


@EXAMPLES
@given(MASKS)
def test_masked_frames_are_zero_whatever_they_held(mask: np.ndarray) -> None:
    x = numbered(mask.shape)
    x[~mask] = np.nan
    for dims in (x, x[..., 0], x[..., None]):
        expected = np.where(mask.reshape(mask.shape + (1,) * (dims.ndim - 2)), dims, 0.0)
        np.testing.assert_array_equal(masks.zero_masked(tf.constant(dims), tf.constant(mask)), expected)


@EXAMPLES
@given(st.integers(1, 7), st.lists(st.integers(0, 7), min_size=1, max_size=4))
def test_reversing_leaves_the_padding_where_it_is(length: int, lengths: list[int]) -> None:
    lengths = [min(n, length) for n in lengths]
    x = numbered((len(lengths), length))
    expected = x.copy()
    for b, n in enumerate(lengths):
        for t in range(n):
            expected[b, t] = x[b, n - 1 - t]
    mask = tf.constant(np.arange(length) < np.array(lengths)[:, None])
    once = masks.reverse(tf.constant(x), mask)
    np.testing.assert_array_equal(once, expected)
    np.testing.assert_array_equal(masks.reverse(once, mask), x)
    np.testing.assert_array_equal(masks.reverse(tf.constant(x), None), x[:, ::-1])


@EXAMPLES
@given(st.integers(1, 4), st.integers(1, 7))
def test_shifting_gives_the_frame_before(batch: int, length: int) -> None:
    x = numbered((batch, length))
    expected = np.zeros_like(x)
    for t in range(1, length):
        expected[:, t] = x[:, t - 1]
    np.testing.assert_array_equal(masks.shift(tf.constant(x)), expected)


BATCH, LENGTH = 3, 5
DECAY = 0.7


def body(state: Any, frame: Any) -> tuple[Any, Any]:
    """Two states in a nest, one of them an integer; one input may be missing."""
    a, (b, count) = state["a"], state["rest"]
    drive = frame["x"] if frame.get("bias") is None else frame["x"] + frame["bias"]
    a = tf.tanh(DECAY * a + drive)
    return {"a": a, "rest": (b * frame["y"][0] + a, count + 1)}, (a, {"product": a * b, "count": count})


def start() -> dict:
    return {"a": tf.ones([BATCH, 2]), "rest": (tf.fill([BATCH, 2], 0.5), tf.zeros([BATCH, 1], tf.int32))}


def inputs(biased: bool) -> dict:
    rng = np.random.default_rng(0)
    x, y, bias = (tf.constant(rng.normal(size=[BATCH, LENGTH, 2]), tf.float32) for _ in range(3))
    return {"x": x, "y": (y,), "bias": bias if biased else None}


def loop(frames: dict, hold: np.ndarray | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The same in float64 numpy: last state and outputs."""
    a, b, count = np.ones([BATCH, 2]), np.full([BATCH, 2], 0.5), np.zeros([BATCH, 1])
    x, y = (np.asarray(v, np.float64) for v in (frames["x"], frames["y"][0]))
    x = x if frames["bias"] is None else x + np.asarray(frames["bias"], np.float64)
    outputs = []
    for t in range(LENGTH):
        new = np.tanh(DECAY * a + x[:, t])
        outputs.append((new, count.copy(), new * b))
        keep = np.ones([BATCH, 1], bool) if hold is None else hold[:, t, None]
        a, b, count = (np.where(keep, n, o) for n, o in ((new, a), (b * y[:, t] + new, b), (count + 1, count)))
    return [a, b, count], [np.stack(series, axis=1) for series in zip(*outputs, strict=True)]


@pytest.mark.parametrize("mode", ["eager", "graph", "dynamic graph", "xla"])
@pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
@pytest.mark.parametrize("biased", [False, True])
def test_the_loop_is_a_loop(mode: str, held: bool, biased: bool) -> None:
    frames = inputs(biased)
    hold = np.random.default_rng(1).random([BATCH, LENGTH]) < 0.6 if held else None

    def run(*series: tf.Tensor) -> Any:
        nest = {"x": series[0], "y": (series[1],), "bias": series[2] if biased else None}
        return scan(body, start(), nest, hold=None if hold is None else tf.constant(hold))

    series = [y for y in (frames["x"], *frames["y"], frames["bias"]) if y is not None]
    if mode == "dynamic graph":
        run = tf.function(run, input_signature=[tf.TensorSpec([BATCH, None, 2], tf.float32)] * len(series))
    elif mode != "eager":
        run = tf.function(run, jit_compile=mode == "xla")
    state, outputs = run(*series)
    last, series = loop(frames, hold)
    for got, right in zip(tf.nest.flatten(state), last, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-6)
    for got, right in zip(tf.nest.flatten(outputs), series, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_the_gradient_of_the_loop_is_that_of_the_recursion(mode: str) -> None:
    """By central differences of the float64 loop, with states held in between."""
    frames, hold = inputs(False), np.random.default_rng(1).random([BATCH, LENGTH]) < 0.6

    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            state, outputs = scan(body, start(), {**frames, "x": x}, hold=tf.constant(hold))
            loss = tf.reduce_sum(state["rest"][0]) + tf.reduce_sum(tf.square(outputs[1]["product"]))
        return tape.gradient(loss, x)

    def loss(x: np.ndarray) -> float:
        state, outputs = loop({**frames, "x": x}, hold)
        return float(state[1].sum() + (outputs[2] ** 2).sum())

    run = gradient if mode == "eager" else tf.function(gradient, jit_compile=mode == "xla")
    got, x = run(frames["x"]).numpy(), np.asarray(frames["x"], np.float64)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 1e-5
        assert got[index] == pytest.approx((loss(x + step) - loss(x - step)) / 2e-5, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_the_loop_runs_without_inputs(mode: str) -> None:
    def run(length: tf.Tensor) -> Any:
        return scan(lambda s, _: (2.0 * s, s), tf.ones([2, 1]), None, length=length)

    state, out = (run if mode == "eager" else tf.function(run))(tf.constant(4))
    np.testing.assert_array_equal(state, np.full([2, 1], 16.0))
    np.testing.assert_array_equal(out[:, :, 0], np.tile([1.0, 2.0, 4.0, 8.0], [2, 1]))


def test_seeds_that_were_folded_differ_and_give_independent_noise() -> None:
    seed = random.make_seed(2**33 + 5)
    derived = [seed, *(random.fold_in(seed, data) for data in (0, 1, 2, "latent", "frames"))]
    derived += [random.fold_in(derived[1], 0), random.fold_in(random.make_seed(6), 0)]
    assert len({tuple(s.numpy()) for s in derived}) == len(derived)
    np.testing.assert_array_equal(random.fold_in(seed, "latent"), derived[4])
    streams = np.stack([random.normal(s, [50_000]) for s in derived], axis=1).astype(np.float64)
    assert_mean(streams, np.zeros(len(derived)), variance=np.ones(len(derived)))
    products = (streams[:, :, None] * streams[:, None, :]).reshape(len(streams), -1)
    assert_mean(products, np.eye(len(derived)).reshape(-1), variance=(1.0 + np.eye(len(derived))).reshape(-1))


@pytest.mark.parametrize("draw", [random.normal, random.uniform])
@pytest.mark.slow
def test_noise_is_the_same_in_every_mode(draw: Any) -> None:
    seed = random.make_seed(3)
    graph, xla = (tf.function(draw, jit_compile=xla)(seed, [400, 3]) for xla in (False, True))
    np.testing.assert_allclose(draw(seed, [400, 3]), graph, rtol=1e-6)
    np.testing.assert_allclose(draw(seed, [400, 3]), xla, rtol=1e-4, atol=1e-6)


def test_noise_has_its_moments() -> None:
    uniform = random.uniform(random.make_seed(1), [200_000]).numpy().astype(np.float64) - 0.5
    normal = random.normal(random.make_seed(1), [200_000]).numpy().astype(np.float64)
    for power, even in ((1, 0.0), (2, 1.0 / 12.0), (3, 0.0), (4, 1.0 / 80.0)):
        assert_mean(uniform**power, even, variance=0.25**power / (2 * power + 1) - even**2)
    moments = (1.0, 0.0, 1.0, 0.0, 3.0, 0.0, 15.0, 0.0, 105.0)
    for power in range(1, 5):
        assert_mean(normal**power, moments[power], variance=moments[2 * power] - moments[power] ** 2)
    edges = np.array([-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5])
    shares = [0.0062097, 0.0668072, 0.3085375, 0.5, 0.6914625, 0.9331928, 0.9937903]
    assert_mean(normal[:, None] < edges, shares)


def test_uniform_noise_is_strictly_between_zero_and_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the generator returns its smallest and its largest number."""
    extremes = tf.constant([-(2**31), -1, 0, 2**31 - 1], tf.int32)
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda *args, **kwargs: extremes)
    ends = random.uniform(random.make_seed(1), [4]).numpy()
    assert np.all(ends > 0.0) and np.all(ends < 1.0)
    assert np.all(np.isfinite(np.log(ends))) and np.all(np.isfinite(np.log1p(-ends)))
    np.testing.assert_array_equal(ends + ends[::-1], np.ones(4))
    assert np.all(np.isfinite(random.normal(random.make_seed(1), [4])))


def test_dropout_keeps_one_mask_per_sequence_and_the_expectation() -> None:
    batch, rate = 20_000, 0.3
    x = tf.random.stateless_normal([batch, 3, 4], [1, 2]) + 2.0
    with random.dropout_scope(random.make_seed(5)):
        kept = random.dropout(x, rate, "a").numpy() / x.numpy()
        other = random.dropout(x, rate, "b").numpy() / x.numpy()
        frame = random.dropout(x[:, 1], rate, "a").numpy() / x[:, 1].numpy()
    np.testing.assert_allclose(kept, np.where(kept > 0.0, 1.0 / (1.0 - rate), 0.0), rtol=1e-5)
    np.testing.assert_array_equal(kept > 0.0, np.repeat(kept[:, :1] > 0.0, 3, axis=1))
    np.testing.assert_array_equal(frame > 0.0, kept[:, 1] > 0.0)
    variance = rate / (1.0 - rate)
    assert_mean(kept[:, 0], np.ones(4), variance=np.full(4, variance))
    centred, other = kept[:, 0] - 1.0, other[:, 0] - 1.0
    assert_mean(centred[1:] * centred[:-1], np.zeros(4), variance=np.full(4, variance**2))
    assert_mean(centred * other, np.zeros(4), variance=np.full(4, variance**2))
    assert_mean(centred[:, 1:] * centred[:, :-1], np.zeros(3), variance=np.full(3, variance**2))


def test_dropout_is_the_identity_out_of_its_scope() -> None:
    x = tf.ones([2, 3])
    assert random.dropout(x, 0.5, "a") is x
    with random.dropout_scope(random.make_seed(5)), random.dropout_scope(None):
        assert random.dropout(x, 0.5, "a") is x
    assert random.dropout(x, 0.5, "a") is x


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_stack_drops_the_same_units_in_a_sequence_and_step_by_step(kind: str) -> None:
    layer = Recurrent(6, kind, 3, dropout=0.4)
    layer.build((None, 2))
    randomise(layer, 0.6, seed=1)
    x = tf.constant(np.random.default_rng(0).normal(size=[4, 5, 2]), tf.float32)
    with random.dropout_scope(random.make_seed(2)):
        whole = layer(x)
        state, outputs = layer.initial_state(4), []
        for t in range(5):
            state = layer.step(state, x=x[:, t])
            outputs.append(state.h)
    np.testing.assert_allclose(whole, tf.stack(outputs, axis=1), rtol=1e-5, atol=1e-6)
    assert np.abs(whole - layer(x)).max() > 0.01
