"""The file in which `Resume` keeps the state of a run: one `.npz` without pickles."""

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfdvae.data.archives import read_flat
from tfdvae.data.files import atomic_write, named_damage
from tfdvae.data.unfinished import remove_leftovers

__all__ = ["Checkpoint", "newest", "write"]

FORMAT = 1
_NAME = re.compile(r"epoch-(\d+)\.npz")


class Checkpoint(NamedTuple):
    """The state of a run after an epoch.

    Attributes:
        meta: JSON values: the next epoch, whether training had stopped, history, fingerprint, states of callbacks.
        arrays: name to array: weights, optimizer variables, arrays in states of callbacks.
    """

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]


def write(directory: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Writes `epoch-00012.npz`; the file appears complete or not at all, and only then older ones go, but `keep`."""
    path = directory / f"epoch-{checkpoint.meta['epoch']:05d}.npz"
    meta = np.frombuffer(json.dumps({**checkpoint.meta, "format": FORMAT}).encode(), dtype=np.uint8)
    with atomic_write(path) as file:
        np.savez(file, meta=meta, **{f"array/{k}": v for k, v in checkpoint.arrays.items()})
        # The new name must not reach the disk before the contents do.
        file.flush()
        os.fsync(file.fileno())
    for old in _files(directory)[keep:]:
        old.unlink(missing_ok=True)


def newest(directory: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read, with a warning for newer ones that cannot; None where there is none.

    What writers that were killed left in the folder is removed, unless none can be read (see `tfdvae.data.unfinished`).

    Raises:
        ValueError: there are checkpoints, and none can be read.
    """
    damaged = []
    for path in _files(directory):
        try:
            checkpoint = _read(path)
        except ValueError as error:
            damaged.append(str(error))
            continue
        remove_leftovers(directory, _NAME)
        if damaged:
            warnings.warn(
                f"Training goes on from {path.name}, since a newer checkpoint is damaged. {damaged[0]}", stacklevel=3
            )
        return checkpoint
    if damaged:
        raise ValueError(
            f"No checkpoint in {directory} can be read: move them away to start anew. " + "; ".join(damaged)
        )
    remove_leftovers(directory, _NAME)
    return None


def _files(directory: Path) -> list[Path]:
    """Checkpoints, the newest first."""
    found = [path for path in directory.glob("epoch-*.npz") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(_NAME.fullmatch(path.name)[1]), reverse=True)


def _read(path: Path) -> Checkpoint:
    """One checkpoint.

    Raises:
        ValueError: it is damaged, of another format, or lacks what it says that it has; names the file.
    """
    contents = read_flat(path, "a checkpoint of Resume")
    with named_damage(path, "cannot be read"):
        meta = json.loads(contents.pop("meta").tobytes().decode())
        if meta["format"] != FORMAT:
            raise ValueError(f"it has format {meta['format']}, this version reads format {FORMAT}.")
        checkpoint = Checkpoint(meta, {name.removeprefix("array/"): array for name, array in contents.items()})
        _check(checkpoint)
    return checkpoint


def _check(checkpoint: Checkpoint) -> None:
    """Raises ValueError, KeyError or TypeError where `Resume` would look for something that is not there."""
    meta, arrays = checkpoint
    kinds = {"epoch": int, "stopped": bool, "history": dict, "fingerprint": dict, "callbacks": list}
    for name, kind in kinds.items():
        if type(meta[name]) is not kind:
            raise ValueError(f"its {name} is {meta[name]!r:.80}, expected {kind.__name__}")
    if meta["epoch"] < 1 or not all(isinstance(values, list) for values in meta["history"].values()):
        raise ValueError("it is of no epoch, or its history is none")
    shapes = {f"weights/{i}": shape for i, (_, shape, _) in enumerate(meta["fingerprint"]["weights"])}
    shapes |= {f"optimizer/{i}": shape for i, (shape, _) in enumerate(meta["fingerprint"]["optimizer"])}
    for i, callback in enumerate(meta["callbacks"]):
        if type(callback["class"]) is not str:
            raise ValueError(f"callback {i} has no class")
        for name, value in callback["state"].items():
            # One more than there are is enough to find that one is missing.
            count = min(value["arrays"], len(arrays) + 1) if isinstance(value, dict) else 0
            shapes |= {f"callbacks/{i}/{name}/{j}": None for j in range(count)}
    for name, shape in shapes.items():
        if name not in arrays or (shape is not None and list(arrays[name].shape) != shape):
            raise ValueError(f"it has no array {name}" + ("" if shape is None else f" of shape {shape}"))
