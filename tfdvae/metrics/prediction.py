"""How well a model predicts, and what its latents know: the measures of the papers on simulated data."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tfdvae.models import DVAE

__all__ = ["linear_r2", "one_step_predictions", "squared_error_per_frame"]


def one_step_predictions(
    model: "DVAE", x: Any, u: Any = None, *, num_samples: int = 8, seed: int = 0, start: int = 1
) -> np.ndarray:
    """E[x_t | x_<t, u_<=t] for t > `start`, by `forecast` from each prefix: `[B, T - start, D]`.

    Only x_<t is given to the model, so the predictions of smoothing models see no future either. Latents of the
    past are drawn `num_samples` times from the posterior, and the means of p(x_t | .) averaged.

    Args:
        x: complete sequences `[B, T, D]`.
        u: inputs `[B, T, U]`, in driven mode.
        start: length of the first prefix.

    Raises:
        ValueError: `start` is not in [1, T - 1].
    """
    x = np.asarray(x, np.float32)
    length = x.shape[1]
    if not 1 <= start < length:
        raise ValueError(f"`start` must be from 1 to {length - 1} for sequences of {length} frames, got {start}.")
    u = None if u is None else np.asarray(u, np.float32)
    predictions = []
    for t in range(start, length):
        past_u, next_u = (None, None) if u is None else (u[:, :t], u[:, t : t + 1])
        options = {"horizon": 1, "future_u": next_u, "num_samples": num_samples, "seed": seed + t}
        forecast = model.forecast(x[:, :t], u=past_u, **options)
        predictions.append(forecast.mean.numpy()[:, 0])
    return np.stack(predictions, axis=1)


def squared_error_per_frame(prediction: np.ndarray, x: np.ndarray) -> float:
    """Squared error summed over features, mean over frames and sequences: the error of the bouncing-ball tables."""
    if prediction.shape != x.shape:
        raise ValueError(f"Expected predictions of shape {x.shape}, got {prediction.shape}.")
    return float(np.square(np.asarray(prediction, np.float64) - x).sum(axis=-1).mean())


def linear_r2(
    latents: np.ndarray, targets: np.ndarray, test_latents: np.ndarray, test_targets: np.ndarray
) -> np.ndarray:
    """Goodness of fit R^2 of ordinary least squares (with a constant) from latents to each target, `[K]`.

    Fitted on the first pair and scored on the second, where 0 is as good as the mean and 1 is perfect. Karl et al.
    (2017) and VSSN (table 1) fit and score on the same frames: pass the same pair twice for that.

    Args:
        latents, test_latents: `[N, Z]`, frames of all sequences below each other.
        targets, test_targets: `[N, K]`.

    Raises:
        ValueError: no more frames than dimensions, or shapes that do not fit.
    """
    if latents.ndim != 2 or targets.ndim != 2 or len(latents) != len(targets) or len(latents) <= latents.shape[1] + 1:
        raise ValueError(
            f"Expected latents [N, Z] and targets [N, K] with N above Z + 1, got {latents.shape} and {targets.shape}."
        )

    def design(z: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(z, np.float64), np.ones([len(z), 1])], axis=1)

    weights, *_ = np.linalg.lstsq(design(latents), np.asarray(targets, np.float64), rcond=None)
    residual = np.square(test_targets - design(test_latents) @ weights).sum(axis=0)
    total = np.square(test_targets - np.mean(test_targets, axis=0)).sum(axis=0)
    return 1.0 - residual / total
