"""Where a model comes from: the data that it was trained on, their statistics, the day, and a digest of its weights."""

import datetime
import hashlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdvae.data.description import DataDescription, Statistics, observed_statistics
from tfdvae.data.sequences import Sequences
from tfdvae.types import Batch

__all__ = ["IdentityMixin"]


class IdentityMixin:
    """Mixed into `DVAE`: what is known of the data behind the weights, saved with them and told by exports.

    Attributes:
        data: what the numbers of the training data mean, a `DataDescription`, or None. `fit` and `adapt` take it from
            `tfdvae.data.Sequences` that have one; to be set where data come as arrays.
        statistics: of the data that the model was adapted to, or None.
        trained: the day of the last `fit` (UTC, such as "2026-01-31"), or "".
    """

    statistics: Statistics | None = None
    trained: str = ""
    _data: DataDescription | None = None

    @property
    def data(self) -> DataDescription | None:
        return self._data

    @data.setter
    def data(self, description: DataDescription | None) -> None:
        """Raises ValueError or TypeError where the description cannot be one of this model's data."""
        if description is not None:
            if not isinstance(description, DataDescription):
                raise TypeError(f"`data` must be a tfdvae.DataDescription or None, got {type(description).__name__}.")
            description = description.checked(self.x_dim, self.u_dim, self.context_dim)
        self._data = description

    def identity(self) -> dict[str, Any]:
        """Who the model is, as JSON has it: training data and their statistics, day of training, digest of the weights,
        and the versions of what speaks here. The same model says the same whenever it is asked.

        Raises:
            ValueError: the model was never built, or `data` was set before it and names other features than it has.
        """
        import tfdvae

        self._require_built("identity")
        self.data = self._data
        found: dict[str, Any] = {"observation": _named(self.observation), "standardize": self.frames.mode}
        if self.data is not None:
            found["data"] = self.data.as_json()
        if self.statistics is not None:
            found["statistics"] = self.statistics.as_json()
        if self.trained:
            found["trained"] = self.trained
        found["versions"] = {"tfdvae": tfdvae.__version__, "tensorflow": tf.__version__, "keras": keras.__version__}
        return {**found, "weights_sha256": self._digest()}

    def _digest(self) -> str:
        """SHA-256 of all weights: their shapes, types and values, in their order."""
        found = hashlib.sha256()
        for weight in self.weights:
            value = np.ascontiguousarray(weight)
            found.update(f"{value.dtype.str}{list(value.shape)}".encode())
            found.update(value.tobytes())
        return found.hexdigest()

    def _learn_about(self, given: Any) -> None:
        """Keeps the description of sequences that have one."""
        if isinstance(given, Sequences) and given.description is not None:
            self.data = given.description

    def _note_statistics(self, batch: Batch) -> None:
        """Keeps the statistics of frames `[B, T, D]`; of pictures, those of all their entries together."""
        x = np.asarray(batch.x).reshape(-1, self.x_dim)
        exists = np.ones([len(x), 1], bool) if batch.mask is None else np.reshape(batch.mask, [-1, 1]).astype(bool)
        known = exists if batch.observed is None else exists & np.reshape(batch.observed, x.shape).astype(bool)
        self.statistics = observed_statistics(x, known, shared=len(self.frame_shape) > 1)

    def _stamp(self) -> None:
        """Notes the day of training."""
        self.trained = datetime.datetime.now(datetime.UTC).date().isoformat()

    def _identity_config(self) -> dict[str, Any]:
        """What a file of the model says about all that."""
        found = {
            "data": None if self._data is None else self._data.as_json(),
            "statistics": None if self.statistics is None else self.statistics.as_json(),
            "trained": self.trained,
        }
        return {name: value for name, value in found.items() if value}

    def _identity_from_config(self, config: Mapping[str, Any]) -> None:
        """Reads what `_identity_config` wrote; older files say nothing."""
        if config.get("data"):
            self.data = DataDescription.from_json(config["data"])
        if config.get("statistics"):
            self.statistics = Statistics.from_json(config["statistics"])
        self.trained = str(config.get("trained", ""))


def _named(observation: Any) -> str:
    """The name of p(x_t | .) in `OBSERVATIONS`, or that of its class."""
    from tfdvae.observations import OBSERVATIONS

    return next((name for name, kind in OBSERVATIONS.items() if kind is type(observation)), type(observation).__name__)
