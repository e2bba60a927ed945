"""Means over frames, and the set of metrics that every model reports."""

from collections.abc import Collection, Mapping

import keras
import tensorflow as tf

from tfdvae import replicas
from tfdvae.metrics.of_means import MeansMetrics
from tfdvae.types import StepTerms

__all__ = ["ACTIVE_NATS", "FrameMean", "ObjectiveMetrics"]

ACTIVE_NATS = 0.01
"""A latent dimension whose mean KL is above this many nats per frame counts as active."""


DIRECTIONS = {
    "loss": "min",
    "elbo_nats_per_frame": "max",
    "log_likelihood_nats_per_frame": "max",
    "skipped_batches": "min",
}
"""Which way is better, by the names of the logs. A KL, or a number of active units, is not better for being larger."""


@keras.saving.register_keras_serializable(package="tfdvae")
class FrameMean(keras.metrics.Metric):
    """Sum of totals over sum of frames: a mean over all frames, however sequences were batched. A vector if `width`
    is given. NaN where there was no frame, which is no number, and least of all a loss of 0.
    """

    def __init__(self, name: str, width: int | None = None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.width = width
        shape = () if width is None else (width,)
        self.total = self.add_variable(shape, "zeros", name="total", dtype="float32")
        self.frames = self.add_variable((), "zeros", name="frames", dtype="float32")

    def update_state(self, total: tf.Tensor, frames: tf.Tensor) -> None:
        """Adds a total in nats and the number of frames that it covers."""
        self.total.assign_add(total)
        self.frames.assign_add(frames)

    def result(self) -> tf.Tensor:
        return self.mean(*map(tf.convert_to_tensor, self.variables))

    def mean(self, total: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """That of a total over so many frames."""
        return total / frames

    def get_config(self) -> dict:
        return {**super().get_config(), "width": self.width}


class ObjectiveMetrics:
    """loss, elbo_nats_per_frame, log_likelihood_nats_per_frame (of x given z), kl_nats_per_frame, active_units,
    skipped_batches; and the KL of each latent, as kl_z_nats_per_frame, where there are several.

    `loss` is minus the objective, nats per frame; it differs from minus the ELBO where a KL weight, free bits,
    penalties or another bound are in use. The ELBO is always the plain one. A unit, a group of a latent of frames, is
    active where its KL exceeds ACTIVE_NATS on average.

    Args:
        groups: how many terms the KL of each latent has, by name.
        framed: names of the latents of frames.
        per_dimension: also report kl_z_00_nats_per_frame, kl_z_01_nats_per_frame, ...
        of_means: metrics of E[x_t | .] that are reported as well; whoever has the means updates them.

    Raises:
        ValueError: one of these has a name that the logs have already.
    """

    def __init__(
        self,
        groups: Mapping[str, int],
        framed: Collection[str],
        per_dimension: bool = False,
        of_means: MeansMetrics | None = None,
    ):
        self.groups = dict(groups)
        self.framed = set(framed)
        self.per_dimension = per_dimension
        self.loss = FrameMean("loss")
        self.elbo = FrameMean("elbo_nats_per_frame")
        self.log_likelihood = FrameMean("log_likelihood_nats_per_frame")
        self.kl = FrameMean("kl_nats_per_frame")
        self.by_latent = {name: FrameMean(f"kl_{name}_groups", count) for name, count in self.groups.items()}
        self.skipped = keras.metrics.Sum("skipped_batches")
        self.of_means = MeansMetrics()
        if of_means is not None:
            of_means.check_names(self.result())
            self.of_means = of_means

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """All of them, for Keras to reset."""
        return [*self._means, self.skipped, *self.of_means.metrics]

    @property
    def directions(self) -> dict[str, str]:
        """Which way is better, "max" or "min", by the names of the logs of which that can be said."""
        return DIRECTIONS | self.of_means.directions

    @property
    def _means(self) -> list[FrameMean]:
        return [self.loss, self.elbo, self.log_likelihood, self.kl, *self.by_latent.values()]

    def update_state(self, loss: tf.Tensor, terms: StepTerms, valid: tf.Tensor | bool = True) -> None:
        """Adds a batch: its loss in nats per frame and its terms. A batch that is not `valid` leaves no trace.

        On one of several replicas: the loss of the global batch, and the terms of this replica's sequences.
        """
        frames = tf.reduce_sum(terms.weight)
        groups = [tf.reduce_sum(tf.reshape(terms.latents[k].kl, [-1, n]), axis=0) for k, n in self.groups.items()]
        kl = sum((tf.reduce_sum(y) for y in groups), 0.0)
        log_likelihood = tf.reduce_sum(terms.log_px)
        totals = [loss * frames, log_likelihood - kl, log_likelihood, kl, *groups]
        self.skipped.update_state(replicas.first_alone(tf.where(valid, 0.0, 1.0)))
        for metric, total in zip(self._means, totals, strict=True):
            metric.update_state(tf.where(valid, total, tf.zeros_like(total)), tf.where(valid, frames, 0.0))

    @property
    def names(self) -> list[str]:
        """Names of all values of `result`, in the order in which Keras' `evaluate` lists them."""
        known = set(self.result())
        first = [metric.name for metric in self.metrics if metric.name in known]
        return [*first, *sorted(known - set(first))]

    def result(self) -> dict[str, tf.Tensor]:
        """Name to value, over all replicas."""
        several = replicas.replicated()
        summed = self.metrics if several else [*self._means, self.skipped]
        sums = replicas.total({m.name: [tf.convert_to_tensor(v) for v in m.variables] for m in summed})
        groups = {name: metric.mean(*sums[metric.name]) for name, metric in self.by_latent.items()}
        logs = {m.name: m.mean(*sums[m.name]) for m in (self.loss, self.elbo, self.log_likelihood, self.kl)}
        logs[self.skipped.name] = sums[self.skipped.name][0]
        active = [tf.reduce_sum(tf.cast(y > ACTIVE_NATS, tf.float32)) for k, y in groups.items() if k in self.framed]
        logs["active_units"] = sum(active, tf.constant(0.0))
        if len(groups) > 1:
            logs |= {f"kl_{name}_nats_per_frame": tf.reduce_sum(y) for name, y in groups.items()}
        if self.per_dimension:
            for name in (name for name in groups if name in self.framed):
                count = self.groups[name]
                logs |= {f"kl_{name}_{i:02d}_nats_per_frame": groups[name][i] for i in range(count)}
        given = self.of_means.metrics
        return logs | {m.name: m.stateless_result(sums[m.name]) if several else m.result() for m in given}
