"""Outputs of .tflite files, as the two runtimes of LiteRT know them."""

import json
import zipfile
from pathlib import Path

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter

from tfdvae.serving.saved_model import DESCRIPTION

__all__ = ["check_outputs", "run_compiled"]


def check_outputs(path: Path) -> None:
    """Every declared output has a tensor of its own, which is no input, and CompiledModel knows all of them."""
    with zipfile.ZipFile(path) as attached:
        described = json.loads(attached.read(DESCRIPTION))["signatures"]
    tensors, compiled = Interpreter(model_path=str(path))._get_full_signature_list(), CompiledModel.from_file(str(path))
    for name, one in described.items():
        declared = [field["name"] for field in one["outputs"]]
        indices = tensors[name]["outputs"]
        assert sorted(indices) == sorted(declared), name
        assert len(set(indices.values())) == len(declared), (name, indices)
        assert not set(indices.values()) & set(tensors[name]["inputs"].values()), (name, indices)
        assert sorted(compiled.get_signature_list()[name]["outputs"]) == sorted(declared), name


def run_compiled(path: Path, name: str, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What CompiledModel returns for a signature of fixed shapes."""
    compiled = CompiledModel.from_file(str(path))
    with zipfile.ZipFile(path) as attached:
        outputs = json.loads(attached.read(DESCRIPTION))["signatures"][name]["outputs"]
    inputs = {key: compiled.create_input_buffer_by_name(name, key) for key in given}
    for key, value in given.items():
        inputs[key].write(np.ascontiguousarray(value))
    buffers = {field["name"]: compiled.create_output_buffer_by_name(name, field["name"]) for field in outputs}
    compiled.run_by_name(name, inputs, buffers)
    return {
        field["name"]: buffers[field["name"]].read(int(np.prod(field["shape"])), np.dtype(field["dtype"]).type)
        for field in outputs
    }
