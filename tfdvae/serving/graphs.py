"""Graphs of signatures as LiteRT's converter wants them: weights as constants, and what integers can compute."""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from tfdvae.serving.conversion import UNUSED
from tfdvae.serving.fields import Signature

__all__ = ["drop_shape_checks", "for_integers", "freeze", "has_loop", "nodes_of"]

Concrete = tf.types.experimental.ConcreteFunction
LOOPS = ("While", "StatelessWhile")


def freeze(signature: Signature, integers: bool = False) -> Concrete:
    """The graph with weights as constants: LiteRT has no variables inside of a loop.

    Args:
        signature: what to trace.
        integers: as `for_integers` makes it, and with an input that is not used where there is none; not with loops.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    traced = signature.trace()
    names = sorted(traced.structured_outputs)
    constant = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    order = [tensor.name.partition(":")[0] for tensor in constant.inputs]
    integers = integers and not has_loop(constant)
    graph = for_integers(constant.graph) if integers else None

    def run(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        if graph is None:
            found = constant(*(tensors[name] for name in order))
        else:
            inputs, outputs = {name: tensors[name] for name in order}, [tensor.name for tensor in constant.outputs]
            found = tf.graph_util.import_graph_def(graph, inputs, outputs, name="")
        return dict(zip(names, found, strict=True))

    specs = {field.name: field.spec() for field in signature.inputs}
    if integers and not specs:
        specs = {UNUSED: tf.TensorSpec([1], tf.float32, UNUSED)}
    return tf.function(run, autograph=False).get_concrete_function(**specs)


def has_loop(function: Concrete) -> bool:
    """Whether there is a loop over frames in it, or in what it calls."""
    graph = function.graph.as_graph_def()
    return any(node.op in LOOPS for node in nodes_of(graph))


def drop_shape_checks(saved_model: Path) -> None:
    """Makes identities of all EnsureShape in a SavedModel: LiteRT lacks it, and tracing has used what it says."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = saved_model / "saved_model.pb"
    content = SavedModel.FromString(file.read_bytes())
    for node in (node for one in content.meta_graphs for node in nodes_of(one.graph_def)):
        if node.op == "EnsureShape":
            node.op = "Identity"
            del node.attr["shape"]
    file.write_bytes(content.SerializeToString())


def nodes_of(graph: GraphDef) -> Iterator[NodeDef]:
    """All nodes, those of its functions included."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def for_integers(graph: tf.Graph) -> GraphDef:
    """The same values from a graph that loses less where all entries of a tensor share one scale of integers.

    The product of concatenated tensors with a kernel becomes the sum of their products with their parts of the kernel,
    so that each keeps its own scale.
    """
    given = graph.as_graph_def()
    nodes = {node.name: node for node in given.node}
    made = GraphDef(versions=given.versions, library=given.library)
    kernels = _kernels(given, nodes)
    for node in given.node:
        made.node.extend(_split(node, nodes, graph, kernels[node.name]) if node.name in kernels else [node])
    return made


def _kernels(given: GraphDef, nodes: dict[str, NodeDef]) -> dict[str, np.ndarray]:
    """By the names of the products of concatenated tensors with a kernel: its values, which may be joined of parts."""

    @functools.cache
    def fixed(name: str) -> bool:
        node = nodes[name.lstrip("^").partition(":")[0]]
        return node.op != "Placeholder" and all(map(fixed, node.input))

    found = {
        node.name: node.input[1]
        for node in given.node
        if node.op == "MatMul"
        and _source(node.input[0], nodes).op == "ConcatV2"
        and not any(node.attr[f"transpose_{side}"].b for side in "ab")
        and fixed(node.input[1])
    }
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tensors = tf.graph_util.import_graph_def(given, return_elements=_full(found.values()), name="")
        return dict(zip(found, session.run(tensors), strict=True))


def _full(names: Iterable[str]) -> list[str]:
    """Names of tensors with the number of the output."""
    return [name if ":" in name else f"{name}:0" for name in names]


def _split(product: NodeDef, nodes: dict[str, NodeDef], graph: tf.Graph, weights: np.ndarray) -> list[NodeDef]:
    """What stands in for concat(a, b, ...) @ W, the last node by the name of the product."""
    inputs = _source(product.input[0], nodes).input[:-1]
    widths = [graph.get_tensor_by_name(name).shape[-1] for name in _full(inputs)]
    made: list[NodeDef] = []
    for i, weight in enumerate(np.split(weights, np.cumsum(widths)[:-1])):
        constant = NodeDef(name=f"{product.name}/kernel_{i}", op="Const")
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weight))
        constant.attr["dtype"].CopyFrom(product.attr["T"])
        made += [constant, _node(f"{product.name}/part_{i}", "MatMul", [inputs[i], constant.name], product)]
    total = f"{product.name}/part_0"
    for i in range(1, len(widths)):
        name = product.name if i == len(widths) - 1 else f"{product.name}/sum_{i}"
        made.append(_node(name, "AddV2", [total, f"{product.name}/part_{i}"], product))
        total = name
    return made


def _source(name: str, nodes: dict[str, NodeDef]) -> NodeDef:
    """The node behind a tensor, through identities."""
    node = nodes[name.partition(":")[0]]
    return _source(node.input[0], nodes) if node.op == "Identity" else node


def _node(name: str, op: str, inputs: Iterable[str], like: NodeDef) -> NodeDef:
    """An operation on tensors of the type of another one."""
    made = NodeDef(name=name, op=op, input=inputs)
    made.attr["T"].CopyFrom(like.attr["T"])
    return made
