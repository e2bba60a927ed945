"""What `forecast` returns: paths, and what follows from them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    import pandas

__all__ = ["Forecast", "Interval"]


class Interval(NamedTuple):
    """Ends of a prediction interval, each `[B, horizon, D]`, in the units of the frames."""

    lower: np.ndarray
    upper: np.ndarray


class Forecast(NamedTuple):
    """Continuations of given sequences, in the units of their frames.

    Attributes:
        samples: K paths, `[K, B, horizon, D]`.
        mean: their mean, `[B, horizon, D]`; of a model, that of E[x_t | path] over the paths.

    Example:
        future = model.forecast(x, horizon=24, num_samples=200)
        median, (lower, upper) = future.quantile(0.5), future.interval(0.9)
    """

    samples: tf.Tensor
    mean: tf.Tensor

    def quantile(self, level: float | Sequence[float]) -> np.ndarray:
        """Quantiles of each value by itself, over the paths, with straight lines between neighbours.

        Args:
            level: a number from 0 to 1, or Q of them; 0.5 is the median, which has the least absolute error.

        Returns:
            `[B, horizon, D]`, or `[Q, B, horizon, D]` for several levels.

        Raises:
            ValueError: a level outside of [0, 1].
        """
        levels = np.asarray(level, np.float64)
        if levels.ndim > 1 or not levels.size or not ((levels >= 0.0) & (levels <= 1.0)).all():
            raise ValueError(f"`level` must be a number from 0 to 1, or a list of such numbers, got {level!r}.")
        return np.quantile(np.asarray(self.samples), levels, axis=0).astype(np.float32)

    def interval(self, level: float = 0.9) -> Interval:
        """The central interval that holds each value with probability `level`, by the paths.

        Of 100 paths five lie above an interval of 0.9, and five below: fewer paths tell little of its ends.

        Raises:
            ValueError: a level outside of (0, 1).
        """
        if isinstance(level, bool) or not isinstance(level, int | float | np.number) or not 0.0 < level < 1.0:
            raise ValueError(f"`level` must be a number between 0 and 1, such as 0.9, got {level!r}.")
        return Interval(*self.quantile([(1.0 - level) / 2.0, (1.0 + level) / 2.0]))

    def to_pandas(
        self,
        *,
        levels: Sequence[float] = (0.05, 0.5, 0.95),
        times: Any = None,
        names: Sequence[str] | None = None,
        features: Sequence[str] | None = None,
    ) -> "pandas.DataFrame":
        """A table with a row for each sequence, step and feature.

        Args:
            levels: quantiles, each a column such as "q0.05".
            times: what the column "time" holds, `[horizon]`, or `[B, horizon]` where sequences differ; by default the
                steps 1 to horizon.
            names: of the sequences; by default their numbers.
            features: names of the D features; by default their numbers.

        Returns:
            pandas' DataFrame with the columns "sequence", "time", "feature", "mean" and the quantiles.

        Raises:
            ImportError: pandas is not installed.
            ValueError: names or times that do not fit, a level outside of [0, 1], or frames that are no vectors.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("`to_pandas` needs pandas: pip install pandas") from error
        mean = np.asarray(self.mean)
        if mean.ndim != 3:
            raise ValueError(f"A table is for frames that are vectors, [B, horizon, D]; got {list(mean.shape)}.")
        size, horizon, width = mean.shape
        names = _labels("names", names, size, "sequence")
        features = _labels("features", features, width, "feature")
        times = np.arange(1, horizon + 1) if times is None else np.asarray(times)
        if times.shape not in ((horizon,), (size, horizon)):
            raise ValueError(
                f"`times` must have the shape [{horizon}] or [{size}, {horizon}], got {list(times.shape)}."
            )
        rows = np.broadcast_to(np.broadcast_to(times, (size, horizon))[..., None], mean.shape)
        columns = {
            "sequence": np.repeat(names, horizon * width),
            "time": rows.ravel(),
            "feature": np.tile(features, size * horizon),
            "mean": mean.ravel(),
        }
        quantiles = self.quantile(list(levels))
        columns |= {f"q{level:g}": row.ravel() for level, row in zip(levels, quantiles, strict=True)}
        return pandas.DataFrame(columns)


def _labels(what: str, given: Sequence[str] | None, count: int, each: str) -> np.ndarray:
    labels = np.arange(count) if given is None else np.asarray(list(given))
    if len(labels) != count:
        raise ValueError(f"`{what}` must hold one for each {each}, {count}; got {len(labels)}.")
    return labels
