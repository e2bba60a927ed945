"""The weights of the best epoch come back, whatever ended training."""

import resource
from pathlib import Path

import numpy as np
import pytest

import tfdvae
from tfdvae.callbacks import BestWeights, best_weights
from tfdvae.data.files import atomic_write

X = np.random.default_rng(0).normal(size=(8, 5, 3)).astype(np.float32)


class Steps:
    """Stands for a model: the callback needs its weights and whether to stop."""

    def __init__(self) -> None:
        self.weights = [np.zeros(1)]
        self.stop_training = False

    def get_weights(self) -> list[np.ndarray]:
        return [w.copy() for w in self.weights]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.weights = weights


def play(callback: BestWeights, values: list[float]) -> tuple[float, int]:
    """Epoch e has weight e; returns the final weight and the number of epochs that were run."""
    model = Steps()
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        model.weights = [np.full(1, epoch, float)]
        callback.on_epoch_end(epoch, {"value": value})
        if model.stop_training:
            break
    callback.on_train_end()
    return float(model.weights[0][0]), epoch + 1


@pytest.mark.parametrize(
    ("options", "values", "weight", "epochs"),
    [
        ({"mode": "max"}, [1.0, 3.0, 2.0, 2.5], 1, 4),
        ({"mode": "min"}, [4.0, 3.0, 2.0, 2.5], 2, 4),
        ({"mode": "max", "patience": 2}, [1.0, 3.0, 2.0, 2.5, 9.0], 1, 4),
        ({"mode": "max", "patience": 2}, [1.0, 0.0, 3.0, 2.0, 4.0], 4, 5),
        ({"mode": "max", "patience": 1, "min_delta": 0.5}, [1.0, 1.4, 9.0], 0, 2),
        ({"mode": "max"}, [float("nan"), -5.0, float("nan"), -6.0], 1, 4),
        ({"mode": "max", "patience": 2}, [-1.0, float("nan"), float("nan"), 0.0], 0, 3),
    ],
)
def test_which_epoch_is_best_and_when_training_stops(options: dict, values: list, weight: int, epochs: int) -> None:
    callback = BestWeights("value", **options)
    assert play(callback, values) == (weight, epochs)
    assert callback.best_epoch == weight


def test_a_second_run_starts_anew() -> None:
    callback = BestWeights("value")
    play(callback, [1.0, 5.0])
    assert play(callback, [2.0, 1.0]) == (0, 2)


@pytest.mark.slow
def test_the_file_holds_the_best_weights(tmp_path: Path) -> None:
    def make() -> tfdvae.VAE:
        model = tfdvae.VAE(2, encoder_units=(4,), decoder_units=(4,))
        model.build_for(3)
        return model

    path = tmp_path / "run" / "best.weights.h5"
    model = make()
    model.compile("adam")
    # The largest loss is that of the first epoch: later weights must not be in the file.
    best = BestWeights("val_loss", "max", path=path)
    history = model.fit(X, epochs=4, batch_size=4, verbose=0, validation_data=X, callbacks=[best]).history
    assert best.best_epoch == int(np.argmax(history["val_loss"]))
    assert [p.name for p in path.parent.iterdir()] == ["best.weights.h5"]
    other = make()
    other.load_weights(path)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    loss = model.evaluate(X, batch_size=4, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(max(history["val_loss"]), rel=1e-5)


@pytest.mark.slow
def test_a_monitor_that_is_not_logged_is_named() -> None:
    model = tfdvae.VAE(2, encoder_units=(4,), decoder_units=(4,))
    model.compile("adam")
    with pytest.raises(ValueError, match=r"no 'val_elbo_nats_per_frame'.*elbo_nats_per_frame.*validation_data"):
        model.fit(X, verbose=0, callbacks=[BestWeights()])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "auto"}, "'max' or 'min', got 'auto'"),
        ({"patience": 0}, "at least 1 epoch"),
        ({"path": "best.npz"}, r"\.weights\.h5"),
    ],
)
def test_wrong_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BestWeights(**options)


def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    """HDF5 alone would end the process, or say that it could not count its references."""
    model = tfdvae.VAE(2, encoder_units=(4,), decoder_units=(4,))
    model.build_for(3)
    model.compile("adam")
    callback = BestWeights(path=tmp_path / "best.weights.h5")
    callback.set_model(model)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"best\.weights\.h5"):
            callback.on_epoch_end(0, {"val_elbo_nats_per_frame": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    callback.on_epoch_end(1, {"val_elbo_nats_per_frame": 2.0})
    assert 20_000 < (tmp_path / "best.weights.h5").stat().st_size < best_weights._size_in_hdf5(model)
    model.load_weights(tmp_path / "best.weights.h5")


def test_what_is_written_names_its_file_where_the_disk_is_full(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"a\.npz"), atomic_write(tmp_path / "a.npz") as file:
            file.write(bytes(10_000))
            file.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
