"""A train step that holds some sequences of a batch in memory at a time, and makes the update of all of them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import tensorflow as tf

from tfdvae.bounds.objectives import no_terms
from tfdvae.replicas import Rows
from tfdvae.types import Batch, StepTerms
from tfdvae.validation import Beside

if TYPE_CHECKING:
    from tfdvae.models import DVAE

__all__ = ["Part", "summed"]


class Part(NamedTuple):
    """What some sequences of a batch add to a train step.

    Attributes:
        loss: their part of the loss of the global batch.
        terms: their terms, for the metrics.
        gradients: of that loss, scaled as the optimizer wants it, for each variable.
    """

    loss: tf.Tensor
    terms: StepTerms
    gradients: list[tf.Tensor]


def summed(
    part: Callable[[Batch, Beside, Rows, tf.Tensor], Part],
    model: "DVAE",
    variables: Sequence[keras.Variable],
    batch: Batch,
    beside: Beside,
    rows: Rows | None,
    size: int,
) -> Part:
    """The sum of `part` over `size` sequences at a time.

    A part has the noise that its rows have in the whole batch, and its loss is divided by the frames of the batch, so
    that the sum is what all sequences at once would give, but for rounding: sums are added in another order.

    Args:
        part: what sequences, what stands beside them and their rows of the global batch add; it is told which part of
            the batch they are, so that losses which hang on no sequence (decay of weights) count once.
        model, variables: what is trained.
        batch, beside, rows: all sequences that this replica has; rows are None where there are no replicas.
        size: how many sequences are worked on at a time; the last part may have fewer.
    """
    count, length = tf.shape(batch.x)[0], tf.shape(batch.x)[1]
    if rows is None:
        rows = Rows(count, tf.constant(True), tf.constant(0), count)

    def add(start: tf.Tensor, sums: Part) -> tuple[tf.Tensor, Part]:
        end = tf.minimum(start + size, count)

        def cut(y: Any) -> Any:
            return None if y is None else y[start:end]

        own = rows._replace(own=end - start, before=rows.before + start)
        parts = Batch(*map(cut, batch)), Beside(*map(cut, beside))
        found = part(*parts, own, tf.cast((end - start) / count, tf.float32))
        # Metrics add up all rows of terms; one row of their sums is the same to them.
        rowless = tf.nest.map_structure(lambda y: tf.reduce_sum(y, axis=0, keepdims=True), found.terms)
        added = tf.nest.map_structure(lambda a, b: a + b, sums, found._replace(terms=rowless))
        return end, tf.nest.map_structure(lambda a, b: tf.ensure_shape(a, b.shape), added, sums)

    zeros = [tf.zeros(v.shape, v.dtype) for v in variables]
    start = (tf.constant(0), Part(tf.constant(0.0), no_terms(model, 1, batch.x.shape[1] or length), zeros))
    # Parts side by side would be in memory together.
    return tf.while_loop(lambda begin, _: begin < count, add, start, parallel_iterations=1)[1]
