"""Several replicas of one model under a strategy of `tf.distribute`: the only place that knows of them.

A strategy splits each global batch into rows per replica and runs a step on each. What is summed here over replicas is
that of the global batch, so that a step says the same as one process with all the rows: frames, losses, gradients,
metrics. Outside of a strategy everything here is the identity, and costs nothing.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfdvae import random
from tfdvae.types import Batch

__all__ = [
    "Rows",
    "agreed",
    "apply_where",
    "check_compile",
    "check_scope",
    "dealt",
    "first_alone",
    "logged",
    "num_workers",
    "part_of",
    "replicated",
    "share",
    "split",
    "total",
    "writes",
]

SUPPORTED = (
    tf.distribute.MirroredStrategy,
    tf.distribute.MultiWorkerMirroredStrategy,
    tf.distribute.OneDeviceStrategy,
)


def replicated() -> bool:
    """Whether this is a step that a strategy runs on its replicas."""
    return tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()


def total(values: Any) -> Any:
    """A nest of tensors, each summed over the replicas; gradients pass through."""
    if not replicated():
        return values
    # A sum is made where its tensors are, which those that enter a branch or a loop do not know of themselves.
    return _context().all_reduce("SUM", tf.nest.map_structure(tf.identity, values))


def share(value: tf.Tensor) -> tf.Tensor:
    """What is the same on every replica, divided by their number: the part of each in a sum."""
    return value / _context().num_replicas_in_sync if replicated() else value


def first_alone(value: tf.Tensor) -> tf.Tensor:
    """What is the same on every replica, and shall count once: zero on all but the first."""
    if not replicated():
        return value
    return tf.where(tf.equal(_own_number(), 0), value, tf.zeros([], value.dtype))


class Rows(NamedTuple):
    """Which rows of the global batch a replica has.

    Attributes:
        own: how many it works on, at least 1: one that was given none has a sequence without frames instead.
        given: whether it was given any, bool [].
        before: how many the replicas before it have.
        all: how many there are.
    """

    own: tf.Tensor
    given: tf.Tensor
    before: tf.Tensor
    all: tf.Tensor

    def only(self, values: Any) -> Any:
        """A nest of tensors, zero where the replica was given no sequence."""
        return tf.nest.map_structure(lambda y: tf.where(self.given, y, tf.zeros([], y.dtype)), values)

    def cut(self, values: tf.Tensor) -> tf.Tensor:
        """The rows of `values` `[B, ...]` that are of sequences which the replica was given."""
        return values[: tf.where(self.given, self.own, 0)]


FRAMED = ("x", "mask", "u", "observed")
"""Entries of a batch that have an axis of time."""


def split(batch: Batch, beside: Any) -> tuple[Batch, Any, Rows | None]:
    """A replica's batch, what stands beside it, and which rows they are; None where there are no replicas.

    The last batch of an epoch may have fewer sequences than there are replicas. One that gets none takes part with a
    sequence of which no frame exists, since all must meet at every sum.
    """
    if not replicated():
        return batch, beside, None
    x = tf.convert_to_tensor(batch.x)
    if batch.mask is None:
        batch = batch._replace(mask=tf.ones(tf.shape(x)[:2], tf.bool))
    count = tf.shape(x)[0]
    number = _own_number()
    counts = total(tf.one_hot(number, _context().num_replicas_in_sync, count, 0, dtype=tf.int32))
    given = count > 0
    row, frame = tf.where(given, 0, 1), tf.where(tf.shape(x)[1] > 0, 0, 1)
    longer = [
        None if y is None else _longer(y, row, frame if name in FRAMED else 0) for name, y in batch._asdict().items()
    ]
    beside = type(beside)(*(None if y is None else _longer(y, row, 0) for y in beside))
    before = tf.where(given, tf.reduce_sum(counts[:number]), 0)
    return Batch(*longer), beside, Rows(count + row, given, before, tf.maximum(tf.reduce_sum(counts), 1))


def dealt(strategy: tf.distribute.Strategy, batch: Mapping[str, Any]) -> Any:
    """One global batch of arrays as the steps of a strategy take it: each replica's rows."""
    if not isinstance(strategy, SUPPORTED):
        return batch
    return next(iter(strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(dict(batch)))))


