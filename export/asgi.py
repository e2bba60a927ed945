"""Serves a SavedModel over HTTP where TensorFlow Serving is not at hand: an ASGI application that speaks its REST.

pip install uvicorn
python -m export.asgi --path served/balls --port 8501

`export.client.RestClient` and all that speaks to TensorFlow Serving's REST in columns ("inputs") finds the same paths,
bodies and codes here. Any ASGI server runs `App`. A version that was written with --batching has requests that come
within `--wait` milliseconds merged: up to `--max_batch_size` sequences are one run of the model. There is one version,
without a label, no gRPC and no monitoring: it is for machines where a container is too much. It warns once, on standard
error, of frames far outside of the training data, whoever sent them.
"""

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from export import program
from export.client_known import TrainingData, frames
from export.client_many import join, part
from export.client_rest import DTYPES
from export.client_types import Arrays, InvalidArgumentError, SignatureSpec, TensorSpec, checked, described
from export.saved_model import warmup_requests

__all__ = ["App", "run"]

PATH = re.compile(r"/v1/models/([^/:]+)(?:/(versions/\d+|labels/[^/:]+))?(/metadata|:predict)?")
NAMES = {numpy: name for name, numpy in DTYPES.items()}
DEFAULT = "reconstruct"
MOST = 1 << 28
"""Bytes of a request."""

Receive, Send = Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]


class Refusal(Exception):
    """An answer that is none, and its code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Waiting(NamedTuple):
    """A request, and where its answer goes."""

    given: Arrays
    rows: int
    answer: asyncio.Future


class App:
    """An ASGI application for one SavedModel.

    Args:
        path: folder of a SavedModel, or of versions of one (the newest counts).
        name: of the model; by default that of the folder of versions.
        max_batch_size: sequences in one run, where the version was written for servers that merge requests.
        wait: seconds that a request waits for others, there.
        num_threads: runs at once; by default the number of cores.

    Raises:
        FileNotFoundError, ValueError: there is no such SavedModel, or it is damaged.
    """

    def __init__(
        self,
        path: str | Path,
        name: str | None = None,
        max_batch_size: int = 32,
        wait: float = 0.002,
        num_threads: int | None = None,
    ) -> None:
        from export.running import load

        self._artefact = load(path)
        folder = self._artefact.path.resolve()
        self.version = int(folder.name) if folder.name.isdecimal() else 1
        self.name = name or (folder.parent if folder.name.isdecimal() else folder).name
        self.specs = described(folder / "signatures.json")
        self._data = TrainingData(folder / "signatures.json")
        self.max_batch_size, self.wait = max_batch_size, wait
        self._merges = self._artefact.target.merged
        self._pool = ThreadPoolExecutor(num_threads or os.cpu_count(), "model")
        self._queues: dict[str, list[Waiting]] = {}
        self._warm = False
        self.runs = 0

    def warm_up(self) -> None:
        """Runs the version's warm-up requests once, as TensorFlow Serving does, so that no caller waits for the first
        runs of a signature, which trace and plan it; a server calls it before it takes requests.

        Without tensorflow-serving-api there are no such requests, and nothing to read them by.

        Raises:
            ValueError: the file of requests is damaged, or has one of another model.
        """
        if self._warm:
            return
        for name, given in list(warmup_requests(self._artefact.path)):
            if name not in self._artefact.functions:
                raise ValueError(f"{self._artefact.path} has warm-up requests of {name!r}, a signature it has not.")
            self._artefact.functions[name](given)
        self._warm = True

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers one request; see the ASGI specification."""
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                try:
                    await asyncio.get_running_loop().run_in_executor(self._pool, self.warm_up)
                except ValueError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            self._pool.shutdown()
            await send({"type": "lifespan.shutdown.complete"})
            return
        try:
            code, content = 200, await self._answer(scope["method"], scope["path"], receive)
        except Refusal as refusal:
            code, content = refusal.code, {"error": str(refusal)}
        body = json.dumps(content).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, method: str, path: str, receive: Receive) -> dict[str, Any]:
        found = PATH.fullmatch(path)
        if found is None or (method == "POST") != (found[3] == ":predict"):
            raise Refusal(400, f"Malformed request: {method} {path}")
        which, _, value = (found[2] or "").partition("/")
        if which == "labels":
            raise Refusal(404, f"There are no labels of versions here, such as {value!r}: leave it out.")
        if found[1] != self.name or (which and int(value) != self.version):
            raise Refusal(
                404, f"There is no model {found[1]!r} of that version here, only {self.name}, {self.version}."
            )
        if found[3] is None:
            status = {"error_code": "OK", "error_message": ""}
            return {"model_version_status": [{"version": str(self.version), "state": "AVAILABLE", "status": status}]}
        if found[3] == "/metadata":
            signatures = {name: _definition(spec) for name, spec in self.specs.items()}
            return {"metadata": {"signature_def": {"signature_def": signatures}}}
        return await self._predict(await _body(receive))

    async def _predict(self, body: bytes) -> dict[str, Any]:
        try:
            request = json.loads(body)
            name, inputs = request.get("signature_name", DEFAULT), dict(request["inputs"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refusal(400, f'A request is an object of "signature_name" and "inputs": {error!r}') from error
        spec = self.specs.get(DEFAULT if name == "serving_default" else name)
        if spec is None:
            raise Refusal(400, f"There is no signature {name!r}, only {', '.join(self.specs)}.")
        name = DEFAULT if name == "serving_default" else name
        try:
            given = checked(name, spec, {key: _read(key, value, spec.inputs.get(key)) for key, value in inputs.items()})
        except InvalidArgumentError as error:
            raise Refusal(400, str(error)) from error
        for x, known in frames(given):
            self._data.watch(x, known)
        outputs = await (self._merged(name, spec, given) if self._merges else self._run(name, given))
        written = {key: value.tolist() for key, value in outputs.items()}
        return {"outputs": written if len(written) > 1 else next(iter(written.values()))}

    async def _merged(self, name: str, spec: SignatureSpec, given: Arrays) -> Arrays:
        """The answer of a run that requests of the same signature may share."""
        loop = asyncio.get_running_loop()
        one = Waiting(given, len(next(iter(given.values()))), loop.create_future())
        queue = self._queues.get(name)
        if queue is None or sum(other.rows for other in queue) + one.rows > self.max_batch_size:
            # A queue that is full has its own task already.
            queue = self._queues[name] = []
            loop.create_task(self._batch(name, spec, queue))
        queue.append(one)
        return await one.answer

    async def _batch(self, name: str, spec: SignatureSpec, queue: list[Waiting]) -> None:
        await asyncio.sleep(self.wait)
        if self._queues.get(name) is queue:
            del self._queues[name]
        requests = [one.given for one in queue]
        try:
            found = part(spec, requests, await self._run(name, join(spec, requests)))
        except Refusal as refusal:
            for one in queue:
                one.answer.cancelled() or one.answer.set_exception(Refusal(refusal.code, str(refusal)))
            return
        for one, answer in zip(queue, found, strict=True):
            one.answer.cancelled() or one.answer.set_result(answer)

    async def _run(self, name: str, given: Arrays) -> Arrays:
        import tensorflow as tf

        self.runs += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._artefact.functions[name], given)
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            raise Refusal(400, getattr(error, "message", None) or str(error)) from error
        except tf.errors.OpError as error:
            raise Refusal(500, error.message) from error


async def _body(receive: Receive) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "The caller went away.")
        parts.append(message.get("body", b""))
        size, more = size + len(parts[-1]), message.get("more_body", False)
        if size > MOST:
            raise Refusal(413, f"A request may have {MOST} bytes.")
    return b"".join(parts)


