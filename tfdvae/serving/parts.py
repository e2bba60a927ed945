"""What the declarations of signatures are made of: fields by what they mean, and the arithmetic of scores."""

from typing import Any

import tensorflow as tf

from tfdvae import random, validation
from tfdvae.models.verbs import VerbsDVAE
from tfdvae.serving.fields import Field, Target
from tfdvae.serving.states import StateLayout
from tfdvae.types import Batch, StepTerms

__all__ = ["Parts", "Tensors", "repeated", "scores", "seed_of"]

Tensors = dict[str, tf.Tensor]
NATS, UNITS_OF_X, UNITS_OF_U = "nats", "units of x", "units of u"


class Parts:
    """Fields of the signatures of one model for one target, and tensors to and from the model's own types."""

    def __init__(self, model: VerbsDVAE, target: Target):
        self.model = model
        self.target = target
        self.batch: int | str = target.batch or "batch"
        self.x_dim, self.u_dim, self.z_dim = model.x_dim, model.u_dim, model.frame_latent_dim
        self.layout = StateLayout(model, target.batch) if model.stepwise else None
        self.has_stddev = _has_stddev(model)

    # Fields.

    def sequences(self) -> tuple[Field, ...]:
        """x, which frames exist, and u in driven mode."""
        fields = [self.frames("x", self.x_dim, UNITS_OF_X, "Frames; where none exists they may hold anything.")]
        if self.target.masked:
            text = "True where a frame exists; at least one in each sequence."
            fields.append(Field("mask", (self.batch, "time"), tf.bool, "1", text))
        return (*fields, *self.inputs())

    def inputs(self) -> tuple[Field, ...]:
        """u in driven mode."""
        return (self.frames("u", self.u_dim, UNITS_OF_U, "Inputs of each frame."),) if self.u_dim else ()

    def frames(self, name: str, width: int, unit: str, text: str, time: str = "time") -> Field:
        """`[B, T, width]`."""
        return Field(name, (self.batch, time, width), tf.float32, unit, text)

    def row(self, name: str, width: int, unit: str, text: str) -> Field:
        """`[B, width]`, a frame or what belongs to one."""
        return Field(name, (self.batch, width), tf.float32, unit, text)

    def value(self, name: str, shape: tuple[int | str, ...], text: str, unit: str = "1") -> Field:
        """`[B, *shape]`."""
        return Field(name, (self.batch, *shape), tf.float32, unit, text)

    def predictions(self, per_frame: bool, prefix: str = "") -> tuple[Field, ...]:
        """Mean of p(x_t | .), and its standard deviation where the observation has one."""
        texts = {"mean": "Mean of p(x_t | .)."}
        if self.has_stddev:
            texts["stddev"] = "Standard deviation of p(x_t | .) in each feature."
        shape = ("time", self.x_dim) if per_frame else (self.x_dim,)
        return tuple(self.value(f"{prefix}{name}", shape, text, UNITS_OF_X) for name, text in texts.items())

    def noise(self, rows: int | str) -> tuple[Field, ...]:
        """Standard normal noise of whole sequences, where it is an input."""
        text = "Standard normal; zeros follow the posterior means."
        fields = [Field("noise", (rows, "time", self.z_dim), tf.float32, "1", text)] if self.z_dim else []
        return (*fields, *self.sequence_noise(rows))

    def sequence_noise(self, rows: int | str) -> tuple[Field, ...]:
        """That of the latents that exist once per sequence."""
        text = "Standard normal, for the latent of the sequence; zeros follow its mean."
        dims = self.model.global_dims
        return tuple(Field(f"noise_{name}", (rows, width), tf.float32, "1", text) for name, width in dims.items())

    def count(self, name: str, text: str) -> Field:
        """A positive whole number."""
        return Field(name, (), tf.int32, "1", f"{text} At least 1.")

    def seed(self) -> Field:
        """All that is random follows from it, as in Keras."""
        return Field("seed", (), tf.int64, "1", "The same seed draws the same numbers, as in the model's own verbs.")

    # Tensors.

    def read(self, given: Tensors) -> Batch:
        """The sequences of a call, their values checked where the target can raise errors."""
        return self.check(Batch(given["x"], given.get("mask"), given.get("u")))

    def check(self, batch: Batch) -> Batch:
        """The same, checked."""
        if not self.target.seeded:
            return batch
        return _after(validation._value_checks(batch), batch)

    def positive(self, given: Tensors, *names: str) -> list[tf.Tensor]:
        """Counts, checked."""
        message = "`{}` must be at least 1, got"
        checks = [tf.debugging.Assert(given[name] >= 1, [message.format(name), given[name]]) for name in names]
        return _after(checks, [given[name] for name in names])

    def drawn_noise(self, given: Tensors, x: tf.Tensor) -> Any:
        """Noise for paths along x from the seed; the same as that of `log_prob` with all its paths in one chunk."""
        return self.model.draw_noise(random.fold_in(seed_of(given), 0), tf.shape(x)[0], tf.shape(x)[1])

    def given_noise(self, given: Tensors) -> Any:
        """Noise of whole sequences as `draw_noise` of the model makes it."""
        noise = given.get("noise")
        dims = self.model.global_dims
        return {"z": noise, **{name: given[f"noise_{name}"] for name in dims}} if dims else noise

    def predicted(self, params: tf.Tensor, prefix: str = "") -> Tensors:
        """What `predictions` declares, from parameters of p(x_t | .)."""
        found = {f"{prefix}mean": self.model.observation.mean(params)}
        if self.has_stddev:
            found[f"{prefix}stddev"] = self.model.observation.distribution(params).stddev()
        return found


