"""What goes to a model server and comes back: tensors and their types, deadlines, and what may go wrong."""

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Arrays",
    "Deadline",
    "DeadlineExceededError",
    "InvalidArgumentError",
    "NotFoundError",
    "ServingError",
    "SignatureSpec",
    "TensorSpec",
    "UnavailableError",
    "VersionStatus",
    "checked",
    "damage",
    "described",
    "read_description",
]

FORMAT, VERSION = "tfdvae.signatures", 2
"""Of a `signatures.json` that can be read here."""

Arrays = dict[str, np.ndarray]


class ServingError(RuntimeError):
    """The server could not answer, or its answer cannot be read."""


class NotFoundError(ServingError):
    """The server has no such model, version or signature."""


class InvalidArgumentError(ServingError):
    """The inputs do not fit the signature, or the model refused them."""


class DeadlineExceededError(ServingError):
    """There was no answer in time."""


class UnavailableError(ServingError):
    """No server can be reached, or it is not ready to answer."""


class TensorSpec(NamedTuple):
    """Type of a tensor; a size is None where any will do. Names of axes, and how noise is drawn ("normal", "uniform"),
    the description of an export tells, and no server."""

    dtype: str
    shape: tuple[int | None, ...]
    axes: tuple[str, ...] = ()
    random: str = ""


class SignatureSpec(NamedTuple):
    """Inputs and outputs of a signature by name."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class VersionStatus(NamedTuple):
    """What the server says of a version: its number, its state (AVAILABLE: it answers), and the error that ended it."""

    version: int
    state: str
    message: str


class Deadline:
    """A moment that all parts of a call share."""

    def __init__(self, seconds: float) -> None:
        if not (seconds > 0.0 and math.isfinite(seconds)):
            raise ValueError(f"`timeout` must be a positive number of seconds, got {seconds}.")
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then, at least 0."""
        return max(0.0, self._end - time.monotonic())


def read_description(path: Path) -> dict[str, Any]:
    """What a `signatures.json` says, as `tfdvae.serving.fields.parse` reads it where there is TensorFlow, which takes
    seconds to import, and which who asks a server need not have.

    Raises:
        ValueError: it is something else, or of another version; names the file.
    """
    try:
        content = json.loads(path.read_bytes())
        found = content["format"], content["version"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} holds no description of signatures: {error}") from error
    if found != (FORMAT, VERSION):
        raise ValueError(
            f"{path} was written as {found[0]} version {found[1]}, this client reads {FORMAT} version {VERSION}: "
            "export the model again."
        )
    return content


@contextlib.contextmanager
def damage(path: Path) -> Iterator[None]:
    """What a description lacks or has of another kind becomes one ValueError that names the file."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as the description of an export: {error!r}") from error


def described(path: Path) -> dict[str, SignatureSpec]:
    """The signatures of a `signatures.json`.

    Raises:
        FileNotFoundError, ValueError: there is no such file; it is something else or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no description {path}. It is the signatures.json beside saved_model.pb.")

    def specs(fields: list[dict[str, Any]]) -> dict[str, TensorSpec]:
        return {
            field["name"]: TensorSpec(
                field["dtype"],
                tuple(None if n == -1 else n for n in field["shape"]),
                tuple(field["axes"]),
                field.get("random", ""),
            )
            for field in fields
        }

    content = read_description(path)
    with damage(path):
        signatures = content["signatures"].items()
        return {name: SignatureSpec(specs(one["inputs"]), specs(one["outputs"])) for name, one in signatures}


def checked(signature: str, spec: SignatureSpec, inputs: Mapping[str, Any]) -> Arrays:
    """The inputs as arrays of the declared types.

    Raises:
        InvalidArgumentError: they do not fit.
    """
    missing = [name for name in spec.inputs if name not in inputs]
    unknown = [name for name in inputs if name not in spec.inputs]
    if missing or unknown:
        wrong = f"{', '.join(missing)} is missing" if missing else f"it has no {', '.join(unknown)}"
        raise InvalidArgumentError(f"{signature!r} takes {', '.join(spec.inputs)}; {wrong}.")
    found, sizes = {}, {}
    for name, one in spec.inputs.items():
        array = found[name] = _conform(signature, name, one, inputs[name])
        for axis, size in zip(one.axes, array.shape, strict=False):
            other, known = sizes.setdefault(axis, (name, size))
            if known != size:
                raise InvalidArgumentError(
                    f"{signature!r}: the axis {axis!r} has {known} entries in {other!r} and {size} in {name!r}."
                )
    return found


def _conform(signature: str, name: str, spec: TensorSpec, value: Any) -> np.ndarray:
    array = np.asarray(value)
    fits = len(array.shape) == len(spec.shape) and all(
        expected in (None, size) for expected, size in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        sizes = [axis or ("any" if n is None else str(n)) for axis, n in _axes(spec)]
        raise InvalidArgumentError(
            f"{signature!r}: {name!r} must have the shape [{', '.join(sizes)}], got {list(array.shape)}."
        )
    if array.size == 0:
        raise InvalidArgumentError(f"{signature!r}: {name!r} is empty, its shape is {list(array.shape)}.")
    dtype = np.dtype(spec.dtype)
    same = array.dtype == dtype
    with np.errstate(invalid="ignore", over="ignore"):
        converted = array if same else array.astype(dtype) if np.can_cast(array.dtype, dtype, "same_kind") else None
    if converted is None or (not same and dtype.kind in "iu" and not np.array_equal(converted, array)):
        raise InvalidArgumentError(
            f"{signature!r}: {name!r} must be {spec.dtype}, got {array.dtype} that cannot be converted."
        )
    return converted


def _axes(spec: TensorSpec) -> list[tuple[str, int | None]]:
    return list(zip(spec.axes or ("",) * len(spec.shape), spec.shape, strict=True))