def _read(key: str, value: Any, spec: TensorSpec | None) -> np.ndarray:
    """An array of the declared type, where JSON knows just numbers; `checked` tells what does not fit."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidArgumentError(f"{key!r} is no tensor: {error}") from error
    integer = spec is not None and array.dtype.kind in "iu" and np.dtype(spec.dtype).kind in "iuf"
    return array.astype(spec.dtype) if integer and np.array_equal(array.astype(spec.dtype), array) else array


def _definition(spec: SignatureSpec) -> dict[str, Any]:
    def tensors(fields: Mapping[str, TensorSpec]) -> dict[str, Any]:
        return {
            name: {
                "dtype": NAMES[one.dtype],
                "tensor_shape": {"dim": [{"size": str(-1 if n is None else n), "name": ""} for n in one.shape]},
            }
            for name, one in fields.items()
        }

    return {"inputs": tensors(spec.inputs), "outputs": tensors(spec.outputs)}


def main(given: argparse.Namespace) -> int:
    """Serves until it is told to end."""
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError(f"An ASGI server is needed, such as: pip install uvicorn ({error}).") from error
    app = App(given.path, given.name, given.max_batch_size, given.wait / 1000.0)
    app.warm_up()
    print(f"Serving {app.name} at http://{given.host}:{given.port}/v1/models/{app.name}", flush=True)
    uvicorn.run(app, host=given.host, port=given.port, log_level="warning")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.asgi", description=__doc__.partition("\n")[0])
    found.add_argument("--path", required=True, help="folder of a SavedModel, or of versions of one")
    found.add_argument("--name", help="of the model (default: that of the folder)")
    found.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    found.add_argument("--port", type=int, default=8501, help="port to listen at (default 8501)")
    found.add_argument("--max_batch_size", type=int, default=32, help="sequences in one run (default 32)")
    found.add_argument("--wait", type=float, default=2.0, help="milliseconds to wait for others (default 2)")
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
