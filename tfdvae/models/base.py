"""The contract of every model: frames to Trajectory, Trajectory to the terms of a bound, and Keras' verbs."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdvae import gaussian, masks, observations, random, validation
from tfdvae.bounds import FIVO, Filtered, Particles, log_weight, particle_filter
from tfdvae.bounds.resampling import noise_dim as resampling_noise
from tfdvae.layers.x_scale import check_frames
from tfdvae.models.training import TrainingMixin
from tfdvae.types import Batch, Gaussian, Latent, StepTerms, Trajectory

__all__ = ["DVAE"]


class DVAE(TrainingMixin, keras.Model):
    """A dynamical variational autoencoder over frames `[B, T, D]`.

    A subclass implements `build_parts` and `infer_packed`; bounds, training, metrics and verbs follow. Frames that do
    not exist are zeroed and packed to the right end here, once, before a subclass sees them.

    Inputs are frames `[B, T, D]`, or a dict with "x", optionally "mask" (`[B, T]`, true where a frame exists) and "u"
    (`[B, T, U]`).

    Args:
        observation: p(x_t | .), a name in `tfdvae.observations.OBSERVATIONS` or an Observation.
        seed: all randomness of training and evaluation follows from it.
    """

    x_scale: str = "linear"
    """What the networks see of frames, see `tfdvae.layers.x_scale`."""

    def __init__(self, observation: str | Mapping | observations.Observation = "gaussian", seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.observation = observations.get(observation)
        self.seed = seed
        self.x_dim: int | None = None
        self.u_dim: int | None = None
        self.verb_seeds = keras.random.SeedGenerator(seed)

    # What a subclass implements.

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        """Creates all weights for D features and U inputs (0 in undriven mode)."""
        raise NotImplementedError

    def infer_packed(self, x: tf.Tensor, mask: tf.Tensor | None, u: tf.Tensor | None, noise: Any) -> Trajectory:
        """One path for right-padded sequences, zero in the padding; `noise` from `draw_noise`, None for the means."""
        raise NotImplementedError

    @property
    def frame_latent_dim(self) -> int:
        """Width of the latents of a frame, of z in a Trajectory; 0 where a model has none, or one per sequence."""
        raise NotImplementedError

    @property
    def has_latents(self) -> bool:
        """Whether there is anything to infer; without, every bound is the log-likelihood."""
        return self.frame_latent_dim > 0 or bool(self.global_dims)

    @property
    def causal(self) -> bool:
        """Whether no latent is inferred from frames that are yet to come, so that frames can be streamed."""
        return False

    @property
    def feeds_back(self) -> bool:
        """Whether frames are drawn one by one, so that a model may meet its own output."""
        return False

    @property
    def global_dims(self) -> dict[str, int]:
        """Width of each latent that exists once per sequence, by name."""
        return {}

    def draw_noise(self, seed: tf.Tensor, batch_size: tf.Tensor | int, length: tf.Tensor | int) -> Any:
        """Standard normal noise for a path: `[B, T, Z]`; a dict of that as "z" and of `[B, V]` by name where there are

        latents that exist once per sequence."""
        noise = random.normal(seed, [batch_size, length, self.frame_latent_dim])
        if not self.global_dims:
            return noise
        seeds = {name: random.fold_in(seed, name) for name in self.global_dims}
        return {"z": noise, **{k: random.normal(seeds[k], [batch_size, v]) for k, v in self.global_dims.items()}}

    # Paths and terms.

    def infer(
        self,
        x: tf.Tensor,
        mask: tf.Tensor | None = None,
        u: tf.Tensor | None = None,
        noise: Any = None,
    ) -> Trajectory:
        """One path z ~ q(z | x), with posterior, prior and p(x_t | .) along it.

        Args:
            x: `[B, T, D]`.
            mask: `[B, T]` bool; frames outside may hold anything.
            u: `[B, T, U]`, in driven mode.
            noise: standard normal, as `draw_noise` makes it; None follows the posterior means.

        Returns:
            Trajectory aligned with x; zeros at frames that do not exist.
        """
        batch, how = masks.pack_batch(Batch(x, mask, u))
        if how is not None:
            noise = tf.nest.map_structure(lambda n: n if n is None or n.shape.rank < 3 else masks.pack(n, how), noise)
        path = self.infer_packed(batch.x, batch.mask, batch.u, noise)
        if how is None:
            return path
        per_frame = {"z": path.z, "q": path.q, "p": path.p, "x": path.x, "penalties": path.penalties}
        restored = tf.nest.map_structure(lambda y: masks.unpack(y, how), per_frame)
        return path._replace(**restored)

    def terms(self, path: Trajectory, x: tf.Tensor, mask: tf.Tensor | None) -> StepTerms:
        """The terms of every bound along a path: log p(x_t | .), KL_t, log p(z_t | .) - log q(z_t | .), in nats."""
        weight = tf.ones(tf.shape(x)[:2]) if mask is None else tf.cast(mask, tf.float32)
        log_px = self.observation.log_prob(path.x, masks.zero_masked(tf.cast(x, tf.float32), mask))
        kl = gaussian.kl_per_dimension(path.q, path.p)
        log_ratio = gaussian.log_prob(path.p, path.z) - gaussian.log_prob(path.q, path.z)
        zero = tf.zeros(tf.shape(x)[:1])
        latents: list[Latent] = list(path.global_latents.values())
        global_kl = sum((v.share * tf.reduce_sum(gaussian.kl_per_dimension(v.q, v.p), axis=-1) for v in latents), zero)
        ratios = (v.share * (gaussian.log_prob(v.p, v.z) - gaussian.log_prob(v.q, v.z)) for v in latents)
        global_ratio = sum(ratios, zero)
        penalty = sum(path.penalties.values(), tf.zeros_like(log_px))
        per_frame = [masks.zero_masked(y, mask) for y in (log_px, kl, log_ratio, penalty)]
        return StepTerms(per_frame[0], per_frame[1], per_frame[2], global_kl, global_ratio, per_frame[3], weight)

    def sample_terms(self, batch: Batch, seed: tf.Tensor, num_samples: int = 1) -> StepTerms:
        """Terms of K paths per sequence, in adjacent rows: `[B * K, T]`."""
        packed, _ = masks.pack_batch(batch)
        x, mask, u = (y if y is None or num_samples == 1 else tf.repeat(y, num_samples, axis=0) for y in packed)
        noise = self.draw_noise(seed, tf.shape(x)[0], x.shape[1] or tf.shape(x)[1])
        return self.terms(self.infer_packed(x, mask, u, noise), x, mask)

    def filter_particles(
        self, batch: Batch, seed: tf.Tensor, num_samples: int, *, resampling: str = "systematic", **options: Any
    ) -> Filtered:
        """A particle filter with q as its proposal, K particles per sequence; frames packed to the left.

        Args:
            resampling, **options: see `tfdvae.bounds.particle_filter`.
        """
        packed, _ = masks.pack_batch(batch)
        size, length = tf.shape(packed.x)[0], packed.x.shape[1] or tf.shape(packed.x)[1]
        noise = self.draw_noise(seed, size * num_samples, length)
        shape = [size, length, resampling_noise(resampling, num_samples)]
        uniform = random.uniform(random.fold_in(seed, "resampling"), shape)
        particles = self.particles(packed, num_samples)
        return particle_filter(particles, num_samples, noise, uniform, packed.mask, resampling=resampling, **options)

    def particles(self, packed: Batch, num_samples: int) -> Particles:
        """This model as a particle filter sees it, for right-padded sequences; causal models implement it."""
        raise NotImplementedError

    def check_particles(self, what: str) -> None:
        """Raises ValueError where a particle filter cannot run frame by frame."""
        reason = None
        if not self.causal:
            reason = "infers latents from frames that are yet to come"
        elif self.global_dims:
            reason = "has latents that exist once per sequence, which no resampling can renew"
        if reason is not None:
            raise ValueError(
                f"{what} weighs particles frame by frame, and {type(self).__name__} as configured {reason}. Take the "
                "bound 'elbo' or 'iwae' (and `log_prob`), which every model has; or choose a causal inference (SRNN: "
                "inference='filter'; DKF: 'st_l', 'mf_l' or 'frame') or a causal model (VRNN, STORN, KVAE, VAE)."
            )

    # Keras.

    def build(self, input_shape: Sequence[int | None] | Mapping[str, Sequence[int | None]]) -> None:
        """Creates all weights for frames `[B, T, D]`, or for a dict of shapes with "x" and optionally "u"."""
        shapes = input_shape if isinstance(input_shape, Mapping) else {"x": input_shape}
        if len(shapes["x"]) != 3 or shapes["x"][-1] is None:
            raise ValueError(
                f"Expected frames of shape [batch, time, features] with features known, got {shapes['x']}."
            )
        self.x_dim = shapes["x"][-1]
        self.u_dim = shapes["u"][-1] if shapes.get("u") is not None else 0
        self.build_parts(self.x_dim, self.u_dim)
        self.build_metrics()

    def get_build_config(self) -> dict:
        return {"x_dim": self.x_dim, "u_dim": self.u_dim} if self.built else {}

    def build_from_config(self, config: dict) -> None:
        if config:
            self.build_for(config["x_dim"], config["u_dim"])

    def build_for(self, x_dim: int, u_dim: int = 0) -> None:
        """Builds for D features and U inputs, where that has not been done."""
        if not self.built:
            shapes = {"x": (None, None, x_dim)}
            self.build(shapes | {"u": (None, None, u_dim)} if u_dim else shapes)

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Mean of p(x_t | .) along the posterior mean, under teacher forcing: `[B, T, D]`."""
        batch = self._tensors(inputs)
        validation.check_static(*batch, x_dim=self.x_dim, u_dim=self.u_dim)
        params = self.infer(*batch).x
        return masks.zero_masked(self.observation.mean(params), batch.mask)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return tuple(input_shape["x"] if isinstance(input_shape, Mapping) else input_shape)

    def get_config(self) -> dict:
        observation = keras.saving.serialize_keras_object(self.observation)
        return {**super().get_config(), "observation": observation, "seed": self.seed}

    # Verbs.

    def encode(self, x: Any, mask: Any = None, u: Any = None) -> Gaussian:
        """Posterior means and scales along the mean path, each `[B, T, Z]`; zeros at frames that do not exist."""
        return self._encode(self.check(x, mask, u))

    @tf.function(reduce_retracing=True, autograph=False)
    def _encode(self, batch: Batch) -> Gaussian:
        return self.infer(*batch).q

    def encode_sequence(self, x: Any, mask: Any = None, u: Any = None) -> dict[str, Gaussian]:
        """Posterior of each latent that exists once per sequence, `[B, V]`, by name; empty where there is none."""
        return self._encode_sequence(self.check(x, mask, u))

    @tf.function(reduce_retracing=True, autograph=False)
    def _encode_sequence(self, batch: Batch) -> dict[str, Gaussian]:
        return {name: latent.q for name, latent in self.infer(*batch).global_latents.items()}

    def log_prob(
        self, x: Any, mask: Any = None, u: Any = None, *, num_samples: int = 40, chunk: int = 8, seed: int | None = None
    ) -> tf.Tensor:
        """Importance-sampled log p(x), log 1/K sum_k p(x, z_k) / q(z_k | x), nats per sequence: `[B]`.

        A lower bound in expectation that tightens with K = `num_samples` (Burda et al. 2016; the VRNN paper takes
        40). Memory is bounded by `chunk` paths per sequence at a time. Without latent variables it is exact.
        """
        batch = self.check(x, mask, u)
        seed_tensor = self.next_seed(seed)
        partial = []
        for start in range(0, num_samples, chunk):
            count = min(chunk, num_samples - start)
            partial.append(self._log_weight_sum(batch, random.fold_in(seed_tensor, start), count))
        return tf.reduce_logsumexp(tf.stack(partial), axis=0) - tf.math.log(float(num_samples))

    @tf.function(reduce_retracing=True, autograph=False)
    def _log_weight_sum(self, batch: Batch, seed: tf.Tensor, count: int) -> tf.Tensor:
        weights = log_weight(self.sample_terms(batch, seed, count))
        return tf.reduce_logsumexp(tf.reshape(weights, [-1, count]), axis=1)

    def particle_log_prob(
        self,
        x: Any,
        mask: Any = None,
        u: Any = None,
        *,
        num_samples: int = 128,
        resampling: str = "systematic",
        criterion: str = "ess",
        ess_ratio: float = 0.5,
        seed: int | None = None,
    ) -> tf.Tensor:
        """log p(x) by a particle filter with q as its proposal, nats per sequence: `[B]`.

        A lower bound in expectation (the FIVO bound of K = `num_samples` particles), whose slack grows with the number
        of frames as T / K, where that of `log_prob` grows exponentially. For causal models.

        Args:
            resampling, criterion, ess_ratio: see `tfdvae.bounds.FIVO`.

        Raises:
            ValueError: the posterior of a frame sees later ones; see `FIVO` for the others.
        """
        self.check_particles("`particle_log_prob`")
        FIVO(num_samples, resampling, criterion, ess_ratio)
        batch = self.check(x, mask, u)
        return self._particle_log_prob(batch, self.next_seed(seed), num_samples, resampling, criterion, ess_ratio)

    @tf.function(reduce_retracing=True, autograph=False)
    def _particle_log_prob(self, batch: Batch, seed: tf.Tensor, count: int, *options: Any) -> tf.Tensor:
        rule = dict(zip(("resampling", "criterion", "ess_ratio"), options, strict=True))
        return tf.reduce_sum(self.filter_particles(batch, seed, count, **rule).log_evidence, axis=1)

    def adapt(self, x: Any, mask: Any = None) -> None:
        """Sets the output bias from data `[N, T, D]`, so that training starts at the data's mean (and scale)."""
        batch = as_arrays(x, mask)
        self.build_for(batch.x.shape[-1], self.u_dim or 0)
        self.observation.adapt(np.asarray(batch.x), None if batch.mask is None else np.asarray(batch.mask))

    def check_frames(self, frames: np.ndarray) -> None:
        """Raises ValueError where observed frames `[N, D]` are none that the observation or the networks can take."""
        self.observation.validate(frames)
        check_frames(frames, self.x_scale)

    def check(self, x: Any, mask: Any = None, u: Any = None) -> Batch:
        """What a verb was given, as tensors: checked by value where there are values, and the model built for it."""
        batch = validation.as_batch(x) if mask is None and u is None else Batch(x, mask, u)
        if validation.is_symbolic(*batch):
            validation.check_static(*batch, x_dim=self.x_dim, u_dim=self.u_dim)
        else:
            batch = validation.check_arrays(*batch, x_dim=self.x_dim, u_dim=self.u_dim)
        self.build_for(batch.x.shape[-1], 0 if batch.u is None else batch.u.shape[-1])
        return self._tensors(batch)

    def next_seed(self, seed: int | None) -> tf.Tensor:
        """A seed tensor from an integer, or the next of the model's own."""
        return random.make_seed(seed) if seed is not None else tf.cast(self.verb_seeds.next(), tf.int32)

    @staticmethod
    def _tensors(inputs: Any) -> Batch:
        batch = validation.as_batch(inputs)
        x = tf.cast(tf.convert_to_tensor(batch.x), tf.float32)
        mask = None if batch.mask is None else tf.cast(batch.mask, tf.bool)
        return Batch(x, mask, None if batch.u is None else tf.cast(tf.convert_to_tensor(batch.u), tf.float32))


def as_arrays(x: Any, mask: Any = None) -> Batch:
    """Checked numpy arrays from frames, or from a dict of arrays."""
    batch = validation.as_batch(x)
    return validation.check_arrays(batch.x, batch.mask if mask is None else mask, batch.u)
