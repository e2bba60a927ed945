"""Counts the multiply-adds of a train step from its own graph."""

import math
from typing import Any

import tensorflow as tf

from tfdvae.models import DVAE

__all__ = ["count_graph", "train_step_multiply_adds"]

_LOOPS = ("While", "StatelessWhile")


def train_step_multiply_adds(model: DVAE, batch_size: int, length: int) -> int:
    """Multiply-adds of all matrix products in one `train_step` on `[B, T, D]`, gradients included.

    The step is traced with static shapes and every product of its graph is counted as often as it runs: a loop's body
    times the loop's number of iterations. Elementwise work, the optimizer's included, counts nothing.
    """
    spec = tf.TensorSpec([batch_size, length, model.x_dim], tf.float32)
    step = tf.function(lambda x: model.train_step({"x": x}), autograph=False, jit_compile=False)
    return count_graph(step.get_concrete_function(spec).graph)


def count_graph(graph: tf.Graph) -> int:
    """Multiply-adds of the matrix products in the graph of a traced function; of branches the largest counts.

    Raises:
        ValueError: where a shape or a loop's number of iterations is not static, or for a convolution.
    """
    return sum(_count(op) for op in _live(graph))


def _live(graph: tf.Graph) -> set[tf.Operation]:
    """The operations that run: those that an output or a side effect needs. Keras traces one step that nobody reads."""
    waiting = [y.op for y in graph.outputs if y is not None] + list(graph.control_outputs)
    live: set[tf.Operation] = set()
    while waiting:
        op = waiting.pop()
        if op not in live:
            live.add(op)
            waiting.extend([*(x.op for x in op.inputs), *op.control_inputs])
    return live


def _count(op: tf.Operation) -> int:
    if op.type in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        return _product(op)
    if op.type.startswith(("Conv", "Einsum", "DepthwiseConv")):
        raise ValueError(f"Cannot count the multiply-adds of {op.type} ({op.name}): only matrix products are known.")
    if op.type in _LOOPS:
        body = count_graph(_function(op, op.get_attr("body").name))
        return body * _iterations(op) if body else 0
    branches = [count_graph(_function(op, name)) for name in _called(op)]
    return max(branches, default=0)


def _product(op: tf.Operation) -> int:
    """Output elements times the length of the contracted axis."""
    transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
    left, output = op.inputs[0].shape, op.outputs[0].shape
    if not (left.is_fully_defined() and output.is_fully_defined()):
        raise ValueError(f"Cannot count {op.name}: its shapes {left} -> {output} are not static.")
    return math.prod(output) * left[-2 if transposed else -1]


def _called(op: tf.Operation) -> list[str]:
    """Names of the functions that an operation which is no loop may run."""
    named = [op.get_attr(a.name) for a in op.op_def.attr if a.type == "func"]
    listed = [f for a in op.op_def.attr if a.type == "list(func)" for f in op.get_attr(a.name)]
    return [f.name for f in (*named, *listed) if f.name]


def _function(op: tf.Operation, name: str) -> tf.Graph:
    # TensorFlow has no public way from an operation to the graphs of the functions that it runs.
    return op.graph._get_function(name).graph


def _iterations(op: tf.Operation) -> int:
    """A loop's static bound, which is its second input; a gradient loop's is the count of its forward loop."""
    bound = op.inputs[1]
    if bound.op.type in _LOOPS:
        return _iterations(bound.op)
    value = _static(bound)
    if value is None or value < 0:
        raise ValueError(f"Cannot count {op.name}: its number of iterations is not static.")
    return int(value)


def _static(tensor: tf.Tensor) -> Any:
    """A tensor's value where the graph alone tells it. Keras bounds its loops by the largest of the lengths."""
    value = tf.get_static_value(tensor)
    if value is not None or tensor.op.type != "Max":
        return value
    lengths = tf.get_static_value(tensor.op.inputs[0])
    return None if lengths is None else lengths.max()
