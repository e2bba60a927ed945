"""Resuming an interrupted run so that it ends as if it had never been interrupted."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdvae import replicas
from tfdvae.callbacks import checkpoint
from tfdvae.callbacks.checkpoint import Checkpoint

__all__ = ["Resume"]

KERAS_STATE: dict[type[keras.callbacks.Callback], tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.ModelCheckpoint: ("best",),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}
"""What Keras' callbacks remember from one epoch to the next. Own ones name it in a class attribute `resumable`."""

EXECUTION = ("jit_compile", "run_eagerly", "steps_per_execution", "micro_batch", "kl_per_dimension", "metrics")
"""Entries of a compile config that do not change what is computed."""


class Resume(keras.callbacks.Callback):
    """Saves the whole state of training after every epoch; the same script, run again, goes on from there.

    Saved are weights, optimizer, history, whether training had stopped, and the state of other callbacks (counters of
    early stopping and plateaus, best weights). The randomness of a step follows from the optimizer's step counter, and
    `tfdvae.data.batches` gives the batches of an epoch by its number, so on one machine the weights are bitwise those
    of an uninterrupted run:

        best = BestWeights(patience=20)
        resume = Resume("run/checkpoints", [best])
        epochs = resume.epochs(100)
        model.fit(
            batches(train, 32, seed=0, epochs=epochs or 1), steps_per_epoch=steps_per_epoch(train, 32),
            initial_epoch=epochs.start, epochs=epochs.stop, shuffle=False,
            validation_data=batches(valid, 32), callbacks=[best, resume],
        )

    Where nothing is left to train, `epochs` is empty, and `fit` only restores weights and history.

    The learning rate is state where it is a number. A checkpoint is written completely or not at all, and the one
    before is kept beside it: a crash while writing loses nothing, and a damaged newest file falls back to the one
    before, with a warning. What a run that was killed left half written in the directory is removed when the next one
    makes its Resume: only what surely nobody writes any more, which `tfdvae.data.unfinished` tells by a lock.

    Args:
        directory: where checkpoints are.
        callbacks: those whose state belongs to the run. In fit's list they come before this one.
        config: JSON values that a checkpoint must share, beside those of the model and of `compile`.
        keep: number of checkpoints kept.

    Raises:
        TypeError: a callback whose state is not known.
        ValueError: no readable checkpoint among those in `directory`; when `fit` starts: a checkpoint of another
            model, optimizer or config, or of other callbacks; a list of callbacks in another order. Nothing has been
            written or changed then.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        config: Mapping[str, Any] | None = None,
        keep: int = 2,
    ):
        super().__init__()
        if keep < 1:
            raise ValueError(f"`keep` must be at least 1 checkpoint, got {keep}.")
        self.directory = Path(directory)
        self.callbacks = tuple(callbacks)
        self.config = dict(config or {})
        self.keep = keep
        self._names = [_state_names(callback) for callback in self.callbacks]
        self._loaded = checkpoint.newest(self.directory)
        self._history: dict[str, list] = {}
        self._fingerprint: dict[str, Any] = {}
        self._first_epoch: int | None = None

    @property
    def initial_epoch(self) -> int:
        """Number of epochs behind the checkpoint, and of the epoch to go on with; 0 without one."""
        return 0 if self._loaded is None else self._loaded.meta["epoch"]

    @property
    def stopped(self) -> bool:
        """Whether training had come to its end before the last epoch, by early stopping."""
        return self._loaded is not None and self._loaded.meta["stopped"]

    def epochs(self, total: int) -> range:
        """The epochs left of `total`: empty where all are done, or training had stopped."""
        return range(self.initial_epoch, self.initial_epoch if self.stopped else max(total, self.initial_epoch))

    def set_model(self, model: keras.Model) -> None:
        for callback in self.callbacks:
            # Keras hands the model out in the order of the list.
            if callback.model is not model:
                raise ValueError(
                    f"Resume saves the state of {type(callback).__name__} and must come behind it in the list of "
                    "callbacks: fit(callbacks=[..., resume])."
                )
        super().set_model(model)

    def on_train_begin(self, logs: dict | None = None) -> None:
        if not self.model.built or not self.model.optimizer.built:
            raise ValueError("Resume needs a model that is built: call it on data, or `build_for`, before `fit`.")
        rate = _learning_rate(self.model.optimizer)
        self._fingerprint = json.loads(
            json.dumps(
                {"config": self.config, "steps": self.params.get("steps"), "rate": rate, **_describe(self.model)}
            )
        )
        self._history = {}
        self._first_epoch = self.initial_epoch
        if self._loaded is not None:
            self._check(self._loaded, rate)
            self._restore(self._loaded)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self._first_epoch is None:
            return
        if epoch != self._first_epoch:
            raise ValueError(
                f"In {self.directory} the run has come to epoch {self._first_epoch}, fit began with {epoch}: pass "
                "initial_epoch=resume.initial_epoch."
            )
        self._first_epoch = None
        self._hand_over_history(epoch)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for name, value in (logs or {}).items():
            self._history.setdefault(name, []).append(_plain(value))
        arrays = {f"weights/{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self.model.variables)}
        arrays |= {
            f"optimizer/{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self.model.optimizer.variables)
        }
        states = []
        for i, (callback, names) in enumerate(zip(self.callbacks, self._names, strict=True)):
            state = {}
            for name in names:
                value = getattr(callback, name)
                if isinstance(value, list):
                    arrays |= {f"callbacks/{i}/{name}/{j}": np.asarray(v) for j, v in enumerate(value)}
                    value = {"arrays": len(value)}
                state[name] = _plain(value)
            states.append({"class": type(callback).__name__, "state": state})
        meta = {
            "epoch": epoch + 1,
            "stopped": bool(self.model.stop_training),
            "history": self._history,
            "fingerprint": self._fingerprint,
            "callbacks": states,
        }
        self._loaded = Checkpoint(json.loads(json.dumps(meta)), arrays)
        if replicas.writes(self.model.distribute_strategy):
            checkpoint.write(self.directory, self._loaded, self.keep)

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._first_epoch is not None:
            self._hand_over_history(self._first_epoch)
            self._first_epoch = None

    def _check(self, saved: Checkpoint, rate: float | None) -> None:
        """Raises ValueError unless the checkpoint is one of this run."""
        here, there = _flat(self._fingerprint), _flat(saved.meta["fingerprint"])
        if rate is not None and rate == _saved_rate(self.model.optimizer, saved):
            here["rate"] = there["rate"]
        different = [
            f"{key} is {there.get(key, 'absent')!r} there and {here.get(key, 'absent')!r} here"
            for key in sorted(here.keys() | there.keys())
            if here.get(key, _ABSENT) != there.get(key, _ABSENT)
        ]
        classes = [state["class"] for state in saved.meta["callbacks"]], [type(c).__name__ for c in self.callbacks]
        if classes[0] != classes[1]:
            different.append(f"the callbacks are {classes[0]} there and {classes[1]} here")
        if different:
            more = f" (and {len(different) - 4} more differences)" if len(different) > 4 else ""
            raise ValueError(
                f"The checkpoint in {self.directory} belongs to another run: {'; '.join(different[:4])}{more}. "
                "Choose another directory, or go back to what the run began with."
            )

    def _restore(self, saved: Checkpoint) -> None:
        for kind, variables in (("weights", self.model.variables), ("optimizer", self.model.optimizer.variables)):
            for i, variable in enumerate(variables):
                variable.assign(saved.arrays[f"{kind}/{i}"])
        for i, (callback, state) in enumerate(zip(self.callbacks, saved.meta["callbacks"], strict=True)):
            for name, value in state["state"].items():
                if isinstance(value, dict):
                    value = [saved.arrays[f"callbacks/{i}/{name}/{j}"] for j in range(value["arrays"])]
                setattr(callback, name, value)
        self._history = {name: list(values) for name, values in saved.meta["history"].items()}

    def _hand_over_history(self, epoch: int) -> None:
        # Keras' History comes last in the list and clears itself when training begins.
        history = getattr(self.model, "history", None)
        if history is not None:
            history.history = {name: list(values) for name, values in self._history.items()}
            history.epoch = list(range(epoch))


_ABSENT = object()


def _state_names(callback: keras.callbacks.Callback) -> tuple[str, ...]:
    names = getattr(type(callback), "resumable", None)
    if names is None:
        names = next((KERAS_STATE[base] for base in type(callback).__mro__ if base in KERAS_STATE), None)
    if names is None:
        raise TypeError(
            f"Resume does not know the state of {type(callback).__name__}. Name its attributes in a class attribute "
            "`resumable = ('wait', ...)` (numbers or lists of arrays), or leave it out where it has none."
        )
    return tuple(names)


def _describe(model: keras.Model) -> dict[str, Any]:
    """What tells one run from another: the model, its weights' shapes, and how it was compiled."""
    serialized = keras.saving.serialize_keras_object(model)
    compiled = serialized.get("compile_config") or {}
    return {
        "model": _nameless({"class": serialized["class_name"], **serialized["config"]}),
        "compile": _nameless({k: v for k, v in compiled.items() if k not in EXECUTION}),
        "weights": [[v.name, list(v.shape), str(v.dtype)] for v in model.variables],
        "optimizer": [[list(v.shape), str(v.dtype)] for v in model.optimizer.variables],
    }


