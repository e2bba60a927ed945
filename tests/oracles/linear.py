"""Linear-Gaussian models, whose answers are known: as tfdvae models with weights set by hand, and as matrices."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfdvae
from tfdvae import loop, masks
from tfdvae.layers.cell import StochasticCell
from tfdvae.layers.latent import Evidence
from tfdvae.models import RecurrentDVAE

tfd = tfp.distributions


class System(NamedTuple):
    """z_1 ~ N(0, I), z_t ~ N(transition z_{t-1}, diag(noise^2)), x_t ~ N(emission z_t + offset, diag(scale^2))."""

    transition: np.ndarray
    noise: np.ndarray
    emission: np.ndarray
    offset: np.ndarray
    scale: np.ndarray

    @property
    def latent_dim(self) -> int:
        return self.transition.shape[0]

    @property
    def x_dim(self) -> int:
        return self.emission.shape[0]

    def distribution(self, length: int) -> tfd.Distribution:
        """The same by TensorFlow Probability, in float64."""
        return tfd.LinearGaussianStateSpaceModel(
            num_timesteps=length,
            transition_matrix=self.transition,
            transition_noise=tfd.MultivariateNormalDiag(np.zeros(self.latent_dim), self.noise),
            observation_matrix=self.emission,
            observation_noise=tfd.MultivariateNormalDiag(self.offset, self.scale),
            initial_state_prior=tfd.MultivariateNormalDiag(np.zeros(self.latent_dim), np.ones(self.latent_dim)),
        )

    def moments(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean [T * D] and covariance of all frames together."""
        blocks = np.zeros([length, length, self.x_dim, self.x_dim])
        variance = np.eye(self.latent_dim)
        for t in range(length):
            across = variance
            for s in range(t, length):
                blocks[s, t] = self.emission @ across @ self.emission.T
                blocks[t, s] = blocks[s, t].T
                across = self.transition @ across
            blocks[t, t] += np.diag(self.scale**2)
            variance = self.transition @ variance @ self.transition.T + np.diag(self.noise**2)
        size = length * self.x_dim
        return np.tile(self.offset, length), blocks.transpose(0, 2, 1, 3).reshape(size, size)


SCALAR = System(np.array([[0.8]]), np.array([0.6]), np.array([[1.2]]), np.array([0.3]), np.array([0.7]))
PAIRED = SCALAR._replace(emission=np.array([[1.2], [-0.8]]), offset=np.array([0.3, -1.0]), scale=np.array([0.7, 0.5]))
PLANE = System(
    np.array([[0.7, -0.3], [0.2, 0.8]]),
    np.array([0.6, 0.4]),
    np.array([[1.0, 0.5], [-0.4, 0.9]]),
    np.array([0.5, -1.0]),
    np.array([0.8, 1.1]),
)


