"""Scores of anomaly detectors against labelled windows: by point, by window, and the score of the Numenta benchmark.

Flags are bool `[T]`, one per step of a series. Windows are pairs `(first, last)` of steps, both of them inside: what a
label says to be anomalous. Steps before `start` (what a detector was trained on) and steps that were not observed are
not scored.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfdvae.arguments import whole

__all__ = ["NAB_PROFILES", "DetectionScores", "NabProfile", "nab_score", "point_scores", "window_scores"]


class NabProfile(NamedTuple):
    """What detections are worth to an application, in windows found in time.

    Attributes:
        true_positive: a window that is found at its first step.
        false_positive: a flag far from all windows costs so much.
        false_negative: a window that is missed costs so much.
    """

    true_positive: float = 1.0
    false_positive: float = 0.11
    false_negative: float = 1.0


NAB_PROFILES = {
    "standard": NabProfile(),
    "reward_low_FP_rate": NabProfile(false_positive=0.22),
    "reward_low_FN_rate": NabProfile(false_negative=2.0),
}
"""The benchmark's application profiles, weights of `config/profiles.json` of github.com/numenta/NAB."""


class DetectionScores(NamedTuple):
    """Precision, recall and their harmonic mean, and the counts they are made of.

    Where nothing was flagged the precision is 1, since nothing was said that is wrong; where nothing is labelled the
    recall is 1.
    """

    precision: float
    recall: float
    f1: float
    true_positives: int
    false_positives: int
    false_negatives: int


def point_scores(
    flags: Any, windows: Sequence[tuple[int, int]], observed: Any = None, start: int = 0
) -> DetectionScores:
    """Of single steps: each step of a window should be flagged, and no other.

    Args:
        flags: bool `[T]`.
        windows: pairs (first, last) of steps, both inside.
        observed: bool `[T]`, steps that exist; by default all.
        start: first step that is scored.

    Raises:
        ValueError: no bool arrays of one length, a window outside of the series or that ends before it begins, windows
            that overlap, or a start behind the end.
    """
    flags, counted, windows = _checked(flags, windows, observed, start)
    inside = _inside(windows, len(flags))
    hit = int((flags & inside & counted).sum())
    return _scores(hit, int((flags & ~inside & counted).sum()), int((~flags & inside & counted).sum()))


def window_scores(
    flags: Any, windows: Sequence[tuple[int, int]], observed: Any = None, start: int = 0
) -> DetectionScores:
    """Of events: a window is found by one flag in it, and each run of flags that touches no window,
    whatever its length, is one false alarm.

    Args and errors: as `point_scores`. A window that is over before `start` does not count.
    """
    flags, counted, windows = _checked(flags, windows, observed, start)
    found = [bool((flags & counted)[first : last + 1].any()) for first, last in windows]
    # Runs go on over steps that do not exist.
    rows = np.flatnonzero(counted)
    on = flags[rows]
    begins = np.flatnonzero(on & ~np.concatenate([[False], on[:-1]]))
    ends = np.flatnonzero(on & ~np.concatenate([on[1:], [False]]))
    inside = _inside(windows, len(flags))[rows]
    alarms = sum(not inside[a : b + 1].any() for a, b in zip(begins, ends, strict=True))
    return _scores(sum(found), alarms, len(found) - sum(found))


