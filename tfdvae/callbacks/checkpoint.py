"""The file in which `Resume` keeps the state of a run: one `.npz` without pickles."""

import io
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfdvae.data.files import atomic_write

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

    Raises:
        ValueError: there are checkpoints, and none can be read.
    """
    damaged = []
    for path in _files(directory):
        try:
            checkpoint = _read(path)
        # A damaged file raises nearly anything inside zipfile, zlib, json and numpy.
        except Exception as error:
            damaged.append(f"{path}: {error}")
            continue
        if damaged:
            warnings.warn(
                f"Training goes on from {path.name}, since a newer checkpoint is damaged. {damaged[0]}", stacklevel=3
            )
        return checkpoint
    if damaged:
        raise ValueError(
            f"No checkpoint in {directory} can be read: move them away to start anew. " + "; ".join(damaged)
        )
    return None


def _files(directory: Path) -> list[Path]:
    """Checkpoints, the newest first."""
    found = [path for path in directory.glob("epoch-*.npz") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(_NAME.fullmatch(path.name)[1]), reverse=True)


def _read(path: Path) -> Checkpoint:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
        contents = {name: archive[name] for name in archive.files}
    meta = json.loads(contents.pop("meta").tobytes().decode())
    if meta["format"] != FORMAT:
        raise ValueError(f"it has format {meta['format']}, this version reads format {FORMAT}.")
    return Checkpoint(meta, {name.removeprefix("array/"): array for name, array in contents.items()})
