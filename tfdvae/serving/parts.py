"""What the declarations of signatures are made of: fields by what they mean, and the arithmetic of scores."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfdvae import random, validation
from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.layers.latent import Latent
from tfdvae.layers.units import Units
from tfdvae.models import DVAE
from tfdvae.observations.values import REAL, contained
from tfdvae.serving.fields import Field, Limits, Signature, Target
from tfdvae.serving.states import StateLayout
from tfdvae.types import Batch, StepTerms

__all__ = ["Parts", "Tensors", "inlined", "mean_over", "noise_field", "scores", "seed_of", "within"]

Tensors = dict[str, tf.Tensor]
NATS, UNITS_OF_X, UNITS_OF_U = "nats", "units of x", "units of u"


class Parts:
    """Fields of the signatures of one model for one target, and tensors to and from the model's own types."""

    def __init__(self, model: DVAE, target: Target):
        self.model = model
        self.target = target
        self.batch: int | str = target.batch or "batch"
        self.frame_shape, self.u_dim, self.context_dim = model.frame_shape, model.u_dim, model.context_dim
        self.layout = StateLayout(model, target.batch) if model.stepwise else None
        self.has_stddev = _has_stddev(model)

    # Fields.

    def sequences(self) -> tuple[Field, ...]:
        """x, which frames exist, and u in driven mode."""
        text = "Frames; where none exists they may hold anything."
        fields = [self.limited(self.frames("x", self.frame_shape, UNITS_OF_X, text))]
        if self.target.masked:
            text = "True where a frame exists; at least one in each sequence."
            fields.append(Field("mask", (self.batch, "time"), tf.bool, "1", text))
        if self.model.partly_observed:
            fields.append(self.observed())
        return (*fields, *self.inputs(), *self.context())

    def observed(self) -> Field:
        """Which entries of frames were measured."""
        text = "True where x holds data; elsewhere it may hold anything."
        return Field("observed", (self.batch, "time", *self.frame_shape), tf.bool, "1", text)

    def context(self) -> tuple[Field, ...]:
        """What is known of each sequence, where the model has a context."""
        if not self.context_dim:
            return ()
        return (self.row("context", (self.context_dim,), "units of the context", "What is known of each sequence."),)

    def given(self) -> tuple[Field, ...]:
        """The first frames of each sequence, where its units come from them."""
        if self.model.frames.mode != "sequence":
            return ()
        text = f"The first {self.model.given_frames} frames of each sequence, or fewer, which its units come from."
        fields = (self.limited(self.frames("given", self.frame_shape, UNITS_OF_X, text, "given")),)
        if self.model.partly_observed:
            text = "True where they hold data; where nothing of a feature does, it has the units of the data set."
            fields += (Field("given_observed", (self.batch, "given", *self.frame_shape), tf.bool, "1", text),)
        return fields

    def inputs(self) -> tuple[Field, ...]:
        """u in driven mode."""
        return (self.frames("u", (self.u_dim,), UNITS_OF_U, "Inputs of each frame."),) if self.u_dim else ()

    def frames(self, name: str, shape: tuple[int, ...], unit: str, text: str, time: str = "time") -> Field:
        """`[B, T, *shape]`."""
        return Field(name, (self.batch, time, *shape), tf.float32, unit, text)

    def limited(self, field: Field) -> Field:
        """A field of frames that the model is to explain, with what the observation says of their values."""
        values = self.model.frames.values
        if set(values) == {REAL}:
            return field
        return field._replace(values=Limits(values, self.frame_shape, self.model.frames.support))

    def row(self, name: str, shape: tuple[int, ...], unit: str, text: str) -> Field:
        """`[B, *shape]`, a frame or what belongs to one."""
        return Field(name, (self.batch, *shape), tf.float32, unit, text)

    def value(self, name: str, shape: tuple[int | str, ...], text: str, unit: str = "1") -> Field:
        """`[B, *shape]`."""
        return Field(name, (self.batch, *shape), tf.float32, unit, text)

    def predictions(self, per_frame: bool, prefix: str = "") -> tuple[Field, ...]:
        """Mean of p(x_t | .), and its standard deviation where the observation has one."""
        texts = {"mean": "Mean of p(x_t | .)."}
        if self.has_stddev:
            texts["stddev"] = "Standard deviation of p(x_t | .) in each feature."
        shape = ("time", *self.frame_shape) if per_frame else self.frame_shape
        return tuple(self.value(f"{prefix}{name}", shape, text, UNITS_OF_X) for name, text in texts.items())

    def noise(self, rows: int | str) -> tuple[Field, ...]:
        """Noise of whole sequences, where it is an input."""
        fields = [noise_field(latent, (rows, "time", latent.q.noise_dim)) for latent in self.model.frame_latents]
        return (*fields, *self.sequence_noise(rows))

    def sequence_noise(self, rows: int | str) -> tuple[Field, ...]:
        """That of the latents that exist once per sequence."""
        return tuple(noise_field(latent, (rows, latent.q.noise_dim)) for latent in self.model.sequence_latents)

    def step_noise(self) -> tuple[Field, ...]:
        """That of the latents of one frame."""
        return tuple(noise_field(latent, (self.batch, latent.q.noise_dim)) for latent in self.model.frame_latents)

    def count(self, name: str, text: str) -> Field:
        """A positive whole number."""
        return Field(name, (), tf.int32, "1", f"{text} At least 1.")

    def seed(self) -> Field:
        """All that is random follows from it, as in Keras."""
        return Field("seed", (), tf.int64, "1", "The same seed draws the same numbers, as in the model's own verbs.")

    # Tensors.

    def read(self, given: Tensors) -> Batch:
        """The sequences of a call, their values checked where the target can raise errors."""
        batch = Batch(*(given.get(name) for name in Batch._fields))
        if batch.observed is not None:
            blank = tf.zeros([], batch.x.dtype)
            batch = batch._replace(x=tf.where(batch.observed, batch.x, blank))
        return validation.flat(self.check(batch), self.frame_shape)

    def given_units(self, given: Tensors) -> Units | None:
        """The units of sequences from what `given` declares."""
        if "given" not in given:
            return None
        names = {"x": "given", "mask": "given_mask", "observed": "given_observed"}
        first = self.read({name: given[field] for name, field in names.items() if field in given})
        return self.model.frames.units(first.x, first.mask, first.observed)

    def check(self, batch: Batch) -> Batch:
        """The same, checked."""
        if not self.target.seeded or self.target.merged:
            return batch
        return validation.after(validation.value_checks(batch, self.model.frames, self.frame_shape), batch)

    def sized(self, signature: Signature) -> Signature:
        """The same with sequences of one length, where the target has to have that."""
        if self.target.time is None:
            return signature
        sizes = {"time": self.target.time, "given": self.model.given_frames}

        def fixed(fields: tuple[Field, ...]) -> tuple[Field, ...]:
            return tuple(field._replace(shape=tuple(sizes.get(n, n) for n in field.shape)) for field in fields)

        return signature._replace(inputs=fixed(signature.inputs), outputs=fixed(signature.outputs))

    def guarded(self, signature: Signature) -> Signature:
        """The same, which refuses NaN and infinity in noise, states and whatever else `read` does not look at, where
        the target can raise errors. Where it cannot, all outputs are NaN for inputs that others refuse."""
        if not self.target.seeded:
            return self.poisoned(signature)
        names = {field.name for field in signature.inputs if field.dtype.is_floating}
        names -= {"x", "u", "context", "given"} if "x" in names else {"given"}
        if not names:
            return signature
        ordered = sorted(names)

        def run(given: Tensors) -> Tensors:
            finite = tf.stack([tf.reduce_all(tf.math.is_finite(given[name])) for name in ordered])
            text = [f"NaN or infinity where False stands: {', '.join(ordered)}", finite]
            return signature.function(validation.after([tf.debugging.Assert(tf.reduce_all(finite), text)], given))

        return signature._replace(function=run)

    def poisoned(self, signature: Signature) -> Signature:
        """The same, whose outputs of floats are all NaN where an input is not finite, or a frame has no density.

        Networks alone would give some finite numbers, such as a smallest scale, that look like an answer.
        """
        inputs = [field for field in signature.inputs if field.dtype.is_floating]
        if not inputs:
            return signature
        outputs = [field.name for field in signature.outputs if field.dtype.is_floating]

        def run(given: Tensors) -> Tensors:
            fine = tf.reduce_all(tf.stack([self.allowed(field, given) for field in inputs]))
            # Zero, or the root of minus infinity; without constants, which integers would round.
            poison = tf.sqrt(tf.math.log(tf.cast(fine, tf.float32)))
            found = signature.function(given)
            return {**found, **{name: found[name] + poison for name in outputs}}

        return signature._replace(function=run)

    def allowed(self, field: Field, given: Tensors) -> tf.Tensor:
        """Whether an input is finite where it counts, and frames are such as have a density."""
        value = given[field.name]
        # LiteRT has no IsFinite; NaN is not less than anything.
        right = tf.abs(value) <= value.dtype.max
        if field.values is not None:
            flat = tf.reshape(value, [-1, self.model.x_dim])
            right &= tf.reshape(contained(field.values.values, flat), tf.shape(value))
        known = given.get({"x": "observed", "given": "given_observed"}.get(field.name, ""))
        return tf.reduce_all(right if known is None else right | ~known)

    def positive(self, given: Tensors, *names: str) -> list[tf.Tensor]:
        """Counts, checked."""
        message = "`{}` must be at least 1, got"
        checks = [tf.debugging.Assert(given[name] >= 1, [message.format(name), given[name]]) for name in names]
        return validation.after(checks, [given[name] for name in names])

    def drawn_noise(self, given: Tensors, x: tf.Tensor) -> Any:
        """Noise for paths along x from the seed; the same as that of `log_prob` with all its paths in one chunk."""
        return self.model.draw_noise(random.fold_in(seed_of(given), 0), tf.shape(x)[0], tf.shape(x)[1])

    def given_noise(self, given: Tensors) -> Any:
        """Noise of whole sequences as `draw_noise` of the model makes it."""
        return {latent.name: given[f"noise_{latent.name}"] for latent in self.model.latents}

    def frame_noise(self, given: Tensors) -> dict[str, tf.Tensor]:
        """That of the latents of one frame."""
        return {latent.name: given[f"noise_{latent.name}"] for latent in self.model.frame_latents}

    def predicted(self, params: tf.Tensor, prefix: str = "") -> Tensors:
        """What `predictions` declares, from parameters of p(x_t | .)."""
        found = {f"{prefix}mean": self.model.frames.mean(params)}
        if self.has_stddev:
            found[f"{prefix}stddev"] = self.model.frames.stddev(params)
        return {name: self.restored(value) for name, value in found.items()}

    def restored(self, x: tf.Tensor) -> tf.Tensor:
        """Frames `[..., D]` in the shape that callers know."""
        return restore_frames(x, self.frame_shape)


