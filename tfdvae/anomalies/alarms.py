"""From scores to alarms: smoothing, thresholds from the clean part, and one alarm where flags crowd together."""

from typing import Any, NamedTuple

import numpy as np

from tfdvae.anomalies.thresholds import FEWEST, Threshold, fit_threshold, peaks_over
from tfdvae.arguments import real, whole

__all__ = ["AlarmRule", "Alarms", "held", "smoothed"]


class Alarms(NamedTuple):
    """What a rule made of the scores of a series.

    Attributes:
        excess: how far a step is on the way from where the tail of clean scores begins, 0, to the threshold, 1: the
            largest over all smoothings, `[T]`; NaN where there is no score.
        flags: bool `[T]`, each step whose excess is above 1.
        alarms: bool `[T]`, the flags that begin an alarm.
        thresholds: of the score of each smoothing, in its unit.
        tails: what they were read from; None for scores with too many ties, see `AlarmRule`.
    """

    excess: np.ndarray
    flags: np.ndarray
    alarms: np.ndarray
    thresholds: tuple[float, ...]
    tails: tuple[Threshold | None, ...]


class AlarmRule(NamedTuple):
    """How scores become alarms.

    A step is flagged where its score is above a threshold, or its average over the past, for each weight of
    `smoothing`: single steps that are very unusual, and many in a row that are somewhat. Thresholds are those of
    `fit_threshold`. Where scores have so many ties that no tail can be fitted to them, as those of series of two values
    may, a step is flagged above all clean scores.

    Attributes:
        risk: probability that a clean step is flagged by one of them.
        level: quantile of clean scores from which on a tail is fitted, see `fit_threshold`; lower than the paper's
            0.98, since a clean part is often a few hundred steps.
        smoothing: weights of the past, see `smoothed`; 0 for none.
        hold: steps within which a flag belongs to the alarm of the one before it, see `held`.

    Example:
        found = AlarmRule(risk=1e-4, hold=288)(detector.score(series)[0], start=1000, stop=2000)
        print(np.flatnonzero(found.alarms), found.thresholds)
    """

    risk: float = 1e-3
    level: float = 0.95
    smoothing: tuple[float, ...] = (0.0, 0.98)
    hold: int = 0

    def __call__(self, scores: Any, start: int, stop: int) -> Alarms:
        """Alarms of a series whose clean scores stand from step `start` to `stop`.

        Take a start behind 0 where the first scores are of a method that has seen too little. Steps that taught a model
        are more usual to it than others, so that thresholds from them are low: where the clean part is long enough, let
        it learn from the first part alone (`Detector.fit(stop=)`) and start behind that.

        Raises:
            ValueError: as `smoothed`, `held` and `fit_threshold`; no smoothing; or no clean part.
        """
        scores = np.asarray(scores, np.float64)
        if not 0 <= start < stop <= len(scores):
            raise ValueError(
                f"There is no clean part from step {start} to {stop} in a series of {len(scores)}: thresholds are "
                "fitted to scores of steps that are known to be clean."
            )
        if not self.smoothing:
            raise ValueError("`smoothing` must name at least one weight of the past: (0.0,) for none.")
        rows = [smoothed(scores, weight) for weight in self.smoothing]
        tails = tuple(_tail(row[start:stop], self.level) for row in rows)
        excess, thresholds = [], []
        for row, tail in zip(rows, tails, strict=True):
            clean = row[start:stop]
            threshold, usual = np.nanmax(clean), np.nanmedian(clean)
            if tail is not None:
                threshold, usual = tail.at(self.risk), tail.level
            thresholds.append(float(threshold))
            excess.append(1.0 + (row - threshold) / (threshold - usual if threshold > usual else 1.0))
        excess = np.max(excess, axis=0)
        flags = np.nan_to_num(excess, nan=-np.inf) > 1.0
        return Alarms(excess, flags, held(flags, self.hold), tuple(thresholds), tails)


def _tail(clean: np.ndarray, level: float) -> Threshold | None:
    """The tail of clean scores; None where they are many enough, but tied."""
    known = clean[~np.isnan(clean)]
    many = round(len(known) * (1.0 - level)) >= FEWEST and np.isfinite(known).all()
    return None if many and peaks_over(known, level) is None else fit_threshold(clean, level)


def smoothed(scores: Any, weight: float) -> np.ndarray:
    """Exponential moving average: weight times the last one, and 1 - weight times the score; NaN passes, and stays.

    Raises:
        ValueError: scores that are not `[T]`, or a weight outside of [0, 1).
    """
    scores, weight = np.asarray(scores, np.float64), real("smoothing", weight)
    if scores.ndim != 1 or weight >= 1.0:
        raise ValueError(f"Expected scores [T] and a weight from 0 to below 1; got {list(scores.shape)} and {weight}.")
    found = np.full(scores.shape, np.nan)
    last = None
    for t in np.flatnonzero(~np.isnan(scores)):
        last = scores[t] if last is None else weight * last + (1.0 - weight) * scores[t]
        found[t] = last
    return found


def held(flags: Any, hold: int) -> np.ndarray:
    """The first flag of each alarm, bool `[T]`: flags that come within `hold` steps of each other are one alarm, and 0
    makes each of them one."""
    hold = whole("hold", hold, at_least=0)
    steps = np.flatnonzero(flags)
    found = np.zeros(len(flags), bool)
    found[steps[np.diff(steps, prepend=-hold - 1) > hold]] = True
    return found
