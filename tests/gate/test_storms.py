"""Storms: long stretches of batches that are not finite. Training skips and counts them, and goes on as if none had
been; on every dtype, with loss scaling, eagerly and in a graph."""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import tfdvae
from tests.gate.support import B, D, T, frames, vae

SETTINGS = [
    (dtype, scaled, eager)
    for dtype in ("float32", "mixed_float16", "mixed_bfloat16", "float16", "float64")
    for scaled in (False, True)
    for eager in (True, False)
]
EVERYDAY = [("float32", True, False), ("mixed_float16", False, False)]


def adam(scaled: bool = False) -> keras.optimizers.Optimizer:
    plain = keras.optimizers.Adam(0.01)
    return keras.optimizers.LossScaleOptimizer(plain) if scaled else plain


def model_of(dtype: str, scaled: bool, eager: bool) -> tfdvae.DVAE:
    model = vae(standardize=None, dtype=dtype, seed=1)
    model.compile(adam(scaled), run_eagerly=eager)
    return model


def weathers(count: int) -> list[np.ndarray]:
    """Batches of overflowing losses, and of losses that are finite with gradients that are not."""
    return [frames(i) * np.float32((1e30, 1e12)[i % 2]) for i in range(count)]


@pytest.mark.parametrize(
    ("dtype", "scaled", "eager"),
    [pytest.param(*one, marks=() if one in EVERYDAY else pytest.mark.exhaustive) for one in SETTINGS],
)
@pytest.mark.slow
def test_after_a_storm_training_goes_on_as_if_none_had_been(dtype: str, scaled: bool, eager: bool) -> None:
    storm = weathers(20 if eager else 300)
    before, behind = [frames(i) for i in range(2)], [frames(i) for i in range(2, 5)]

    def trained(*batches: np.ndarray) -> tuple[tfdvae.DVAE, dict[str, list[float]]]:
        model = model_of(dtype, scaled, eager)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Some batches were learned from.
            history = model.fit(np.concatenate(batches), batch_size=B, shuffle=False, verbose=0).history
        return model, history

    (model, history), (calm, expected) = trained(*before, *storm, *behind), trained(*before, *behind)
    # Where float16 cannot hold the first scale of a loss, a good batch is skipped to lower it.
    skipped = expected.pop("skipped_batches")[0]
    assert history.pop("skipped_batches") == [len(storm) + skipped] and (
        skipped < 5.0 if "float16" in dtype else not skipped
    )
    assert history == expected
    assert int(model.optimizer.iterations) == int(calm.optimizer.iterations) == 5 - skipped
    for found, wanted in zip(model.get_weights(), calm.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    scale = getattr(model.optimizer, "dynamic_scale", None)
    assert scale is None or float(scale) >= 1.0


@pytest.mark.slow
def test_a_loss_scale_falls_for_gradients_alone_and_not_below_one() -> None:
    for factor, expected in ((1e30, 2.0**15), (1e12, 1.0)):
        model = model_of("float32", True, True)
        for _ in range(17):
            model.train_on_batch(frames() * np.float32(factor))
        assert float(model.optimizer.dynamic_scale) == expected
    own = vae(standardize=None)
    own.compile(keras.optimizers.LossScaleOptimizer(adam(), initial_scale=0.25), run_eagerly=True)
    own.train_on_batch(frames() * np.float32(1e12))
    assert float(own.optimizer.dynamic_scale) == 0.25


@pytest.mark.slow
def test_epochs_of_nothing_else_warn_each_and_what_watches_the_loss_is_not_deceived() -> None:
    model = model_of("float32", False, True)
    storm = np.concatenate(weathers(2))
    watching = [
        keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("loss", patience=9),
    ]
    model.fit(frames(), epochs=2, verbose=0, callbacks=watching)
    best = watching[0].best
    before = model.get_weights()
    with pytest.warns(UserWarning) as told:
        history = model.fit(storm, batch_size=B, epochs=3, initial_epoch=0, verbose=0, callbacks=watching).history
    said = [str(one.message).partition(",")[0] for one in told if "were skipped" in str(one.message)]
    assert said == [f"All 2 batches of epoch {epoch} were skipped" for epoch in range(3)]
    assert np.isnan(history["loss"]).all() and history["skipped_batches"] == [2.0] * 3
    assert np.isfinite(best)
    for found, wanted in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert np.isfinite(model.fit(frames(), verbose=0).history["loss"]).all()


def test_keras_terminate_on_nan_ends_training_where_nothing_was_learned() -> None:
    model = model_of("float32", False, True)
    with pytest.warns(UserWarning, match="were skipped"):
        found = model.fit(
            np.concatenate(weathers(4)),
            batch_size=B,
            epochs=5,
            verbose=0,
            callbacks=[keras.callbacks.TerminateOnNaN()],
        )
    assert found.epoch == [0] and int(model.optimizer.iterations) == 0


def spoiling(model: tfdvae.DVAE, bad: Callable[[int], bool]) -> None:
    """Makes the gradients, and not the losses, of some train steps NaN."""
    differentiate, calls = model.bound.differentiate, []

    def spoiled(*args: Any) -> Any:
        found, gradients = differentiate(*args)
        calls.append(None)
        if bad(len(calls)):
            gradients = [g * float("nan") for g in gradients]
        return found, gradients

    model.bound.differentiate = spoiled


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.slow
def test_gradients_of_nan_are_skipped_while_the_loss_is_finite(scaled: bool) -> None:
    models = [model_of("float32", scaled, True) for _ in range(2)]
    for model, bad in zip(models, (lambda n: 2 <= n <= 12, lambda n: False), strict=True):
        model.build_for(D)
        spoiling(model, bad)
        logs = [model.train_on_batch(frames(), return_dict=True) for _ in range(14 if model is models[0] else 3)]
    assert logs[-1]["skipped_batches"] == 0.0
    for found, wanted in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert models[0].predict_on_batch(frames()).shape == (B, T, D)
