"""Which recordings are trained on, chosen by and reported on: by lists, or by a ratio that is the same everywhere."""

import functools
import hashlib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from tfdvae.data.files import require_file
from tfdvae.data.sequences import Splits

__all__ = ["Lists", "Scaled", "check_disjoint", "loader_of", "read_list", "split_by_lists", "split_by_ratio"]

P = ParamSpec("P")
Lists = str | os.PathLike | Sequence[str | os.PathLike]
"""A text file with one entry per line, or several of them."""


class Scaled(NamedTuple):
    """A data set together with what its numbers mean: frames are (original - mean) / scale.

    A density's nats shift with the scale: log p(original) = log p(frames) - the sum of log(scale) over features and
    frames.

    Attributes:
        splits: what a model sees, as every loader returns it.
        mean: float32 [D].
        scale: float32 [D].
        unit: of the original, such as "mm".
    """

    splits: Splits
    mean: np.ndarray
    scale: np.ndarray
    unit: str

    def restore(self, x: np.ndarray) -> np.ndarray:
        """Frames `[..., D]` in the original unit."""
        return np.asarray(x, np.float32) * self.scale + self.mean


def loader_of(made: Callable[P, Any], name: str, without: str = "their scale") -> Callable[P, Splits]:
    """The loader `name`: takes the arguments of `made`, and returns the `splits` of what that returns, `without` the
    rest of it, which its docstring says."""

    @functools.wraps(made)
    def load(*args: P.args, **kwargs: P.kwargs) -> Splits:
        return made(*args, **kwargs).splits

    load.__name__ = load.__qualname__ = name
    load.__signature__ = inspect.signature(made).replace(return_annotation=Splits)
    load.__doc__ = f"The splits of `{made.__name__}`, for the same arguments, without {without}.\n\n" + (
        inspect.getdoc(made) or ""
    )
    return load


def read_list(lists: Lists) -> list[str]:
    """Entries of one or more text files, one per line, without empty lines.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file without an entry, or no text.
    """
    entries = []
    for path in [lists] if isinstance(lists, str | os.PathLike) else lists:
        try:
            lines = require_file(path).read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no list of names: expected one per line, in UTF-8. {error}") from error
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise ValueError(f"{path} is an empty list: expected one entry per line.")
        entries += found
    return entries


def split_by_lists(keys: Sequence[Iterable[str]], lists: Mapping[str, Lists | None], what: str) -> dict[str, list[int]]:
    """Indices of the recordings that the list of each split names.

    Args:
        keys: per recording all the names that may stand for it in a list.
        lists: the lists of "train", "valid" and "test". The training list may be None: then all that the others do
            not name is trained on.
        what: what a recording is, for messages.

    Raises:
        ValueError: a list is missing, names what does not exist, or a recording is in two lists.
    """
    if lists["valid"] is None or lists["test"] is None:
        raise ValueError("A split by lists needs valid_list and test_list; without train_list the rest is trained on.")
    by_key: dict[str, list[int]] = {}
    for i, names in enumerate(keys):
        for name in set(names):
            by_key.setdefault(name, []).append(i)
    parts: dict[str, list[int]] = {}
    for split, paths in lists.items():
        if paths is None:
            continue
        entries = read_list(paths)
        unknown = [entry for entry in entries if entry not in by_key]
        if unknown:
            raise ValueError(
                f"{_title(paths)}, the list of {split}, names {unknown[0]!r} ({len(unknown)} such entries), but there "
                f"is no {what} of that name; names here are like {', '.join(map(repr, sorted(by_key)[:3]))}."
            )
        parts[split] = sorted({i for entry in entries for i in by_key[entry]})
    taken = {i for indices in parts.values() for i in indices}
    if len(taken) < sum(map(len, parts.values())):
        twice = next(i for i in sorted(taken) if sum(i in indices for indices in parts.values()) > 1)
        splits = [split for split, indices in parts.items() if twice in indices]
        raise ValueError(
            f"The lists of {' and '.join(splits)} overlap: both name the {what} {sorted(keys[twice], key=len)[-1]!r}."
        )
    if "train" not in parts:
        parts["train"] = [i for i in range(len(keys)) if i not in taken]
        if not parts["train"]:
            raise ValueError("The lists of valid and test name everything: nothing is left to train on.")
    return {split: parts[split] for split in Splits._fields}


def split_by_ratio(groups: Sequence[str], valid: float, test: float, seed: int, what: str) -> dict[str, list[int]]:
    """Indices per split; what is in one group stays together. Groups are ordered by a hash of (seed, name), so the
    split is the same on every machine.

    Args:
        groups: per recording its group, such as the speaker.
        valid, test: shares of the groups; at least one group each.
        seed: of the split.
        what: what a group is, for messages.

    Raises:
        ValueError: shares that leave nothing to train on, or fewer than three groups.
    """
    if not (valid > 0.0 and test > 0.0 and valid + test < 1.0):
        raise ValueError(f"valid_ratio and test_ratio must be above 0 and add up to less than 1; got {valid}, {test}.")
    names = sorted(set(groups), key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    if len(names) < 3:
        raise ValueError(
            f"A split by ratio needs at least three of what must stay together; there are only {len(names)}: "
            f"{what} {', '.join(map(repr, names))}."
        )
    held = [max(1, round(share * len(names))) for share in (valid, test)]
    if sum(held) >= len(names):
        raise ValueError(f"valid_ratio={valid} and test_ratio={test} of {len(names)} leave nothing to train on.")
    split_of = dict.fromkeys(names, "train")
    split_of |= dict.fromkeys(names[: held[0]], "valid") | dict.fromkeys(names[held[0] : sum(held)], "test")
    return {split: [i for i, group in enumerate(groups) if split_of[group] == split] for split in Splits._fields}


def check_disjoint(parts: Mapping[str, Sequence[int]], groups: Sequence[str], what: str) -> None:
    """Raises one ValueError where a group, such as a speaker, is in two splits."""
    seen: dict[str, str] = {}
    for split, indices in parts.items():
        for group in {groups[i] for i in indices}:
            if seen.setdefault(group, split) != split:
                raise ValueError(
                    f"{what} {group!r} is both in {seen[group]} and in {split}: the split must not share one."
                )


def _title(paths: Lists) -> str:
    return str(paths) if isinstance(paths, str | os.PathLike) else ", ".join(str(Path(path)) for path in paths)
