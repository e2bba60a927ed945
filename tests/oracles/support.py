"""Tiny models with random weights, integrals on a grid, and comparisons in standard errors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

import tfdvae
from tests.oracles import reference

NETWORKS: dict[str, dict[str, Any]] = {
    "RNN": {"phi_x": (3,), "decoder_units": (4,)},
    "VAE": {"encoder_units": (4, 3), "decoder_units": (3,)},
    "VRNN": {"phi_x": (3,), "phi_z": (2,), "prior_units": (3,), "posterior_units": (4,), "decoder_units": (3,)},
    "STORN": {"phi_x": (3,), "phi_z": (2,), "encoder_phi_x": (4,), "encoder_units": (3,), "decoder_units": (4,)},
    "SRNN": {
        "phi_x": (3,),
        "prior_units": (4,),
        "smoother_units": (3,),
        "posterior_units": (2,),
        "decoder_units": (4,),
    },
    "DKF": {
        "transition_units": (3,),
        "decoder_units": (4,),
        "encoder_phi_x": (3,),
        "combiner_units": (2,),
        "posterior_units": (4,),
    },
    "RVAE": {"posterior_units": (4,), "decoder_units": (2,)},
    "NonCausalRVAE": {"posterior_units": (4,), "decoder_units": (2,)},
    "ZForcingVRNN": {
        "phi_x": (4,),
        "phi_z": (2,),
        "prior_units": (4,),
        "posterior_units": (2,),
        "decoder_units": (4,),
        "auxiliary_units": (2,),
    },
    "RSSM": {
        "phi_x": (4,),
        "transition_units": (2,),
        "prior_units": (4,),
        "posterior_units": (3,),
        "decoder_units": (4,),
    },
    "SV2P": {"phi_x": (4,), "posterior_units": (2,), "decoder_units": (4,)},
    "SVG": {"embedding_units": (4,), "predictor_units": (2,), "prior_units": (4,), "posterior_units": (2,)},
    "LVRNN": {"phi_x": (4,), "phi_z": (2,), "prior_units": (3,), "posterior_units": (2,), "decoder_units": (4,)},
}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "VAE": ("VAE", {}),
    "VRNN": ("VRNN", {}),
    "VRNN-I": ("VRNN", {"conditional_prior": False}),
    "STORN": ("STORN", {}),
    "SRNN smooth": ("SRNN", {"inference": "smooth"}),
    "SRNN filter": ("SRNN", {"inference": "filter"}),
    "SRNN residual": ("SRNN", {"inference": "smooth", "residual_posterior": True}),
    "RVAE": ("RVAE", {}),
    "RVAE non-causal": ("NonCausalRVAE", {}),
    "Z-forcing": ("ZForcingVRNN", {}),
    "RSSM": ("RSSM", {}),
    "SV2P frame": ("SV2P", {"level": "frame"}),
    "SVG-LP": ("SVG", {}),
    "SVG-FP": ("SVG", {"learned_prior": False, "predictor_layers": 1}),
    "LV-RNN": ("LVRNN", {}),
    "LV-RNN independent": ("LVRNN", {"conditional_prior": False}),
    **{f"DKF {name}": ("DKF", {"inference": name}) for name in tfdvae.DKFCell.inferences if name != "tridiagonal"},
    "DKF linear": ("DKF", {"transition": "linear"}),
}


def tiny(variant: str, x_dim: int, u_dim: int = 0, *, spread: float = 0.5, seed: int = 0, **options: Any) -> Any:
    """A built model of one variant whose weights, biases included, are all drawn from N(0, spread^2)."""
    name, own = VARIANTS.get(variant, (variant, {}))
    made = getattr(tfdvae, name)
    sizes = {"units": 3, **NETWORKS[name], **own, **options}
    model = made(**{k: v for k, v in sizes.items() if k in options or k not in made.without_use(sizes)})
    model.build_for(x_dim, u_dim)
    randomise(model, spread, seed)
    return model


def assert_same_as_a_graph(verb: Callable[[], Any], **tolerance: float) -> None:
    """A verb gives the same numbers traced as eagerly."""
    traced = verb()
    tf.config.run_functions_eagerly(True)
    try:
        eager = verb()
    finally:
        tf.config.run_functions_eagerly(False)
    np.testing.assert_allclose(traced, eager, **tolerance)


def randomise(layer: Any, spread: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_variables:
        weight.assign(rng.normal(0.0, spread, weight.shape))


def widen_posterior(model: Any, raw_scale: float = 1.0) -> None:
    """Makes q wider than the prior, so that importance weights have light tails and standard errors mean something."""
    bias = model.cell.posterior_head.output_layer.bias
    bias.assign(np.where(np.arange(bias.shape[0]) < model.latent_dim, np.asarray(bias), raw_scale))


def frames(kind: str, batch: int, length: int, x_dim: int, seed: int = 1) -> np.ndarray:
    """Data [B, T, D] in the support of an observation."""
    x = np.random.default_rng(seed).normal(size=[batch, length, x_dim])
    return (x > 0.0).astype(np.float32) if kind == "bernoulli" else x.astype(np.float32)


def logsumexp(values: np.ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))


class Grid:
    """Integrals over z_1, z_2 in R for one sequence of two frames, by the trapezium rule.

    For analytic integrands that vanish at the ends, the rule's error falls exponentially with the number of points;
    the kinks of the ReLUs in DKF's transition leave an error of a few millionths of the evidence.
    """

    def __init__(self, model: Any, x: np.ndarray, reach: float = 12.0, step: float = 0.1) -> None:
        axis = np.arange(-reach, reach + step / 2.0, step)
        z = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2, 1)
        everywhere = np.broadcast_to(x, [len(z), *x.shape[1:]])
        path = reference.follow(model, everywhere, reference.given(z))
        self.log_area = 2.0 * np.log(step)
        self.log_joint = reference.log_joint(model, path, everywhere) + self.log_area
        self.log_prior = reference.normal_log_density(path.z, *path.p).sum(axis=-1) + self.log_area
        self.log_q = reference.log_posterior(path) + self.log_area
        self.evidence = logsumexp(self.log_joint)
        self.border = (np.abs(z) > reach - step / 2.0).any(axis=(1, 2))

    @property
    def elbo(self) -> float:
        """E_q log p(x, z) / q(z | x)."""
        return float(np.sum(np.exp(self.log_q) * (self.log_joint - self.log_q)))

    @property
    def gap(self) -> float:
        """KL(q(z | x) || p(z | x))."""
        return float(np.sum(np.exp(self.log_q) * (self.log_q - (self.log_joint - self.evidence))))

    @property
    def log_second_moments(self) -> np.ndarray:
        """Contributions of the points to log E_q (w / p(x))^2."""
        return 2.0 * (self.log_joint - self.evidence) - self.log_q

    @property
    def weight_variance(self) -> float:
        """Var_q of w / p(x), where w = p(x, z) / q(z | x)."""
        return float(np.expm1(logsumexp(self.log_second_moments)))


def standard_error(samples: np.ndarray) -> np.ndarray:
    """Of the mean over the first axis."""
    return np.std(samples, axis=0, ddof=1) / np.sqrt(len(samples))


def assert_mean(samples: Any, expected: Any, *, variance: Any = None) -> None:
    """The mean over the first axis is `expected` within five standard errors, from the samples or their known variance.

    A wrong alarm has a probability of 6e-7 for each number compared; seeds are fixed, so there is none by chance.
    """
    samples = np.asarray(samples, np.float64)
    error = standard_error(samples) if variance is None else np.sqrt(np.asarray(variance) / len(samples))
    distance = np.abs(samples.mean(axis=0) - expected) / error
    assert np.all(distance < 5.0), f"off by {np.max(distance):.1f} standard errors of {np.max(error):.2g}"


def gaussian_log_density(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """log N(x; mean, covariance) of rows [N, M]."""
    factor = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(factor, (x - mean).T)
    return -0.5 * (whitened**2).sum(axis=0) - np.log(np.diag(factor)).sum() - 0.5 * len(mean) * np.log(2.0 * np.pi)
