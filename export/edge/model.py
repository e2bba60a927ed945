"""The functions of a .tflite file of `model.export(path, format="litert")`, without TensorFlow and tfdvae.

`stream.py` beside it is a place in a sequence, and needs this file; this one needs `known.py`.
"""

import contextlib
import hashlib
import json
import math
import operator
import os
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .known import Known, Watch

__all__ = ["Arrays", "Field", "MIDDLE", "Model", "damage", "numbers", "outside", "read_fields"]

FORMAT, VERSION = "tfdvae.signatures", 2
DESCRIPTION, SIZES = "signatures.json", ("features", "inputs", "context")
MOST = 1 << 24  # bytes of a description, and numbers in a frame
MIDDLE = {"normal": 0.0, "uniform": 0.5}
OBSERVED = {"x": "observed", "given": "given_observed"}

Arrays = dict[str, np.ndarray]
Shape = tuple[int | str, ...]


class Field(NamedTuple):
    """What a file says of an input: its shape (a word for an axis of any size), its type, how it is drawn, and of
    frames which values have a density."""

    shape: Shape
    dtype: str
    random: str = ""
    values: Mapping[str, Any] | None = None


class Model:
    """The functions of an exported model, one sequence at a time.

    Args:
        path: a .tflite file that tfdvae wrote, of any precision; inputs and outputs are float32 in all of them.
        num_threads, seed: of the interpreter, and of all that is drawn.

    Attributes:
        description: what the file says about itself: model, precision, signatures with names, shapes and units.
        frame_shape: of a frame, `(D,)`, or `(H, W, C)` of a picture.
        features: D, how many numbers a frame has.
        inputs: U, the width of the control inputs; 0 without.
        context: C, the width of what is known of a sequence; 0 without.
        latents: names of the latents of a frame.
        known: what the file says of the training data: names and units of the features, period of the frames, ...
        signatures: names of the functions in the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, something else, or of another version.
        ImportError: ai-edge-litert is not installed.
    """

    def __init__(self, path: str | os.PathLike, num_threads: int = 1, seed: int | None = 0):
        if operator.index(num_threads) < 1:
            raise ValueError(f"`num_threads` must be at least 1, got {num_threads}.")
        self.path = os.fspath(path)
        with damage(self.path, "read"):
            self.description, self._runners = _open(self.path, num_threads)
            if self.description.get("batch", 1) != 1:
                raise ValueError(f"{self.path} takes {self.description['batch']} sequences at once: export one with 1.")
            self.frame_shape: tuple[int, ...] = tuple(self.description["frame_shape"])
            self.features, self.inputs, self.context = (self.description[key] for key in SIZES)
            self.latents: tuple[str, ...] = tuple(self.description["latents"])
            self.signatures = tuple(self._runners)
            described = self.description["signatures"]
            self._takes = {name: read_fields(one["inputs"]) for name, one in described.items()}
            self.known = Known.read(self.description.get("data", {}), self.features)
            statistics = self.description.get("statistics")
            watched = self.path, statistics, self.frame_shape, self.known.features
            self._watch = Watch(*watched) if statistics else None
            self._states = read_fields(described["reset"]["outputs"]) if "reset" in described else {}
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()

    def run(self, name: str, **arrays: Any) -> Arrays:
        """Calls a function of the file, and returns its outputs by name.

        Args:
            name: one of `signatures`.
            arrays: its inputs by name, such as x `[1, T, D]`. Noise may be left out, and is drawn then; x may hold
                anything where `observed` is given and false.

        Raises:
            ValueError: no such function; inputs that are missing, unknown, of another shape, no numbers, not finite, or
                frames that p(x | .) cannot explain.
        """
        self._require(name)
        takes, sizes = self._takes[name], {}
        if arrays.keys() - takes.keys() or any(key not in arrays and not field.random for key, field in takes.items()):
            raise ValueError(f"{name!r} takes {', '.join(takes) or 'nothing'}; got {', '.join(arrays) or 'nothing'}.")
        given: Arrays = {}
        for key in sorted(arrays, key=lambda key: key not in OBSERVED.values()):
            known = given.get(OBSERVED.get(key, ""))
            given[key] = numbers(repr(key), arrays[key], takes[key], sizes, known)
        with self._lock, damage(self.path, "run"):
            drawn = {key: self._noise(field, sizes) for key, field in takes.items() if key not in given}
            return self._runners[name](**given, **drawn)

    def _require(self, name: str) -> None:
        if name not in self.signatures:
            raise ValueError(f"{self.path} has no {name!r}, only {', '.join(self.signatures)}.")

    def _noise(self, field: Field, sizes: Mapping[str, int]) -> np.ndarray:
        sized = [sizes.get(n, n) for n in field.shape]
        if field.random == "normal":
            return self._rng.standard_normal(sized, np.float32)
        # Strictly inside of (0, 1), and exact in float32: the logarithms of x and 1 - x are finite.
        return ((self._rng.integers(2**23, size=sized) + 0.5) * 2.0**-23).astype(np.float32)


