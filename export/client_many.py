"""Many requests at once: several on their way, sequences of several in one, and the same for asyncio."""

import asyncio
import operator
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from export.client_types import Arrays, InvalidArgumentError, ServingError, SignatureSpec, TensorSpec, checked

__all__ = ["ManyCalls", "join", "part"]

COUNTS = {"length": "time", "horizon": "horizon", "num_samples": "samples"}
"""Inputs that say how long an axis of an output is, where each row says its own."""


class ManyCalls:
    """What a client with `predict` can do besides."""

    def __init__(self, concurrency: int) -> None:
        if operator.index(concurrency) < 1:
            raise ValueError(f"`concurrency` must be at least 1, got {concurrency}.")
        self.concurrency = concurrency
        self._pool: ThreadPoolExecutor | None = None
        self._pool_lock = threading.Lock()

    def predict_many(
        self,
        signature: str,
        requests: Iterable[Mapping[str, Any]],
        *,
        batch_size: int = 32,
        timeout: float | None = None,
        return_errors: bool = False,
    ) -> list[Any]:
        """The outputs of many requests, in their order; several are under way at once, and each is retried by itself.

        Where every input has a row per sequence and the client has a description, requests travel together, up to
        `batch_size` sequences in one call: shorter ones are padded, and each gets its own part of the answer.

        Args:
            signature: its name.
            requests: the inputs of each.
            batch_size: sequences in one call; 1: every request is a call of its own.
            timeout: seconds for each call.
            return_errors: a request that failed has its ServingError in the list, instead of raising it for all. Where
                requests travel together, each is then asked for alone once more, so that none fails for another.

        Raises:
            ValueError: a batch size below 1.
            ServingError: as `predict`.
        """
        if operator.index(batch_size) < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        found: list[Any] = [dict(one) for one in requests]
        spec = self.specs(signature, timeout) if found else None
        groups = _groups(signature, spec, found, batch_size if self.has_description else 1, return_errors)
        calls = [self._submit(self._answered, signature, spec, group, timeout) for group in groups]
        again: dict[int, Future] = {}
        for group, call in zip(groups, calls, strict=True):
            try:
                answers = call.result()
            except ServingError as error:
                if not return_errors:
                    for other in calls:
                        other.cancel()
                    raise
                answers = [error] * len(group)
                if len(group) > 1 and isinstance(error, InvalidArgumentError):
                    again |= {i: self._submit(self.predict, signature, given, timeout) for i, given in group.items()}
            for i, answer in zip(group, answers, strict=True):
                found[i] = answer
        for i, call in again.items():
            try:
                found[i] = call.result()
            except ServingError as error:
                found[i] = error
        return found

    async def predict_async(self, signature: str, inputs: Mapping[str, Any], timeout: float | None = None) -> Arrays:
        """`predict` for asyncio: the call waits in a thread of the client, of which it has `concurrency`.

        Example:
            answers = await asyncio.gather(*(client.predict_async("encode", one) for one in requests))

        Raises:
            ServingError: as `predict`.
        """
        return await asyncio.wrap_future(self._submit(self.predict, signature, inputs, timeout))

    def end_calls(self) -> None:
        """Waits for the calls that are under way; those that are not yet are dropped."""
        with self._pool_lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _submit(self, function: Any, *arguments: Any) -> Future:
        with self._pool_lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.concurrency, "model server")
            return self._pool.submit(function, *arguments)

    def _answered(
        self, signature: str, spec: SignatureSpec, group: Mapping[int, Arrays], timeout: float | None
    ) -> list[Arrays]:
        requests = list(group.values())
        if len(requests) == 1:
            return [self.predict(signature, requests[0], timeout)]
        return part(spec, requests, self.predict(signature, join(spec, requests), timeout))


def join(spec: SignatureSpec, requests: Sequence[Arrays]) -> Arrays:
    """Requests below each other, those that are shorter along other axes padded with zeros; for a mask, no frames."""
    found = {}
    for name in spec.inputs:
        arrays = [request[name] for request in requests]
        shape = np.max([array.shape[1:] for array in arrays], axis=0).astype(int) if arrays[0].ndim > 1 else ()
        found[name] = np.concatenate(
            [
                np.pad(array, [(0, 0), *((0, n - m) for n, m in zip(shape, array.shape[1:], strict=True))])
                for array in arrays
            ]
        )
    return found


def part(spec: SignatureSpec, requests: Sequence[Arrays], outputs: Arrays) -> list[Arrays]:
    """The answer for each of the requests that were joined, without what follows its own frames and samples."""
    found, start = [], 0
    for request in requests:
        sizes = _sizes(spec, request)
        rows = slice(start, start + sizes["batch"])
        start = rows.stop
        found.append(
            {
                name: outputs[name][(rows, *(slice(sizes.get(axis)) for axis in one.axes[1:]))]
                for name, one in spec.outputs.items()
                if name in outputs
            }
        )
    return found


def _sizes(spec: SignatureSpec, request: Arrays) -> dict[str, int]:
    """Of the axes, by their names."""
    sizes: dict[str, int] = {}
    for name, one in spec.inputs.items():
        sizes |= dict(zip(one.axes, request[name].shape, strict=True))
    counted = {axis: int(np.max(request[name])) for name, axis in COUNTS.items() if name in request}
    return {**counted, **sizes}


def _groups(
    signature: str, spec: SignatureSpec | None, requests: Sequence[Arrays], most: int, lenient: bool
) -> list[dict[int, Arrays]]:
    """Which requests travel together, by their place; all are checked first, so that none is sent in vain."""
    if spec is None:
        return []
    groups: list[dict[int, Arrays]] = []
    room = 0
    joined = most > 1 and bool(spec.inputs) and all(map(_by_row, spec.inputs.values()))
    for i, request in enumerate(requests):
        try:
            given = checked(signature, spec, request)
        except InvalidArgumentError:
            if not lenient:
                raise
            # It fails by itself.
            groups.append({i: request})
            room = 0
            continue
        rows = len(next(iter(given.values()))) if joined else most
        if rows > room:
            groups.append({})
            room = max(most, rows)
        groups[-1][i] = given
        room -= rows
    return groups


def _by_row(spec: TensorSpec) -> bool:
    return spec.axes[:1] == ("batch",)
