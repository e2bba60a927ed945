"""Exports models in every format, runs them by every runtime, and prints how far they are from Keras as one table.

python -m export.matrix model.keras
python -m export.matrix models/*.keras --out parity.md
python -m export.matrix models/*.keras --signatures score reset step generate_step
python -m export.matrix models/*.keras --runtimes "LiteRT, Interpreter" "LiteRT, CompiledModel"

A row is a model, a column a format and what runs it. A cell is the largest difference from Keras of any output of any
signature, and then that of frames which are given and drawn in turns ("mixtures"), relative to the largest value of the
output; "< 1e-06" says that all are below the floor of `export.verify` absolutely, and so rounding. "-" stands where
there is nothing to compare: a model that cannot stream has no mixtures, and CompiledModel runs functions of fixed
shapes alone, which are those of streams. The exit code is 1 where a cell is beyond the tolerance, which is marked by
"!". C++ is the program of `make cpp`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from export import program

if TYPE_CHECKING:
    from export.parity import Difference
    from export.running import Artefact
    from tfdvae.models import DVAE

__all__ = ["RUNTIMES", "cell", "compared", "run"]

RUNTIMES = ("SavedModel, Python", "SavedModel, C++", "LiteRT, Interpreter", "LiteRT, CompiledModel")


def compared(
    model: "DVAE", runtimes: Sequence[str] = RUNTIMES, signatures: Sequence[str] | None = None, seed: int = 0
) -> dict[str, list["Difference"]]:
    """Differences from Keras by runtime; a runtime without a function that it can run has none.

    Args:
        model: a built model.
        runtimes: some of RUNTIMES.
        signatures: names of those to export, as far as the model and the format have them; None: all.
        seed: of the inputs.
    """
    from export import native, parity, running
    from tfdvae import serving

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        saved, litert = Path(folder) / "model", Path(folder) / "model.tflite"
        loaders: Mapping[str, tuple[Path, Callable[[Path], Artefact]]] = {
            "SavedModel, Python": (saved, running.load),
            "SavedModel, C++": (saved, native.load),
            "LiteRT, Interpreter": (litert, running.load),
            "LiteRT, CompiledModel": (litert, running.load_compiled),
        }
        for name in runtimes:
            path, load = loaders[name]
            declared = serving.declare(model, serving.LITERT if path == litert else serving.Target())
            wanted = [one for one in declared if signatures is None or one in signatures]
            fixed = set(wanted) & {"reset", "step", "generate_step"}
            if not (fixed if name == "LiteRT, CompiledModel" else wanted):
                found[name] = []
                continue
            if not path.exists():
                model.export(path, format="litert" if path == litert else "tf_saved_model", signatures=wanted)
            found[name] = parity.compare(model, load(path), seed)
    return found


def cell(differences: Sequence["Difference"], tolerance: float, floor: float) -> str:
    """The largest difference of signatures, and that of mixtures."""

    def largest(chosen: Sequence["Difference"]) -> str:
        if not chosen:
            return "-"
        mark = "" if all(one.within(tolerance, floor) for one in chosen) else "!"
        beyond = [one.relative for one in chosen if one.largest > floor]
        return f"{max(beyond):.1e}{mark}" if beyond else f"< {floor:g}"

    parts = ([], [])
    for one in differences:
        parts[one.signature == "mixtures"].append(one)
    return "-" if not differences else f"{largest(parts[0])}, {largest(parts[1])}"


def main(given: argparse.Namespace) -> int:
    """Prints the table, row by row; 1 where numbers differ, else 0."""
    from export import parity

    if given.out:
        program.check_new(given.out, given.overwrite)
    floor, same = parity.FLOOR if given.floor is None else given.floor, True
    with open(given.out, "w", encoding="utf-8") if given.out else tempfile.TemporaryFile("w") as copy:
        _print(copy, f"| model | streams | {' | '.join(given.runtimes)} |")
        _print(copy, f"|{'---|' * (len(given.runtimes) + 2)}")
        for path in given.models:
            model = program.load_model(path)
            found = compared(model, given.runtimes, given.signatures, given.seed)
            cells = [cell(one, given.tolerance, floor) for one in found.values()]
            same &= not any("!" in one for one in cells)
            streams = "yes" if model.causal else "no"
            _print(copy, f"| {Path(path).stem} | {streams} | {' | '.join(cells)} |")
    verdict = "within" if same else "BEYOND"
    print(f"{len(given.models)} models, differences above {floor:g} are {verdict} {given.tolerance:g}")
    return 0 if same else 1


def _print(copy: TextIO, line: str) -> None:
    print(line, flush=True)
    print(line, file=copy, flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.matrix", description=__doc__.partition("\n")[0])
    found.add_argument("models", nargs="+", help=".keras files")
    found.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=RUNTIMES, help="columns (default: all)")
    found.add_argument("--signatures", nargs="+", metavar="NAME", help="as far as models have them (default: all)")
    found.add_argument("--tolerance", type=float, default=1e-5, help="largest relative difference (default 1e-5)")
    found.add_argument("--floor", type=float, help="absolute difference that always passes (default 1e-6)")
    found.add_argument("--seed", type=int, default=0, help="of the inputs")
    found.add_argument("--out", help="a file for the table")
    found.add_argument("--overwrite", action="store_true", help="replace it where it exists")
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
