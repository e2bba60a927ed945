"""Sequences that go on from batch to batch: windows are the sequence that they were cut from."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.data import from_arrays, pad, window_batches, window_steps
from tfdvae.passages import passage_scope
from tfdvae.testing import assert_close
from tfdvae.testing.comparing import drawn
from tfdvae.types import Batch, Trajectory

LENGTH, WINDOW = 7, 3
"""Two windows and a third that is shorter."""

EVERY = pytest.mark.parametrize("name", cases.params(), indirect=True, scope="module")
AHEAD = pytest.mark.parametrize(
    "name",
    cases.params(
        ["srnn-smooth-u", "srnn-gru2", "dkf-st_r", "dkf-st_lr-u", "dkf-mf_lr-u", "rvae", "sv2p-frame", "dvbf"],
        ["srnn-smooth-u", "dkf-st_r", "rvae"],
    ),
    indirect=True,
    scope="module",
)


def cut(batch: Batch, start: int, end: int) -> Batch:
    """Some frames of all sequences."""
    return Batch(*(y if y is None or name == "context" else y[:, start:end] for name, y in batch._asdict().items()))


def by_windows(model: tfdvae.DVAE, batch: Batch, noise: dict[str, tf.Tensor]) -> Trajectory:
    """The path of windows that go on, put together."""
    carried, found = model.carried(batch.x.shape[0]), []
    for start in range(0, LENGTH, WINDOW):
        passage = carried.passage(tf.fill(batch.x.shape[:1], start > 0))
        own = {name: n[:, start : start + WINDOW] for name, n in noise.items()}
        with passage_scope(passage):
            found.append(model.infer(*cut(batch, start, start + WINDOW), own))
        carried.keep(passage)
    return tf.nest.map_structure(lambda *ys: None if ys[0] is None else tf.concat(ys, axis=1), *found)


def told(path: Trajectory) -> list:
    """All but auxiliary losses, which may look over several frames (RSSM's overshooting), and then stay in a window."""
    return [drawn(path), path.x, path.states]


@EVERY
@pytest.mark.slow
def test_a_causal_model_tells_of_windows_what_it_tells_of_the_sequence(model: tfdvae.DVAE, name: str) -> None:
    if model.not_stateful:
        with pytest.raises(ValueError, match="so no state passes from one batch to the next"):
            model.compile("adam", stateful=True)
        return
    batch, noise = cases.frames(name, length=LENGTH), cases.noise(model, length=LENGTH)
    found = by_windows(model, batch, noise)
    if not model.causal:
        # Its posterior sees no further than its window; the next test says what goes on all the same.
        batch, noise = cut(batch, 0, WINDOW), {k: n[:, :WINDOW] for k, n in noise.items()}
        found = tf.nest.map_structure(lambda y: None if y is None else y[:, :WINDOW], found)
    assert_close(told(found), told(model.infer(*batch, noise)), 1e-5)


@AHEAD
@pytest.mark.slow
def test_where_posteriors_see_ahead_all_else_goes_on(name: str) -> None:
    # A posterior that does not look at the data knows no more of a sequence than of a window.
    model = cases.make(name)
    heads = [head for key, head in vars(model.cell).items() if key.endswith("posterior_head")]
    assert heads
    for variable in [v for head in heads for v in head.trainable_variables if len(v.shape) > 1]:
        variable.assign(tf.zeros_like(variable))
    batch, noise = cases.frames(name, length=LENGTH), cases.noise(model, length=LENGTH)
    expected = model.infer(*batch, noise)
    assert_close(told(by_windows(model, batch, noise)), told(expected), 1e-5)
    # By itself, the second window would be another thing.
    alone = model.infer(*cut(batch, WINDOW, 2 * WINDOW), {k: n[:, WINDOW : 2 * WINDOW] for k, n in noise.items()})
    second = tf.nest.map_structure(lambda y: y[:, WINDOW : 2 * WINDOW], told(expected))
    pairs = zip(tf.nest.flatten(told(alone)), tf.nest.flatten(second), strict=True)
    assert not all(np.allclose(a, b, atol=1e-4) for a, b in pairs)


MASKED = ("vrnn", "storn", "srnn-filter-u", "dkf-mf_l", "tcn-u", "transformer-u", "rssm-overshooting-u", "rnn-gru2-u")


@pytest.mark.parametrize("name", cases.params(MASKED, ["vrnn", "tcn-u"]), indirect=True, scope="module")
@pytest.mark.slow
def test_gaps_and_ends_within_windows_are_passed_over(model: tfdvae.DVAE, name: str) -> None:
    batch, noise = cases.frames(name, length=LENGTH), cases.noise(model, length=LENGTH)
    mask = np.ones([3, LENGTH], bool)
    mask[0, 1] = mask[0, 4:6] = mask[1, 6] = False
    batch = batch._replace(mask=tf.constant(mask))
    assert_close(told(by_windows(model, batch, noise)), told(model.infer(*batch, noise)), 1e-5)


def vrnn(**options: Any) -> tfdvae.DVAE:
    model = cases.make("vrnn", dropout=0.0)
    model.compile(**{"optimizer": "sgd", "stateful": True, **options})
    return model


def data(rows: int = 3, length: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=[rows, length, cases.X_DIM]).astype(np.float32)


def windows(x: np.ndarray, length: int = 4) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, x.shape[1], length):
        yield {"x": x[:, start : start + length], "continues": np.full(len(x), start > 0)}


