"""Annealed importance sampling of log p(x): a check of bounds on short sequences, which trusts no posterior."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae import random, validation
from tfdvae.bounds import log_weight
from tfdvae.models.moves import chosen
from tfdvae.types import Batch

__all__ = ["AnnealingMixin"]

_TARGET, _FIRST_SIZE, _GAIN = 0.65, 0.5, 0.4
"""How often proposals are to be accepted (Neal 2011), and how the pilot's step sizes get there."""
_SHARPNESS = 4.0

Noise = dict[str, tf.Tensor]


class _Chains(NamedTuple):
    """Where the chains stand, K per sequence in adjacent rows: noise of the latents by name, their log p(x, z) -
    log q(z | x) `[B * K]`, and its gradient in the noise."""

    noise: Noise
    log_weight: tf.Tensor
    slopes: Noise


class AnnealingMixin:
    """What a model with latents from normal noise can say of log p(x), given time."""

    def annealed_log_prob(
        self,
        x: Any,
        mask: Any = None,
        u: Any = None,
        observed: Any = None,
        context: Any = None,
        *,
        num_chains: int = 16,
        num_steps: int = 100,
        leapfrog_steps: int = 5,
        seed: int | None = None,
    ) -> tf.Tensor:
        """log p(x) by annealed importance sampling (Neal 2001; Wu et al. 2017), nats per sequence: `[B]`.

        Latents are functions of noise eps ~ N(0, I), so the chains live there: the start is q(z | x), which is N(0, I),
        and p(z | x), where they go, is proportional to N(eps; 0, I) w(eps), w = p(x, z) / q(z | x). Between them stand

            pi_b(eps) proportional to N(eps; 0, I) w(eps)^b,    0 = b_0 < b_1 < ... < b_S = 1,

        a chain moves by Hamiltonian Monte Carlo at each b, and its weight is prod_i w(eps_{i-1})^(b_i - b_{i-1}). With
        one step it is `log_prob`. The mean of the weights is an unbiased estimate of p(x), so its logarithm is a lower
        bound in expectation, and, by Markov's inequality, above log p(x) by c nats or more with a probability of e^-c
        at most. It becomes tight as `num_steps` grows, however poor q is: what is left between it and the bound of q
        is q's own gap. It takes `num_chains * num_steps * leapfrog_steps` gradients twice: a check for short sequences.

        Deviations from Wu et al., who start at the prior: q starts nearer, and needs no model to know its prior's
        noise. They adapt step sizes of the transitions as the chains go, which spoils the mean a little; here they
        come from a pilot run with other noise, a size for each sequence at each b. b is as theirs, the logistic
        function at equal distances.

        Args:
            num_chains: K.
            num_steps: S, how many values b takes after 0.
            leapfrog_steps: of each transition.

        Raises:
            ValueError: sequences that cannot be right, latents that take other than normal noise, or that belong to a
                data set.
        """
        num_chains = validation.whole("num_chains", num_chains, at_least=1)
        num_steps = validation.whole("num_steps", num_steps, at_least=1)
        leapfrog_steps = validation.whole("leapfrog_steps", leapfrog_steps, at_least=1)
        batch = self.check(x, mask, u, observed, context)
        self._check_annealed()
        seed_tensor = self.next_seed(seed)
        sizes = self._anneal(batch, random.fold_in(seed_tensor, "pilot"), None, num_chains, num_steps, leapfrog_steps)
        return self._anneal(batch, seed_tensor, sizes, num_chains, num_steps, leapfrog_steps)

    def _check_annealed(self) -> None:
        """Raises ValueError where the noise of the latents is no place for such chains."""
        others = [latent.name for latent in self.latents if latent.q.noise_kind != "normal"]
        if others:
            raise ValueError(
                f"`annealed_log_prob` follows gradients in normal noise of latents, and {', '.join(others)} of "
                f"{type(self).__name__} as configured take uniform noise: use `log_prob` or `particle_log_prob`."
            )
        shared = [latent.name for latent in self.latents if latent.level == "dataset"]
        if shared:
            raise ValueError(
                f"{', '.join(shared)} of {type(self).__name__} belong to a data set, of which no sequence has a "
                "likelihood by itself: use `log_prob`, which takes their posterior."
            )

    @tf.function(reduce_retracing=True, autograph=False)
    def _anneal(
        self, batch: Batch, seed: tf.Tensor, sizes: tf.Tensor | None, count: int, steps: int, leapfrogs: int
    ) -> tf.Tensor:
        """log p(x) `[B]` by given step sizes `[S, B]`; without them the pilot run, which returns some."""
        packed, _ = self.pack(batch)
        packed = packed.repeated(count)
        size, length = packed.x.shape[0] or tf.shape(packed.x)[0], packed.x.shape[1] or tf.shape(packed.x)[1]
        aligned = Batch(packed.x, packed.mask, observed=packed.observed)

        def weigh(noise: Noise) -> _Chains:
            with tf.GradientTape() as tape:
                tape.watch(noise)
                value = log_weight(self.terms(self.infer_packed(packed, noise), aligned))
            slopes = tape.gradient(value, noise, unconnected_gradients="zero")
            return _Chains(noise, value, slopes)

        heat = _inverse_temperatures(steps)

        def step(i: tf.Tensor, chains: _Chains, total: tf.Tensor, log_size: tf.Tensor, used: Any) -> tuple:
            """The weight of the way to b_i, and a transition that leaves pi_{b_i} as it is."""
            total += (heat[i] - heat[i - 1]) * chains.log_weight
            log_size = log_size if sizes is None else tf.math.log(sizes[i])
            widths = tf.repeat(tf.exp(log_size), count)
            new, accepted = _transition(chains, weigh, heat[i], widths, leapfrogs, random.fold_in(seed, i))
            mean = tf.reduce_mean(tf.reshape(accepted, [-1, count]), axis=1)
            used = used.write(i, tf.exp(log_size))
            log_size += _GAIN * (mean - _TARGET)
            found = (new, total, log_size)
            return i + 1, *_shaped(found, (chains, total, log_size)), used

        start = weigh(self.draw_noise(random.fold_in(seed, "start"), size, length))
        first = tf.fill([tf.shape(batch.x)[0]], math.log(_FIRST_SIZE))
        used = tf.TensorArray(tf.float32, size=steps + 1, element_shape=[batch.x.shape[0]], clear_after_read=False)
        used = used.write(0, tf.exp(first)).write(steps, tf.exp(first))
        carried = (tf.constant(1), start, tf.zeros_like(start.log_weight), first, used)
        # What follows the last weight would change nothing.
        _, chains, total, _, used = tf.while_loop(lambda i, *_: i < steps, step, carried, maximum_iterations=steps)
        if sizes is None:
            return used.stack()
        total += (heat[-1] - heat[-2]) * chains.log_weight
        return tf.reduce_logsumexp(tf.reshape(total, [-1, count]), axis=1) - math.log(count)


