"""Stepwise models: a stochastic cell, an observation, and what both allow together."""

from typing import Any, ClassVar

import tensorflow as tf

from tfdvae import gaussian, masks, random, recurrence, validation
from tfdvae.layers.cell import StochasticCell
from tfdvae.models.base import DVAE
from tfdvae.recurrence import Frames
from tfdvae.types import Batch, Forecast, Generated, Imputed, State, StepOutput, Trajectory

__all__ = ["RecurrentDVAE"]


class RecurrentDVAE(DVAE):
    """A DVAE whose latent vectors come frame by frame: a `StochasticCell` and an `Observation`.

    Args:
        latent_dim: Z.
        observation: p(x_t | .), a name or an Observation.
        seed: all randomness of training and evaluation follows from it.
        name, dtype: as in Keras; `dtype` may be a mixed-precision policy.
        **cell_options: everything else goes to the cell, `cell_class`.
    """

    cell_class: ClassVar[type[StochasticCell]]

    def __init__(
        self,
        latent_dim: int | None = None,
        *,
        observation="gaussian",
        seed: int = 0,
        name=None,
        dtype=None,
        **cell_options,
    ):
        super().__init__(observation, seed, name=name, dtype=dtype)
        if latent_dim is not None:
            cell_options["latent_dim"] = latent_dim
        self.cell = self.cell_class(**cell_options, dtype=self.dtype_policy, name="cell")

    @property
    def latent_dim(self) -> int:
        return self.cell.latent_dim

    @property
    def causal(self) -> bool:
        """Whether q(z_t | .) sees no frame after t, so that frames can be streamed with `step`."""
        return self.cell.causal

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.cell.build((None, x_dim), (None, u_dim) if u_dim else None)
        if not self.observation.built:
            self.observation.build((None, self.cell.features_dim), (None, x_dim))

    def infer_packed(
        self, x: tf.Tensor, mask: tf.Tensor | None, u: tf.Tensor | None, noise: tf.Tensor | None
    ) -> Trajectory:
        e, c, g = self._hoist(x, mask, u)
        path = self.cell.teacher_forced(x, e, c, g, noise, mask)
        return Trajectory(path.z, path.q, path.p, self.observation(path.features))

    def _hoist(self, x: tf.Tensor, mask: tf.Tensor | None, u: tf.Tensor | None) -> tuple[Any, Any, Any]:
        e, c = self.cell.embed(x), self.cell.embed_u(u)
        return e, c, self.cell.encode(tf.cast(x, self.cell.compute_dtype), c, e, mask)

    # Reconstruction.

    def reconstruct(
        self,
        x: Any,
        mask: Any = None,
        u: Any = None,
        *,
        mode: str = "teacher_forced",
        sample: bool = False,
        seed: int | None = None,
    ) -> tf.Tensor:
        """Frames `[B, T, D]` from latents inferred from x; zeros at frames that do not exist.

        Args:
            mode: "teacher_forced": x_<t is the data wherever the model conditions on it. "generation": x_<t is the
                model's own output there (survey 4.4.1), while q(z_t | .) still sees what `encode` hoists from the
                data.
            sample: draw z and x instead of following their means.
        """
        if mode not in ("teacher_forced", "generation"):
            raise ValueError(f"`mode` must be 'teacher_forced' or 'generation', got {mode!r}.")
        return self._reconstruct(self.check(x, mask, u), self.next_seed(seed), mode == "teacher_forced", sample)

    @tf.function(reduce_retracing=True, autograph=False)
    def _reconstruct(self, batch: Batch, seed: tf.Tensor, teacher_forced: bool, sample: bool) -> tf.Tensor:
        (x, mask, u), how = masks.pack_batch(batch)
        size, length = tf.shape(x)[0], tf.shape(x)[1]
        noise, emission = self._draw(seed, size, length, sample)
        _, c, g = self._hoist(x, mask, u)
        frames = Frames(x, tf.fill(tf.shape(x), teacher_forced), g, None, c, noise, emission)
        simulated, _ = recurrence.simulate(self.cell, self.observation, frames, state=self.cell.initial_state(size))
        out = (
            self.observation.mean(simulated.params)
            if emission is None
            else self.observation.sample(simulated.params, emission)
        )
        return out if how is None else masks.unpack(out, how)

    # Generation.

    def generate(
        self,
        length: int,
        batch_size: int = 1,
        *,
        prefix: Any = None,
        u: Any = None,
        sample: bool = True,
        seed: int | None = None,
    ) -> Generated:
        """Draws `length` new frames from the model.

        Args:
            length: T.
            batch_size: B, where there is neither prefix nor u.
            prefix: frames `[B, T0, D]` to continue, or a dict with "x", "mask", "u"; they are not part of the result.
            u: inputs `[B, T, U]` for the new frames, in driven mode.
            sample: False follows the means of z_t and x_t instead of drawing them.

        Raises:
            ValueError: if the model is not built, `length` is not positive, or u is missing or of another size.
        """
        self._require_built("generate")
        if length < 1:
            raise ValueError(f"`length` must be at least 1, got {length}.")
        batch = None if prefix is None else self.check(prefix)
        u = self._inputs(u, length)
        size = batch_size if batch is None and u is None else tf.shape(u if batch is None else batch.x)[0]
        return self._generate(batch, u, tf.constant(length), tf.convert_to_tensor(size), self.next_seed(seed), sample)

    @tf.function(reduce_retracing=True, autograph=False)
    def _generate(
        self,
        prefix: Batch | None,
        u: tf.Tensor | None,
        length: tf.Tensor,
        size: tf.Tensor,
        seed: tf.Tensor,
        sample: bool,
    ) -> Generated:
        state = self.cell.initial_state(size)
        if prefix is not None:
            # The state after a prefix has its static batch size; that of the noise must agree.
            size = tf.shape(prefix.x)[0]
            state = self._after(prefix, random.fold_in(seed, "prefix") if sample else None)
        noise, emission = self._draw(seed, size, length, sample)
        frames = Frames(c=self.cell.embed_u(u), noise=noise, emission=emission)
        simulated, _ = recurrence.simulate(self.cell, self.observation, frames, state=state, length=length)
        return Generated(*simulated)

    def forecast(
        self,
        x: Any,
        horizon: int,
        *,
        mask: Any = None,
        u: Any = None,
        future_u: Any = None,
        num_samples: int = 16,
        seed: int | None = None,
    ) -> Forecast:
        """Continues each sequence by `horizon` frames, `num_samples` times.

        Latents of the past are drawn from the posterior anew for each sample. The mean averages E[x_t | path] over
        the paths.

        Args:
            x, mask, u: the past, as everywhere; sequences may have different lengths.
            future_u: `[B, horizon, U]`, in driven mode.
        """
        batch = self.check(x, mask, u)
        if horizon < 1 or num_samples < 1:
            raise ValueError(f"`horizon` and `num_samples` must be at least 1, got {horizon} and {num_samples}.")
        future_u = self._inputs(future_u, horizon)
        return self._forecast(batch, future_u, tf.constant(horizon), num_samples, self.next_seed(seed))

    @tf.function(reduce_retracing=True, autograph=False)
    def _forecast(
        self, batch: Batch, future_u: tf.Tensor | None, horizon: tf.Tensor, num_samples: int, seed: tf.Tensor
    ) -> Forecast:
        past = Batch(*(_tile(y, num_samples) for y in batch))
        state = self._after(past, random.fold_in(seed, "prefix"))
        noise, emission = self._draw(seed, tf.shape(past.x)[0], horizon, True)
        frames = Frames(c=self.cell.embed_u(_tile(future_u, num_samples)), noise=noise, emission=emission)
        simulated, _ = recurrence.simulate(self.cell, self.observation, frames, state=state, length=horizon)
        samples, means = (_untile(y, num_samples) for y in (simulated.x, self.observation.mean(simulated.params)))
        return Forecast(samples, tf.reduce_mean(means, axis=0))

    def impute(
        self,
        x: Any,
        observed: Any,
        *,
        mask: Any = None,
        u: Any = None,
        num_samples: int = 8,
        num_sweeps: int = 10,
        seed: int | None = None,
    ) -> Imputed:
        """Fills in what was not observed; time passes at missing frames, unlike at masked ones.

        A first sweep runs forward: z_t from the posterior where the whole frame was observed, from the prior
        elsewhere, missing values from p(x_t | .). Each further sweep infers z from the completed sequence and draws
        the missing values again: the Markov chain of Rezende et al. (2014, appendix F), whose samples approach
        p(x_missing | x_observed) as q approaches the posterior. `mean` averages the means of p(x_t | .) over the
        samples' last sweep.

        Args:
            x: `[B, T, D]`; values that were not observed may be anything, NaN included.
            observed: `[B, T]` or `[B, T, D]`, true where x holds data.
        """
        x = tf.convert_to_tensor(x)
        observed = tf.cast(tf.convert_to_tensor(observed), tf.bool)
        if observed.shape != x.shape and observed.shape != x.shape[:-1]:
            raise ValueError(f"Expected `observed` of shape {x.shape[:-1]} or {x.shape}, got {observed.shape}.")
        if num_samples < 1 or num_sweeps < 1:
            raise ValueError(f"`num_samples` and `num_sweeps` must be at least 1, got {num_samples} and {num_sweeps}.")
        observed = observed if observed.shape.rank == 3 else tf.broadcast_to(observed[..., None], x.shape)
        batch = self.check(tf.where(observed, x, tf.zeros([], x.dtype)), mask, u)
        seed_tensor = self.next_seed(seed)
        filled, params = self._fill(batch.x, observed, batch, seed_tensor, num_samples, True)
        for sweep in range(1, num_sweeps):
            filled, params = self._fill(filled, observed, batch, random.fold_in(seed_tensor, sweep), num_samples, False)
        mean = tf.reduce_mean(_untile(self.observation.mean(params), num_samples), axis=0)
        return Imputed(_untile(filled, num_samples), masks.zero_masked(tf.where(observed, batch.x, mean), batch.mask))

    @tf.function(reduce_retracing=True, autograph=False)
    def _fill(
        self, filled: tf.Tensor, observed: tf.Tensor, batch: Batch, seed: tf.Tensor, num_samples: int, first: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if first:
            filled = _tile(filled, num_samples)
        observed, mask, u = (_tile(y, num_samples) for y in (observed, batch.mask, batch.u))
        (filled, mask, u), how = masks.pack_batch(Batch(filled, mask, u))
        observed = observed if how is None else masks.pack(observed, how)
        size, length = tf.shape(filled)[0], tf.shape(filled)[1]
        noise, emission = self._draw(seed, size, length, True)
        _, c, g = self._hoist(filled, mask, u)
        infer = tf.reduce_all(observed, axis=-1) if first else None
        frames = Frames(filled, observed, g, infer, c, noise, emission)
        simulated, _ = recurrence.simulate(self.cell, self.observation, frames, state=self.cell.initial_state(size))
        x, params = simulated.x, simulated.params
        return (x, params) if how is None else (masks.unpack(x, how), masks.unpack(params, how))

    # Streaming.

    def initial_state(self, batch_size: int = 1) -> State:
        """The state before the first frame, for `step` and `generate_step`."""
        self._require_built("initial_state")
        return self.cell.initial_state(batch_size)

    def step(self, state: State, x: Any, u: Any = None, noise: Any = None) -> StepOutput:
        """Takes in one frame, in constant time and memory; T steps equal one call on the sequence.

        Args:
            state: from `initial_state`, or from the call before.
            x: `[B, D]`.
            u: `[B, U]`, in driven mode.
            noise: standard normal `[B, Z]`; None follows the posterior mean.

        Raises:
            ValueError: if q(z_t | .) looks into the future, or x is not a frame.
        """
        self._require_causal()
        x = tf.cast(tf.convert_to_tensor(x), tf.float32)
        if x.shape.rank != 2 or x.shape[-1] != self.x_dim:
            raise ValueError(f"Expected one frame [batch, {self.x_dim}] per step, got shape {x.shape}.")
        if not validation.is_symbolic(x) and not bool(tf.reduce_all(tf.math.is_finite(x))):
            raise ValueError(
                "The frame holds NaN or infinity. Where a frame is missing, `generate_step` moves time on without it."
            )
        return self._step(state, x, None if u is None else tf.cast(u, tf.float32), noise)

    @tf.function(reduce_retracing=True, autograph=False)
    def _step(self, state: State, x: tf.Tensor, u: tf.Tensor | None, noise: tf.Tensor | None) -> StepOutput:
        e, c = self.cell.embed(x), self.cell.embed_u(u)
        state = self.cell.absorb_u(state, c)
        state, g = self.cell.encode_step(state, tf.cast(x, self.cell.compute_dtype), c, e)
        q, p = self.cell.posterior(state, g), self.cell.prior(state)
        z = gaussian.sample(q, noise)
        state = self.cell.absorb_z(state, z)
        params = self.observation(self.cell.observe(state))
        kl = tf.reduce_sum(gaussian.kl_per_dimension(q, p), axis=-1)
        return StepOutput(z, q, p, params, self.observation.log_prob(params, x), kl, self.cell.absorb_x(state, e))

    def generate_step(
        self, state: State, u: Any = None, noise: Any = None, emission: Any = None
    ) -> tuple[Generated, State]:
        """Draws one frame and moves on: z_t from the prior, x_t from p(x_t | .), fed back.

        Args:
            noise: standard normal `[B, Z]`; None takes the prior's mean.
            emission: uniform `[B, observation.noise_dim]`; None takes the mean of p(x_t | .).
        """
        self._require_built("generate_step")
        return self._generate_step(state, None if u is None else tf.cast(u, tf.float32), noise, emission)

    @tf.function(reduce_retracing=True, autograph=False)
    def _generate_step(self, state: State, u: Any, noise: Any, emission: Any) -> tuple[Generated, State]:
        one = [None if y is None else y[:, None] for y in (self.cell.embed_u(u), noise, emission)]
        frames = Frames(c=one[0], noise=one[1], emission=one[2])
        simulated, state = recurrence.simulate(self.cell, self.observation, frames, state=state, length=1)
        return Generated(*(y[:, 0] for y in simulated)), state

    # Parts.

    def _after(self, batch: Batch, seed: tf.Tensor | None) -> State:
        """The state after the last existing frame of each sequence, along a drawn path (or along the means)."""
        (x, mask, u), _ = masks.pack_batch(batch)
        e, c, g = self._hoist(x, mask, u)
        size, length = tf.shape(x)[0], tf.shape(x)[1]
        noise = None if seed is None else self.draw_noise(seed, size, length)
        return recurrence.teacher_forced(self.cell, e, g, c, noise, state=self.cell.initial_state(size), hold=mask)[1]

    def _draw(
        self, seed: tf.Tensor, size: tf.Tensor, length: tf.Tensor, sample: bool
    ) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        if not sample:
            return None, None
        emission = random.uniform(random.fold_in(seed, "emission"), [size, length, self.observation.noise_dim])
        return self.draw_noise(random.fold_in(seed, "latent"), size, length), emission

    def _inputs(self, u: Any, length: int) -> tf.Tensor | None:
        """Inputs for frames to come, checked."""
        if u is None and not self.u_dim:
            return None
        expected = f"inputs `u` of shape [batch, {length}, {self.u_dim}]" if self.u_dim else "no inputs `u`"
        got = None if u is None else tuple(tf.convert_to_tensor(u).shape)
        if got is None or not self.u_dim or len(got) != 3 or got[1:] != (length, self.u_dim):
            came = "none" if got is None else f"shape {got}"
            raise ValueError(f"The model was built for {expected}; got {came} for the new frames.")
        return tf.cast(u, tf.float32)

    def _require_built(self, verb: str) -> None:
        if not self.built:
            raise ValueError(
                f"`{verb}` needs a model with weights: call `fit`, `build` or the model itself first, or load one."
            )

    def _require_causal(self) -> None:
        self._require_built("step")
        if not self.causal:
            raise ValueError(
                f"{type(self).__name__} as configured infers z_t from frames after t, so frames cannot be streamed. "
                "Choose a causal inference (SRNN: inference='filter'; DKF: 'st_l', 'mf_l' or 'frame')."
            )

    def get_config(self) -> dict:
        cell = self.cell.get_config()
        options = {k: v for k, v in cell.items() if k not in ("name", "dtype", "trainable")}
        return {**super().get_config(), **options}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "RecurrentDVAE":
        return cls(**{k: v for k, v in config.items() if k != "trainable"})


def _tile(x: tf.Tensor | None, num_samples: int) -> tf.Tensor | None:
    return None if x is None else tf.tile(x, [num_samples, *[1] * (x.shape.rank - 1)])


def _untile(x: tf.Tensor, num_samples: int) -> tf.Tensor:
    return tf.reshape(x, tf.concat([[num_samples, -1], tf.shape(x)[1:]], axis=0))
