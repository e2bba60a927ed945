"""What clients know of the data that a model was trained on, from the description of its export."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from export.client_types import Arrays, damage, read_description
from export.edge.known import Known, Watch

__all__ = ["TrainingData", "frames"]

OBSERVED = {"x": "observed", "given": "given_observed"}
COUNTS = {"x": "length", "given": "given_length"}
"""How many frames of each row exist, where a server merges rows; what stands after them may be anything."""


class TrainingData:
    """Looks at the frames of requests, and warns once of those that can hardly be in the units of the training data.

    Args:
        path: `signatures.json` of the export; None: nothing is known, and nothing is said.

    Attributes:
        known: names and units of the features, period of the frames, ...

    Raises:
        ValueError: it says of the data what no description says.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.known, self._watch, self._lock = Known(), None, threading.Lock()
        if path is None:
            return
        content = read_description(path)
        with damage(path):
            self.known = Known.read(content.get("data", {}), content["features"])
            if content.get("statistics"):
                frame = tuple(content["frame_shape"])
                self._watch = Watch(content["model"], content["statistics"], frame, self.known.features)

    def watch(self, x: np.ndarray, known: np.ndarray | None) -> None:
        """Warns, in the name of the caller of the caller, where frames are far outside of the training data."""
        if self._watch is not None:
            with self._lock:
                self._watch(x, known, stacklevel=5)


def frames(inputs: Arrays) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Frames in the inputs of a signature, and which of their entries are data; None: all of them."""
    for name, observed in OBSERVED.items():
        if name not in inputs:
            continue
        x, known = inputs[name], inputs.get(observed)
        exists = [inputs["mask"]] if name == "x" and "mask" in inputs else []
        if COUNTS[name] in inputs:
            exists.append(np.arange(x.shape[1]) < np.reshape(inputs[COUNTS[name]], [-1, 1]))
        parts = exists if known is None else [known, *exists]
        if any(part.shape != x.shape[: part.ndim] for part in parts):
            continue  # Which the server refuses, with the lengths that it expects.
        for part in exists:
            part = np.broadcast_to(part.reshape(part.shape + (1,) * (x.ndim - part.ndim)), x.shape)
            known = part if known is None else known & part
        yield x, None if known is None or known.all() else known