def writes(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files: the first of several workers, or the only one."""
    return strategy.extended.should_checkpoint


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """How many processes train together."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    return max(1, sum(map(len, strategy.cluster_resolver.cluster_spec().as_dict().values())))


def agreed(strategy: tf.distribute.Strategy, number: int) -> int:
    """A whole number (int32) that all workers have afterwards: that of the first of them. All must ask."""
    found = strategy.run(lambda: total(first_alone(tf.constant(number, tf.int32))))
    return int(strategy.experimental_local_results(found)[0])


def logged(values: Any) -> Any:
    """What a step returns to Keras, which takes means over replicas: over the first axis as well, where there are
    several workers, so that numbers need one."""
    strategy = tf.distribute.get_strategy()
    if not replicated() or num_workers(strategy) == 1:
        return values
    return tf.nest.map_structure(lambda y: tf.reshape(y, [1]), values)


def check_scope(strategy: tf.distribute.Strategy, variable: keras.Variable, what: str) -> None:
    """Raises ValueError where what has this variable was not made within the strategy's scope."""
    if not strategy.extended.variable_created_in_scope(variable.value):
        raise ValueError(
            f"{what} was made outside of the strategy that runs here: make the model and its optimizer, and call "
            "`compile`, within `with strategy.scope():`; `fit` may stand outside of it."
        )


def check_compile(
    strategy: tf.distribute.Strategy, optimizer: Any, jit_compile: bool | str, steps_per_execution: int
) -> None:
    """Raises ValueError for a strategy that would train otherwise than one process, or cannot train at all."""
    if keras.distribution.distribution() is not None:
        raise ValueError(
            "`keras.distribution` distributes nothing on the TensorFlow backend: unset it by "
            "keras.distribution.set_distribution(None), and make and compile the model within the scope of "
            "tf.distribute.MirroredStrategy."
        )
    with strategy.scope():
        if not tf.distribute.has_strategy():
            return
    if not isinstance(strategy, SUPPORTED):
        raise ValueError(
            f"A DVAE trains under {', '.join(kind.__name__ for kind in SUPPORTED)}, whose replicas make each update "
            f"together, got {type(strategy).__name__}."
        )
    if jit_compile is True:
        raise ValueError("XLA compiles steps for one device: leave `jit_compile` out under a strategy.")
    if steps_per_execution > 1:
        raise ValueError(
            f"Keras runs several steps in a loop of TensorFlow's, in which the branch of an update cannot stand under "
            f"{type(strategy).__name__}: leave `steps_per_execution` at 1, got {steps_per_execution}."
        )
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    check_scope(strategy, inner.variables[0], f"The optimizer {type(inner).__name__}")
    for name in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
        if getattr(inner, name):
            raise ValueError(
                f"Keras' optimizers decide by a branch whether `{name}` are over, in which replicas cannot meet: "
                f"leave it out under {type(strategy).__name__}."
            )


def part_of(rows: Rows | None) -> contextlib.AbstractContextManager[None]:
    """Within it noise is that of these rows of the global batch."""
    return contextlib.nullcontext() if rows is None else random.rows_scope(rows.own, rows.before, rows.all)


def apply_where(
    finite: tf.Tensor,
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence,
    variables: Sequence,
    loss: tf.Tensor,
) -> None:
    """One update by the gradients of the global batch, which every replica has; none where not `finite`.

    An optimizer sums the gradients of replicas by itself and clips (`clipnorm`) what it is given before that. So the
    first replica hands it the gradients, and the others zeros.
    """
    gradients = [first_alone(g) for g in gradients]
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        # It skips by itself, and lowers its scale, where it sees a gradient that is not finite. Clipping makes zeros of
        # infinite ones, and a norm overflows before its entries do: it must be told. No scale has part in a loss that
        # is not finite, so that it need not be lowered then.
        gradients = [tf.where(finite, g, tf.constant(float("nan"), g.dtype)) for g in gradients]
        finite = tf.math.is_finite(loss)
    if not replicated():
        tf.cond(finite, lambda: _applied(optimizer, gradients, variables), lambda: tf.constant(False))
        _keep_scale(optimizer)
        return

    def meet(strategy: tf.distribute.Strategy, finite: Any, gradients: Any) -> None:
        # Replicas cannot meet within a branch, as optimizers need to. So they meet first, and each branch begins anew.
        def update() -> tf.Tensor:
            strategy.extended.call_for_each_replica(optimizer.apply, args=(gradients, variables))
            return tf.constant(True)

        tf.cond(strategy.experimental_local_results(finite)[0], update, lambda: tf.constant(False))
        _keep_scale(optimizer)

    _context().merge_call(meet, args=(finite, gradients))


def _keep_scale(optimizer: keras.optimizers.Optimizer) -> None:
    """Keras halves the scale of a loss without end. What 1 does not help no lower scale does, and at 0 nothing is
    learned again."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        scale = optimizer.dynamic_scale
        scale.assign(tf.maximum(scale, min(1.0, optimizer.initial_scale)))


def _applied(optimizer: keras.optimizers.Optimizer, gradients: Sequence, variables: Sequence) -> tf.Tensor:
    optimizer.apply(gradients, variables)
    return tf.constant(True)


def _context() -> tf.distribute.ReplicaContext:
    return tf.distribute.get_replica_context()


def _own_number() -> tf.Tensor:
    return tf.convert_to_tensor(_context().replica_id_in_sync_group, tf.int32)


def _longer(y: Any, row: tf.Tensor, frame: tf.Tensor | int) -> tf.Tensor:
    """With a row, or a frame, of zeros at the end."""
    y = tf.convert_to_tensor(y)
    more = [[0, row], [0, frame]][: y.shape.rank] + [[0, 0]] * (y.shape.rank - 2)
    return tf.ensure_shape(tf.pad(y, more), [None, None, *y.shape[2:]][: y.shape.rank])
