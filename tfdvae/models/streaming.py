"""Verbs that take one frame at a time, in constant time and memory; and the export of all verbs."""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf

from tfdvae import validation
from tfdvae.bounds.filtering import Draw
from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.layers.frame_skips import Newest
from tfdvae.layers.latent import Latent
from tfdvae.layers.units import Units
from tfdvae.types import Generated, State, StepOutput

__all__ = ["CAUSAL_FORMS", "StreamingMixin"]

CAUSAL_FORMS = (
    "a causal inference (SRNN: inference='filter'; DKF: 'st_l', 'mf_l' or 'frame'; DVBF: initial='filter') or a causal "
    "model (VRNN, STORN, KVAE, VAE)"
)
"""For users whose model cannot stream, as the end of a sentence."""


class StreamingMixin:
    """A model that streams, where its latents allow it. A subclass implements the hooks at the end.

    A state is a dict of tensors `[B, .]`. What a model needs to remember beside the entries of its own equations stands
    in it as well: "context", and with fill="last" the "last" values that were observed.
    """

    not_causal: ClassVar[str] = "infers latents from frames that are yet to come"
    """What a model that is not `causal` does instead, as a part of a sentence."""

    @property
    def stepwise(self) -> bool:
        """Whether frames can be drawn one after the other."""
        return False

    def initial_state(
        self,
        batch_size: int = 1,
        latents: Mapping[str, Any] | None = None,
        context: Any = None,
        given: Any = None,
    ) -> State:
        """The state before the first frame, for `step` and `generate_step`.

        Args:
            latents: values `[B, Z]` of latents that exist once per sequence, by name; where they are not given, the
                mode of what `generate` draws them from.
            context: `[B, C]`, where the model was built for one.
            given: for standardize="sequence", the first frames of each sequence `[B, T, D]`, or a dict with "x", "mask"
                and "observed", which its units are taken from; where they are not known, those of the data set hold.

        Raises:
            ValueError: if frames cannot be drawn one after the other, `given` means nothing to the model, or latents or
                context hold NaN or are for another number of sequences.
        """
        self._require_stepwise("initial_state")
        if not validation.is_symbolic(batch_size):
            batch_size = validation.whole("batch_size", batch_size, at_least=1)
        units = None if given is None else self._given_units(given, batch_size)
        latents, context = self._latents(latents), self._context(context)
        for name, value in {**latents, "context": context}.items():
            if isinstance(batch_size, int) and value is not None and value.shape[0] not in (None, batch_size):
                raise ValueError(f"Expected `{name}` for {batch_size} sequences, got {value.shape[0]} rows.")
        return self.start_stream(batch_size, latents, context, units=units)

    def step(self, state: State, x: Any, u: Any = None, observed: Any = None, noise: Any = None) -> StepOutput:
        """Takes in one frame, in constant time and memory; T steps equal one call on the sequence.

        Args:
            state: from `initial_state`, or from the call before.
            x: `[B, D]`, or `[B, ...]` in the shape of a frame.
            u: `[B, U]`, in driven mode.
            observed: `[B]` or as x, true where x holds data; elsewhere it may hold anything. A model with missing="nan"
                takes NaN in x for a value that was not observed.
            noise: of each latent by name, `[B, n]`; None follows the posterior modes.

        Raises:
            ValueError: if the posterior looks into the future, x is not a frame, the state is not one of this model for
                as many sequences, or anything holds NaN.
        """
        self._require_causal()
        x, observed = validation.one_frame(x, observed, self.frame_shape, self.missing, self.frames)
        state, size = validation.check_state(state, self._state_template, x.shape[0])
        return self.take_frame(state, x, self._frame_inputs(u, size), observed, self._noise(noise, size))

    def generate_step(
        self, state: State, u: Any = None, noise: Any = None, uniform: Any = None
    ) -> tuple[Generated, State]:
        """Draws one frame and moves on: latents from their prior, x_t from p(x_t | .), fed back.

        It leaves what `step` leaves that is given this frame, and draws these latents: the two mix in any order.

        Args:
            noise: of each latent by name, `[B, n]`; None takes the modes of the priors.
            uniform: in (0, 1), `[B, observation.noise_dim]`; None takes the mean of p(x_t | .).

        Raises:
            ValueError: if frames cannot be drawn one after the other, the state is not one of this model, or anything
                has another shape or holds NaN.
        """
        self._require_stepwise("generate_step")
        state, size = validation.check_state(state, self._state_template)
        if uniform is not None:
            shape = [self.observation.noise_dim]
            uniform = validation.as_rows("uniform", uniform, shape, size, uniform=True)
        drawn, state = self.draw_frame(state, self._frame_inputs(u, size), self._noise(noise, size), uniform)
        return drawn._replace(x=restore_frames(drawn.x, self.frame_shape)), state

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **options: Any,
    ) -> None:
        """Writes all signatures of the model (see `tfdvae.serving`) for use without Keras, completely or not at all.

        Args:
            filepath: a new folder, or a new .tflite file.
            format: "tf_saved_model" or "litert".
            verbose: as in Keras; nothing is printed.
            input_signature: None; signatures are the model's own.
            **options: `signatures`, names of those to write; and what `serving.export_litert` takes.

        Raises:
            ValueError: a model that was never built, another format, or a signature that the model cannot have.
            FileExistsError: there is something at `filepath`.
            OSError: it cannot be written.
        """
        from tfdvae import serving

        if format not in serving.FORMATS or input_signature is not None:
            raise ValueError(
                f"`format` must be one of {', '.join(serving.FORMATS)}, and `input_signature` None, since a model has "
                f"signatures of its own (`signatures=[...]` chooses); got {format!r} and {input_signature!r}."
            )
        serving.FORMATS[format](self, filepath, **options)

    @tf.function(reduce_retracing=True, autograph=False)
    def take_frame(
        self,
        state: State,
        x: tf.Tensor,
        u: tf.Tensor | None,
        observed: tf.Tensor | None,
        noise: Mapping[str, tf.Tensor] | None,
    ) -> StepOutput:
        """`step` for tensors that were checked, `[B, D]`."""
        noise = noise or {}

        def draw(latent: Latent, q: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
            own_noise = noise.get(latent.name)
            return latent.q.sample(q, own_noise), own_noise

        return self.take_frame_with(draw, state, x, u, observed)

    def take_frame_with(
        self, draw: Draw, state: State, x: tf.Tensor, u: tf.Tensor | None, observed: tf.Tensor | None
    ) -> StepOutput:
        """The same with latents that `draw` makes of their posteriors, or knows from elsewhere."""
        own, beside = self.parted(state)
        io = self.io_beside(beside)
        seen, pictures = io.look(x, observed, beside.get("last"))
        frame = self.encode_frame(own, seen, self.step_inputs(u, beside))
        scored = observed
        if "given" in beside:
            past = tf.expand_dims(beside["given"]["clock"] >= self.given_frames, 1)
            later = tf.broadcast_to(past, tf.shape(x))
            scored = later if observed is None else later & observed
        out = self.meet_frame(io, x, scored, *frame, draw)
        if "last" in beside:
            beside = {**beside, "last": x if observed is None else io.filled(x, observed, beside["last"])}
        newest = io.newest(tf.shape(x)[0])
        if newest is not None:
            known = None if observed is None else tf.reduce_any(observed, axis=-1)
            newest = newest.after(pictures, self.given_frames, known)
        return out._replace(state={**out.state, **self.passed(beside, newest)})

    @tf.function(reduce_retracing=True, autograph=False)
    def draw_frame(
        self,
        state: State,
        u: tf.Tensor | None,
        noise: Mapping[str, tf.Tensor] | None,
        uniform: tf.Tensor | None,
    ) -> tuple[Generated, State]:
        """`generate_step` for tensors that were checked; the frame is `[B, D]`."""
        own, beside = self.parted(state)
        drawn, own = self.imagine_frame(self.io_beside(beside), own, self.step_inputs(u, beside), noise or {}, uniform)
        beside = {**beside, "last": drawn.x} if "last" in beside else beside
        own, after = self.parted(own)
        return drawn, {**own, **self.passed(beside, after.get("given"))}

    # What a subclass implements, as graphs.

    def start_stream(
        self,
        batch_size: tf.Tensor | int,
        latents: Mapping[str, tf.Tensor],
        context: tf.Tensor | None = None,
        noise: Mapping[str, tf.Tensor] | None = None,
        units: Units | None = None,
    ) -> State:
        """The state before the first frame; `noise` draws the latents of the sequence that are not given. `units` are
        those of the sequences, `[B, D]`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `start_stream`.")

    def encode_frame(self, state: State, seen: tf.Tensor, u: tf.Tensor | None) -> tuple[State, Any]:
        """The state once a frame has opened, and what else `meet_frame` needs, from what networks see, `[B, E]`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `encode_frame`.")

    def meet_frame(
        self, io: Any, x: tf.Tensor, observed: tf.Tensor | None, opened: State, frame: Any, draw: Draw
    ) -> StepOutput:
        """One frame from where it has opened to where it closes.

        Args:
            io: the model's `FrameIO`, for the context and the units of the sequences.
            observed: what of x is scored.
            opened, frame: from `encode_frame`.
            draw: makes each latent of its posterior, and says of what noise.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement `meet_frame`.")

    def imagine_frame(
        self,
        io: Any,
        state: State,
        u: tf.Tensor | None,
        noise: Mapping[str, tf.Tensor],
        uniform: tf.Tensor | None,
    ) -> tuple[Generated, State]:
        """One frame from the prior, fed back."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `imagine_frame`.")

    # Parts.

    def remembered(self, batch_size: tf.Tensor | int, context: tf.Tensor | None, units: Units | None = None) -> State:
        """What a state holds before the first frame beside the entries of the equations."""
        found = {} if context is None else {"context": context}
        like = tf.zeros([batch_size, self.x_dim])
        if self.frames.mode == "sequence":
            units = Units(*(like + y for y in units or self.frames.usual))
        if self.given_frames:
            own = {} if units is None else units._asdict()
            newest = self.frames.newest(batch_size)
            own |= {} if newest is None else newest._asdict()
            found["given"] = {"clock": tf.zeros([batch_size], tf.int32), **own}
        if self.frames.fill == "last":
            found["last"] = self.frames.blank(like, units)
        return found

    @staticmethod
    def parted(state: State) -> tuple[State, State]:
        """The entries of the equations, and what stands beside them."""
        beside = ("context", "given", "last")
        return ({k: v for k, v in state.items() if k not in beside}, {k: state[k] for k in beside if k in state})

    @staticmethod
    def passed(beside: State, newest: Newest | None = None) -> State:
        """What stands beside the entries of the equations, one frame later; with `frame_skips`, the pictures then."""
        if "given" not in beside:
            return beside
        given = {**beside["given"], "clock": beside["given"]["clock"] + 1}
        return {**beside, "given": given if newest is None else {**given, **newest._asdict()}}

    def io_beside(self, beside: State) -> Any:
        """The model's `FrameIO`, for the context, the units and the pictures of a given frame that a state holds."""
        given = beside.get("given", {})
        units = Units(given["shift"], given["scale"]) if "shift" in given else None
        newest = Newest(given["pictures"], given["clock"]) if "pictures" in given else None
        return self.frames.within(beside.get("context"), units, newest)

    def _given_units(self, given: Any, batch_size: int) -> Units:
        """The units of sequences from their first frames, checked."""
        if self.frames.mode != "sequence":
            raise ValueError(
                "`given` tells the units of sequences, which a model made with standardize='sequence' alone asks for: "
                "hand frames that are given to a stream by `step`."
            )
        sizes = self.built_sizes._replace(u_dim=None)
        batch = validation.check_arrays(validation.as_batch(given), sizes, self.missing, self.frames)
        if batch.x.shape[0] != batch_size:
            raise ValueError(f"Expected `given` for {batch_size} sequences, got {batch.x.shape[0]}.")
        batch = self.tensors(batch)
        return self.frames.units(batch.x, batch.mask, batch.observed)

    def step_inputs(self, u: tf.Tensor | None, beside: State) -> tf.Tensor | None:
        """Inputs of one frame, `[B, U + C]`."""
        parts = [y for y in (u, beside.get("context")) if y is not None]
        return tf.concat(parts, axis=-1) if parts else None

    @functools.cached_property
    def _state_template(self) -> State:
        """A state for one sequence, which every state must resemble."""
        with tf.init_scope():
            return self.initial_state(1, context=tf.zeros([1, self.context_dim]) if self.context_dim else None)

    def _frame_inputs(self, u: Any, size: int | None) -> tf.Tensor | None:
        """Inputs of one frame `[B, U]`, checked."""
        if u is None and not self.u_dim:
            return None
        if u is None or not self.u_dim:
            expected = f"inputs `u` of shape [batch, {self.u_dim}] at each frame" if self.u_dim else "no inputs `u`"
            raise ValueError(f"The model was built for {expected}; got {'none' if u is None else 'some'}.")
        return validation.as_rows("u", u, [self.u_dim], size)

    def _noise(self, noise: Any, size: int | None) -> dict[str, tf.Tensor] | None:
        """Noise of one frame by the names of the latents, checked; a bare tensor is that of the only one."""
        if noise is None:
            return None
        latents = {latent.name: latent for latent in self.frame_latents}
        if not isinstance(noise, Mapping):
            if len(latents) != 1:
                raise ValueError(f"Expected `noise` as a dict with {', '.join(latents) or 'nothing'}, got one tensor.")
            noise = {next(iter(latents)): noise}
        unknown = sorted(set(noise) - set(latents))
        if unknown:
            raise ValueError(f"`noise` names {', '.join(unknown)}; the latents of frames are {', '.join(latents)}.")
        return {
            name: validation.as_rows(
                f"noise of {name}",
                value,
                [latents[name].q.noise_dim],
                size,
                uniform=latents[name].q.noise_kind == "uniform",
            )
            for name, value in noise.items()
        }

    def _require_stepwise(self, verb: str) -> None:
        self._require_built(verb)
        if not self.stepwise:
            raise ValueError(
                f"{type(self).__name__} draws whole sequences, whose frames or latents come together, so "
                f"`{verb}` has no meaning. Call `generate` with the length that you need, or choose a stepwise model."
            )

    def _require_causal(self) -> None:
        self._require_built("step")
        if not self.causal:
            raise ValueError(
                f"{type(self).__name__} as configured {self.not_causal}, so frames cannot be streamed. Choose "
                f"{CAUSAL_FORMS}."
            )