def _inverse_temperatures(steps: int) -> tf.Tensor:
    """b_0 = 0 to b_S = 1, close together at both ends: `[S + 1]`."""
    raw = tf.sigmoid(_SHARPNESS * tf.linspace(-1.0, 1.0, steps + 1))
    return (raw - raw[0]) / (raw[-1] - raw[0])


def _transition(
    chains: _Chains,
    weigh: Callable[[Noise], _Chains],
    heat: tf.Tensor,
    widths: tf.Tensor,
    leapfrogs: int,
    seed: tf.Tensor,
) -> tuple[_Chains, tf.Tensor]:
    """Hamiltonian Monte Carlo (Neal 2011) under pi_b, of all chains at once: where they are then, and the probability
    with which each proposal was accepted, `[B * K]`.

    Args:
        heat: b.
        widths: step size of each chain, `[B * K]`.
    """

    def energy(at: _Chains, momentum: Noise) -> tf.Tensor:
        squares = [
            tf.reduce_sum(tf.square(y), list(range(1, y.shape.rank))) for y in tf.nest.flatten((at[0], momentum))
        ]
        return 0.5 * sum(squares) - heat * at.log_weight

    def push(momentum: Noise, at: _Chains, part: float) -> Noise:
        """The momentum after `part` of a step, along the gradient of log pi_b."""
        return tf.nest.map_structure(
            lambda p, eps, slope: p + part * _rows(widths, p) * (heat * slope - eps), momentum, at.noise, at.slopes
        )

    def leap(i: tf.Tensor, at: _Chains, momentum: Noise) -> tuple[tf.Tensor, _Chains, Noise]:
        momentum = push(momentum, at, 0.5)
        new = weigh(tf.nest.map_structure(lambda eps, p: eps + _rows(widths, p) * p, at.noise, momentum))
        return i + 1, *_shaped((new, push(momentum, new, 0.5)), (at, momentum))

    drawn = {name: random.normal(random.fold_in(seed, name), tf.shape(y)) for name, y in chains.noise.items()}
    drawn = _shaped(drawn, chains.noise)
    _, proposed, momentum = tf.while_loop(
        lambda i, *_: i < leapfrogs, leap, (tf.constant(0), chains, drawn), maximum_iterations=leapfrogs
    )
    gain = energy(chains, drawn) - energy(proposed, momentum)
    # A way that left the numbers is no proposal.
    gain = tf.where(tf.math.is_finite(gain), gain, -float("inf"))
    uniform = random.uniform(random.fold_in(seed, "accept"), tf.shape(gain))
    return chosen(tf.math.log(uniform) < gain, proposed, chains), tf.exp(tf.minimum(gain, 0.0))


def _rows(x: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """`[N]` as wide as `like`, `[N, ...]`."""
    return tf.reshape(x, [-1, *[1] * (like.shape.rank - 1)])


def _shaped(new: Any, old: Any) -> Any:
    """What a loop carries on, known as well as what it carried before."""
    return tf.nest.map_structure(lambda a, b: tf.ensure_shape(a, b.shape), new, old)
