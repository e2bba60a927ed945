"""What the clients of a model server share: errors, deadlines, and the check of inputs before they are sent."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from export.running import Artefact

__all__ = [
    "Client",
    "Deadline",
    "DeadlineExceededError",
    "InvalidArgumentError",
    "NotFoundError",
    "ServingError",
    "SignatureSpec",
    "TensorSpec",
    "UnavailableError",
    "VersionStatus",
]

T = TypeVar("T")
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
    """Type of a tensor; a size is None where any will do."""

    dtype: str
    shape: tuple[int | None, ...]
    axes: tuple[str, ...] = ()


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


class Client:
    """A model on a server. `client_rest.RestClient` and `client_grpc.GrpcClient` say how to talk to it."""

    def __init__(
        self,
        address: str,
        model: str,
        version: int | None = None,
        timeout: float = 10.0,
        retries: int = 3,
        description: str | Path | None = None,
    ) -> None:
        """Connects with the first call.

        Args:
            address: of the server.
            model: its name there.
            version: its number; None: the newest that is served.
            timeout: seconds for each call, retries included.
            retries: how often a call is repeated that found no server, with pauses of 0.1, 0.2, 0.4, ... seconds.
            description: `signatures.json` of the export, against which inputs are checked then; by default what the
                server says, which knows less of the axes.

        Raises:
            FileNotFoundError, ValueError: the description cannot be read, or the address or a number makes no sense.
            ImportError: a package that the interface needs is not installed.
        """
        Deadline(timeout)
        if retries < 0 or (version is not None and version < 1):
            raise ValueError(f"`retries` counts from 0 and `version` from 1, got {retries} and {version}.")
        self.address, self.model, self.version = address, model, version
        self.timeout, self.retries = timeout, retries
        self._described = None if description is None else _described(Path(description))
        self._known: dict[str, SignatureSpec] = {}
        self._connect()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""

    # What the ways to talk to a server differ in. The last three raise ServingError and its subclasses.

    def _connect(self) -> None:
        """Checks the address, and makes what the calls need."""
        raise NotImplementedError

    def _predict(self, signature: str, inputs: Arrays, spec: SignatureSpec, deadline: Deadline) -> Arrays:
        raise NotImplementedError

    def _metadata(self, deadline: Deadline) -> dict[str, SignatureSpec]:
        """Without those whose names begin with "__": the loader's own, whose tensors have no types."""
        raise NotImplementedError

    def _status(self, version: int | None, deadline: Deadline) -> list[VersionStatus]:
        raise NotImplementedError

    # What callers use.

    def predict(
        self, signature: str, inputs: Mapping[str, np.typing.ArrayLike], timeout: float | None = None
    ) -> Arrays:
        """The outputs of a signature by name.

        Args:
            signature: its name.
            inputs: all its inputs. Numbers of another type are converted where that loses nothing but digits.
            timeout: seconds for this call.

        Raises:
            NotFoundError: the server has no such model, version or signature; says what it has.
            InvalidArgumentError: the inputs do not fit, or the model refused them; says what was expected.
            DeadlineExceededError: there was no answer in time.
            UnavailableError: the server cannot be reached.
            ServingError: anything else.
        """
        deadline = self._deadline(timeout)
        spec = self._spec(signature, deadline)
        checked = _checked(signature, spec, inputs)
        try:
            found = self._retried(lambda: self._predict(signature, checked, spec, deadline), deadline)
        except InvalidArgumentError:
            # A newer version may have come with other signatures.
            self._known = {}
            raise
        except NotFoundError as error:
            raise self._not_found(error, deadline) from error
        return {name: found[name] for name in spec.outputs if name in found}

    def signatures(self, timeout: float | None = None) -> dict[str, SignatureSpec]:
        """All signatures by name, as the server knows them.

        Raises:
            ServingError: as `predict`.
        """
        deadline = self._deadline(timeout)
        try:
            found = self._retried(lambda: self._metadata(deadline), deadline)
        except NotFoundError as error:
            raise self._not_found(error, deadline) from error
        self._known = found
        return dict(found)

    def status(self, timeout: float | None = None) -> list[VersionStatus]:
        """The versions of the model that the server knows, or the one that was asked for.

        Raises:
            ServingError: as `predict`.
        """
        deadline = self._deadline(timeout)
        return self._retried(lambda: self._status(self.version, deadline), deadline)

    def wait_until_ready(self, timeout: float = 60.0) -> VersionStatus:
        """Returns when the model answers.

        Raises:
            DeadlineExceededError: it did not in time; says what was wrong last.
            ServingError: the server failed to load it; says why.
        """
        deadline, last = Deadline(timeout), ""
        while deadline.left() > 0.0:
            try:
                found = self._status(self.version, deadline)
            except DeadlineExceededError as error:
                # The last question is cut off by our own deadline: what the server said before tells more.
                last = last or str(error)
            except (NotFoundError, UnavailableError) as error:
                last = str(error)
            else:
                for one in sorted(found, key=lambda one: -one.version):
                    if one.state == "AVAILABLE":
                        return one
                ended = [one for one in found if one.state == "END" and one.message]
                if ended and len(ended) == len(found):
                    raise ServingError(
                        f"{self._what()} could not be loaded by the server at {self.address}: {ended[0].message}"
                    )
                last = f"it is {', '.join(one.state for one in found)}"
            time.sleep(min(0.2, deadline.left()))
        raise DeadlineExceededError(f"{self._what()} was not ready within {timeout:g} seconds: {last}.")

    def artefact(self, path: str | Path) -> "Artefact":
        """What `export.parity.compare` takes: the model on the server, with the description of the export at `path`."""
        from export.running import Artefact, find_saved_model
        from tfdvae.serving import Target

        folder, description = find_saved_model(path)

        def function(name: str) -> Callable[[Arrays], Arrays]:
            return lambda given: self.predict(name, given)

        return Artefact(folder, {name: function(name) for name in description["signatures"]}, Target(), description)

    # Helpers.

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self.timeout if timeout is None else timeout)

    def _what(self) -> str:
        return f"The model {self.model!r}" + ("" if self.version is None else f", version {self.version},")

    def _late(self, deadline: Deadline) -> DeadlineExceededError:
        return DeadlineExceededError(f"{self.address} gave no answer within {deadline.seconds:g} seconds.")

    def _spec(self, signature: str, deadline: Deadline) -> SignatureSpec:
        if self._described is not None:
            known, where = self._described, "The description"
        else:
            known, where = self._known, f"{self._what()} on the server at {self.address}"
            if signature not in known:
                known = self.signatures(max(deadline.left(), 1e-3))
        if signature not in known:
            raise NotFoundError(f"{where} has no signature {signature!r}. There are {', '.join(sorted(known))}.")
        return known[signature]

    def _retried(self, call: Callable[[], T], deadline: Deadline) -> T:
        for attempt in range(self.retries + 1):
            try:
                return call()
            except UnavailableError:
                pause = 0.1 * 2**attempt
                if attempt == self.retries or pause >= deadline.left():
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _not_found(self, error: NotFoundError, deadline: Deadline) -> NotFoundError:
        """The same error, with what the server has instead."""
        try:
            found = self._status(None, deadline)
        except ServingError:
            return NotFoundError(f"The server at {self.address} has no model {self.model!r}: {error}")
        served = [str(one.version) for one in found if one.state == "AVAILABLE"]
        return NotFoundError(
            f"{self._what()} is not served at {self.address}. Versions that are: {', '.join(served) or 'none'}. "
            f"({error})"
        )


def _described(path: Path) -> dict[str, SignatureSpec]:
    from tfdvae.serving.fields import parse

    if not path.is_file():
        raise FileNotFoundError(f"There is no description {path}. It is the signatures.json beside saved_model.pb.")

    def specs(fields: list[dict[str, Any]]) -> dict[str, TensorSpec]:
        return {
            field["name"]: TensorSpec(
                field["dtype"], tuple(None if n == -1 else n for n in field["shape"]), tuple(field["axes"])
            )
            for field in fields
        }

    content = parse(path.read_bytes(), path)["signatures"]
    return {name: SignatureSpec(specs(one["inputs"]), specs(one["outputs"])) for name, one in content.items()}


def _checked(signature: str, spec: SignatureSpec, inputs: Mapping[str, Any]) -> Arrays:
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
