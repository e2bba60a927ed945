"""What the clients of a model server share: calls with deadlines and retries, of inputs that are checked before."""

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from export.client_known import TrainingData, frames
from export.client_many import ManyCalls
from export.client_stream import Stream
from export.client_types import (
    Arrays,
    Deadline,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    ServingError,
    SignatureSpec,
    UnavailableError,
    VersionStatus,
    checked,
    described,
)

if TYPE_CHECKING:
    from export.edge.known import Known
    from export.running import Artefact

__all__ = ["Client"]

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


class Client(ManyCalls):
    """A model on a server. `client_rest.RestClient` and `client_grpc.GrpcClient` say how to talk to it."""

    def __init__(
        self,
        address: str,
        model: str,
        version: int | None = None,
        timeout: float = 10.0,
        retries: int = 3,
        description: str | Path | None = None,
        label: str | None = None,
        concurrency: int = 8,
    ) -> None:
        """Connects with the first call.

        Args:
            address: of the server.
            model: its name there.
            version: its number; None: the newest that is served.
            timeout: seconds for each call, retries included.
            retries: how often a call is repeated that found no server, or one that is busy (UNAVAILABLE, 503), after
                pauses of at least 0.1, 0.2, 0.4, ... seconds. Nothing else is repeated: a model says the same again.
            description: `signatures.json` of the export, against which inputs are checked then; by default what the
                server says, which knows less of the axes. Streams need it, since no server says how noise is drawn.
                It also says which data the model was trained on: `known`, and a warning of frames far outside of them.
            label: that of a version, such as "stable", in place of its number.
            concurrency: how many calls `predict_many` and `predict_async` have under way at once.

        Raises:
            FileNotFoundError, ValueError: the description cannot be read, or the address or a number makes no sense.
            ImportError: a package that the interface needs is not installed.
        """
        Deadline(timeout)
        if retries < 0 or (version is not None and version < 1):
            raise ValueError(f"`retries` counts from 0 and `version` from 1, got {retries} and {version}.")
        if version is not None and label is not None:
            raise ValueError(f"A version has a number or a label: got both, {version} and {label!r}.")
        super().__init__(concurrency)
        self.address, self.model, self.version, self.label = address, model, version, label
        self.timeout, self.retries = timeout, retries
        self._described = None if description is None else described(Path(description))
        self._data = TrainingData(None if description is None else Path(description))
        self._known: dict[str, SignatureSpec] = {}
        self._connect()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, when the calls that are under way have ended."""
        self.end_calls()

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

        Warns once, where the client has a description and frames are far outside of the training data.

        Raises:
            NotFoundError: the server has no such model, version or signature; says what it has.
            InvalidArgumentError: the inputs do not fit, or the model refused them; says what was expected.
            DeadlineExceededError: there was no answer in time.
            UnavailableError: the server cannot be reached.
            ServingError: anything else.
        """
        deadline = self._deadline(timeout)
        spec = self._spec(signature, deadline)
        given = checked(signature, spec, inputs)
        for x, known in frames(given):
            self._data.watch(x, known)
        try:
            found = self._retried(lambda: self._predict(signature, given, spec, deadline), deadline)
        except InvalidArgumentError:
            # A newer version may have come with other signatures.
            self._known = {}
            raise
        except NotFoundError as error:
            raise self._not_found(error, deadline) from error
        return {name: found[name] for name in spec.outputs if name in found}

    def stream(
        self,
        batch_size: int = 1,
        *,
        sample: bool = False,
        seed: int | None = 0,
        context: Any = None,
        given: Any = None,
        given_observed: Any = None,
    ) -> Stream:
        """A place in sequences, which frames that are pushed or drawn move on. Its state stays with the caller, so each
        call may go to another server.

        Example:
            stream = client.stream()
            for frame in frames:                        # [D] each
                nats = stream.push(frame[None])["score"]
            future = stream.generate(20)                # [1, 20, D]

        Args:
            batch_size: B, sequences side by side.
            sample: latents of pushed frames are drawn from their posteriors instead of following its modes.
            seed: of all that is drawn.
            context: `[B, C]`, where the model has a context.
            given, given_observed: `[B, T, D]`, first frames, where the model takes its units from them.

        Raises:
            ValueError: the client was given no description, or the model has no `reset`.
            ServingError: as `predict`.
        """
        of_sequence = {"context": context, "given": given, "given_observed": given_observed}
        return Stream(self, batch_size, sample, seed, {k: v for k, v in of_sequence.items() if v is not None})

    def specs(self, signature: str, timeout: float | None = None) -> SignatureSpec:
        """Inputs and outputs of one signature, from the description where the client has one.

        Raises:
            ServingError: as `predict`.
        """
        return self._spec(signature, self._deadline(timeout))

    @property
    def has_description(self) -> bool:
        """Whether the names of axes, and how noise is drawn, are known."""
        return self._described is not None

    @property
    def known(self) -> "Known":
        """What the description says of the training data; `known.check(["flow", "pressure"], frame_period=0.5)` raises
        ValueError where frames are others."""
        return self._data.known

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
        from tfdvae.serving.saved_model import target_of

        folder, description = find_saved_model(path)

        def function(name: str) -> Callable[[Arrays], Arrays]:
            return lambda given: self.predict(name, given)

        functions = {name: function(name) for name in description["signatures"]}
        return Artefact(folder, functions, target_of(description), description)

    # Helpers.

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self.timeout if timeout is None else timeout)

    def _what(self) -> str:
        which = f", version {self.version}," if self.version else f", version {self.label!r}," if self.label else ""
        return f"The model {self.model!r}{which}"

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
                # Clients that were turned away together do not come back together.
                pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * random.uniform(1.0, 1.5)
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