def conditional(
    mean: np.ndarray, covariance: np.ndarray, known: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the entries that are not `known` [M], given those of `x` that are."""
    gain = np.linalg.solve(covariance[np.ix_(known, known)], covariance[np.ix_(known, ~known)]).T
    left = covariance[np.ix_(~known, ~known)] - gain @ covariance[np.ix_(known, ~known)]
    return mean[~known] + gain @ (x[known] - mean[known]), left


def softplus_inverse(value: np.ndarray) -> np.ndarray:
    return value + np.log(-np.expm1(-value))


def set_weights(layer: Any, kernel: np.ndarray, bias: np.ndarray) -> None:
    layer.kernel.assign(kernel)
    layer.bias.assign(bias)


def set_observation(observation: Any, system: System) -> None:
    """Gaussian frames of constant scale, their mean affine in z."""
    observation.head.kernel.assign(np.concatenate([system.emission.T, np.zeros_like(system.emission.T)], axis=1))
    raw = softplus_inverse(system.scale - observation.min_scale)
    observation.bias.assign(np.concatenate([system.offset, raw]))


def linear_dkf(system: System, inference: str = "st_r", **options: Any) -> tfdvae.DKF:
    """A DKF whose gate is shut and whose variances are constant; q is tiny and as initialised."""
    networks = {"units": 3, "encoder_phi_x": (3,), "combiner_units": (2,), "posterior_units": (3,), **options}
    networks |= {"decoder_units": (), "transition_units": (), "inference": inference}
    idle = tfdvae.DKF.without_use(networks)
    model = tfdvae.DKF(system.latent_dim, **{k: v for k, v in networks.items() if k not in idle})
    model.build_for(system.x_dim)
    transition, z = model.cell.transition_net, system.latent_dim
    set_weights(transition.gate_output, np.zeros([z, z]), np.full(z, -100.0))
    set_weights(transition.nonlinear_output, np.zeros([z, z]), np.zeros(z))
    set_weights(transition.linear, system.transition.T, np.zeros(z))
    set_weights(transition.variance, np.zeros([z, z]), softplus_inverse(system.noise**2 - transition.min_scale**2))
    set_observation(model.observation, system)
    return model


def linear_vae(system: System) -> tfdvae.VAE:
    """A VAE over frames x = emission z + offset + noise with the exact posterior, for orthogonal columns of emission.

    Columns that are orthogonal under the noise's precision make the posterior diagonal.
    """
    model = tfdvae.VAE(system.latent_dim, encoder_units=(), decoder_units=(), min_scale=1e-6)
    model.build_for(system.x_dim)
    set_observation(model.observation, system)
    weighted = system.emission.T / system.scale**2
    precision = np.eye(system.latent_dim) + weighted @ system.emission
    np.testing.assert_allclose(precision, np.diag(np.diag(precision)), atol=1e-12)
    gain = weighted / np.diag(precision)[:, None]
    kernel = np.concatenate([gain.T, np.zeros_like(gain.T)], axis=1)
    raw = softplus_inverse(np.diag(precision) ** -0.5 - 1e-6)
    set_weights(model.cell.posterior_head.output_layer, kernel, np.concatenate([-gain @ system.offset, raw]))
    return model


class SmootherCell(StochasticCell):
    """The scalar system as a cell of one's own, with its exact posterior q(z_t | z_{t-1}, x_>=t) from a backward
    information filter.

    x_t, x_{t+1}, ... say of z_t that log p(x_>=t | z_t) = -1/2 precision_t z_t^2 + shift_t z_t + const.
    """

    prior_reads = ("z", "first")
    observe_reads = ("z",)

    def __init__(self, latent_dim: int = 1, *, system: System = SCALAR, **kwargs: Any) -> None:
        super().__init__(latent_dim, **kwargs)
        self.system = system

    @property
    def causal(self) -> bool:
        return False

    @property
    def features_dim(self) -> int:
        return 1

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        pass

    def initial_state(self, batch_size: tf.Tensor | int) -> dict:
        return {"z": tf.zeros([batch_size, 1]), "first": tf.ones([batch_size, 1], tf.bool)}

    def encode(self, given: Evidence) -> tuple[tf.Tensor, tf.Tensor]:
        x, mask = given.x, given.mask
        a, variance = float(self.system.transition[0, 0]), float(self.system.noise[0] ** 2)
        weighted = tf.constant(self.system.emission[:, 0] / self.system.scale**2, tf.float32)
        own = float(self.system.emission[:, 0] @ (self.system.emission[:, 0] / self.system.scale**2))
        evidence = tf.linalg.matvec(x - tf.constant(self.system.offset, tf.float32), weighted)[..., None]

        def frame(state: Any, evidence_t: tf.Tensor) -> tuple[Any, Any]:
            precision, shift = state
            damping = 1.0 / (1.0 + variance * precision)
            state = (own + a * a * damping * precision, evidence_t + a * damping * shift)
            return state, state

        nothing = tf.zeros([tf.shape(x)[0], 1])
        _, message = loop.scan(frame, (nothing, nothing), masks.reverse(evidence, mask))
        return tuple(masks.reverse(y, mask) for y in message)

    def prior(self, state: dict) -> tfdvae.Gaussian:
        a, scale = float(self.system.transition[0, 0]), float(self.system.noise[0])
        first = tf.cast(state["first"], tf.float32)
        return tfdvae.Gaussian(a * state["z"] * (1.0 - first), first + scale * (1.0 - first))

    def posterior(self, state: dict, g: tuple[tf.Tensor, tf.Tensor]) -> tfdvae.Gaussian:
        p = self.prior(state)
        precision = p.scale**-2 + g[0]
        return tfdvae.Gaussian((p.loc * p.scale**-2 + g[1]) / precision, precision**-0.5)

    def absorb_z(self, state: dict, z: tf.Tensor) -> dict:
        return {**state, "z": z}

    def observe(self, state: dict) -> tf.Tensor:
        return state["z"]

    def absorb_x(self, state: dict, e: tf.Tensor) -> dict:
        return {**state, "first": tf.zeros_like(state["first"])}


class Smoother(RecurrentDVAE):
    """The scalar system as a tfdvae model whose posterior is exact."""

    cell_class = SmootherCell


def smoother(system: System) -> Smoother:
    keras.utils.set_random_seed(0)
    model = Smoother(1, system=system)
    model.build_for(system.x_dim)
    set_observation(model.observation, system)
    return model
