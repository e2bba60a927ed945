"""An interrupted run that is run again ends as one that was never interrupted: bitwise, counters included."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest

import tfdvae
from tfdvae.callbacks import BestWeights, KLWarmup, Resume
from tfdvae.data import batches, from_arrays, steps_per_epoch
from tfdvae.schedules import LinearWarmup

BATCH = 4


class Interrupted(Exception):
    """Stands for a pulled plug."""


class Interrupt(keras.callbacks.Callback):
    """Raises in the middle of an epoch."""

    def __init__(self, epoch: int, batch: int = 1) -> None:
        super().__init__()
        self.epoch, self.batch, self.now = epoch, batch, -1

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.now = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.now == self.epoch and batch == self.batch:
            raise Interrupted


class Run(NamedTuple):
    model: tfdvae.DVAE
    history: dict[str, list[float]]
    state: dict[str, float]


def rolls(seed: int, count: int = 10) -> tfdvae.data.Sequences:
    rng = np.random.default_rng(seed)
    return from_arrays([(rng.random((rng.integers(3, 8), 4)) < 0.3).astype(np.float32) for _ in range(count)])


def make(
    latent_dim: int = 2, optimizer: Callable = keras.optimizers.Adam, recurrent: bool = False, **options
) -> tfdvae.DVAE:
    """A model without a loop, which runs eagerly, since tracing is what costs; or a recurrent one in a graph."""
    keras.utils.set_random_seed(1)
    shared = {"dropout": 0.3, "observation": "bernoulli", "seed": 3}
    if recurrent:
        model = tfdvae.VRNN(latent_dim, units=4, phi_x=(4,), phi_z=(4,), num_layers=2, **shared)
    else:
        model = tfdvae.VAE(latent_dim, encoder_units=(4,), decoder_units=(4,), **shared)
    model.compile(optimizer(1e-2), **{"beta": LinearWarmup(12, start=0.1), "run_eagerly": not recurrent, **options})
    model.build_for(4)
    return model


def train(
    directory: Path | None,
    epochs: int = 8,
    extra: tuple = (),
    model: tfdvae.DVAE | None = None,
    plateau: bool = True,
    **options,
) -> Run:
    """The script that a user would run, and run again."""
    model = make(**options) if model is None else model
    tracked = [BestWeights(patience=4, min_delta=0.05)]
    if plateau:
        tracked.insert(0, keras.callbacks.ReduceLROnPlateau("val_loss", 0.5, patience=2, min_delta=0.5))
    resume = Resume(directory, tracked) if directory is not None else None
    left = range(epochs) if resume is None else resume.epochs(epochs)
    history = model.fit(
        batches(rolls(0), BATCH, seed=5, epochs=left or 1),
        steps_per_epoch=steps_per_epoch(rolls(0), BATCH),
        initial_epoch=left.start,
        epochs=left.stop,
        shuffle=False,
        validation_data=batches(rolls(1), BATCH),
        verbose=0,
        callbacks=[KLWarmup(3), *tracked, *([] if resume is None else [resume]), *extra],
    )
    best = tracked[-1]
    state = {"best": best.best, "best_epoch": best.best_epoch, "wait": best.wait}
    if plateau:
        state |= {"plateau": tracked[0].best, "plateau_wait": tracked[0].wait}
    state["rate"] = float(model.optimizer.learning_rate)
    return Run(model, {**history.history, "epoch": history.epoch}, state)


def assert_same(a: Run, b: Run) -> None:
    assert a.history == b.history
    assert a.state == b.state
    for first, second in zip(a.model.variables, b.model.variables, strict=True):
        np.testing.assert_array_equal(first, second)
    for first, second in zip(a.model.optimizer.variables, b.model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.fixture(scope="module")
def uninterrupted() -> Run:
    return train(None)


@pytest.mark.slow
def test_the_run_uses_what_has_to_be_restored(uninterrupted: Run) -> None:
    """Otherwise the next tests would prove little."""
    history = uninterrupted.history
    assert len(set(history["learning_rate"])) > 1
    assert len(set(history["kl_weight"])) > 2
    assert uninterrupted.state["wait"] > 0


@pytest.mark.parametrize("interruptions", [pytest.param((0,), marks=pytest.mark.exhaustive), (2, 5, 6)])
@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(
    interruptions: tuple[int, ...], uninterrupted: Run, tmp_path: Path
) -> None:
    for epoch in interruptions:
        with pytest.raises(Interrupted):
            train(tmp_path, extra=(Interrupt(epoch),))
    assert_same(train(tmp_path), uninterrupted)


@pytest.mark.exhaustive
def test_a_resumed_recurrent_model_with_dropout_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    """In a graph; `tests/trainers/test_train.py` interrupts another one every time."""
    with pytest.raises(Interrupted):
        train(tmp_path, epochs=4, recurrent=True, extra=(Interrupt(2),))
    assert_same(train(tmp_path, epochs=4, recurrent=True), train(None, epochs=4, recurrent=True))


@pytest.mark.slow
def test_early_stopping_counts_on(tmp_path: Path) -> None:
    """The counters of BestWeights cross the interruption, and a run that has stopped stays stopped."""

    def run(directory: Path, *extra: keras.callbacks.Callback) -> Run:
        return train(directory, 40, extra, optimizer=lambda rate: keras.optimizers.SGD(0.3), plateau=False, beta=1.0)

    whole = run(tmp_path / "whole")
    epochs = len(whole.history["loss"])
    assert epochs < 40
    assert epochs == whole.state["best_epoch"] + 1 + 4
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", Interrupt(epochs - 2))
    assert_same(run(tmp_path / "parts"), whole)
    # Everything is done: the same command once more changes nothing.
    assert_same(run(tmp_path / "parts"), whole)


@pytest.mark.slow
def test_keras_own_early_stopping_is_restored_too(tmp_path: Path) -> None:
    def run(directory: Path, *extra: keras.callbacks.Callback) -> tuple[list, list]:
        model = make()
        early = keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True, mode="max")
        resume = Resume(directory, [early])
        left = resume.epochs(10)
        history = model.fit(
            batches(rolls(0), BATCH, seed=5, epochs=left or 1),
            steps_per_epoch=3,
            initial_epoch=left.start,
            epochs=left.stop,
            validation_data=batches(rolls(1), BATCH),
            verbose=0,
            callbacks=[early, resume, *extra],
        )
        return model.get_weights(), history.history["loss"]

    whole = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", Interrupt(2))
    parts = run(tmp_path / "parts")
    assert parts[1] == whole[1]
    for a, b in zip(whole[0], parts[0], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_longer_run_goes_on_from_a_finished_one(uninterrupted: Run, tmp_path: Path) -> None:
    """Best weights are put back at the end of a run; going on needs the last ones, which the checkpoint has."""
    train(tmp_path, epochs=5)
    assert_same(train(tmp_path, epochs=8), uninterrupted)


@pytest.mark.slow
def test_a_crash_while_writing_keeps_the_checkpoint_before(
    uninterrupted: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path, epochs=3)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    savez = np.savez

    def crash(file, **arrays: np.ndarray) -> None:
        savez(file, **dict(list(arrays.items())[:3]))
        raise Interrupted

    monkeypatch.setattr(np, "savez", crash)
    with pytest.raises(Interrupted):
        train(tmp_path, epochs=8)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert_same(train(tmp_path, epochs=8), uninterrupted)


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[: len(b) // 2],
        *(pytest.param(d, marks=pytest.mark.exhaustive) for d in (lambda b: b"", lambda b: b[:-100] + bytes(100))),
    ],
)
@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    damage: Callable[[bytes], bytes], uninterrupted: Run, tmp_path: Path
) -> None:
    train(tmp_path, epochs=4)
    newest = tmp_path / "epoch-00004.npz"
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.warns(UserWarning, match=r"goes on from epoch-00003\.npz.*damaged.*epoch-00004\.npz"):
        resumed = train(tmp_path, epochs=8)
    assert_same(resumed, uninterrupted)


@pytest.mark.slow
def test_without_a_readable_checkpoint_there_is_one_error_and_nothing_is_overwritten(tmp_path: Path) -> None:
    train(tmp_path, epochs=2)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="No checkpoint in .* can be read: move them away to start anew"):
        train(tmp_path, epochs=8)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def rmsprop(rate: float) -> keras.optimizers.Optimizer:
    return keras.optimizers.RMSprop(rate)


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints, for those who change none."""
    folder = tmp_path_factory.mktemp("two_epochs")
    train(folder, epochs=2)
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dim": 3}, r"model\.latent_dim is 2 there and 3 here"),
        ({"optimizer": rmsprop}, "RMSprop"),
        ({"optimizer": lambda rate: keras.optimizers.Adam(0.5)}, r"rate is 0.00999.* there and 0\.5 here"),
        ({"beta": 0.7}, r"compile\.beta"),
        ({"free_bits": 0.1}, r"compile\.free_bits is 0\.0 there and 0\.1 here"),
        ({"plateau": False}, "callbacks are .*ReduceLROnPlateau"),
    ],
)
@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused_and_kept(options: dict, message: str, two_epochs: Path) -> None:
    before = {p.name: p.read_bytes() for p in two_epochs.iterdir()}
    with pytest.raises(ValueError, match=rf"belongs to another run: .*{message}"):
        train(two_epochs, epochs=4, **options)
    assert {p.name: p.read_bytes() for p in two_epochs.iterdir()} == before