@pytest.mark.slow
def test_rows_begin_anew_where_they_say_so() -> None:
    model, x = vrnn(), tf.constant(data())
    carried = model.carried(3)
    first = carried.passage(tf.constant([False] * 3))
    with passage_scope(first):
        model.infer(x)
    carried.keep(first)
    with passage_scope(carried.passage(tf.constant([True, False, True]))):
        found = model.infer(x)
    fresh = model.infer(x)
    assert_close(found.x[1], fresh.x[1], 1e-6)
    assert not np.allclose(found.x[0], fresh.x[0], atol=1e-4)


@pytest.mark.slow
def test_fewer_rows_go_on_from_the_first_of_more_and_no_others() -> None:
    model, x = vrnn(), data()
    losses = []
    for rows in (3, 2):
        model = vrnn(optimizer=tf.keras.optimizers.SGD(0.0))
        first, second, _ = windows(x)
        model.train_on_batch({k: v[:rows] for k, v in first.items()})
        losses.append(model.train_on_batch({k: v[:2] for k, v in second.items()}))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="rows that the batch before did not have"):
        model.train_on_batch(second)
    model.train_on_batch(first)
    model.train_on_batch(second)


@pytest.mark.slow
def test_the_bound_of_windows_is_that_of_the_sequence() -> None:
    model = cases.make("rnn", dropout=0.0)
    sequences = from_arrays(list(data(5, 13)) + list(data(2, 6)))
    model.compile("adam", stateful=True)
    found = model.evaluate(window_batches(sequences, 3, 4, whole=True), verbose=0, return_dict=True)
    model.compile("adam")
    expected = model.evaluate(pad(sequences), verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.slow
def test_a_step_moves_weights_by_the_gradient_within_the_window(jit: bool) -> None:
    x = data()
    model = vrnn(jit_compile=jit, optimizer=tf.keras.optimizers.SGD(1.0), clip_norm=None)
    first, second, _ = windows(x)
    model.train_on_batch(first)
    before = [tf.identity(v) for v in model.trainable_variables]
    carried = model.carried(3)
    carried.take(model.carried_by_fit)
    seed = tfdvae.random.fold_in(tfdvae.random.make_seed(model.seed), 1)
    with tf.GradientTape() as tape, passage_scope(carried.passage(tf.constant([True] * 3))):
        loss = -tf.reduce_sum(model.bound.estimate(model, model.tensors({"x": second["x"]}), seed).objective) / 12.0
    gradients = tape.gradient(loss, model.trainable_variables)
    model.train_on_batch(second)
    assert_close([v - w for v, w in zip(before, model.trainable_variables, strict=True)], gradients, 2e-5)


@pytest.mark.slow
def test_training_by_windows_learns_what_spans_them_and_is_repeatable() -> None:
    # The first frame says which way all others go; windows of three frames do not show it.
    rng = np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], size=[64, 1, 1])
    x = np.concatenate([sign, np.zeros([64, 2, 1]), np.tile(sign, [1, 3, 1])], axis=1).astype(np.float32)
    sequences = from_arrays(list(x + 0.01 * rng.normal(size=x.shape)))

    def fitted() -> tuple[tfdvae.DVAE, float]:
        model = tfdvae.RNN(units=16, seed=0)
        model.compile(tf.keras.optimizers.Adam(0.02), stateful=True)
        batches = window_batches(sequences, 64, 3, epochs=60)
        history = model.fit(batches, epochs=60, steps_per_epoch=window_steps(sequences, 64, 3), verbose=0)
        return model, history.history["loss"][-1]

    (model, loss), (_, again) = fitted(), fitted()
    assert loss == again
    # Knowing the sign or not is worth log 2 nats at the fourth frame, and far more under a narrow Gaussian.
    late = model.infer(tf.constant(x)).x
    assert np.mean(np.abs(model.frames.mean(late).numpy()[:, 3:] - x[:, 3:])) < 0.3