def _open(path: str, num_threads: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A file's description, and its functions, which are as it says."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError("Running .tflite files needs ai-edge-litert: pip install ai-edge-litert") from error
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {path}.")
    with zipfile.ZipFile(path) as attached, open(path, "rb") as file:
        if attached.getinfo(DESCRIPTION).file_size > MOST:
            raise ValueError("its description is too long")
        description = json.loads(attached.read(DESCRIPTION))
        model = hashlib.sha256(file.read(min(one.header_offset for one in attached.infolist()))).hexdigest()
    found = description["format"], description["version"]
    if found != (FORMAT, VERSION):
        raise ValueError(
            f"{path} was written as {found[0]} version {found[1]}, this module reads {FORMAT} version {VERSION}: "
            "export the model again, or take the module that came with that version."
        )
    if model != description["model_sha256"]:  # A damaged model can crash the interpreter, and with it the process.
        raise ValueError("the model is not the one that was written")
    interpreter = Interpreter(model_path=path, num_threads=num_threads)
    runners = {name: interpreter.get_signature_runner(name) for name in description["signatures"]}
    _check(description, runners)
    return description, runners


@contextlib.contextmanager
def damage(path: str, done: str) -> Iterator[None]:
    """Whatever a damaged file leads to, nearly anything, becomes one ValueError that names it."""
    try:
        yield
    except Exception as error:
        if isinstance(error, FileNotFoundError | ImportError) or (isinstance(error, ValueError) and path in str(error)):
            raise
        raise ValueError(f"{path} cannot be {done} as a model that tfdvae exported to LiteRT: {error!r}") from error


def _check(description: Mapping[str, Any], runners: Mapping[str, Any]) -> None:
    """Raises an error where the description has no sizes, or says of functions what they are not."""
    frame, sizes = tuple(description["frame_shape"]), [description[key] for key in SIZES]
    if any(type(n) is not int or not 0 <= n <= MOST for n in (*frame, *sizes)) or math.prod(frame) != sizes[0]:
        raise ValueError(f"frames of {frame} with {SIZES} of {sizes} are none")
    for name, runner in runners.items():
        for side, there in (("inputs", runner.get_input_details()), ("outputs", runner.get_output_details())):
            fields = read_fields(description["signatures"][name][side])
            if fields.keys() != there.keys():
                raise ValueError(f"{name!r} has the {side} {sorted(there)}, not {sorted(fields)}")
            for key, field in fields.items():
                pairs = zip(field.shape, there[key]["shape_signature"].tolist(), strict=True)
                # The runtime may not know the size of an output before it has made it.
                other = any(n != m for n, m in pairs if isinstance(n, int) and (m >= 0 or side == "inputs"))
                other |= key == "x" and field.shape[-len(frame) :] != frame
                if other or field.dtype != np.dtype(there[key]["dtype"]).name:
                    raise ValueError(f"{name!r} has no {key!r} of {field.dtype} {list(field.shape)}")


def read_fields(described: Iterable[Mapping[str, Any]]) -> dict[str, Field]:
    """Fields by name."""
    found = {}
    for one in described:
        shape = tuple(n if n >= 0 else str(one["axes"][i]) for i, n in enumerate(one["shape"]))
        field = found[one["name"]] = Field(shape, one["dtype"], one.get("random", ""), one.get("values"))
        if any(type(n) not in (int, str) for n in shape) or field.random not in ("", *MIDDLE):
            raise ValueError(f"{one} is no input or output")
        if field.values is not None:
            outside(np.broadcast_to(np.float32(), [n if isinstance(n, int) else 1 for n in shape]), field.values)
    return found


def outside(array: np.ndarray, values: Mapping[str, Any]) -> np.ndarray:
    """Which entries are beyond the bounds of their values, NaN for none, or not whole where these are."""
    low, high, whole = (np.broadcast_to(np.float32(values[key]), array.shape) for key in ("low", "high", "whole"))
    slack = values["rounding"] * whole
    return (array < low - slack) | (array > high + slack) | ((whole > 0) & (abs(np.rint(array) - array) > slack))


def numbers(what: str, value: Any, field: Field, sizes: dict[str, int] | None = None, known: Any = None) -> np.ndarray:
    """The value as a field takes it, finite, zeros where not `known`; sizes of words are noted, the same everywhere."""
    shape = field.shape
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} cannot be read as an array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} must hold real numbers, got {array.dtype}.")
    if sizes is not None and array.ndim == len(shape):
        pairs = zip(shape, array.shape, strict=True)
        shape = tuple(sizes.setdefault(n, max(size, 1)) if isinstance(n, str) else n for n, size in pairs)
    if array.shape != shape:
        raise ValueError(f"{what} must have the shape [{', '.join(map(str, shape))}], got {list(array.shape)}.")
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(array, field.dtype)
    if known is not None:
        array = np.where(known, array, np.zeros([], array.dtype))
    if not np.isfinite(array).all():
        raise ValueError(f"{what} holds NaN or infinity.")
    if field.values is not None:
        bad = array[outside(array, field.values) & (True if known is None else known)]
        if bad.size:
            raise ValueError(f"{what} holds {bad[0]:.6g}, which cannot be: {field.values['text']}.")
    return array