def nab_score(
    flags: Sequence[Any],
    windows: Sequence[Sequence[tuple[int, int]]],
    profile: str | NabProfile = "standard",
    observed: Sequence[Any] | None = None,
    start: int | Sequence[int] = 0,
) -> float:
    """The score of the Numenta Anomaly Benchmark over some series: 100 for a perfect detector, 0 for one that never
    flags, below 0 for one that flags too much.

    The first flag in a window earns `true_positive` times sigma(y), where y goes from -1 at the window's first step
    towards 0 at its last one; further flags in it earn nothing. A flag behind a window costs `false_positive` times
    -sigma(y), where y is its distance from the window's last step in lengths of the window, and one before all windows,
    or more than three lengths behind the last one, costs all of `false_positive`. A window without a flag costs
    `false_negative`. With

        sigma(y) = 2 / (1 + exp(5 y)) - 1,

    divided by sigma(-1) for flags in windows, so that the first step earns all. The sum over all series is A, and the
    score 100 (A - A_null) / (A_perfect - A_null), of detectors that never flag, and that flag the first step of each
    window alone.

    Source: Lavin and Ahmad 2015, "Evaluating Real-time Anomaly Detection Algorithms", section II.C. The paper has
    (A_TP - A_FP) in the place of 2, which does not vanish at the window's end as it says (issues 404 and 405 of
    github.com/numenta/NAB, which also quote the benchmark's constant 2 and its cut at three lengths); the profiles are
    its `config/profiles.json`. That y is `-(last - t + 1) / length` in a window, and `(t - last) / (length - 1)` behind
    it, is from memory. Two things are ours: where training ends is `start`, in place of 15% of
    at most 5,000 rows, and the threshold is the detector's, in place of the best one for the corpus.

    Args:
        flags: bool `[T]` per series.
        windows: per series, pairs (first, last) of steps, both inside.
        profile: a name in NAB_PROFILES, or weights.
        observed: bool `[T]` per series, steps that exist; by default all.
        start: first step that is scored, of all series or of each.

    Raises:
        ValueError: as `point_scores`; an unknown profile; lists of different lengths; no window in any series that
            ends at or after its start, so that there is nothing to find.
    """
    if isinstance(profile, str):
        if profile not in NAB_PROFILES:
            raise ValueError(f"Unknown profile {profile!r}: expected one of {', '.join(NAB_PROFILES)}.")
        profile = NAB_PROFILES[profile]
    seen = [None] * len(flags) if observed is None else observed
    starts = [start] * len(flags) if isinstance(start, int | np.integer) else start
    if not len(flags) == len(windows) == len(seen) == len(starts):
        raise ValueError(
            f"Expected flags, windows, observed and starts of as many series; got {len(flags)}, {len(windows)}, "
            f"{len(seen)} and {len(starts)}."
        )
    total = count = 0
    for series in zip(flags, windows, seen, starts, strict=True):
        earned, labelled = _earned(*_checked(*series), profile)
        total, count = total + earned, count + labelled
    if count == 0:
        raise ValueError("No window lies behind the start of its series, so there is nothing to find.")
    null, perfect = -profile.false_negative * count, profile.true_positive * count
    return 100.0 * (total - null) / (perfect - null)


def _earned(
    flags: np.ndarray, counted: np.ndarray, windows: Sequence[tuple[int, int]], profile: NabProfile
) -> tuple[float, int]:
    """What the flags of one series earn, and how many windows it has."""
    steps = np.flatnonzero(flags & counted)
    earned = 0.0
    for first, last in windows:
        inside = steps[(steps >= first) & (steps <= last)]
        if len(inside):
            position = -(last - inside[0] + 1) / (last - first + 1)
            earned += profile.true_positive * _sigma(position) / _sigma(-1.0)
        else:
            earned -= profile.false_negative
    for step in steps[~_inside(windows, len(flags))[steps]]:
        before = [(first, last) for first, last in windows if last < step]
        worth = -1.0
        if before:
            first, last = before[-1]
            worth = _sigma((step - last) / max(last - first, 1))
        earned += profile.false_positive * worth
    return earned, len(windows)


def _sigma(y: float) -> float:
    return -1.0 if y > 3.0 else 2.0 / (1.0 + np.exp(5.0 * y)) - 1.0


def _checked(flags: Any, windows: Any, observed: Any, start: Any) -> tuple[np.ndarray, np.ndarray, list]:
    """Flags, steps that count, and the windows in order that are not over before `start`."""
    flags = np.asarray(flags)
    observed = np.ones(flags.shape, bool) if observed is None else np.asarray(observed)
    if flags.ndim != 1 or flags.dtype != bool or observed.dtype != bool or observed.shape != flags.shape:
        raise ValueError(
            f"Expected flags and observed as bool [T], got {flags.dtype} {list(flags.shape)} and {observed.dtype} "
            f"{list(observed.shape)}."
        )
    start = whole("start", start, at_least=0)
    if start >= len(flags):
        raise ValueError(f"`start` is step {start} of a series of {len(flags)}: nothing is left to score.")
    found = sorted((int(first), int(last)) for first, last in windows)
    for first, last in found:
        if not 0 <= first <= last < len(flags):
            raise ValueError(
                f"The window ({first}, {last}) does not lie within the series, whose steps are 0 to {len(flags) - 1}."
            )
    for (_, last), (first, _) in zip(found, found[1:], strict=False):
        if first <= last:
            raise ValueError(f"Two windows overlap at step {first}: make them one.")
    counted = observed & (np.arange(len(flags)) >= start)
    return flags, counted, [(first, last) for first, last in found if last >= start]


def _inside(windows: Sequence[tuple[int, int]], length: int) -> np.ndarray:
    inside = np.zeros(length, bool)
    for first, last in windows:
        inside[first : last + 1] = True
    return inside


def _scores(hits: int, false: int, missed: int) -> DetectionScores:
    precision = hits / (hits + false) if hits + false else 1.0
    recall = hits / (hits + missed) if hits + missed else 1.0
    f1 = 2.0 * precision * recall / (precision + recall) if precision + recall else 0.0
    return DetectionScores(precision, recall, f1, hits, false, missed)
