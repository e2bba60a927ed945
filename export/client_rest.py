"""A client of TensorFlow Serving's REST interface, with nothing but numpy and the standard library."""

import http.client
import json
import urllib.parse
from typing import Any

import numpy as np

from export.client_base import Client
from export.client_types import (
    Arrays,
    Deadline,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    ServingError,
    SignatureSpec,
    TensorSpec,
    UnavailableError,
    VersionStatus,
)

__all__ = ["RestClient"]

ERRORS = {400: InvalidArgumentError, 404: NotFoundError, 503: UnavailableError, 504: DeadlineExceededError}
"""By the status of the answer; the server maps its own codes to these."""

DTYPES = {
    "DT_FLOAT": "float32",
    "DT_DOUBLE": "float64",
    "DT_INT32": "int32",
    "DT_INT64": "int64",
    "DT_BOOL": "bool",
}
"""Names that the server uses, and numpy's."""


class RestClient(Client):
    """A model on a server that speaks REST, such as `RestClient("http://localhost:8501", "balls")`.

    Requests are columnar: "inputs" holds whole tensors. NaN and infinities travel as the words that Python's json, and
    the server, write for them. A connection serves one call, so calls from several threads do not disturb each other.
    """

    def _connect(self) -> None:
        self.address = self.address.rstrip("/")
        parts = urllib.parse.urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"`address` of REST must look like http://localhost:8501, got {self.address!r}.")
        self._parts = parts

    def _predict(self, signature: str, inputs: Arrays, spec: SignatureSpec, deadline: Deadline) -> Arrays:
        body = {"signature_name": signature, "inputs": {name: value.tolist() for name, value in inputs.items()}}
        answer = self._call("POST", self._path(self.version) + ":predict", deadline, json.dumps(body).encode())
        outputs = answer.get("outputs")
        if len(spec.outputs) == 1:
            # A single tensor comes without its name.
            outputs = {next(iter(spec.outputs)): outputs}
        if not isinstance(outputs, dict) or not set(spec.outputs) <= set(outputs):
            raise ServingError(
                f"{self.address} answered {signature!r} without the outputs {', '.join(spec.outputs)}: {_short(answer)}"
            )
        try:
            return {name: np.array(outputs[name], one.dtype) for name, one in spec.outputs.items()}
        except (ValueError, TypeError, OverflowError) as error:
            raise ServingError(
                f"{self.address} answered {signature!r} with something that is no tensor: {error}"
            ) from error

    def _metadata(self, deadline: Deadline) -> dict[str, SignatureSpec]:
        answer = self._call("GET", self._path(self.version) + "/metadata", deadline)
        try:
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: SignatureSpec(_specs(one.get("inputs", {})), _specs(one.get("outputs", {})))
                for name, one in found.items()
                if not name.startswith("__")
            }
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ServingError(
                f"{self.address} described the model in words that cannot be read ({error!r}): {_short(answer)}"
            ) from error

    def _status(self, version: int | None, deadline: Deadline) -> list[VersionStatus]:
        # States are told by numbers.
        answer = self._call("GET", self._path(version, labelled=False), deadline)
        try:
            return [
                VersionStatus(int(one["version"]), one["state"], one.get("status", {}).get("error_message", ""))
                for one in answer["model_version_status"]
            ]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ServingError(
                f"{self.address} told the state in words that cannot be read ({error!r}): {_short(answer)}"
            ) from error

    def _path(self, version: int | None, labelled: bool = True) -> str:
        at_version = f"/versions/{version}" if version else f"/labels/{self.label}" if self.label and labelled else ""
        return f"{self._parts.path}/v1/models/{urllib.parse.quote(self.model, safe='')}{at_version}"

    def _call(self, method: str, path: str, deadline: Deadline, body: bytes | None = None) -> dict[str, Any]:
        code, content = self._exchange(method, path, deadline, body)
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if code != 200:
            message = answer.get("error") if isinstance(answer, dict) else None
            error = ERRORS.get(code, ServingError)
            raise error(f"{self.address} refused with HTTP {code}: {message or _short(content)}")
        if not isinstance(answer, dict):
            raise ServingError(f"{self.address} answered with something else than a JSON object: {_short(content)}")
        return answer

    def _exchange(self, method: str, path: str, deadline: Deadline, body: bytes | None) -> tuple[int, bytes]:
        if deadline.left() <= 0.0:
            raise self._late(deadline)
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._parts.hostname, self._parts.port, timeout=deadline.left())
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", "Connection": "close"})
            # Kept, since the connection forgets it; its timeout is that of one read.
            socket = connection.sock
            socket.settimeout(max(deadline.left(), 1e-3))
            response = connection.getresponse()
            parts = []
            while chunk := response.read1(1 << 16):
                parts.append(chunk)
                if deadline.left() <= 0.0:
                    raise self._late(deadline)
                socket.settimeout(deadline.left())
            return response.status, b"".join(parts)
        except TimeoutError as error:
            raise self._late(deadline) from error
        except http.client.RemoteDisconnected as error:
            raise UnavailableError(f"{self.address} closed the connection without an answer.") from error
        except http.client.HTTPException as error:
            raise ServingError(
                f"{self.address} does not answer as REST does ({error!r}). Is it the port of gRPC?"
            ) from error
        except OSError as error:
            raise UnavailableError(f"{self.address} cannot be reached: {error}.") from error
        finally:
            connection.close()


def _specs(tensors: dict[str, Any]) -> dict[str, TensorSpec]:
    def size(text: str) -> int | None:
        return None if int(text) < 0 else int(text)

    found = {}
    for name, one in tensors.items():
        shape = one.get("tensor_shape", {}).get("dim", [])
        found[name] = TensorSpec(DTYPES.get(one["dtype"], one["dtype"]), tuple(size(axis["size"]) for axis in shape))
    return found


def _short(content: Any) -> str:
    text = content.decode(errors="replace") if isinstance(content, bytes) else json.dumps(content)
    return text if len(text) <= 300 else text[:300] + "..."
