"""Thresholds by extreme values: how high a score is so rare among clean frames that it is an anomaly.

Peaks over a threshold (Siffer, Fouque, Termier and Largouet 2017, "Anomaly Detection in Streams with Extreme Value
Theory", section 3): what scores exceed a high quantile t by follows a generalised Pareto distribution, whatever the
scores themselves follow (Pickands, Balkema and de Haan). So the level that a clean score exceeds with probability
`risk` can be told for risks that are smaller than one over the number of clean scores.
"""

from typing import Any, NamedTuple

import numpy as np

from tfdvae.arguments import real
from tfdvae.data.files import import_extra

__all__ = ["Threshold", "enough_scores", "fit_threshold"]

FEWEST, FEWEST_DIFFERENT = 10, 3
"""Peaks that a fit asks for, and how many of them must differ."""


class Threshold(NamedTuple):
    """The tail of clean scores, in their unit.

    Attributes:
        level: t, above which scores are peaks.
        exceeding: part of the clean scores that lies above it.
        shape: gamma of the Pareto distribution of score - t; above 0 for heavy tails, below 0 for a bounded one.
        scale: sigma, above 0.
        count: peaks that it was fitted to.
    """

    level: float
    exceeding: float
    shape: float
    scale: float
    count: int

    def at(self, risk: float) -> float:
        """z with P(clean score > z) = risk, equation 1 of the paper.

        Raises:
            ValueError: a risk that is not above 0 and at most `exceeding`, since below t nothing was fitted.
        """
        risk = real("risk", risk, positive=True)
        if risk > self.exceeding:
            raise ValueError(
                f"A risk of {risk:g} is more than the {self.exceeding:g} of the clean scores above the level that the "
                "tail was fitted from: take a smaller one, or fit_threshold(level=) with a lower quantile."
            )
        ratio = np.log(self.exceeding / risk)
        if abs(self.shape) < 1e-8:
            return float(self.level + self.scale * ratio)
        return float(self.level + self.scale / self.shape * np.expm1(self.shape * ratio))

    def risk(self, scores: Any) -> np.ndarray:
        """P(clean score > each of these), in the shape of `scores`; 1 below the level, NaN for NaN."""
        scores = np.asarray(scores, np.float64)
        above = np.maximum(scores - self.level, 0.0) / self.scale
        if abs(self.shape) < 1e-8:
            tail = np.exp(-above)
        else:
            tail = np.maximum(1.0 + self.shape * above, 0.0) ** (-1.0 / self.shape)
        return np.where(np.isnan(scores), np.nan, np.where(scores > self.level, self.exceeding * tail, 1.0))


def fit_threshold(scores: Any, level: float = 0.98) -> Threshold:
    """Fits the tail of clean scores by maximum likelihood (scipy's `genpareto.fit`).

    The shape is kept within [-1/2, 1]: below, maximum likelihood has no regular solution, and beyond, the distribution
    no mean. Where the fit leaves this range the bound is taken, and the scale is fitted alone.

    Args:
        scores: clean scores of any shape, high for anomalies; NaN, for steps that have none, is left out.
        level: quantile from which on scores are peaks; the paper's initial threshold is 0.98.

    Raises:
        ValueError: a level that is not inside of (0, 1), scores that are not finite, or too few of them, or of
            different ones, above it, since the clean part is too short, or stands still.
        ImportError: scipy is not installed.

    Example:
        threshold = fit_threshold(scores[:clean])
        flags = scores > threshold.at(risk=1e-4)
    """
    level = real("level", level, positive=True)
    if level >= 1.0:
        raise ValueError(f"`level` is a quantile, above 0 and below 1; got {level}.")
    scores = np.asarray(scores, np.float64).ravel()
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        raise ValueError("There is no clean score to fit a threshold to: the clean part has no step with a score.")
    if not np.isfinite(scores).all():
        raise ValueError("Clean scores must be finite.")
    start = float(np.quantile(scores, level))
    peaks = peaks_over(scores, level)
    if peaks is None:
        above = scores[scores > start]
        raise ValueError(
            f"A threshold needs {FEWEST} clean scores above their quantile {level:g}, {FEWEST_DIFFERENT} different "
            f"ones at least, and there are {len(above)}, {len(np.unique(above))} of them different, among "
            f"{len(scores)}: give a longer clean part, or a lower level=."
        )
    stats = import_extra("scipy.stats", "A threshold by extreme values", "anomalies")
    # In units of their mean, which the optimiser's first guess needs.
    unit = peaks.mean()
    shape, _, scale = stats.genpareto.fit(peaks / unit, floc=0.0)
    kept = float(np.clip(shape, -0.5, 1.0))
    if kept != shape:
        _, _, scale = stats.genpareto.fit(peaks / unit, f0=kept, floc=0.0)
    return Threshold(start, len(peaks) / len(scores), kept, float(scale * unit), len(peaks))


def peaks_over(scores: np.ndarray, level: float) -> np.ndarray | None:
    """By how much scores exceed their quantile; None where these are too few for a fit."""
    start = np.quantile(scores, level)
    peaks = scores[scores > start] - start
    return peaks if len(peaks) >= FEWEST and len(np.unique(peaks)) >= FEWEST_DIFFERENT else None


def enough_scores(count: int, level: float = 0.98) -> bool:
    """Whether so many clean scores, all different, are enough for `fit_threshold`; fewer can be refused unseen."""
    return peaks_over(np.arange(count), level) is not None if count else False