def test_what_is_not_finite_does_not_pass_on() -> None:
    model = vrnn()
    carried = model.carried(2)
    passage = carried.passage(tf.constant([False, False]))
    anew = passage.start(model.cell.start(2))
    passage.after = tf.nest.map_structure(lambda y: tf.concat([y[:1] + 1.0, y[1:] + np.nan], axis=0), anew)
    carried.keep(passage)
    found = carried.passage(tf.constant([True, True])).start(model.cell.start(2))
    assert_close(found, tf.nest.map_structure(lambda y: tf.concat([y[:1] + 1.0, y[1:]], axis=0), anew), 1e-7)


@pytest.mark.slow
def test_compile_is_saved_and_loaded(tmp_path: Any) -> None:
    model = vrnn()
    list(map(model.train_on_batch, windows(data())))
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    assert loaded.stateful and loaded.carried_by_fit is None
    loaded.train_on_batch(next(windows(data())))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bound": "iwae"}, "IWAE.* is not the sum of those of its windows"),
        ({"bound": tfdvae.bounds.ELBO(2)}, r"ELBO\(2\) of a sequence is not the sum"),
        ({"bound": "fivo"}, "FIVO.* is not the sum"),
        ({"scheduled_sampling": 0.5}, "`scheduled_sampling` takes other paths"),
        ({"semi_amortized": 1}, "`semi_amortized` takes other paths"),
        ({"micro_batch": 2}, "`micro_batch` takes other paths"),
        ({"metrics": ["mae"]}, "`metrics` takes other paths"),
        ({"stateful": 1.5}, "stateful"),
    ],
)
def test_compile_refuses_what_has_no_state_to_pass_on(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        vrnn(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"standardize": "sequence", "given_frames": 2}, "treats the first frames of a sequence unlike the others"),
        ({"given_frames": 2}, "treats the first frames of a sequence unlike the others"),
        ({"fill": "last", "missing": "nan"}, "fills in what was last seen"),
    ],
)
def test_frames_that_hang_on_the_whole_sequence_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tfdvae.VRNN(4, **options).compile("adam", stateful=True)


@pytest.mark.slow
def test_data_that_do_not_say_what_goes_on_or_cannot() -> None:
    model, batch = vrnn(), next(windows(data()))
    with pytest.raises(ValueError, match='say which rows of a batch follow .* by "continues"'):
        model.fit(data(), verbose=0)
    with pytest.raises(ValueError, match="Arrays are cut into batches and shuffled by Keras"):
        model.fit(batch, verbose=0)
    with pytest.raises(ValueError, match="`predict` takes sequences as wholes"):
        model.predict(batch, verbose=0)
    with pytest.raises(ValueError, match="Expected `continues` of true and false"):
        model.train_on_batch({**batch, "continues": np.zeros(3)})
    with pytest.raises(ValueError, match=r"Expected `continues` of shape \[batch\]"):
        model.train_on_batch({**batch, "continues": np.zeros([2], bool)})
    with pytest.raises(ValueError, match="compiled with `stateful`"):
        model.draw_latents_from("prior")
    model.evaluate(data(), verbose=0)
    model.compile("adam")
    with pytest.raises(ValueError, match="of a model that was compiled with stateful=True"):
        model.train_on_batch(batch)


