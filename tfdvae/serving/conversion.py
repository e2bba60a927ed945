"""Runs the LiteRT converter in a process of its own: `conversion.py SAVED_MODEL OUTPUT PRECISION SAMPLES SIGNATURE...`.

SAMPLES is an .npz file of inputs by "signature/input" with a leading axis of calls, read for integer activations.
Exits with `LACKING`, and prints the operations, where there is no built-in equivalent; with `UNWRITABLE`, and prints
the reason, where the file cannot be written. Imports TensorFlow alone.
"""

import copy
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["LACKING", "UNUSED", "UNWRITABLE", "convert"]

LACKING, UNWRITABLE = 3, 4

INTEGERS = (
    *("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"),
    *("CONCATENATION", "LOGISTIC", "TANH"),
)
"""What computes in integers: kernels of networks, and gates. Densities, samples, products of two computed matrices
(Kalman filters) and sums that a state carries on lose too much; RELU alone, on 16 bits, comes out wrong."""

UNUSED = "unused_input"
"""An input that stands in where a signature has none, which calibration cannot handle; the file does not have it."""


def convert(saved_model: str, precision: str, samples: str, names: list[str]) -> tuple[bytes, list[str]]:
    """The .tflite file, or the operations that LiteRT lacks."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=names)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision in ("float16", "int8_dynamic", "int8_full"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8_full":
        converter.target_spec.supported_ops.append(tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
        converter.representative_dataset = _dataset(samples, names)
    try:
        content = converter.convert()
    except Exception as error:
        found = re.findall(r"'?tf\.(\w+)'? op is neither|\btf\.(\w+)\(", str(error))
        lacking = {first or second for first, second in found}
        if "Lowering tensor list ops is failed" in str(error):
            lacking.add("loops over frames of unknown size")
        if not lacking:
            raise
        return b"", sorted(lacking)
    if precision == "int16x8":
        content = _to_int16(content, samples, names)
    if precision in ("int8_full", "int16x8"):
        content = _edited(content, _drop_unused, _keep_floats)
    return _edited(content, _part_outputs), []


def _to_int16(content: bytes, samples: str, names: list[str]) -> bytes:
    """A float32 model with weights of 8 and activations of 16 bits.

    What the converter itself would run, but with constants of their own for all operations: of two tensors with one
    buffer it quantises one, which breaks the file, and a bias on the scale of the first product that it is added to.
    """
    import tensorflow as tf
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    calibrator = Calibrator(_edited(content, _part_constants))
    floats, integers = (tf.float32, tf.float32), (tf.int16, tf.int64)
    return _edited(calibrator.calibrate_and_quantize(_dataset(samples, names), *floats, True, *integers), _join_buffers)


def _dataset(samples: str, names: list[str]) -> Callable[[], Iterator[tuple[str, dict]]]:
    """What the converter calls for inputs of each signature."""
    import numpy as np

    with np.load(samples, allow_pickle=False) as arrays:
        inputs = {key: arrays[key] for key in arrays.files}

    def calls() -> Iterator[tuple[str, dict]]:
        for name in names:
            own = {key.partition("/")[2]: value for key, value in inputs.items() if key.partition("/")[0] == name}
            for i in range(len(next(iter(own.values())))):
                yield name, {key: value[i] for key, value in own.items()}

    return calls


def _edited(content: bytes, *edits: Callable[[Any], None]) -> bytes:
    """The model after changes to its object."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for edit in edits:
        edit(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _drop_unused(model: Any) -> None:
    """Takes away inputs named `UNUSED`."""
    for signature in model.signatureDefs:
        dropped = [one.tensorIndex for one in signature.inputs if one.name == UNUSED.encode()]
        signature.inputs = [one for one in signature.inputs if one.tensorIndex not in dropped]
        graph = model.subgraphs[signature.subgraphIndex]
        graph.inputs = [index for index in graph.inputs if index not in dropped]


def _part_constants(model: Any) -> None:
    """Gives each tensor with values a buffer of its own, and each operation that reads one a tensor of its own."""
    taken = set()

    def parted(tensor: Any) -> Any:
        if tensor.buffer in taken and model.buffers[tensor.buffer].data is not None:
            model.buffers.append(copy.copy(model.buffers[tensor.buffer]))
            tensor.buffer = len(model.buffers) - 1
        taken.add(tensor.buffer)
        return tensor

    for graph in model.subgraphs:
        for tensor in graph.tensors:
            parted(tensor)
        read = set()
        for one in graph.operators or ():
            one.inputs = list(one.inputs)
            for place, index in enumerate(one.inputs):
                if index in read and model.buffers[graph.tensors[index].buffer].data is not None:
                    graph.tensors.append(parted(copy.copy(graph.tensors[index])))
                    graph.tensors[-1].name += f"/{place}".encode()
                    one.inputs[place] = len(graph.tensors) - 1
                elif index >= 0:
                    read.add(index)


def _part_outputs(model: Any) -> None:
    """Gives each output of a signature a tensor of its own, which is no input.

    The converter merges what is equal: states that all start at zero, a latent and the entry of the state that holds
    it, a score and its only term. CompiledModel knows outputs by their tensor, and then lacks all but one of these
    names. In the graph of TensorFlow there is no remedy: what changes no value (an identity, a reshape, a sum with
    zero, a product with one, a transpose, a slice of everything) the converter folds away, and what it does not fold
    (the larger of y and y) it merges with the next one of its kind. So this comes after it: a RESHAPE to the shape that
    the tensor has copies the bits of any type, in a time that is lost in the noise of a step.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    for signature in model.signatureDefs:
        graph = model.subgraphs[signature.subgraphIndex]
        taken, graph.operators = {one.tensorIndex for one in signature.inputs}, list(graph.operators or ())
        for one in signature.outputs:
            if one.tensorIndex in taken:
                one.tensorIndex = _copied(model, graph, one.tensorIndex, one.name, schema)
            taken.add(one.tensorIndex)
        graph.outputs = [one.tensorIndex for one in signature.outputs]


def _copied(model: Any, graph: Any, source: int, name: bytes, schema: Any) -> int:
    """A new tensor with the values of another one, at most one of whose axes is of unknown size."""
    import numpy as np

    given, values, shape, operator = graph.tensors[source], schema.BufferT(), schema.TensorT(), schema.OperatorT()
    sizes = given.shape if given.shapeSignature is None else given.shapeSignature
    values.data = np.frombuffer(np.asarray(sizes, "<i4").tobytes(), np.uint8)
    model.buffers.append(values)
    shape.name, shape.type, shape.shape = name + b"/shape", schema.TensorType.INT32, [len(sizes)]
    shape.buffer = len(model.buffers) - 1
    made = copy.copy(given)
    made.name, made.buffer = name + b"/copy", 0
    graph.tensors += [shape, made]
    operator.opcodeIndex = _code(model, "RESHAPE", 1, schema)
    operator.inputs, operator.outputs = [source, len(graph.tensors) - 2], [len(graph.tensors) - 1]
    graph.operators.append(operator)
    return len(graph.tensors) - 1


def _code(model: Any, kind: str, version: int, schema: Any) -> int:
    """The place of an operation among those that the model lists, where it is added if need be."""
    number = getattr(schema.BuiltinOperator, kind)
    for place, code in enumerate(model.operatorCodes):
        if code.builtinCode == number:
            code.version = max(code.version, version)
            return place
    made = schema.OperatorCodeT()
    made.builtinCode = made.deprecatedBuiltinCode = number
    made.version = version
    model.operatorCodes.append(made)
    return len(model.operatorCodes) - 1


def _join_buffers(model: Any) -> None:
    """Lets tensors with the same values share a buffer, and empties the others."""
    first: dict[bytes, int] = {}
    kept = list(range(len(model.buffers)))
    for i, buffer in enumerate(model.buffers):
        if buffer.data is not None and len(buffer.data):
            kept[i] = first.setdefault(bytes(buffer.data), i)
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        tensor.buffer = kept[tensor.buffer]
    named = {one.buffer for one in model.metadata or ()}
    for i in (i for i, shared in enumerate(kept) if shared != i and i not in named):
        model.buffers[i].data = None


def _keep_floats(model: Any) -> None:
    """Gives back its floats to every operation that is not one of `INTEGERS`."""
    from tensorflow.lite.python import schema_py_generated as schema

    for kind, version in VERSIONS.items():
        _code(model, kind, version, schema)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    kinds = [names[one.builtinCode] for one in model.operatorCodes]
    same = [_FloatGraph(graph, kinds, schema).rewrite() for graph in model.subgraphs]
    for signature in model.signatureDefs:
        for one in signature.outputs:
            one.tensorIndex = same[signature.subgraphIndex].get(one.tensorIndex, one.tensorIndex)


VERSIONS = {"QUANTIZE": 3, "DEQUANTIZE": 5}
"""Of the operations that know 16-bit integers and scales by channel."""


class _FloatGraph:
    """One graph of a model, and for tensors of integers that tensor of floats which has the same values."""

    def __init__(self, graph: Any, kinds: list[str], schema: Any):
        self.graph, self.kinds, self.schema = graph, kinds, schema
        self.floats: dict[int, int] = {}
        self.operators: list[Any] = []

    def rewrite(self) -> dict[int, int]:
        """Changes the graph; returns which tensor stands in for one that is no longer made."""
        same: dict[int, int] = {}
        for one in self.graph.operators or ():
            kind = self.kinds[one.opcodeIndex]
            one.inputs = [same.get(i, i) for i in one.inputs]
            if kind == "QUANTIZE" and not self.is_integer(one.inputs[0]):
                self.floats[one.outputs[0]] = one.inputs[0]
            if kind == "DEQUANTIZE" and one.inputs[0] in self.floats:
                same[one.outputs[0]] = self.floats[one.inputs[0]]
                continue
            # Comparisons have integers at their inputs alone.
            if kind in (*INTEGERS, "QUANTIZE", "DEQUANTIZE") or not any(
                map(self.is_integer, (*one.inputs, *one.outputs))
            ):
                if kind == "DEQUANTIZE":
                    self.floats[one.inputs[0]] = one.outputs[0]
                self.operators.append(one)
                continue
            one.inputs = [self.as_float(i) if self.is_integer(i) else i for i in one.inputs]
            quantised = list(one.outputs)
            one.outputs = [self.new_float(i) if self.is_integer(i) else i for i in quantised]
            self.operators.append(one)
            for output, integer in zip(one.outputs, quantised, strict=True):
                if output != integer:
                    self.floats[integer] = output
                    self.operators.append(self.operator("QUANTIZE", output, integer))
        self.graph.outputs = [same.get(i, i) for i in self.graph.outputs]
        self.drop_unread()
        return same

    def drop_unread(self) -> None:
        """Takes away conversions that nobody reads."""
        read = {i for one in self.operators for i in one.inputs} | set(self.graph.outputs)
        conversions = ("QUANTIZE", "DEQUANTIZE")
        kept = [
            one for one in self.operators if self.kinds[one.opcodeIndex] not in conversions or one.outputs[0] in read
        ]
        again = len(kept) < len(self.operators)
        self.operators = self.graph.operators = kept
        if again:
            self.drop_unread()

    def is_integer(self, index: int) -> bool:
        """Whether a tensor holds integers that stand for floats."""
        if index < 0:
            return False
        tensor, types = self.graph.tensors[index], self.schema.TensorType
        scaled = tensor.quantization is not None and tensor.quantization.scale is not None
        return scaled and tensor.type in (types.INT8, types.INT16)

    def as_float(self, index: int) -> int:
        if index not in self.floats:
            self.floats[index] = self.new_float(index)
            self.operators.append(self.operator("DEQUANTIZE", index, self.floats[index]))
        return self.floats[index]

    def new_float(self, index: int) -> int:
        tensor = copy.copy(self.graph.tensors[index])
        tensor.type, tensor.quantization, tensor.buffer = self.schema.TensorType.FLOAT32, None, 0
        tensor.name = tensor.name + b"/float"
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, kind: str, source: int, result: int) -> Any:
        made = self.schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = self.kinds.index(kind), [source], [result]
        return made


def main() -> int:
    saved_model, output, precision, samples, *names = sys.argv[1:]
    content, lacking = convert(saved_model, precision, samples, names)
    if lacking:
        print(", ".join(lacking))
        return LACKING
    try:
        Path(output).write_bytes(content)
    except OSError as error:
        print(error)
        return UNWRITABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
