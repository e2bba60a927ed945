"""What data tell of frames, and frames of data: the units that they are measured in, which are given, which values they
may have."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae import masks
from tfdvae.layers.units import Units, units_of_sequences, usual_units
from tfdvae.layers.x_scale import check_frames
from tfdvae.moments import observed_moments
from tfdvae.observations.values import Values

__all__ = ["FrameDataMixin"]


class FrameDataMixin:
    """Mixed into `FrameIO`: what there is to know of data before any network sees them."""

    # Units, and what is given.

    @property
    def usual(self) -> Units | None:
        """The units that `adapt` found, `[D]`; None where frames are left alone."""
        if self.mode is None:
            return None
        return Units(tf.convert_to_tensor(self.shift), tf.convert_to_tensor(self.scale))

    def units(self, x: tf.Tensor, mask: tf.Tensor | None = None, observed: tf.Tensor | None = None) -> Units | None:
        """The units of each sequence from its given frames, `[B, D]`; None but for standardize="sequence".

        Args:
            x, mask, observed: `[B, T, D]`, `[B, T]` and `[B, T, D]`.
        """
        if self.mode != "sequence":
            return None
        given = tf.expand_dims(masks.first(self.given_frames, x, mask), -1)
        known = tf.broadcast_to(given, tf.shape(x)) if observed is None else given & observed
        return units_of_sequences(tf.cast(x, tf.float32), known, self._kinds(), self.usual)

    def scored(self, x: tf.Tensor, mask: tf.Tensor | None, observed: tf.Tensor | None) -> tf.Tensor | None:
        """Which entries of x `[B, T, D]` are scored: those that were observed, less the given frames."""
        if not self.given_frames:
            return observed
        later = tf.expand_dims(~masks.first(self.given_frames, x, mask), -1)
        return tf.broadcast_to(later, tf.shape(x)) if observed is None else later & observed

    # Statistics.

    def adapt(self, x: np.ndarray, mask: np.ndarray | None = None, observed: np.ndarray | None = None) -> None:
        """Sets the statistics and the output bias from what was observed of frames `[B, T, D]` that exist."""
        x = np.asarray(x, np.float64)
        exists = np.ones(x.shape[:2], bool) if mask is None else np.asarray(mask, bool)
        known = exists[..., None] & (np.ones(x.shape, bool) if observed is None else np.asarray(observed, bool))
        given = masks.first(self.given_frames, x, tf.constant(exists)).numpy()
        if self.mode is not None:
            shift, scale = self._statistics(x, known, given)
            self.shift.assign(shift)
            self.scale.assign(scale)
            filled = tf.constant(np.where(known, x, shift), tf.float32)
            units = self.units(filled, tf.constant(exists), tf.constant(known)) or self.usual
            x = np.where(known, units.standardized(filled), 0.0)
        scored = exists & ~given
        if given.any() and scored.any():
            mask = scored
        self.observation.adapt(x.astype(np.float32), mask, observed)

    def _statistics(self, x: np.ndarray, known: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shift and scale of each feature, 0 and 1 for one that was never observed or has no unit."""
        kinds = self._kinds()
        if self.mode == "sequence":
            return usual_units(x, known, given, kinds)
        mean, deviation = observed_moments(x, known & (kinds != "none"), shared=self.mode == "global")
        shift = np.where(kinds == "affine", mean, 0.0)
        positive = np.where(mean > 0.0, mean, 1.0)
        scale = np.select([kinds == "affine", kinds == "scale"], [deviation, positive], 1.0)
        return shift, scale

    def _kinds(self) -> np.ndarray:
        """Which units each feature has: "affine", "scale" or "none", `[D]`."""
        units = self.observation.units
        return np.array([units] * self.x_dim if isinstance(units, str) else units)

    # Values.

    def validate(self, frames: np.ndarray, observed: np.ndarray | None = None) -> None:
        """Raises ValueError where frames `[N, D]` are none that the observation or the networks can take."""
        self.observation.validate(frames, observed)
        check_frames(frames if observed is None else frames[observed], self.x_scale)

    @property
    def support(self) -> str:
        """What frames are expected to hold, and what to do about others, as a part of a sentence."""
        what, advice = self.observation.support
        expected = f"{type(self.observation).__name__} expects {what} ({advice})"
        return f"{expected}, and x_scale='log' frames that are not negative" if self.x_scale == "log" else expected

    def supported(self, x: Any, observed: Any = None) -> np.ndarray | tf.Tensor:
        """Which entries of finite `[..., D]` observation and networks can take; not those where `observed` is false."""
        found = self.observation.supported(x, observed)
        return found & (x >= 0.0) if self.x_scale == "log" else found

    @property
    def values(self) -> tuple[Values, ...]:
        """The same as intervals, one for all features or one for each."""
        own = self.observation.values
        found = (own,) if isinstance(own, Values) else own
        return tuple(one._replace(low=max(one.low, 0.0)) for one in found) if self.x_scale == "log" else found