def _nameless(value: Any) -> Any:
    """Without names, which Keras counts up within a process, and without learning rates that are numbers."""
    if isinstance(value, Mapping):
        return {
            k: _nameless(v)
            for k, v in value.items()
            if k != "name" and not (k == "learning_rate" and isinstance(v, (int, float)))
        }
    return [_nameless(v) for v in value] if isinstance(value, (list, tuple)) else value


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted path, but for what parts were built for, which earlier versions kept; weights tell it too."""
    if isinstance(value, Mapping) and value:
        items = [(key, item) for key, item in value.items() if key != "build_config"]
        return {k: v for key, item in items for k, v in _flat(item, f"{prefix}.{key}".lstrip(".")).items()}
    return {prefix: value}


def _learning_rate(optimizer: keras.optimizers.Optimizer) -> float | None:
    """The learning rate where it is a number, None where it is a schedule."""
    rate = getattr(optimizer, "inner_optimizer", optimizer).get_config()["learning_rate"]
    return rate if isinstance(rate, float) else None


def _saved_rate(optimizer: keras.optimizers.Optimizer, saved: Checkpoint) -> float | None:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for i, variable in enumerate(optimizer.variables):
        if variable is inner.learning_rate and f"optimizer/{i}" in saved.arrays:
            return float(saved.arrays[f"optimizer/{i}"])
    return None


def _plain(value: Any) -> Any:
    """A JSON value; numbers of numpy and TensorFlow become Python's."""
    return value if value is None or isinstance(value, (bool, int, float, str, dict)) else np.asarray(value).item()
