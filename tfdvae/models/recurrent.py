"""Stepwise models: a stochastic cell and frames, and what both allow together."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import tensorflow as tf

from tfdvae import masks, random, recurrence, simulation, validation
from tfdvae.bounds import Particles
from tfdvae.bounds.filtering import Draw, repeat_rows
from tfdvae.layers.cell import StochasticCell
from tfdvae.layers.frame_io import FRAME_OPTIONS
from tfdvae.layers.frame_skips import Newest
from tfdvae.layers.latent import Latent
from tfdvae.layers.units import Units
from tfdvae.models.base import DVAE, Packed
from tfdvae.models.drawing import Request
from tfdvae.passages import Carried, present_passage
from tfdvae.recurrence import Feedback
from tfdvae.simulation import Frames
from tfdvae.types import Batch, Generated, State, StepOutput, Trajectory

__all__ = ["RecurrentDVAE"]


class RecurrentDVAE(DVAE):
    """A DVAE whose latent vectors come frame by frame: a `StochasticCell` between frames and an `Observation`.

    Args:
        latent_dim: Z.
        observation: p(x_t | .), a name or an Observation.
        seed: initial weights, and all randomness of training and evaluation, follow from it.
        name, dtype: as in Keras; `dtype` may be a mixed-precision policy.
        **options: how frames enter and leave the model (`standardize`, `missing` and so on: see `DVAE`); everything
            else goes to the cell, `cell_class`.
    """

    cell_class: ClassVar[type[StochasticCell]]
    takes_frame_skips: ClassVar[bool] = True

    def __init__(
        self,
        latent_dim: int | None = None,
        *,
        observation="gaussian",
        seed: int = 0,
        name=None,
        dtype=None,
        **options,
    ):
        own = {k: options.pop(k) for k in (*FRAME_OPTIONS, "missing") if k in options}
        if latent_dim is not None:
            options["latent_dim"] = latent_dim
        # The frame networks have the cell's activation and dropout, which may be its defaults.
        cell = self.cell_class(**options, dtype=dtype, name="cell")
        networks = {"activation": cell.activation, "dropout": cell.dropout, "presence": cell.told_presence}
        super().__init__(observation, seed, frame_networks=networks, name=name, dtype=dtype, **own)
        self.cell = cell

    @property
    def latent_dim(self) -> int:
        """Z."""
        return self.cell.latent_dim

    @classmethod
    def without_use(cls, options: Mapping[str, Any] | None = None) -> Mapping[str, str]:
        idle = {} if options is None else validation.idle(cls.cell_class, options)
        return {**cls.cell_class.unused, **idle}

    @property
    def latents(self) -> tuple[Latent, ...]:
        return self.cell.latents

    @property
    def states(self) -> dict[str, int]:
        start = self.cell.initial_state(1)
        return {name: start[name].shape[-1] for name in self.cell.states}

    @property
    def causal(self) -> bool:
        return self.cell.causal

    @property
    def feeds_back(self) -> bool:
        return self.stepwise

    @property
    def hears_frames(self) -> bool:
        if not self.stepwise:
            return False
        width = self.u_dim + self.context_dim
        frames = Frames(c=self.cell.embed_u(tf.zeros([1, 1, width])) if width else None)
        return simulation.hears(self.cell, self.frames, frames, self.parted(self.start_stream(1, {}))[0])

    @property
    def stepwise(self) -> bool:
        return True

    @property
    def not_stateful(self) -> str | None:
        rare = [latent.name for latent in self.latents if latent.level != "frame"]
        if rare:
            return f"has latents that are not those of frames ({', '.join(rare)}), which windows would each draw anew"
        if not self.cell.goes_on:
            return "infers all latents of a sequence jointly, from its first frame on"
        if self.given_frames or self.frames.mode == "sequence":
            return "treats the first frames of a sequence unlike the others (given_frames, standardize='sequence')"
        return "fills in what was last seen (fill='last')" if self.frames.fill == "last" else None

    def carried(self, rows: int) -> Carried:
        return Carried(self.cell.start(rows))

    @property
    def features_dim(self) -> int:
        return self.cell.features_dim

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        shapes = [(None, None, width) if width else None for width in (x_dim, u_dim)]
        self.cell.build(*shapes, context_dim=self.context_dim)

    def infer_packed(self, packed: Packed, noise: Mapping[str, tf.Tensor] | None) -> Trajectory:
        passage = present_passage()
        state = None if passage is None else passage.start(self.cell.start(tf.shape(packed.x)[0]))
        given = self.hoist(packed, noise, state=state)
        frames = packed.within(self.frames)
        feedback = None
        replaced = random.replaced_frames(packed.x)
        if replaced is not None:
            x = packed.x if packed.observed is None else frames.filled(packed.x, packed.observed)
            pictures = None if packed.skips is None else packed.skips.along()
            feedback = Feedback(frames, x, replaced, packed.observed, pictures)
        if passage is None:
            path, _ = recurrence.teacher_forced(self.cell, given, feedback=feedback)
        else:
            going_on = {"hold": packed.mask, "last": True, "seen": packed.seen}
            path, passage.after = recurrence.teacher_forced(self.cell, given, **going_on)
        latents = {**given.latents, **path.latents}
        ordered = {latent.name: latents[latent.name] for latent in self.latents}
        return Trajectory(ordered, frames.params(path.features), path.penalties, path.states)

    def hoist(
        self,
        packed: Packed,
        noise: Mapping[str, tf.Tensor] | None,
        known: Mapping[str, tf.Tensor] | None = None,
        state: State | None = None,
    ) -> Any:
        """What the cell does before its loop."""
        return self.cell.hoist(packed.seen, packed.mask, packed.u, noise, known, state)

    @property
    def draws_by_priors(self) -> bool:
        return True

    def params_by_priors(self, packed: Packed, noise: Mapping[str, tf.Tensor]) -> tf.Tensor:
        size, known = tf.shape(packed.x)[0], {}
        state = self.cell.start(size)
        for latent in self.sequence_latents:
            known[latent.name] = z = self._imagined(latent, state, size, noise[latent.name])
            state = latent.absorb(state, z)
        own = {latent.name: noise[latent.name] for latent in self.frame_latents}
        features = simulation.by_priors(self.cell, self.hoist(packed, None, known), own)
        return packed.within(self.frames).params(features)

    def encode_states(
        self, x: Any, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None
    ) -> dict[str, tf.Tensor]:
        """What p(x_t | .) reads, along the posterior modes: `[B, T, .]` by the cell's names, such as "z" and "h".

        Beside the latents these are the deterministic states that a model keeps: d_t of a VSSN, h_t of a VRNN. Zeros at
        frames that do not exist.
        """
        return self._encode_states(self.check(x, mask, u, observed, context))

    @tf.function(reduce_retracing=True, autograph=False)
    def _encode_states(self, batch: Batch) -> dict[str, tf.Tensor]:
        packed, how = self.pack(batch)
        found = recurrence.visited(self.cell, self.hoist(packed, None))
        return masks.restored(found, how)

    # Verbs.

    @tf.function(reduce_retracing=True, autograph=False)
    def _reconstruct(self, batch: Batch, seed: tf.Tensor, teacher_forced: bool, sample: bool) -> tf.Tensor:
        packed, how = self.pack(batch)
        noise, uniform = self.draw(seed, tf.shape(packed.x)[0], tf.shape(packed.x)[1], sample)
        if teacher_forced:
            params = self.infer_packed(packed, noise).x
        else:
            given = self.hoist(packed, noise)
            frames = self._frames_of(given, uniform=uniform)
            io = packed.within(self.frames)
            simulated, _ = simulation.simulate(self.cell, io, frames, state=given.state)
            params = simulated.params
        return masks.restored(self.emit(params, uniform), how)

    @staticmethod
    def _frames_of(given: Any, **options: Any) -> Frames:
        """Frames for `simulate` whose latents are inferred from what was given."""
        return Frames(g=given.g, c=given.c, noise=given.noise, latents=given.samples(), **options)

    def _begin(self, request: Request) -> Generated:
        noise, uniform = self.draw(request.seed, request.size, request.length, request.sample)
        state = self.start_stream(request.size, request.latents, request.context, noise)
        return self._imagine(state, request.u, request.length, noise, uniform)

    def _continue(self, request: Request) -> Generated:
        # The state after a prefix has its static batch size; that of the noise must agree.
        noise, uniform = self.draw(request.seed, tf.shape(request.past.x)[0], request.length, request.sample)
        state = self._after(request, random.fold_in(request.seed, "prefix") if request.sample else None)
        return self._imagine(state, request.u, request.length, noise, uniform)

    def _imagine(
        self,
        state: State,
        u: tf.Tensor | None,
        length: tf.Tensor | int,
        noise: Mapping[str, tf.Tensor] | None,
        uniform: tf.Tensor | None,
    ) -> Generated:
        """New frames from the prior, each fed back."""
        own, beside = self.parted(state)
        io, u = self.io_beside(beside), self.inputs(u, beside.get("context"), length)
        per_frame = {latent.name: noise[latent.name] for latent in self.frame_latents} if noise else {}
        return self._simulated(io, own, u, length, per_frame, uniform)[0]

    def _simulated(
        self,
        io: Any,
        state: State,
        u: tf.Tensor | None,
        length: tf.Tensor | int,
        noise: Mapping[str, tf.Tensor],
        uniform: tf.Tensor | None,
        encoding: bool = False,
    ) -> tuple[Generated, State]:
        """The same from the entries of the equations alone, with inputs `[B, T, U + C]`; and the state after them, from
        which `step` can go on where they were `encoding`."""
        frames = Frames(c=self.cell.embed_u(u), noise=noise, uniform=uniform)
        found, state = simulation.simulate(self.cell, io, frames, state=state, length=length, encoding=encoding)
        return Generated(*found), state

    def _fill(self, packed: Packed, seed: tf.Tensor, first: bool) -> tuple[tf.Tensor, tf.Tensor]:
        x, observed = packed.x, packed.observed
        noise, uniform = self.draw(seed, tf.shape(x)[0], tf.shape(x)[1], True)
        given = self.hoist(packed, noise)
        frames = self._frames_of(given, x=x, observed=observed, uniform=uniform)
        if first:
            own = {latent.name: noise[latent.name] for latent in self.frame_latents}
            frames = frames._replace(infer=tf.reduce_all(observed, axis=-1), noise=own)
        io = packed.within(self.frames)
        simulated, _ = simulation.simulate(self.cell, io, frames, state=given.state)
        return simulated.x, simulated.params

    def _fill_given(self, packed: Packed, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        noise, uniform = self.draw(seed, tf.shape(packed.x)[0], tf.shape(packed.x)[1], True)
        params = self.infer_packed(packed, noise).x
        return tf.where(packed.observed, packed.x, self.emit(params, uniform)), params

    # Streaming.

    def start_stream(
        self,
        batch_size: tf.Tensor | int,
        latents: Mapping[str, tf.Tensor],
        context: tf.Tensor | None = None,
        noise: Mapping[str, tf.Tensor] | None = None,
        units: Units | None = None,
    ) -> State:
        state = self.cell.start(batch_size)
        for latent in self.sequence_latents:
            z = latents.get(latent.name)
            if z is None:
                z = self._imagined(latent, state, batch_size, (noise or {}).get(latent.name))
            state = latent.absorb(state, z)
        return {**state, **self.remembered(batch_size, context, units)}

    def _imagined(
        self, latent: Latent, state: State, batch_size: tf.Tensor | int, noise: tf.Tensor | None
    ) -> tf.Tensor:
        """A latent of sequences that are not data, from its prior; one of the data set from its posterior, which is
        what is known of it."""
        if latent.level == "dataset":
            return latent.q.sample(latent.posterior(batch_size), noise)
        return latent.p.sample(latent.prior_of(state, tf.zeros([batch_size, 1])), noise)

    def encode_frame(self, state: State, seen: tf.Tensor, u: tf.Tensor | None) -> tuple[State, Any]:
        e, c = self.cell.embed(seen), self.cell.embed_u(u)
        state, g = self.cell.encode_step(self.cell.absorb_u(state, c), seen, c, e)
        return state, (e, g)

    def meet_frame(
        self, io: Any, x: tf.Tensor, observed: tf.Tensor | None, opened: State, frame: Any, draw: Draw
    ) -> StepOutput:
        (e, g), state, paths = frame, opened, {}
        for latent in self.frame_latents:
            q = latent.posterior(state, g)
            z, noise = draw(latent, q)
            paths[latent.name] = latent.path(state, g, z, q, noise)
            state = latent.absorb(state, z)
        params = io.params(self.cell.observe(state))
        log_px = io.log_prob(params, x, observed)
        return StepOutput(paths, params, log_px, self.frame_kl(paths, log_px), self.cell.absorb_x(state, e))

    def imagine_frame(
        self,
        io: Any,
        state: State,
        u: tf.Tensor | None,
        noise: Mapping[str, tf.Tensor],
        uniform: tf.Tensor | None,
    ) -> tuple[Generated, State]:
        u, noise, uniform = tf.nest.map_structure(lambda y: None if y is None else y[:, None], (u, noise, uniform))
        found, state = self._simulated(io, state, u, 1, noise, uniform, encoding=self.causal)
        return tf.nest.map_structure(lambda y: y[:, 0], found), state

    @property
    def has_penalties(self) -> bool:
        return bool(self.cell.penalty_reads)

    def particles(self, packed: Packed, num_samples: int) -> Particles:
        # Dropout draws one mask per path, in the loop and before it: each path then needs rows of its own.
        shared = self.cell.dropout == 0.0
        packed = packed if shared else tf.nest.map_structure(lambda y: repeat_rows(y, num_samples), packed)
        given = self.hoist(packed, None)
        size = tf.shape(packed.x)[0] * (num_samples if shared else 1)
        own = (packed.context, packed.units)
        own = tf.nest.map_structure(lambda y: repeat_rows(y, num_samples), own) if shared else own
        io = self.frames.within(*own)

        def advance(state: State, inputs: Any, draw: Callable) -> StepOutput:
            x_t, observed_t, e_t, c_t, g_t, pictures_t = inputs
            io_t = io if pictures_t is None else io.at(Newest(pictures_t))
            return self.meet_frame(io_t, x_t, observed_t, self.cell.absorb_u(state, c_t), (e_t, g_t), draw)

        scored = self.frames.scored(packed.x, packed.mask, packed.observed)
        pictures = None if packed.skips is None else packed.skips.along()
        inputs = (packed.x, scored, given.e, given.c, given.g, pictures)
        return Particles(self.cell.start(size), inputs, advance, shared, self.latents)

    # Parts.

    def _after(self, request: Request, seed: tf.Tensor | None) -> State:
        """The state after the last existing frame of each sequence, along a drawn path (or along the modes)."""
        packed, _ = self.pack(request.past)
        size, length = tf.shape(packed.x)[0], tf.shape(packed.x)[1]
        noise = None if seed is None else self.draw_noise(seed, size, length)
        given = self.hoist(packed, noise, request.latents)
        state = recurrence.teacher_forced(self.cell, given, hold=packed.mask, last=True)[1]
        for latent in self.sequence_latents:
            if latent.name in request.replacing:
                state = latent.absorb(state, request.replacing[latent.name])
        beside = self.remembered(size, packed.context, packed.units)
        exists = tf.ones([size, length], tf.bool) if packed.mask is None else packed.mask
        lengths = tf.reduce_sum(tf.cast(exists, tf.int32), axis=1)
        if packed.skips is not None:
            beside["given"] |= Newest(packed.skips.last(), lengths)._asdict()
        if "last" in beside:
            io = packed.within(self.frames)
            x = packed.x if packed.observed is None else io.filled(packed.x, packed.observed)
            beside["last"] = tf.gather(x, lengths - 1, batch_dims=1)
        return {**state, **beside}

    def get_config(self) -> dict:
        cell = self.cell.get_config()
        options = {k: v for k, v in cell.items() if k not in ("name", "dtype", "trainable", *self.without_use())}
        return {**super().get_config(), **options}
