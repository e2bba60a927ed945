"""Signatures for a server that merges calls: it joins the rows of several callers, and cuts what comes back.

Such a server knows axes alone. So all that a call says has a row per sequence: a seed, counts, and a length, since the
server pads sequences of unequal lengths with values of its own. What is in a row follows from that row alone; a row
that cannot be answered is told by `valid`, where an error would be one of every caller.
"""

import tensorflow as tf

from tfdvae import masks, random, validation
from tfdvae.models.drawing import Request, tile
from tfdvae.serving.fields import Field, Signature
from tfdvae.serving.parts import UNITS_OF_U, UNITS_OF_X, Parts, Tensors, inlined, mean_over, scores, seed_of, within
from tfdvae.types import Batch

__all__ = ["MOST", "MergedRows"]

VALID, MOST = "valid", 4096
"""The name of what tells whether a row was answered; the largest count, as one row must not take all of the memory."""

COUNTS = ("length", "given_length", "horizon", "num_samples", "num_sweeps")
PADDED = {"x": "length", "u": "length", "future_u": "horizon", "given": "given_length"}
"""Inputs along time, and the counts of their frames; a frame of a stream has none."""


class MergedRows(Parts):
    """What differs from `Declarations`, which this stands before: a row per sequence in all that goes in and comes out.

    Path k of a row draws from the row's seed, folded with k.
    """

    # Fields.

    def count(self, name: str, text: str) -> Field:
        return Field(name, (self.batch,), tf.int32, "1", f"{text} From 1 to {MOST}, in each row.")

    def seed(self) -> Field:
        text = "The same seed draws the same numbers in a row, whatever rows it stands among."
        return Field("seed", (self.batch,), tf.int64, "1", text)

    def sequences(self) -> tuple[Field, ...]:
        length = self.count("length", "Frames of the sequence; those after it are padding, and may hold anything.")
        return (*super().sequences(), length)

    def given(self) -> tuple[Field, ...]:
        fields = super().given()
        return (*fields, self.count("given_length", "How many of them are no padding.")) if fields else ()

    # Signatures.

    def score(self) -> Signature:
        plain, latent = super().score(), self.model.has_latents

        def run(given: Tensors) -> Tensors:
            packed, how = self.model.pack(self.read(given))
            noise, own, count = None, None, 1
            if latent:
                own = given["num_samples"]
                count = tf.reduce_max(own)
                seeds = tf.reshape(_seeds(random.fold_in(seed_of(given), 0), count), [-1, 2])
                packed = packed.repeated(count)
                noise = self.model.draw_noise(seeds, tf.shape(packed.x)[0], tf.shape(packed.x)[1])
            aligned = Batch(packed.x, packed.mask, observed=packed.observed)
            found = scores(self.model.terms(self.model.infer_packed(packed, noise), aligned), count, own)
            for name in ("elbo_frames", "log_prob_frames"):
                found[name] = masks.unpack(found[name], how)
            return {field.name: found[field.name] for field in plain.outputs}

        return plain._replace(function=run)

    def generate(self) -> Signature:
        length = self.count("length", "Frames to draw; zeros follow up to the longest sequence of the batch.")
        inputs = (*self.inputs(), length, *self.context(), self.seed())

        def run(given: Tensors) -> Tensors:
            u, seeds = given.get("u"), seed_of(given)
            exists = _wanted(given["length"], u)
            size, longest = tf.unstack(tf.shape(exists))
            request = Request(size, longest, seeds, True, u, given.get("context"), mask=exists)
            drawn = inlined(self.model.draw_frames)(request)
            found = {"x": self.restored(drawn.x), **drawn.latents}
            return {name: masks.zero_masked(value, exists) for name, value in found.items()}

        return super().generate()._replace(inputs=inputs, function=run)

    def forecast(self) -> Signature:
        inputs = [*self.sequences(), self.count("horizon", "Frames to draw; zeros follow up to the longest forecast.")]
        if self.u_dim:
            inputs.append(self.frames("future_u", (self.u_dim,), UNITS_OF_U, "Inputs of these frames.", "horizon"))
        inputs += [self.count("num_samples", "K, continuations of the sequence."), self.seed()]
        plain = super().forecast()

        def run(given: Tensors) -> Tensors:
            future, own = given.get("future_u"), given["num_samples"]
            wanted, count = _wanted(given["horizon"], future), tf.reduce_max(own)
            batch, seeds = self.read(given), _tiled(_seeds(seed_of(given), count))
            horizon = tf.shape(wanted)[1]
            found = self.model.draw_continuations(batch, future, horizon, count, seeds, mask=wanted)
            return self._by_row(*found, own, wanted)

        outputs = (self._samples("horizon", "Continuations."), plain.outputs[1])
        return plain._replace(inputs=tuple(inputs), outputs=outputs, function=run)

    def impute(self) -> Signature:
        plain = super().impute()

        def run(given: Tensors) -> Tensors:
            batch, own = self.read(given), given["num_samples"]
            count = tf.reduce_max(own)
            sweeps, seeds = tile(given["num_sweeps"], count), _tiled(_seeds(seed_of(given), count))
            filled, means = self.model.draw_completions(batch, sweeps, count, seeds, not self.model.partly_observed)
            return self._by_row(filled, tf.where(batch.observed, batch.x, means), own, batch.mask)

        return plain._replace(outputs=(self._samples("time", "Completed sequences."), plain.outputs[1]), function=run)

    def reset(self) -> Signature | None:
        plain = super().reset()
        if plain is None or any(field.name != "batch_size" for field in plain.inputs):
            return plain
        rows = Field("row", (self.batch,), tf.int32, "1", "One entry, of any value, for each sequence to stream.")
        return plain._replace(
            inputs=(rows,), function=lambda given: plain.function({"batch_size": tf.shape(given["row"])[0]})
        )

    def _samples(self, time: str, text: str) -> Field:
        shape = (self.batch, "samples", time, *self.frame_shape)
        return Field("samples", shape, tf.float32, UNITS_OF_X, f"{text} Zeros follow up to the largest K of the batch.")

    def _by_row(self, samples: tf.Tensor, means: tf.Tensor, own: tf.Tensor, exists: tf.Tensor) -> Tensors:
        """Paths `[K, B, T, D]` as outputs with rows first, zeros where a row has fewer paths or frames."""
        samples, means = (tf.transpose(y, [1, 0, 2, 3]) for y in (samples, means))
        kept = within(own, tf.shape(samples)[1])[..., None] & exists[:, None]
        samples = tf.where(kept[..., None], samples, tf.zeros([], samples.dtype))
        mean = masks.zero_masked(mean_over(means, own), exists)
        return {"samples": self.restored(samples), "mean": self.restored(mean)}

    # Rows.

    def guarded(self, signature: Signature) -> Signature:
        """The same, which answers what it cannot with NaN and false in `valid`, row by row."""
        text = "False where a row cannot be answered, and its numbers are NaN: NaN, infinity or values that no frame "
        text += f"has, no frame that exists, a length beyond that of x, a count that is not from 1 to {MOST}."
        outputs = (*signature.outputs, Field(VALID, (self.batch,), tf.bool, "1", text))

        def run(given: Tensors) -> Tensors:
            valid, harmless = self._screened(given)
            found = signature.function(harmless)
            for name, value in found.items():
                if value.dtype.is_floating:
                    found[name] = tf.where(_along(valid, value), value, value.dtype.as_numpy_dtype("nan"))
            return {**found, VALID: valid}

        return signature._replace(outputs=outputs, function=run)

    def _screened(self, given: Tensors) -> tuple[tf.Tensor, Tensors]:
        """Which rows can be answered, and inputs in which the others are harmless and masks know of lengths."""
        found, sound = dict(given), [tf.ones(tf.shape(next(iter(given.values())))[:1], tf.bool)]
        for name in (name for name in COUNTS if name in given):
            found[name] = tf.clip_by_value(given[name], 1, MOST)
            sound.append(found[name] == given[name])
        for name, count in PADDED.items():
            if name in given and count in given:
                length = tf.shape(given[name])[1]
                exists = within(found[count], length)
                sound.append(found[count] <= length)
                found[name] = masks.zero_masked(given[name], exists)
                if name == "given":
                    found["given_mask"] = exists
                elif name == "x":
                    found["mask"] = given["mask"] & exists
        for names in (("x", "mask", "u", "observed", "context"), ("given", "given_mask", "", "given_observed", "")):
            if names[0] in given:
                batch = Batch(*(found.get(name) for name in names))
                if "length" not in given and names[0] == "x":
                    series = (batch.x, batch.u, batch.observed)
                    x, u, observed = (None if y is None else y[:, None] for y in series)
                    batch = Batch(x, None, u, observed, batch.context)
                sound.append(validation.sound_rows(batch, self.model.frames, self.frame_shape))
        for name, value in found.items():
            unchecked = name not in ("x", "given") and not ("x" in given and name in ("u", "context"))
            if value.dtype.is_floating and unchecked:
                finite = tf.math.is_finite(value)
                sound.append(tf.reduce_all(finite, axis=list(range(1, value.shape.rank))))
        valid = tf.reduce_all(sound, axis=0)
        for name, value in found.items():
            if value.dtype.is_floating:
                found[name] = tf.where(_along(valid, value), value, tf.zeros([], value.dtype))
            elif name in ("mask", "given_mask"):
                found[name] = value | ~valid[:, None]
        return valid, found


def _along(rows: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """`[B]` as it broadcasts to `[B, ...]`."""
    return tf.reshape(rows, [-1, *[1] * (like.shape.rank - 1)])


def _wanted(own: tf.Tensor, series: tf.Tensor | None) -> tf.Tensor:
    """Which frames rows of these lengths want, `[B, T]`, of as many as the series has or the longest row wants."""
    return within(own, tf.reduce_max(own) if series is None else tf.shape(series)[1])


def _seeds(seeds: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Of K paths for each row: `[B, K, 2]` from `[B, 2]`."""
    paths = tf.tile(tf.range(count), tf.shape(seeds)[:1])
    return tf.reshape(random.fold_in(tf.repeat(seeds, count, axis=0), paths), [-1, count, 2])


def _tiled(seeds: tf.Tensor) -> tf.Tensor:
    """In the order of `drawing.tile`, `[K * B, 2]`."""
    return tf.reshape(tf.transpose(seeds, [1, 0, 2]), [-1, 2])
