"""Kalman filter, smoother and simulation smoother without a matrix inverse or a Cholesky factor.

The noise of a_t is diagonal, so a_t is taken in one dimension at a time, each by a division by a scalar (Durbin and
Koopman 2012, section 6.4). So is the noise of z_{t+1}: the smoother takes it in the same way, as an observation of z_t.
What is left are products of small matrices.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfdvae import loop
from tfdvae.types import Gaussian

__all__ = ["Belief", "Filtered", "KalmanFilter", "LinearSystem", "joseph", "matvec", "outer", "symmetric"]


class LinearSystem(NamedTuple):
    """z_{t+1} = A_t z_t + drift_{t+1} + noise, a_t = C_t z_t + noise, for right-padded sequences.

    Attributes:
        transition: A_t, which moves z_t to z_{t+1}, `[B, T, Z, Z]`; the last one is not used.
        emission: C_t, `[B, T, A, Z]`.
        drift: added to z_t as it arrives at frame t, B_{t-1} u_t, `[B, T, Z]`; None in undriven mode.
    """

    transition: tf.Tensor
    emission: tf.Tensor
    drift: tf.Tensor | None = None


class Belief(NamedTuple):
    """A Gaussian over z_t: mean `[..., Z]` and covariance `[..., Z, Z]`."""

    mean: tf.Tensor
    covariance: tf.Tensor


class Innovation(NamedTuple):
    """What one frame brought: p(a_{t,i} | a_<t, a_{t,<i}) of each dimension i, and a_t, `[..., A]`."""

    p: Gaussian
    value: tf.Tensor


class Filtered(NamedTuple):
    """All frames of a filter, each `[B, T, ...]`.

    Attributes:
        predicted: p(z_t | a_<t).
        updated: p(z_t | a_<=t).
        innovation: see `Innovation`. sum_t sum_i log N(value; p) is log p(a_1:T), where no frame is missing.
    """

    predicted: Belief
    updated: Belief
    innovation: Innovation


def matvec(matrix: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """`[..., M, N]` times `[..., N]`: `[..., M]`."""
    return tf.reduce_sum(matrix * tf.expand_dims(vector, -2), axis=-1)


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(a * b, axis=-1, keepdims=True)


def joseph(
    covariance: tf.Tensor, c: tf.Tensor, reach: tf.Tensor, gain: tf.Tensor, weighed_gain: tf.Tensor
) -> tf.Tensor:
    """(I - k c') V (I - k c')' + r k k', its two products as rank-one changes; `reach` is V c, `weighed_gain` r k."""
    half = covariance - outer(gain, reach)
    return half + outer(weighed_gain - matvec(half, c), gain)


def outer(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """a b' of `[..., M]` and `[..., N]`: `[..., M, N]`."""
    return tf.expand_dims(a, -1) * tf.expand_dims(b, -2)


def symmetric(x: tf.Tensor) -> tf.Tensor:
    """`[..., M, M]` without the lopsidedness that rounding gives to products such as A V A', on which filters feed."""
    return 0.5 * (x + tf.linalg.matrix_transpose(x))


def _following(x: tf.Tensor) -> tf.Tensor:
    """The next frame at each time, zeros at the last: `[B, T, F]`."""
    return tf.concat([x[:, 1:], tf.zeros_like(x[:, :1])], axis=1)


