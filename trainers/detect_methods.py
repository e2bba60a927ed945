"""The methods that `trainers.detect` compares, and how each is used."""

from typing import NamedTuple

__all__ = ["METHODS", "Setting"]


class Setting(NamedTuple):
    """How a method is used.

    Attributes:
        risk, smoothing: see `AlarmRule`.
        hold: seasons within which a flag belongs to the alarm of the one before it.
        window: seasons in a baseline's window.
        learn: part of the clean steps that the method learns from.
        fit: part of the clean steps behind which thresholds are fitted.
    """

    risk: float = 1e-3
    smoothing: tuple[float, ...] = (0.0, 0.98)
    hold: float = 0.25
    window: float = 0.25
    learn: float = 0.6
    fit: float = 0.6


METHODS: dict[str, Setting] = {
    "model": Setting(),
    "rolling z-score": Setting(risk=1e-4, window=1.0),
    "Isolation Forest": Setting(risk=1e-4, hold=1.0, window=1.0 / 24.0, learn=1.0, fit=0.5),
    "matrix profile": Setting(risk=1e-4, hold=1.0, window=1.0),
}
"""The settings of each that had the best mean score by the standard profile on the half "choose" of the benchmark's
series: of the baselines among windows of 1/24, 1/4 and 1 day, risks of 1e-2 to 1e-5, smoothing (0,), (0.98,) and both,
holds of 1/4 and 1 day, and thresholds from steps that were learned (the second half of all) or not (the last 40%); of
the model, whose thresholds are from steps that it has not learned, among risks and holds by the mean of three seeds. An
Isolation Forest is better off with all of the clean part."""