@pytest.mark.slow
def test_the_users_own_config_must_agree(tmp_path: Path) -> None:
    def fit(config: dict) -> None:
        resume = Resume(tmp_path, config=config)
        model = make()
        model.fit(batches(rolls(0), BATCH, epochs=1), initial_epoch=resume.initial_epoch, verbose=0, callbacks=[resume])

    fit({"data": {"hop": 4}})
    with pytest.raises(ValueError, match=r"config\.data\.hop is 4 there and 5 here"):
        fit({"data": {"hop": 5}})


@pytest.mark.slow
def test_fit_may_be_called_again_in_the_same_process(uninterrupted: Run, tmp_path: Path) -> None:
    """As in a notebook after an interruption: the model then has another learning rate than a fresh one."""
    model = make()
    with pytest.raises(Interrupted):
        train(tmp_path, extra=(Interrupt(6),), model=model)
    assert float(model.optimizer.learning_rate) < 1e-2
    resumed = train(tmp_path, model=model)
    assert_same(resumed, uninterrupted)


@pytest.mark.slow
def test_only_the_latest_checkpoints_are_kept(tmp_path: Path) -> None:
    train(tmp_path, epochs=5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-00004.npz", "epoch-00005.npz"]


@pytest.mark.slow
def test_nothing_is_unpickled(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    with np.load(tmp_path / "epoch-00001.npz", allow_pickle=False) as archive:
        assert all(archive[name].dtype.kind in "biuf" for name in archive.files)


@pytest.mark.slow
def test_misuse_is_explained(tmp_path: Path) -> None:
    class Counter(keras.callbacks.Callback):
        pass

    with pytest.raises(TypeError, match="does not know the state of Counter"):
        Resume(tmp_path, [Counter()])
    with pytest.raises(ValueError, match="keep"):
        Resume(tmp_path, keep=0)
    best = BestWeights()
    data = batches(rolls(0), BATCH, epochs=1)
    with pytest.raises(ValueError, match="must come behind it"):
        make().fit(data, verbose=0, callbacks=[Resume(tmp_path, [best]), best])
    train(tmp_path, epochs=2)
    with pytest.raises(ValueError, match=r"come to epoch 2, fit began with 0.*initial_epoch=resume\.initial_epoch"):
        train_from_zero(tmp_path)


def train_from_zero(directory: Path) -> None:
    tracked = [keras.callbacks.ReduceLROnPlateau("val_loss", 0.5, patience=1), BestWeights(patience=4)]
    make().fit(
        batches(rolls(0), BATCH, epochs=4),
        steps_per_epoch=3,
        epochs=4,
        validation_data=batches(rolls(1), BATCH),
        verbose=0,
        callbacks=[*tracked, Resume(directory, tracked)],
    )


@pytest.mark.slow
def test_a_fresh_directory_gives_no_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resume = Resume(tmp_path / "new")
    assert (resume.initial_epoch, resume.stopped, resume.epochs(3)) == (0, False, range(3))
    assert not (tmp_path / "new").exists()
