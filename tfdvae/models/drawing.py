"""Verbs that draw frames: reconstruct, generate, forecast and impute. Arguments are checked here, once; a model brings
the computation."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae import masks, random, validation
from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.layers.units import Units
from tfdvae.types import Batch, Forecast, Generated, Imputed, Refined

__all__ = ["DrawingMixin", "Request", "tile", "untile"]


class Request(NamedTuple):
    """New frames that a verb asks a model for, as tensors.

    Attributes:
        size, length: B and T, of the new frames.
        seed: all that is random follows from it; `[B, 2]` where each row has its own.
        sample: whether to draw; otherwise modes of latents and means of frames are followed.
        u: inputs `[B, T, U]`, in driven mode.
        context: `[B, C]`, or None.
        latents: given values of latents that exist once per sequence, by name, `[B, Z]`.
        past: sequences to go on from; None begins new ones.
        replacing: values of such latents that take the place of the past's own ones from the first new frame on.
        mask: `[B, T]`, which of the new frames count, where rows want fewer than T; they come first.
    """

    size: tf.Tensor
    length: tf.Tensor
    seed: tf.Tensor
    sample: bool
    u: tf.Tensor | None = None
    context: tf.Tensor | None = None
    latents: Mapping[str, tf.Tensor] = {}
    past: Batch | None = None
    replacing: Mapping[str, tf.Tensor] = {}
    mask: tf.Tensor | None = None


class DrawingMixin:
    """A model that reconstructs, generates, forecasts and imputes. A subclass implements the hooks at the end."""

    def reconstruct(
        self,
        x: Any,
        mask: Any = None,
        u: Any = None,
        observed: Any = None,
        context: Any = None,
        *,
        mode: str = "teacher_forced",
        sample: bool = False,
        seed: int | None = None,
    ) -> tf.Tensor:
        """Frames in the shape of x from latents inferred from x; zeros at frames that do not exist.

        Args:
            mode: "teacher_forced": x_<t is the data wherever the model conditions on it. "generation": x_<t is the
                model's own output there (survey 4.4.1), while q(z_t | .) still sees what `encode` hoists from the
                data. Where x_t has no x_<t for a parent the two are the same.
            sample: draw z and x instead of following their means.
        """
        if mode not in ("teacher_forced", "generation"):
            raise ValueError(f"`mode` must be 'teacher_forced' or 'generation', got {mode!r}.")
        sample = validation.switch("sample", sample)
        batch = self.check(x, mask, u, observed, context)
        found = self._reconstruct(batch, self.next_seed(seed), mode == "teacher_forced", sample)
        return restore_frames(found, self.frame_shape)

    def generate(
        self,
        length: int,
        batch_size: int = 1,
        *,
        prefix: Any = None,
        u: Any = None,
        context: Any = None,
        latents: Mapping[str, Any] | None = None,
        sample: bool = True,
        seed: int | None = None,
    ) -> Generated:
        """Draws `length` new frames from the model.

        Args:
            length: T.
            batch_size: B, where there is neither prefix nor u nor context nor latents.
            prefix: frames `[B, T0, D]` to continue, or a dict with "x", "mask", "u" and so on; they are not part of the
                result.
            u: inputs `[B, T, U]` for the new frames, in driven mode.
            context: `[B, C]`, where the model has one; that of the prefix holds unless it is given.
            latents: given values `[B, Z]` of latents that exist once per sequence, by name; the others are drawn from
                their prior, or from their posterior given the prefix.
            sample: False follows the modes of all latents and the means of x_t instead of drawing them.

        Raises:
            ValueError: if the model is not built, `length` is not positive, or u, context or latents are missing or of
                another size.
        """
        self._require_built("generate")
        length = validation.whole("length", length, at_least=1)
        batch_size = validation.whole("batch_size", batch_size, at_least=1)
        sample = validation.switch("sample", sample)
        past = None if prefix is None else self.check(prefix)
        u, latents = self._inputs(u, length), self._latents(latents)
        context = past.context if past is not None and context is None else self._context(context)
        given = {"prefix": None if past is None else past.x, "u": u, "context": context, **latents}
        validation.same_rows(**given)
        sizes = [tf.shape(y)[0] for y in given.values() if y is not None]
        size = tf.convert_to_tensor(sizes[0] if sizes else batch_size)
        seed_tensor = self.next_seed(seed)
        drawn = self.draw_frames(Request(size, tf.constant(length), seed_tensor, sample, u, context, latents, past))
        return drawn._replace(x=restore_frames(drawn.x, self.frame_shape))

    @tf.function(reduce_retracing=True, autograph=False)
    def draw_frames(self, request: Request) -> Generated:
        return self._begin(request) if request.past is None else self._continue(request)

    def forecast(
        self,
        x: Any,
        mask: Any = None,
        u: Any = None,
        observed: Any = None,
        context: Any = None,
        *,
        horizon: int,
        future_u: Any = None,
        latents: Mapping[str, Any] | None = None,
        num_samples: int = 16,
        seed: int | None = None,
    ) -> Forecast:
        """Continues each sequence by `horizon` frames, `num_samples` times.

        Latents of the past are drawn from the posterior anew for each sample. The mean averages E[x_t | path] over
        the paths.

        Args:
            x, mask, u, observed, context: the past, as everywhere; sequences may have different lengths.
            future_u: `[B, horizon, U]`, in driven mode.
            latents: values `[B, Z]`, by name, of latents that exist once per sequence and are known from elsewhere, as
                from another recording: the past is then inferred, and continued, with them.
        """
        batch = self.check(x, mask, u, observed, context)
        horizon = validation.whole("horizon", horizon, at_least=1)
        num_samples = validation.whole("num_samples", num_samples, at_least=1)
        future_u, known = self._inputs(future_u, horizon, "future_u"), self._latents(latents)
        validation.same_rows(x=batch.x, future_u=future_u, **known)
        found = self.draw_forecast(batch, future_u, tf.constant(horizon), num_samples, self.next_seed(seed), known)
        return Forecast(*(restore_frames(y, self.frame_shape) for y in found))

    @tf.function(reduce_retracing=True, autograph=False)
    def draw_forecast(
        self,
        batch: Batch,
        future_u: tf.Tensor | None,
        horizon: tf.Tensor,
        num_samples: int,
        seed: tf.Tensor,
        latents: Mapping[str, tf.Tensor] | None = None,
    ) -> Forecast:
        """`forecast` for tensors that were checked."""
        samples, means = self.draw_continuations(batch, future_u, horizon, num_samples, seed, latents)
        return Forecast(samples, tf.reduce_mean(means, axis=0))

    def draw_continuations(
        self,
        batch: Batch,
        future_u: tf.Tensor | None,
        horizon: tf.Tensor,
        num_samples: tf.Tensor | int,
        seed: tf.Tensor,
        latents: Mapping[str, tf.Tensor] | None = None,
        mask: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Frames that follow, and E[x_t | path] of each path, both `[K, B, horizon, D]`.

        Args:
            seed: `[2]`, or `[K * B, 2]` where each path has its own.
            mask: `[B, horizon]`, which of the new frames count (see `Request`).
        """
        given = (batch, future_u, latents or {}, mask)
        past, u, known, mask = tf.nest.map_structure(lambda y: tile(y, num_samples), given)
        request = Request(tf.shape(past.x)[0], horizon, seed, True, u, past.context, known, past, mask=mask)
        drawn = self._continue(request)
        return tuple(untile(y, num_samples) for y in (drawn.x, self.frames.mean(drawn.params)))

    def impute(
        self,
        x: Any,
        mask: Any = None,
        u: Any = None,
        observed: Any = None,
        context: Any = None,
        *,
        num_samples: int = 8,
        num_sweeps: int = 10,
        seed: int | None = None,
        refined: Refined | None = None,
    ) -> Imputed:
        """Fills in what was not observed; time passes at missing frames, unlike at masked ones.

        A model that was trained with `observed` (`partly_observed`) has learned q(z | x_observed): latents come from
        it, missing values from p(x_t | .), and its networks see of a missing value what they saw in training, `fill`
        and the indicator.

        A model of complete frames has not, and runs a Markov chain. A first sweep runs forward: latents from the
        posterior where the whole frame was observed, from the prior elsewhere, missing values from p(x_t | .). Each
        further sweep infers latents from the completed sequence and draws the missing values again (Rezende et al.
        2014, appendix F): the samples approach p(x_missing | x_observed) as q approaches the posterior.

        `mean` averages the means of p(x_t | .) over the samples, in their last sweep.

        Args:
            x: in the shape of training; values that were not observed may be anything, NaN included.
            observed: `[B, T]` or as x, true where x holds data; it must be given.
            num_sweeps: of the Markov chain.
            refined: what `refine` found for these sequences and this `observed`: latents come from those posteriors,
                in any model, and no chain is run.
        """
        batch = self.check(x, mask, u, observed, context)
        if batch.observed is None:
            raise ValueError("`impute` needs `observed`, true where x holds data: the rest is what it fills in.")
        num_samples = validation.whole("num_samples", num_samples, at_least=1)
        num_sweeps = validation.whole("num_sweeps", num_sweeps, at_least=1)
        chain = not self.partly_observed
        if refined is not None:
            blank = batch._replace(x=tf.where(batch.observed, batch.x, tf.zeros([], batch.x.dtype)))
            found = self._impute_moved(blank, self.moves_of(refined, batch), num_samples, self.next_seed(seed))
            return Imputed(*(restore_frames(y, self.frame_shape) for y in found))
        found = self.draw_missing(batch, tf.constant(num_sweeps), num_samples, self.next_seed(seed), chain)
        return Imputed(*(restore_frames(y, self.frame_shape) for y in found))

    @tf.function(reduce_retracing=True, autograph=False)
    def draw_missing(
        self, batch: Batch, sweeps: tf.Tensor, num_samples: tf.Tensor | int, seed: tf.Tensor, chain: bool
    ) -> Imputed:
        """`impute` for tensors that were checked."""
        filled, means = self.draw_completions(batch, sweeps, num_samples, seed, chain)
        mean = tf.where(batch.observed, batch.x, tf.reduce_mean(means, axis=0))
        return Imputed(filled, masks.zero_masked(mean, batch.mask))

    def draw_completions(
        self, batch: Batch, sweeps: tf.Tensor, num_samples: tf.Tensor | int, seed: tf.Tensor, chain: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Completed frames, and the means of p(x_t | .) of each path, both `[K, B, T, D]`.

        Args:
            sweeps: a number, or one for each path, `[K * B]`.
            seed: `[2]`, or `[K * B, 2]` where each path has its own.
        """
        blank = tf.where(batch.observed, batch.x, tf.zeros([], batch.x.dtype))
        batch = batch._replace(x=blank)
        repeated = Batch(*(tile(y, num_samples) for y in batch))
        if chain:
            filled, params = self._chain(repeated, sweeps, seed)
        else:
            packed, how = self.pack(repeated)
            filled, params = masks.restored(self._fill_given(packed, seed), how)
        return untile(filled, num_samples), untile(self.frames.mean(params), num_samples)

    def _chain(self, batch: Batch, sweeps: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The last of all sweeps: completed frames, and parameters of p(x_t | .)."""
        units = self.frames.units(batch.x, batch.mask, batch.observed)
        start = self._sweep(batch, units, seed, True)

        def sweep(i: tf.Tensor, *before: tf.Tensor) -> tuple:
            after = self._sweep(batch._replace(x=before[0]), units, random.fold_in(seed, i), False)
            if sweeps.shape.rank:
                after = (tf.where((i < sweeps)[:, None, None], y, last) for y, last in zip(after, before, strict=True))
            return i + 1, *after

        shapes = (tf.TensorShape([]), *(tf.TensorShape([None, None, y.shape[-1]]) for y in start))
        return tf.while_loop(lambda i, *_: tf.reduce_any(i < sweeps), sweep, (tf.constant(1), *start), shapes)[1:]

    def _sweep(self, batch: Batch, units: Units | None, seed: tf.Tensor, first: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """One sweep; after the first one x is complete."""
        packed, how = self.pack(batch if first else batch._replace(observed=None), units)
        observed = batch.observed if how is None else masks.pack(batch.observed, how)
        return masks.restored(self._fill(packed._replace(observed=observed), seed, first), how)

    # What a subclass implements, as graphs.

    def _reconstruct(self, batch: Batch, seed: tf.Tensor, teacher_forced: bool, sample: bool) -> tf.Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not implement `_reconstruct`.")

    def _begin(self, request: Request) -> Generated:
        """Sequences from their first frame on."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `_begin`.")

    def _continue(self, request: Request) -> Generated:
        """The frames that follow each sequence of `request.past`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `_continue`.")

    def _fill(self, packed: Any, seed: tf.Tensor, first: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """One sweep of `impute` over right-padded frames: completed frames, and parameters of p(x_t | .).

        In the first sweep x is zero where `packed.observed` is false, and `packed.seen` knows; later x is what the
        sweep before has drawn there, and is seen as if it were data."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `_fill`.")

    def _fill_given(self, packed: Any, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The same with latents from the posterior of what was observed, and nothing of what is drawn fed back."""
        return self._fill(packed, seed, False)

    # Parts.

    def draw(
        self, seed: tf.Tensor, size: tf.Tensor, length: tf.Tensor, sample: bool
    ) -> tuple[dict[str, tf.Tensor] | None, tf.Tensor | None]:
        """Noise for the latents of a path, and uniform noise for its frames; None and None where means are followed."""
        if not sample:
            return None, None
        uniform = random.uniform(random.fold_in(seed, "frames"), [size, length, self.observation.noise_dim])
        return self.draw_noise(random.fold_in(seed, "latent"), size, length), uniform

    def emit(self, params: tf.Tensor, uniform: tf.Tensor | None) -> tf.Tensor:
        """Frames from parameters of p(x_t | .): drawn with uniform noise, or their mean."""
        return self.frames.mean(params) if uniform is None else self.frames.sample(params, uniform)

    def _latents(self, latents: Mapping[str, Any] | None) -> dict[str, tf.Tensor]:
        """Given latents of whole sequences, checked."""
        found = {name: tf.convert_to_tensor(value) for name, value in (latents or {}).items()}
        widths = {latent.name: latent.latent_dim for latent in self.sequence_latents}
        expected = {k: f"[batch, {width}]" for k, width in widths.items()}
        for name, value in found.items():
            if name not in expected or value.shape.rank != 2 or value.shape[-1] != widths[name]:
                raise ValueError(
                    f"`latents` may give {expected or 'nothing, since this model has latents of frames only'}; "
                    f"got {name!r} of shape {tuple(value.shape)}."
                )
        return {name: validation.as_rows(name, value, [widths[name]]) for name, value in found.items()}

    def _inputs(self, u: Any, length: int, name: str = "u") -> tf.Tensor | None:
        """Inputs for frames to come, checked; `name` is that of the argument."""
        if u is None and not self.u_dim:
            return None
        expected = f"inputs `u` of shape [batch, {length}, {self.u_dim}]" if self.u_dim else "no inputs `u`"
        got = None if u is None else tuple(tf.convert_to_tensor(u).shape)
        if got is None or not self.u_dim or len(got) != 3 or got[1:] != (length, self.u_dim):
            came = "none" if got is None else f"shape {got}"
            raise ValueError(f"The model was built for {expected}; got {came} for the new frames.")
        return validation.as_rows(name, u, [length, self.u_dim])

    def _context(self, context: Any) -> tf.Tensor | None:
        """What is known of sequences, checked."""
        if context is None and not self.context_dim:
            return None
        width = self.context_dim
        expected = f"a `context` of shape [batch, {width}]" if width else "no `context`"
        got = None if context is None else tuple(tf.convert_to_tensor(context).shape)
        if got is None or not width or len(got) != 2 or got[1] != width:
            raise ValueError(f"The model was built for {expected}; got {'none' if got is None else f'shape {got}'}.")
        return validation.as_rows("context", context, [width])

    def _require_built(self, verb: str) -> None:
        if not self.built:
            raise ValueError(
                f"`{verb}` needs a model with weights: call `fit`, `build` or the model itself first, or load one."
            )


def tile(x: tf.Tensor | None, num_samples: tf.Tensor | int) -> tf.Tensor | None:
    """K copies of a batch below each other, `[K * B, ...]`."""
    return None if x is None else tf.tile(x, [num_samples, *[1] * (x.shape.rank - 1)])


def untile(x: tf.Tensor, num_samples: tf.Tensor | int) -> tf.Tensor:
    """`[K * B, ...]` to `[K, B, ...]`."""
    return tf.reshape(x, tf.concat([[num_samples, -1], tf.shape(x)[1:]], axis=0))
