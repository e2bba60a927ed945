"""The Kalman smoother of a random walk behind noise, as a way to fill gaps that any model has to beat."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae.data.holdout import impute_mean

__all__ = ["RATIOS", "impute_kalman"]

RATIOS = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""Variances of the step of the walk over that of the noise that are tried."""
_UNKNOWN = 1e4
"""Variance of the first level, over that of all that happens later: nothing is known of it."""


def impute_kalman(x: np.ndarray, observed: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """E[x_t | what was observed of the same variable of the sequence] in the local level model

        x_t = l_t + noise,   l_t = l_(t-1) + step,

    at the places that were not observed. The variance of the steps over that of the noise is, for each variable, the
    one of RATIOS with the highest likelihood over all sequences; the variance of the noise needs no choice, since the
    smoother does not depend on it.

    Args:
        x: `[..., T, D]`, anything where not `observed`.
        observed: bool, of the same shape.
        fill: `[D]`, for variables that were never observed in a sequence.

    Returns:
        float32 of the shape of x, the observed values as they are.

    Raises:
        ValueError: as `impute_mean`.
    """
    start = impute_mean(x, observed, fill)
    length, width = start.shape[-2:]
    # A series for each variable and sequence, [N, T]; variables lie side by side in N.
    seen = np.asarray(observed, bool)
    total = np.where(seen, start, 0.0).sum(axis=-2, keepdims=True, dtype=np.float64)
    count = seen.sum(axis=-2, keepdims=True)
    centre = np.where(count > 0, total / np.maximum(count, 1), fill)
    series = np.moveaxis(np.where(seen, start - centre, 0.0), -1, -2).reshape(-1, length)
    missing = np.moveaxis(~seen, -1, -2).reshape(-1, length)
    losses = np.stack([_loss(series, missing, ratio).reshape(-1, width, 3).sum(axis=0) for ratio in RATIOS])
    count, logarithms, squares = np.moveaxis(losses, -1, 0)
    # Minus twice the log-likelihood with the best variance of the noise, up to a constant.
    deviance = logarithms + count * np.log(np.maximum(squares, 1e-12) / np.maximum(count, 1.0))
    chosen = np.array(RATIOS)[deviance.argmin(axis=0)]
    means = _smoothed(series, missing, np.tile(chosen, len(series) // width)).numpy()
    filled = np.moveaxis(means.reshape(*start.shape[:-2], width, length), -1, -2) + centre
    return np.where(seen, start, filled).astype(np.float32)


def _loss(series: np.ndarray, missing: np.ndarray, ratio: float) -> np.ndarray:
    """Of each series the number of innovations, and sums of the logarithms of their variances and of their squares
    over these, `[N, 3]`. The first innovation tells nothing, and is left out."""
    mean, variance = (y.numpy() for y in _filter(series, missing, np.full(len(series), ratio)))
    later = ~missing & (np.cumsum(~missing, axis=1) > 1)
    terms = (np.ones_like(mean), np.log(variance), np.square(series - mean) / variance)
    return np.stack([np.where(later, term, 0.0).sum(axis=1) for term in terms], axis=-1)


def _model(ratios: tf.Tensor, length: int) -> tfp.distributions.LinearGaussianStateSpaceModel:
    """Levels of N series whose noise has variance 1."""
    normal = tfp.distributions.MultivariateNormalDiag
    one = tf.linalg.LinearOperatorIdentity(1, dtype=tf.float64)
    return tfp.distributions.LinearGaussianStateSpaceModel(
        num_timesteps=length,
        transition_matrix=one,
        transition_noise=normal(scale_diag=tf.sqrt(ratios)[:, None]),
        observation_matrix=one,
        observation_noise=normal(scale_diag=tf.ones([1], tf.float64)),
        initial_state_prior=normal(scale_diag=tf.sqrt(_UNKNOWN * (1.0 + length * ratios))[:, None]),
    )


@tf.function(autograph=False)
def _filter(series: tf.Tensor, missing: tf.Tensor, ratios: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance of each value given those before it, `[N, T]`."""
    found = _model(ratios, series.shape[1]).forward_filter(series[..., None], mask=missing)
    return found.observation_means[..., 0], found.observation_covs[..., 0, 0]


@tf.function(autograph=False)
def _smoothed(series: tf.Tensor, missing: tf.Tensor, ratios: tf.Tensor) -> tf.Tensor:
    """E[l_t | all observed values], `[N, T]`."""
    means, _ = _model(ratios, series.shape[1]).posterior_marginals(series[..., None], mask=missing)
    return means[..., 0]