def _has_stddev(model: VerbsDVAE) -> bool:
    """Whether p(x_t | .) has a standard deviation in closed form."""
    try:
        model.observation.distribution(tf.zeros([1, model.observation.params_dim])).stddev()
    except NotImplementedError:  # how TFP says that a distribution lacks it
        return False
    return True


def _after(checks: list, tensors: Any) -> Any:
    """The tensors, once the checks have passed: what bad values would break later on is not reached."""
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.nest.map_structure(lambda y: None if y is None else tf.identity(y), tensors)


def seed_of(given: Tensors) -> tf.Tensor:
    """`random.make_seed` of a whole number that is a tensor."""
    parts = [given["seed"], tf.bitwise.right_shift(given["seed"], tf.constant(31, tf.int64))]
    return tf.cast(tf.bitwise.bitwise_and(tf.stack(parts), tf.constant(0x7FFFFFFF, tf.int64)), tf.int32)


def repeated(x: tf.Tensor | None, count: tf.Tensor | int) -> tf.Tensor | None:
    """K adjacent copies of each row, `[B * K, ...]`."""
    return None if x is None else tf.repeat(x, count, axis=0)


def scores(terms: StepTerms, count: tf.Tensor | int) -> Tensors:
    """Bounds from the terms of K paths per sequence in adjacent rows, packed to the left.

    p(x_1:t) is estimated by the mean over the paths of prod_{s <= t} p(x_s | .) p(z_s | .) / q(z_s | .), and
    log p(x_t | x_<t) by the difference of two neighbours, so that the sum over t is the estimate of log p(x).
    """
    frames = tf.reduce_mean(_by_path(terms.log_px - tf.reduce_sum(terms.kl, axis=-1), count), axis=1)
    sequence = tf.reduce_mean(tf.reshape(terms.global_kl, [-1, count]), axis=1)
    weights = tf.cumsum(terms.log_px + terms.log_ratio, axis=1) + terms.global_log_ratio[:, None]
    log_prob = tf.reduce_logsumexp(_by_path(weights, count), axis=1) - tf.math.log(tf.cast(count, tf.float32))
    return {
        "elbo": tf.reduce_sum(frames, axis=1) - sequence,
        "elbo_frames": frames,
        "kl_sequence": sequence,
        "log_prob": log_prob[:, -1],
        "log_prob_frames": log_prob - tf.pad(log_prob[:, :-1], [[0, 0], [1, 0]]),
    }


def _by_path(x: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
    """`[B * K, T]` to `[B, K, T]`."""
    return tf.reshape(x, [-1, count, tf.shape(x)[1]])
