"""The verbs of every model, as users call them: arguments are checked here, once; a model brings the computation."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfdvae import masks, random, validation
from tfdvae.models.base import DVAE
from tfdvae.types import Batch, Forecast, Generated, Imputed, State, StepOutput

__all__ = ["VerbsDVAE", "tile", "untile"]


class VerbsDVAE(DVAE):
    """A DVAE that reconstructs, generates, forecasts and imputes; and streams, where its latents allow it.

    A subclass implements the hooks at the end.
    """

    @property
    def stepwise(self) -> bool:
        """Whether frames can be drawn one after the other."""
        return True

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
                data. Where x_t has no x_<t for a parent the two are the same.
            sample: draw z and x instead of following their means.
        """
        if mode not in ("teacher_forced", "generation"):
            raise ValueError(f"`mode` must be 'teacher_forced' or 'generation', got {mode!r}.")
        return self._reconstruct(self.check(x, mask, u), self.next_seed(seed), mode == "teacher_forced", sample)

    def generate(
        self,
        length: int,
        batch_size: int = 1,
        *,
        prefix: Any = None,
        u: Any = None,
        latents: Mapping[str, Any] | None = None,
        sample: bool = True,
        seed: int | None = None,
    ) -> Generated:
        """Draws `length` new frames from the model.

        Args:
            length: T.
            batch_size: B, where there is neither prefix nor u nor latents.
            prefix: frames `[B, T0, D]` to continue, or a dict with "x", "mask", "u"; they are not part of the result.
            u: inputs `[B, T, U]` for the new frames, in driven mode.
            latents: given values `[B, V]` of latents that exist once per sequence, by name; the others are drawn from
                their prior, or from their posterior given the prefix.
            sample: False follows the means of all latents and of x_t instead of drawing them.

        Raises:
            ValueError: if the model is not built, `length` is not positive, or u or latents are missing or of another
                size.
        """
        self._require_built("generate")
        if length < 1:
            raise ValueError(f"`length` must be at least 1, got {length}.")
        batch = None if prefix is None else self.check(prefix)
        u, latents = self._inputs(u, length), self._latents(latents)
        sizes = [tf.shape(y)[0] for y in (None if batch is None else batch.x, u, *latents.values()) if y is not None]
        size = tf.convert_to_tensor(sizes[0] if sizes else batch_size)
        return self._generate(batch, u, latents, tf.constant(length), size, self.next_seed(seed), sample)

    @tf.function(reduce_retracing=True, autograph=False)
    def _generate(
        self,
        prefix: Batch | None,
        u: tf.Tensor | None,
        latents: Mapping[str, tf.Tensor],
        length: tf.Tensor,
        size: tf.Tensor,
        seed: tf.Tensor,
        sample: bool,
    ) -> Generated:
        if prefix is None:
            return self._begin(u, latents, length, size, seed, sample)
        return self._continue(prefix, u, latents, length, seed, sample)

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
        past = Batch(*(tile(y, num_samples) for y in batch))
        drawn = self._continue(past, tile(future_u, num_samples), {}, horizon, seed, True)
        samples, means = (untile(y, num_samples) for y in (drawn.x, self.observation.mean(drawn.params)))
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
        filled, params = self._sweep(batch.x, observed, batch, seed_tensor, num_samples, True)
        for sweep in range(1, num_sweeps):
            again = random.fold_in(seed_tensor, sweep)
            filled, params = self._sweep(filled, observed, batch, again, num_samples, False)
        mean = tf.reduce_mean(untile(self.observation.mean(params), num_samples), axis=0)
        return Imputed(untile(filled, num_samples), masks.zero_masked(tf.where(observed, batch.x, mean), batch.mask))

    @tf.function(reduce_retracing=True, autograph=False)
    def _sweep(
        self, filled: tf.Tensor, observed: tf.Tensor, batch: Batch, seed: tf.Tensor, num_samples: int, first: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if first:
            filled = tile(filled, num_samples)
        observed, mask, u = (tile(y, num_samples) for y in (observed, batch.mask, batch.u))
        packed, how = masks.pack_batch(Batch(filled, mask, u))
        observed = observed if how is None else masks.pack(observed, how)
        x, params = self._fill(packed, observed, seed, first)
        return (x, params) if how is None else (masks.unpack(x, how), masks.unpack(params, how))

    # Streaming.

    def initial_state(self, batch_size: int = 1, latents: Mapping[str, Any] | None = None) -> State:
        """The state before the first frame, for `step` and `generate_step`.

        Args:
            latents: values `[B, V]` of latents that exist once per sequence, by name; where they are not given, the
                mean of what `generate` draws them from.

        Raises:
            ValueError: if frames cannot be drawn one after the other.
        """
        self._require_stepwise("initial_state")
        return self._initial_state(batch_size, self._latents(latents))

    def step(self, state: State, x: Any, u: Any = None, noise: Any = None) -> StepOutput:
        """Takes in one frame, in constant time and memory; T steps equal one call on the sequence.

        Args:
            state: from `initial_state`, or from the call before.
            x: `[B, D]`.
            u: `[B, U]`, in driven mode.
            noise: standard normal `[B, Z]`; None follows the posterior mean.

        Raises:
            ValueError: if the posterior looks into the future, or x is not a frame.
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

    def generate_step(
        self, state: State, u: Any = None, noise: Any = None, emission: Any = None
    ) -> tuple[Generated, State]:
        """Draws one frame and moves on: z_t from the prior, x_t from p(x_t | .), fed back.

        Args:
            noise: standard normal `[B, Z]`; None takes the prior's mean.
            emission: uniform `[B, observation.noise_dim]`; None takes the mean of p(x_t | .).
        """
        self._require_stepwise("generate_step")
        return self._generate_step(state, None if u is None else tf.cast(u, tf.float32), noise, emission)

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

    # What a subclass implements, as graphs.

    def _reconstruct(self, batch: Batch, seed: tf.Tensor, teacher_forced: bool, sample: bool) -> tf.Tensor:
        raise NotImplementedError

    def _begin(
        self,
        u: tf.Tensor | None,
        latents: Mapping[str, tf.Tensor],
        length: tf.Tensor,
        size: tf.Tensor,
        seed: tf.Tensor,
        sample: bool,
    ) -> Generated:
        """Sequences from their first frame on."""
        raise NotImplementedError

    def _continue(
        self,
        past: Batch,
        u: tf.Tensor | None,
        latents: Mapping[str, tf.Tensor],
        horizon: tf.Tensor,
        seed: tf.Tensor,
        sample: bool,
    ) -> Generated:
        """The frames that follow each sequence of `past`."""
        raise NotImplementedError

    def _fill(self, packed: Batch, observed: tf.Tensor, seed: tf.Tensor, first: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """One sweep of `impute` over right-padded frames: completed frames, and parameters of p(x_t | .).

        In the first sweep what was not observed is zero; later it is what the sweep before has drawn."""
        raise NotImplementedError

    def _initial_state(self, batch_size: tf.Tensor | int, latents: Mapping[str, tf.Tensor]) -> State:
        raise NotImplementedError

    def _step(self, state: State, x: tf.Tensor, u: tf.Tensor | None, noise: tf.Tensor | None) -> StepOutput:
        raise NotImplementedError

    def _generate_step(self, state: State, u: Any, noise: Any, emission: Any) -> tuple[Generated, State]:
        raise NotImplementedError

    # Parts.

    def draw(self, seed: tf.Tensor, size: tf.Tensor, length: tf.Tensor, sample: bool) -> tuple[Any, tf.Tensor | None]:
        """Noise for the latents of a path, and uniform noise for its frames; None and None where means are followed."""
        if not sample:
            return None, None
        emission = random.uniform(random.fold_in(seed, "emission"), [size, length, self.observation.noise_dim])
        return self.draw_noise(random.fold_in(seed, "latent"), size, length), emission

    def emit(self, params: tf.Tensor, emission: tf.Tensor | None) -> tf.Tensor:
        """Frames from parameters of p(x_t | .): drawn with uniform noise, or their mean."""
        return self.observation.mean(params) if emission is None else self.observation.sample(params, emission)

    def prior_globals(
        self, size: tf.Tensor | int, noise: Mapping[str, tf.Tensor] | None, given: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Latents that exist once per sequence, where not given: from noise, or the mean of their prior."""
        noise = noise or {}
        drawn = {k: noise.get(k, tf.zeros([size, width])) for k, width in self.global_dims.items()}
        return {**drawn, **given}

    def _latents(self, latents: Mapping[str, Any] | None) -> dict[str, tf.Tensor]:
        """Given latents of whole sequences, checked."""
        found = {k: tf.cast(tf.convert_to_tensor(v), tf.float32) for k, v in (latents or {}).items()}
        expected = {k: f"[batch, {width}]" for k, width in self.global_dims.items()}
        for name, value in found.items():
            if name not in expected or value.shape.rank != 2 or value.shape[-1] != self.global_dims[name]:
                raise ValueError(
                    f"`latents` may give {expected or 'nothing, since this model has a latent per frame only'}; "
                    f"got {name!r} of shape {tuple(value.shape)}."
                )
        return found

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

    def _require_stepwise(self, verb: str) -> None:
        self._require_built(verb)
        if not self.stepwise:
            raise ValueError(
                f"{type(self).__name__} draws whole sequences, each frame from all latents, so `{verb}` has no "
                "meaning. Call `generate` with the length that you need, or choose a stepwise model."
            )

    def _require_causal(self) -> None:
        self._require_built("step")
        if not self.causal:
            raise ValueError(
                f"{type(self).__name__} as configured infers latents from frames that are yet to come, so frames "
                "cannot be streamed. Choose a causal inference (SRNN: inference='filter'; DKF: 'st_l', 'mf_l' or "
                "'frame') or a causal model (VRNN, STORN, KVAE)."
            )


def tile(x: tf.Tensor | None, num_samples: int) -> tf.Tensor | None:
    """K copies of a batch below each other, `[K * B, ...]`."""
    return None if x is None else tf.tile(x, [num_samples, *[1] * (x.shape.rank - 1)])


def untile(x: tf.Tensor, num_samples: int) -> tf.Tensor:
    """`[K * B, ...]` to `[K, B, ...]`."""
    return tf.reshape(x, tf.concat([[num_samples, -1], tf.shape(x)[1:]], axis=0))
