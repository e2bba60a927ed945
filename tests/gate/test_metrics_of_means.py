"""`compile(metrics=...)`: Keras' own metrics of frames and E[x_t | .], of what exists and was observed."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tfdvae
from tests.gate.support import B, D, T, frames, rolls, vae, vrnn


def compiled(model: tfdvae.DVAE, *metrics: Any, **options: Any) -> tfdvae.DVAE:
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True, metrics=list(metrics), **options)
    return model


def evaluated(model: tfdvae.DVAE, data: Any) -> dict[str, float]:
    """The metrics, by whichever way one asks for them, in batches of unequal sizes."""
    found = model.evaluate(data, verbose=0, batch_size=2, return_dict=True)
    assert dict(zip(model.metrics_names, model.evaluate(data, verbose=0, batch_size=2), strict=True)) == found
    history = model.fit(data, validation_data=data, verbose=0, batch_size=2, shuffle=False).history
    for name, value in found.items():
        assert history[f"val_{name}"] == [value]
        if name in ("mae", "cosine"):  # the optimizer moves nothing
            assert history[name] == pytest.approx([value], rel=1e-5)
    return found


def cosine(x: Any, y: Any) -> Any:
    return keras.ops.sum(keras.ops.normalize(x) * keras.ops.normalize(y), axis=-1)


@pytest.mark.slow
def test_each_frame_that_exists_is_a_sample() -> None:
    model = compiled(vrnn(), "mae", keras.metrics.RootMeanSquaredError(name="rmse"), cosine, keras.metrics.R2Score())
    mask = np.arange(T) < np.array([[5], [3], [1]])
    x = np.where(mask[..., None], frames(), np.nan).astype("float32")
    found = evaluated(model, {"x": x, "mask": mask})
    y, mean = x[mask], model.predict({"x": x, "mask": mask}, verbose=0)[mask]
    unit = [one / np.linalg.norm(one, axis=-1, keepdims=True) for one in (y, mean)]
    expected = {
        "mae": np.abs(y - mean).mean(),
        "rmse": np.sqrt(np.square(y - mean).mean()),
        "cosine": (unit[0] * unit[1]).sum(-1).mean(),
        "r2_score": np.mean(1.0 - np.square(y - mean).sum(0) / np.square(y - y.mean(0)).sum(0)),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize("options", [{}, {"standardize": "sequence", "given_frames": 2}])
@pytest.mark.slow
def test_each_entry_that_was_observed_and_is_scored_is_a_sample_where_some_were_not(options: dict[str, Any]) -> None:
    model = compiled(vae(**options), "mae", keras.metrics.MeanSquaredError())
    observed = frames(7) > -0.5
    x = np.where(observed, frames(), np.nan).astype("float32")
    found = evaluated(model, {"x": x, "observed": observed})
    error = (x - model.predict({"x": x, "observed": observed}, verbose=0))[:, options.get("given_frames", 0) :]
    assert found["mae"] == pytest.approx(np.nanmean(np.abs(error)), rel=1e-5)
    assert found["mean_squared_error"] == pytest.approx(np.nanmean(np.square(error)), rel=1e-5)


@pytest.mark.slow
def test_pictures_are_given_in_their_shape_and_graphs_compute_the_same() -> None:
    shapes = []

    def seen(x: Any, y: Any) -> Any:
        shapes.append((tuple(x.shape[1:]), tuple(y.shape[1:])))
        return keras.ops.mean(keras.ops.abs(x - y), axis=(1, 2, 3))

    model = tfdvae.VAE(2, encoder_units=(3,), decoder_units=(3,), observation="bernoulli")
    x = rolls().reshape(B, T, 2, 2, 1)
    model.compile("adam", metrics=[seen, "binary_accuracy"])
    found = model.evaluate(x, verbose=0, return_dict=True)
    mean = model.predict(x, verbose=0)
    assert set(shapes) == {((2, 2, 1), (2, 2, 1))}
    assert found["seen"] == pytest.approx(np.abs(x - mean).mean(), rel=1e-5)
    assert found["binary_accuracy"] == pytest.approx(np.mean((mean > 0.5) == (x > 0.5)), rel=1e-5)


@pytest.mark.slow
def test_a_skipped_batch_leaves_no_trace_in_them() -> None:
    model = compiled(vae(standardize=None), "mae")
    x = np.concatenate([frames(), frames() * np.float32(1e30)])
    history = model.fit(x, batch_size=B, shuffle=False, verbose=0).history
    assert history["skipped_batches"] == [1.0]
    assert history["mae"] == pytest.approx([model.evaluate(frames(), verbose=0, return_dict=True)["mae"]], rel=1e-5)


@pytest.mark.slow
def test_they_are_saved_with_how_a_model_was_compiled_and_callbacks_know_their_direction(tmp_path: Path) -> None:
    model = compiled(vae(), "mae", keras.metrics.BinaryAccuracy(name="right"))
    stopping = [keras.callbacks.EarlyStopping(name, patience=5) for name in ("val_mae", "right")]
    history = model.fit(frames(), validation_data=frames(), epochs=2, verbose=0, callbacks=stopping).history
    assert stopping[0].best == min(history["val_mae"]) and stopping[1].best == max(history["right"])
    assert stopping[0].monitor_op.__name__ == "less" and stopping[1].monitor_op.__name__ == "greater"
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.metrics_names == model.metrics_names
    assert again.evaluate(frames(), verbose=0) == model.evaluate(frames(), verbose=0)
    plain = compiled(vae())
    plain.build_for(D)
    plain.save_weights(tmp_path / "plain.weights.h5")
    model.load_weights(tmp_path / "plain.weights.h5")


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("mae", r"`metrics` must be a list of Keras' metrics such as \['mae'\], got 'mae'"),
        (["accuracy"], "'accuracy', which means another metric for every kind of target: .*'binary_accuracy'"),
        (["none such"], "must hold names, functions or Metric objects of Keras, got 'none such'"),
        ([3], "must hold names, functions or Metric objects of Keras, got 3"),
        (["mae", "mae"], "`metrics` has 'mae', which the logs have already"),
        ([keras.metrics.Mean(name="loss")], "`metrics` has 'loss', which the logs have already"),
    ],
)
def test_what_is_no_metric_of_means(metrics: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vae().compile("adam", metrics=metrics)
    with pytest.raises(ValueError, match="'active_units', which the logs have already"):
        compiled(vae(), keras.metrics.MeanSquaredError(name="active_units")).fit(frames(), verbose=0)
