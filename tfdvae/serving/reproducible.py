"""SavedModels that are equal byte by byte when they come from one model, whatever the process did before.

TensorFlow numbers functions through the whole life of a process, and writes a random number into the fingerprint. Here
functions are numbered by their order within the file, and that number follows from the content.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

__all__ = ["make_reproducible"]

PLACEHOLDER = re.compile(r"_(\d+)(?=___redundant_placeholder)")
"""The number of a loop's condition in the names of arguments that it does not read."""
NUMBERED = re.compile(r"(?P<name>.+)_(?P<number>\d+)", re.DOTALL)
USER_NAME = "_user_specified_name"
FINGERPRINT = "fingerprint.pb"


def make_reproducible(folder: Path) -> None:
    """Rewrites `saved_model.pb` and `fingerprint.pb` of a SavedModel in place; nothing that it computes changes.

    Raises:
        OSError: a file cannot be written.
    """
    from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

    file = folder / "saved_model.pb"
    content = SavedModel.FromString(file.read_bytes())
    for graph in content.meta_graphs:
        _renumber(graph)
    written = content.SerializeToString(deterministic=True)
    file.write_bytes(written)
    found = FingerprintDef.FromString(fingerprinting.CreateFingerprintDef(str(folder).encode()))
    found.uuid = str(int.from_bytes(hashlib.sha256(written).digest()[:8], "little"))
    (folder / FINGERPRINT).write_bytes(found.SerializeToString(deterministic=True))


def _renumber(graph: MetaGraphDef) -> None:
    """Gives functions numbers by the order of those that they have."""
    library = graph.graph_def.library
    old = sorted((function.signature.name for function in library.function), key=_number)
    new = {name: f"{NUMBERED.fullmatch(name)['name'] if _number(name) else name}_{i}" for i, name in enumerate(old)}
    place = {name: i for i, name in enumerate(old)}
    functions = sorted(library.function, key=lambda function: place[function.signature.name])
    numbers = {str(_number(name)[0]): str(i) for i, name in enumerate(old) if _number(name)}

    def renamed(argument: str) -> str:
        return PLACEHOLDER.sub(lambda found: f"_{numbers.get(found[1], found[1])}", argument)

    for function in functions:
        for argument in function.signature.input_arg:
            argument.name = renamed(argument.name)
        for place_of, known in function.arg_attr.items():
            # What a function captures is called after a number that tensors have in the process.
            if USER_NAME in known.attr and known.attr[USER_NAME].s.isdigit():
                known.attr[USER_NAME].s = str(place_of).encode()
        function.signature.name = new[function.signature.name]
        for value in function.attr.values():
            _rename_attribute(value, new)
    for node in _nodes(graph):
        node.op, node.input[:] = new.get(node.op, node.op), map(renamed, node.input)
        for value in node.attr.values():
            _rename_attribute(value, new)
    for one in library.gradient:
        one.function_name = new.get(one.function_name, one.function_name)
        one.gradient_func = new.get(one.gradient_func, one.gradient_func)
    del library.function[:]
    library.function.extend(functions)
    _rename_objects(graph, new)


def _number(name: str) -> tuple[int, str] | tuple[()]:
    """By which functions are sorted: their number, then their name; nothing for one without a number."""
    found = NUMBERED.fullmatch(name)
    return (int(found["number"]), found["name"]) if found else ()


def _nodes(graph: MetaGraphDef) -> Iterator[NodeDef]:
    yield from graph.graph_def.node
    for function in graph.graph_def.library.function:
        yield from function.node_def


def _rename_attribute(value: AttrValue, new: Mapping[str, str]) -> None:
    kind = value.WhichOneof("value")
    if kind == "func":
        value.func.name = new.get(value.func.name, value.func.name)
    elif kind == "list":
        for one in value.list.func:
            one.name = new.get(one.name, one.name)


def _rename_objects(graph: MetaGraphDef, new: Mapping[str, str]) -> None:
    """In what ties functions to the objects of Python that a loader makes."""
    objects = graph.object_graph_def
    known = {name: objects.concrete_functions[name] for name in objects.concrete_functions}
    copies = {new.get(name, name): type(one).FromString(one.SerializeToString()) for name, one in known.items()}
    objects.concrete_functions.clear()
    for name, one in copies.items():
        objects.concrete_functions[name].CopyFrom(one)
    for node in objects.nodes:
        kind = node.WhichOneof("kind")
        if kind == "function":
            names = [new.get(name, name) for name in node.function.concrete_functions]
            node.function.concrete_functions[:] = names
        elif kind == "bare_concrete_function":
            one = node.bare_concrete_function
            one.concrete_function_name = new.get(one.concrete_function_name, one.concrete_function_name)