def _has_stddev(model: DVAE) -> bool:
    """Whether p(x_t | .) has a standard deviation in closed form."""
    try:
        model.frames.stddev(tf.zeros([1, model.frames.params_dim]))
    except NotImplementedError:  # how TFP says that a distribution lacks it
        return False
    return True


def noise_field(latent: Latent, shape: tuple[int | str, ...]) -> Field:
    """What a latent is drawn with."""
    kind = latent.q.noise_kind
    texts = {
        "uniform": f"Uniform in (0, 1), draws {latent.name}; 0.5 takes the class at the middle of each distribution.",
        "normal": f"Standard normal, draws {latent.name}; zeros follow its mode.",
    }
    return Field(f"noise_{latent.name}", shape, tf.float32, "1", texts[kind], kind)


def inlined(method: Callable) -> Callable:
    """The Python function behind a method that is a tf.function, where a signature is being traced.

    The graph of a signature then has shapes of its own. That which an earlier call of the method has left may hold for
    any batch size, and LiteRT's converter fails on some of those.
    """
    return method if tf.executing_eagerly() else getattr(method, "python_function", method)


def seed_of(given: Tensors) -> tf.Tensor:
    """`random.make_seed` of a whole number that is a tensor, `[2]`, or of one per row, `[B, 2]`."""
    parts = [given["seed"], tf.bitwise.right_shift(given["seed"], tf.constant(31, tf.int64))]
    return tf.cast(tf.bitwise.bitwise_and(tf.stack(parts, axis=-1), tf.constant(0x7FFFFFFF, tf.int64)), tf.int32)