@keras.saving.register_keras_serializable(package="tfdvae")
class KalmanFilter(keras.layers.Layer):
    """Inference in z_1 ~ N(0, s0^2 I), z_{t+1} ~ N(A_t z_t + drift_{t+1}, q^2 I), a_t ~ N(C_t z_t, r^2 I).

    The matrices come with each call and may differ between frames and sequences; the noise is fixed. Computes in the
    precision of its input, float32 or float64, never less.

    Args:
        latent_dim: Z.
        transition_scale: q, standard deviation of the noise of the transition.
        emission_scale: r, standard deviation of the noise of a_t.
        initial_scale: s0, standard deviation of z_1.

    Raises:
        ValueError: if a scale is not positive, or `latent_dim` less than 1.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        transition_scale: float = 0.08**0.5,
        emission_scale: float = 0.03**0.5,
        initial_scale: float = 20.0**0.5,
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        if latent_dim < 1:
            raise ValueError(f"`latent_dim` must be at least 1, got {latent_dim}.")
        scales = {
            "transition_scale": transition_scale,
            "emission_scale": emission_scale,
            "initial_scale": initial_scale,
        }
        for name, value in scales.items():
            if not value > 0.0:
                raise ValueError(f"`{name}` must be positive, got {value}.")
        self.latent_dim = latent_dim
        self.transition_scale = transition_scale
        self.emission_scale = emission_scale
        self.initial_scale = initial_scale

    def initial(self, batch_size: tf.Tensor | int, dtype: tf.DType = tf.float32) -> Belief:
        """p(z_1), for B sequences."""
        size = self.latent_dim
        covariance = self.initial_scale**2 * tf.eye(size, dtype=dtype) + tf.zeros([batch_size, 1, 1], dtype)
        return Belief(tf.zeros([batch_size, size], dtype), covariance)

    def predict(self, belief: Belief, transition: tf.Tensor, drift: tf.Tensor | None = None) -> Belief:
        """p(z_{t+1} | .) from p(z_t | .), by A_t `[B, Z, Z]`."""
        mean = matvec(transition, belief.mean)
        moved = tf.matmul(transition, tf.matmul(belief.covariance, transition, transpose_b=True))
        noise = self.transition_scale**2 * tf.eye(self.latent_dim, dtype=moved.dtype)
        covariance = symmetric(moved) + noise
        return Belief(mean if drift is None else mean + drift, covariance)

    def update(
        self,
        belief: Belief,
        emission: tf.Tensor,
        value: Callable[[int, Gaussian], tf.Tensor],
        seen: tf.Tensor | None = None,
    ) -> tuple[Belief, Innovation]:
        """p(z_t | a_<=t) from p(z_t | a_<t), one dimension of a_t after the other, in Joseph's form.

        Args:
            belief: p(z_t | a_<t).
            emission: C_t `[B, A, Z]`.
            value: a_{t,i} `[B, 1]`, from i and p(a_{t,i} | a_<t, a_{t,<i}) `[B, 1]`: the data, or a draw.
            seen: `[B]` bool; where false the gain is zero, and nothing is learnt.
        """
        mean, covariance = belief
        variance = self.emission_scale**2
        found: list[tuple[tf.Tensor, ...]] = []
        for i in range(emission.shape[-2]):
            c = emission[:, i]
            reach = matvec(covariance, c)
            spread = tf.nn.relu(_dot(c, reach)) + variance
            p = Gaussian(_dot(c, mean), tf.sqrt(spread))
            gain = reach / spread
            if seen is not None:
                gain = tf.where(seen[:, None], gain, tf.zeros_like(gain))
            a = value(i, p)
            mean += gain * (a - p.loc)
            covariance = joseph(covariance, c, reach, gain, variance * gain)
            found.append((*p, a))
        loc, scale, values = (tf.concat(column, axis=-1) for column in zip(*found, strict=True))
        return Belief(mean, covariance), Innovation(Gaussian(loc, scale), values)

    def call(self, system: LinearSystem, a: tf.Tensor, seen: tf.Tensor | None = None) -> Filtered:
        """Filters a `[B, T, A]`; where `seen` `[B, T]` is false the frame is missing and may hold any finite number."""

        def frame(belief: Belief, inputs: tuple) -> tuple[Belief, Filtered]:
            transition, emission, drift, a_t, seen_t = inputs
            predicted = belief if drift is None else belief._replace(mean=belief.mean + drift)
            updated, innovation = self.update(predicted, emission, lambda i, _: a_t[:, i : i + 1], seen_t)
            return self.predict(updated, transition), Filtered(predicted, updated, innovation)

        return loop.scan(frame, self.initial(tf.shape(a)[0], a.dtype), (*system[:2], system.drift, a, seen))[1]

    def conditionals(self, system: LinearSystem, a: tf.Tensor) -> Gaussian:
        """p(a_{t,i} | a_<t, a_{t,<i}) alone, each `[B, T, A]`: the log-density of a, without what a smoother needs."""

        def frame(belief: Belief, inputs: tuple) -> tuple[Belief, Gaussian]:
            transition, emission, drift, a_t = inputs
            predicted = belief if drift is None else belief._replace(mean=belief.mean + drift)
            updated, innovation = self.update(predicted, emission, lambda i, _: a_t[:, i : i + 1])
            return self.predict(updated, transition), innovation.p

        return loop.scan(frame, self.initial(tf.shape(a)[0], a.dtype), (*system[:2], system.drift, a))[1]

    def smooth(self, system: LinearSystem, filtered: Filtered) -> Belief:
        """p(z_t | a_1:T), `[B, T, ...]`, from what `call` returned; missing frames, padding included, count as such.

        The smoother of Rauch, Tung and Striebel, but for its gain J = V A' (A V A' + Q)^-1, which comes from scalar
        updates, and for its covariance, which is a sum, P_t + J_t V_{t+1} J_t', and so cannot lose its sign.
        """
        gain, rest = self._look_back(system, filtered)

        def frame(later: Belief, inputs: tuple) -> tuple[Belief, Belief]:
            updated, expected, gain, rest = inputs
            mean = updated + matvec(gain, later.mean - expected)
            covariance = rest + tf.matmul(gain, tf.matmul(later.covariance, gain, transpose_b=True))
            belief = Belief(mean, symmetric(covariance))
            return belief, belief

        start = Belief(*(tf.zeros_like(y[:, 0]) for y in filtered.updated))
        return self._backward(frame, start, (filtered.updated.mean, _following(filtered.predicted.mean), gain, rest))

    def sample(
        self,
        system: LinearSystem,
        a: tf.Tensor,
        seen: tf.Tensor | None,
        state_noise: tf.Tensor,
        emission_noise: tf.Tensor,
    ) -> tf.Tensor:
        """A joint draw z_1:T ~ p(z_1:T | a_1:T), `[B, T, Z]` (Durbin and Koopman 2002).

        A path and its a are drawn from the system without drift; the difference of the two a is smoothed and added to
        the drawn path.

        Args:
            state_noise, emission_noise: standard normal, `[B, T, Z]` and `[B, T, A]`.
        """

        def move(z: tf.Tensor, inputs: tuple) -> tuple[tf.Tensor, tf.Tensor]:
            transition, noise = inputs
            return matvec(transition, z) + noise, z

        later = self.transition_scale * tf.concat([state_noise[:, 1:], tf.zeros_like(state_noise[:, :1])], axis=1)
        _, drawn = loop.scan(move, self.initial_scale * state_noise[:, 0], (system.transition, later))
        emitted = matvec(system.emission, drawn) + self.emission_scale * emission_noise
        filtered = self(system, a - emitted, seen)
        gain, _ = self._look_back(system, filtered)

        def frame(later: tf.Tensor, inputs: tuple) -> tuple[tf.Tensor, tf.Tensor]:
            updated, expected, gain = inputs
            mean = updated + matvec(gain, later - expected)
            return mean, mean

        means = (filtered.updated.mean, _following(filtered.predicted.mean))
        return drawn + self._backward(frame, tf.zeros_like(drawn[:, 0]), (*means, gain))

    def _look_back(self, system: LinearSystem, filtered: Filtered) -> tuple[tf.Tensor, tf.Tensor]:
        """What z_{t+1} tells about z_t once a_<=t is known: the gain J_t, and the covariance P_t that is left, both
        `[B, T, Z, Z]`, for all frames at once; nothing at the last frame."""
        transition = tf.concat([system.transition[:, :-1], tf.zeros_like(system.transition[:, :1])], axis=1)
        variance = self.transition_scale**2
        covariance = filtered.updated.covariance
        gain = None
        units = tf.eye(self.latent_dim, dtype=covariance.dtype)
        for i in range(self.latent_dim):
            row = transition[..., i, :]
            reach = matvec(covariance, row)
            k = reach / (tf.nn.relu(_dot(row, reach)) + variance)
            covariance = joseph(covariance, row, reach, k, variance * k)
            told = units[i] if gain is None else units[i] - tf.reduce_sum(tf.expand_dims(row, -1) * gain, axis=-2)
            gain = outer(k, told) if gain is None else gain + outer(k, told)
        return gain, covariance

    @staticmethod
    def _backward(frame: Callable, start: Any, series: tuple) -> Any:
        """The outputs of a loop against time."""
        _, found = loop.scan(frame, start, tuple(tf.reverse(y, [1]) for y in series))
        return tf.nest.map_structure(lambda y: tf.reverse(y, [1]), found)

    def get_config(self) -> dict:
        config = {
            "latent_dim": self.latent_dim,
            "transition_scale": self.transition_scale,
            "emission_scale": self.emission_scale,
            "initial_scale": self.initial_scale,
        }
        return {**super().get_config(), **config}
