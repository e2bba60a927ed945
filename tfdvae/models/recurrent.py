"""Stepwise models: a stochastic cell, an observation, and what both allow together."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import tensorflow as tf

from tfdvae import gaussian, masks, random, recurrence
from tfdvae.bounds import Particles
from tfdvae.bounds.filtering import repeat_rows
from tfdvae.layers.cell import StochasticCell, split_noise
from tfdvae.models.verbs import VerbsDVAE
from tfdvae.recurrence import Feedback, Frames
from tfdvae.types import Batch, Gaussian, Generated, State, StepOutput, Trajectory

__all__ = ["RecurrentDVAE"]


class RecurrentDVAE(VerbsDVAE):
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
        """Z."""
        return self.cell.latent_dim

    @property
    def x_scale(self) -> str:
        return self.cell.x_scale

    @property
    def frame_latent_dim(self) -> int:
        return self.cell.frame_latent_dim

    @property
    def global_dims(self) -> dict[str, int]:
        return self.cell.global_dims

    @property
    def causal(self) -> bool:
        return self.cell.causal

    @property
    def feeds_back(self) -> bool:
        return self.stepwise

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.cell.build((None, x_dim), (None, u_dim) if u_dim else None)
        if not self.observation.built:
            self.observation.build((None, self.cell.features_dim), (None, x_dim))

    def infer_packed(self, x: tf.Tensor, mask: tf.Tensor | None, u: tf.Tensor | None, noise: Any) -> Trajectory:
        given = self.cell.hoist(x, mask, u, noise)
        replaced = random.replaced_frames(x)
        if replaced is None:
            path = self.cell.teacher_forced(given)
        else:
            path, _ = recurrence.teacher_forced(self.cell, given, feedback=Feedback(self.observation, x, replaced))
        z, q, p = path.z, path.q, path.p
        if given.w is not None:
            w, q_w = given.w
            pairs = (q_w, q), (gaussian.standard_normal(w, self.cell.input_latent_dim), p)
            z = tf.concat([w, z], axis=-1)
            q, p = (Gaussian(*(tf.concat(y, axis=-1) for y in zip(*pair, strict=True))) for pair in pairs)
        return Trajectory(z, q, p, self.observation(path.features), given.latents, path.penalties)

    def encode_states(self, x: Any, mask: Any = None, u: Any = None) -> dict[str, tf.Tensor]:
        """What p(x_t | .) reads, along the posterior means: `[B, T, .]` by the cell's names, such as "z" and "h".

        Beside the latents these are the deterministic states that a model keeps: d_t of a VSSN, h_t of a VRNN. Zeros at
        frames that do not exist.
        """
        return self._encode_states(self.check(x, mask, u))

    @tf.function(reduce_retracing=True, autograph=False)
    def _encode_states(self, batch: Batch) -> dict[str, tf.Tensor]:
        (x, mask, u), how = masks.pack_batch(batch)
        found = recurrence.visited(self.cell, self.cell.hoist(x, mask, u, None))
        return found if how is None else {name: masks.unpack(y, how) for name, y in found.items()}

    # Verbs.

    @tf.function(reduce_retracing=True, autograph=False)
    def _reconstruct(self, batch: Batch, seed: tf.Tensor, teacher_forced: bool, sample: bool) -> tf.Tensor:
        (x, mask, u), how = masks.pack_batch(batch)
        noise, emission = self.draw(seed, tf.shape(x)[0], tf.shape(x)[1], sample)
        given = self.cell.hoist(x, mask, u, noise)
        frames = Frames(x, tf.fill(tf.shape(x), teacher_forced), given.g, None, given.c, given.noise, emission)
        simulated, _ = recurrence.simulate(self.cell, self.observation, frames, state=given.state)
        out = self.emit(simulated.params, emission)
        return out if how is None else masks.unpack(out, how)

    def _begin(
        self,
        u: tf.Tensor | None,
        latents: Mapping[str, tf.Tensor],
        length: tf.Tensor,
        size: tf.Tensor,
        seed: tf.Tensor,
        sample: bool,
    ) -> Generated:
        noise, emission = self.draw(seed, size, length, sample)
        state = self._initial_state(size, self.prior_globals(size, split_noise(noise)[1], latents))
        return self._imagine(state, u, length, noise, emission)[0]

    def _continue(
        self,
        past: Batch,
        u: tf.Tensor | None,
        latents: Mapping[str, tf.Tensor],
        horizon: tf.Tensor,
        seed: tf.Tensor,
        sample: bool,
    ) -> Generated:
        # The state after a prefix has its static batch size; that of the noise must agree.
        noise, emission = self.draw(seed, tf.shape(past.x)[0], horizon, sample)
        state = self._after(past, latents, random.fold_in(seed, "prefix") if sample else None)
        return self._imagine(state, u, horizon, noise, emission)[0]

    def _imagine(
        self, state: State, u: tf.Tensor | None, length: tf.Tensor | int, noise: Any, emission: tf.Tensor | None
    ) -> tuple[Generated, State]:
        """New frames from the prior, each fed back."""
        w, noise = self.cell.split_frame_noise(split_noise(noise)[0])
        c = self.cell.embed_u(u)
        if self.cell.input_latent_dim:
            size = tf.shape(tf.nest.flatten(state)[0])[0]
            w = tf.zeros([size, length, self.cell.input_latent_dim]) if w is None else w
            c = self.cell.join_inputs(c, w)
        frames = Frames(c=c, noise=noise, emission=emission)
        (x, z, params), state = recurrence.simulate(self.cell, self.observation, frames, state=state, length=length)
        return Generated(x, z if w is None else tf.concat([w, z], axis=-1), params), state

    @tf.function(reduce_retracing=True, autograph=False)
    def _fill(self, packed: Batch, observed: tf.Tensor, seed: tf.Tensor, first: bool) -> tuple[tf.Tensor, tf.Tensor]:
        x, mask, u = packed
        noise, emission = self.draw(seed, tf.shape(x)[0], tf.shape(x)[1], True)
        given = self.cell.hoist(x, mask, u, noise)
        infer = tf.reduce_all(observed, axis=-1) if first else None
        c = given.c
        if first and given.w is not None:
            w_noise, _ = self.cell.split_frame_noise(split_noise(noise)[0])
            c = self.cell.join_inputs(self.cell.embed_u(u), tf.where(infer[..., None], given.w[0], w_noise))
        frames = Frames(x, observed, given.g, infer, c, given.noise, emission)
        simulated, _ = recurrence.simulate(self.cell, self.observation, frames, state=given.state)
        return simulated.x, simulated.params

    # Streaming.

    def _initial_state(self, batch_size: tf.Tensor | int, latents: Mapping[str, tf.Tensor]) -> State:
        state = self.cell.initial_state(batch_size)
        if not self.global_dims:
            return state
        return self.cell.absorb_globals(state, self.prior_globals(batch_size, None, latents))

    @tf.function(reduce_retracing=True, autograph=False)
    def _step(self, state: State, x: tf.Tensor, u: tf.Tensor | None, noise: tf.Tensor | None) -> StepOutput:
        seen = self.cell.see(x)
        e, c = self.cell.embed(seen), self.cell.embed_u(u)
        state = self.cell.absorb_u(state, c)
        state, g = self.cell.encode_step(state, seen, c, e)
        return self._meet(state, x, e, g, lambda q: gaussian.sample(q, noise))

    def _meet(self, opened: State, x: tf.Tensor, e: Any, g: Any, draw: Callable[[Gaussian], tf.Tensor]) -> StepOutput:
        """One frame from where it has opened to where it closes; `draw` makes z_t of q(z_t | .)."""
        q, p = self.cell.posterior(opened, g), self.cell.prior(opened)
        z = draw(q)
        known = self.cell.absorb_z(opened, z)
        params = self.observation(self.cell.observe(known))
        kl = tf.reduce_sum(gaussian.kl_per_dimension(q, p), axis=-1)
        return StepOutput(z, q, p, params, self.observation.log_prob(params, x), kl, self.cell.absorb_x(known, e))

    def check_particles(self, what: str) -> None:
        super().check_particles(what)
        if self.cell.input_latent_dim or self.cell.penalty_reads:
            raise ValueError(
                f"{what} weighs particles by the latents of the loop alone, and {type(self).__name__} has latents that "
                "enter like inputs, or auxiliary losses: take the bound 'elbo' or 'iwae'."
            )

    def particles(self, packed: Batch, num_samples: int) -> Particles:
        # Dropout draws one mask per path, in the loop and before it: each path then needs rows of its own.
        shared = self.cell.dropout == 0.0
        x, mask, u = packed if shared else (repeat_rows(y, num_samples) for y in packed)
        given = self.cell.hoist(x, mask, u, None)
        size = tf.shape(x)[0] * (num_samples if shared else 1)

        def advance(state: State, inputs: Any, draw: Callable[[Gaussian], tf.Tensor]) -> StepOutput:
            x_t, e_t, c_t, g_t = inputs
            return self._meet(self.cell.absorb_u(state, c_t), x_t, e_t, g_t, draw)

        return Particles(self.cell.initial_state(size), (x, given.e, given.c, given.g), advance, shared)

    @tf.function(reduce_retracing=True, autograph=False)
    def _generate_step(self, state: State, u: Any, noise: Any, emission: Any) -> tuple[Generated, State]:
        u, noise, emission = (None if y is None else y[:, None] for y in (u, noise, emission))
        generated, state = self._imagine(state, u, 1, noise, emission)
        return Generated(*(y[:, 0] for y in generated)), state

    # Parts.

    def _after(self, batch: Batch, latents: Mapping[str, tf.Tensor], seed: tf.Tensor | None) -> State:
        """The state after the last existing frame of each sequence, along a drawn path (or along the means)."""
        (x, mask, u), _ = masks.pack_batch(batch)
        noise = None if seed is None else self.draw_noise(seed, tf.shape(x)[0], tf.shape(x)[1])
        given = self.cell.hoist(x, mask, u, noise)
        if latents:
            inferred = {name: latent.z for name, latent in given.latents.items()}
            given = given._replace(state=self.cell.absorb_globals(given.state, {**inferred, **latents}))
        return recurrence.teacher_forced(self.cell, given, hold=mask)[1]

    def get_config(self) -> dict:
        cell = self.cell.get_config()
        options = {k: v for k, v in cell.items() if k not in ("name", "dtype", "trainable")}
        return {**super().get_config(), **options}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "RecurrentDVAE":
        return cls(**{k: v for k, v in config.items() if k != "trainable"})
