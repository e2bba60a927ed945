"""Batches that come one by one from Python: generators and Keras' PyDatasets, checked as they come."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras

__all__ = ["CheckedPyDataset", "first_of", "named"]

Check = Callable[[Any], dict[str, Any]]
"""One batch as users make it to a dict of arrays as Keras takes it; raises ValueError where it cannot be right."""


class CheckedPyDataset(keras.utils.PyDataset):
    """A PyDataset whose batches are checked in the process that makes them.

    Args:
        given: what is checked; its workers, length and hooks remain.
        check: see `Check`.
    """

    def __init__(self, given: keras.utils.PyDataset, check: Check):
        super().__init__(given.workers, given.use_multiprocessing, given.max_queue_size)
        self.given = given
        self.check = check
        self.ahead: dict[str, Any] | None = None

    def first(self) -> dict[str, Any]:
        """The first batch, which is not made again when it is asked for next."""
        self.ahead = self.check(self.given[0])
        return self.ahead

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == 0 and self.ahead is not None:
            found, self.ahead = self.ahead, None
            return found
        return self.check(self.given[index])

    @property
    def num_batches(self) -> int | None:
        return self.given.num_batches

    def on_epoch_begin(self) -> None:
        self.given.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.given.on_epoch_end()


def first_of(batches: Iterator, check: Check) -> tuple[dict[str, Any], Iterator[tuple[dict[str, Any]]]]:
    """The first batch, checked, and a generator of all of them, each checked when its turn comes.

    Raises:
        ValueError: there is none, or it cannot be right.
    """
    nothing = object()
    first = next(batches, nothing)
    if first is nothing:
        raise ValueError("Expected a generator of batches, frames [batch, time, features] each; it has none.")
    checked = check(first)
    rest = ((check(batch),) for batch in batches)
    return checked, (batch for batch in itertools.chain([(checked,)], rest))


def named(*parts: Any) -> dict[str, Any]:
    """A Batch, and what stands beside it, as one dict without what is not there."""
    return {name: value for part in parts for name, value in part._asdict().items() if value is not None}