def scores(terms: StepTerms, count: tf.Tensor | int, own: tf.Tensor | None = None) -> Tensors:
    """Bounds from the terms of K paths per sequence in adjacent rows, packed to the left.

    p(x_1:t) is estimated by the mean over the paths of prod_{s <= t} p(x_s | .) p(z_s | .) / q(z_s | .), and
    log p(x_t | x_<t) by the difference of two neighbours, so that the sum over t is the estimate of log p(x). Of K
    paths, only the first `own` `[B]` of a sequence count, where that is given.
    """
    frames = mean_over(_by_path(terms.log_px - terms.kl, count), own)
    sequence = mean_over(tf.reshape(terms.sequence_kl, [-1, count]), own)
    weights = tf.cumsum(terms.log_px + terms.log_ratio, axis=1) + terms.sequence_log_ratio[:, None]
    by_path, total = _by_path(weights, count), count
    if own is not None:
        by_path = tf.where(within(own, count)[..., None], by_path, -float("inf"))
        total = own[:, None]
    log_prob = tf.reduce_logsumexp(by_path, axis=1) - tf.math.log(tf.cast(total, tf.float32))
    return {
        "elbo": tf.reduce_sum(frames, axis=1) - sequence,
        "elbo_frames": frames,
        "kl_sequence": sequence,
        "log_prob": log_prob[:, -1],
        "log_prob_frames": log_prob - tf.pad(log_prob[:, :-1], [[0, 0], [1, 0]]),
    }


def mean_over(x: tf.Tensor, own: tf.Tensor | None) -> tf.Tensor:
    """Mean over the axis 1 of `[B, K, ...]`, over the first `own` `[B]` of a row alone where that is given."""
    if own is None:
        return tf.reduce_mean(x, axis=1)
    one = [1] * (x.shape.rank - 2)
    counted = tf.reshape(within(own, tf.shape(x)[1]), [-1, tf.shape(x)[1], *one])
    total = tf.reduce_sum(tf.where(counted, x, tf.zeros([], x.dtype)), axis=1)
    return total / tf.cast(tf.reshape(own, [-1, *one]), x.dtype)


def within(own: tf.Tensor, length: tf.Tensor | int) -> tf.Tensor:
    """True at the first `own` `[B]` of `length` places: `[B, length]`."""
    return tf.range(length) < own[:, None]


def _by_path(x: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
    """`[B * K, T]` to `[B, K, T]`."""
    return tf.reshape(x, [-1, count, tf.shape(x)[1]])
