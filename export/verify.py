"""Compares an exported model with the Keras model that it came from, and prints a table.

python -m export.verify served/vrnn --model model.keras
python -m export.verify model.tflite --model model.keras --tolerance 1e-5
python -m export.verify model.tflite --model model.keras --compiled
python -m export.verify served/vrnn --model model.keras --native
python -m export.verify served/vrnn --model model.keras --rest http://localhost:8501

Every signature gets the same inputs and the same noise as the Keras model; `step x T` feeds a sequence frame by frame
and compares it with one call on the whole sequence; `mixtures` draws some frames and feeds the others, and compares
with a Keras model that is given all of them. Differences are relative to the largest absolute value of the output in
Keras. The exit code is 1 where one is larger than the tolerance, and larger than the floor, below which differences are
rounding whatever the size of the output. A SavedModel is run by TensorFlow in Python; with --native by a C++ program
without Python, with --rest or --grpc by the server that has loaded it. A .tflite file is run by LiteRT's Interpreter,
with --compiled by its CompiledModel, which runs the functions of fixed shapes. `export.matrix` makes one table of all.
"""

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export import program

if TYPE_CHECKING:
    from export.running import Artefact

__all__ = ["run", "table"]


def table(differences: Sequence, tolerance: float, floor: float) -> str:
    """One line per output, those beyond the tolerance and the floor marked."""
    lines = [f"{'signature':<14} {'output':<18} {'largest':>9} {'relative':>9}"]
    for one in differences:
        mark = "" if one.within(tolerance, floor) else "  beyond the tolerance"
        lines.append(f"{one.signature:<14} {one.output:<18} {one.largest:9.1e} {one.relative:9.1e}{mark}")
    return "\n".join(lines)


def main(given: argparse.Namespace) -> int:
    """Prints the table; 1 where the numbers differ, else 0."""
    from export import parity

    model = program.load_model(given.model)
    artefact = _load(given)
    print(f"Run by {artefact.runtime}")
    written, digest = artefact.description.get("weights_sha256"), model.identity()["weights_sha256"]
    if written not in (None, digest):
        print(f"WARNING: {given.model} has other weights than the model that was exported.", flush=True)
    differences = parity.compare(model, artefact, given.seed)
    floor = parity.FLOOR if given.floor is None else given.floor
    worst = max((one.relative for one in differences if one.largest > floor), default=0.0)
    print(table(differences, given.tolerance, floor))
    same = all(one.within(given.tolerance, floor) for one in differences)
    verdict = "within" if same else "BEYOND"
    print(
        f"{len(differences)} outputs, largest relative difference {worst:.1e} above {floor:g}, "
        f"{verdict} {given.tolerance:g}"
    )
    return 0 if same else 1


def _load(given: argparse.Namespace) -> "Artefact":
    """The artefact, run by what was asked for."""
    from export import client, native, running

    if given.native:
        found, version = native.load(given.path), importlib.metadata.version("tensorflow")
        return found._replace(runtime=found.runtime or f"TensorFlow {version}, C++ program")
    if given.compiled:
        return running.load_compiled(given.path)
    if not (given.rest or given.grpc):
        return running.load(given.path)
    folder = Path(given.path).resolve()
    name = given.name or (folder.parent if folder.name.isdigit() else folder).name
    found = client.RestClient(given.rest, name) if given.rest else client.GrpcClient(given.grpc, name)
    artefact = found.artefact(given.path)
    return artefact._replace(runtime=artefact.runtime or f"the server at {given.rest or given.grpc}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.verify", description=__doc__.partition("\n")[0])
    found.add_argument("path", help="folder with a SavedModel, or with versions of one, or a .tflite file")
    found.add_argument("--model", required=True, help="the .keras file that it came from")
    found.add_argument("--tolerance", type=float, default=1e-5, help="largest relative difference (default 1e-5)")
    found.add_argument("--floor", type=float, help="absolute difference that always passes (default 1e-6)")
    found.add_argument("--seed", type=int, default=0, help="of the inputs")
    where = found.add_mutually_exclusive_group()
    where.add_argument("--native", action="store_true", help="run a SavedModel in a C++ program")
    where.add_argument("--compiled", action="store_true", help="run a .tflite file by LiteRT's CompiledModel")
    where.add_argument("--rest", help="URL of the server that has loaded it, such as http://localhost:8501")
    where.add_argument("--grpc", help="host and port of the server that has loaded it, such as localhost:8500")
    found.add_argument("--name", help="of the model on the server (default: that of the folder)")
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
