"""What the simulations share: the form of their results, checks of arguments, the cache, and pictures in chunks."""

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import keras
import numpy as np

from tfdvae.data.archives import read_flat
from tfdvae.data.files import atomic_write, cache_folder, named_damage
from tfdvae.data.sequences import Splits, from_arrays
from tfdvae.data.splitting import loader_of

__all__ = ["Simulated", "cached", "check_positive", "counts_of", "generators", "picture", "splits_of"]

_FORMAT = 1
# Chunks that fit the caches of a processor are several times faster than a whole set at once.
_CHUNK = 2**18
# Fewer pixels than this take less than a second or two.
_MANY_PIXELS = 10**8

P = ParamSpec("P")
Arrays = dict[str, np.ndarray]


class Simulated(NamedTuple):
    """A data set together with the states it was rendered from.

    Attributes:
        splits: what a model sees, as every loader returns it.
        truth: {"train", "valid", "test"}: float32 [N, T, ...], the true state of each frame of each sequence of that
            split, in the order of the split. The function that simulates says what a state holds.
        constants: likewise float32 [N, ...], what never changes within a sequence and may differ between them; None
            where there is nothing such.
    """

    splits: Splits
    truth: Arrays
    constants: Arrays | None = None


def splits_of(simulate: Callable[P, Simulated], name: str) -> Callable[P, Splits]:
    """The loader `name`: takes the arguments of `simulate` and returns its splits alone."""
    return loader_of(simulate, name, "the truth")


def _check_counts(**values: Any) -> None:
    """Raises one ValueError for what is no integer of at least 1; `seed` may be 0."""
    for name, value in values.items():
        least = 0 if name == "seed" else 1
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}.")


def counts_of(num_train: int, num_valid: int, num_test: int, **others: int) -> tuple[dict[str, int], dict[str, int]]:
    """Sequences per split, and all whole numbers by argument, checked."""
    sequences = {"num_train": num_train, "num_valid": num_valid, "num_test": num_test}
    _check_counts(**sequences, **others)
    return {name.removeprefix("num_"): count for name, count in sequences.items()}, sequences | others


def check_positive(*, or_zero: bool = False, **values: Any) -> None:
    """Raises one ValueError for what is no finite number above 0."""
    for name, value in values.items():
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and (value > 0 or (or_zero and value == 0))):
            least = "of at least" if or_zero else "above"
            raise ValueError(f"{name} must be a finite number {least} 0; got {value!r}.")


def generators(seed: int, *stream: int) -> dict[str, np.random.Generator]:
    """One independent source of random numbers per split; those of another stream do not hang on it."""
    children = np.random.SeedSequence([int(seed), *stream]).spawn(len(Splits._fields))
    return {split: np.random.default_rng(child) for split, child in zip(Splits._fields, children, strict=True)}


def cached(
    name: str,
    options: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    simulate: Callable[[], Arrays],
    cache_dir: str | os.PathLike | None,
) -> Arrays:
    """The arrays that `simulate` returns, as float32, read from the cache if they are there.

    The file is named after the data set, the format and a digest of all options. A damaged file is simulated again
    and replaced, with a warning; where nothing can be written there is a warning and no cache.

    Args:
        name: of the data set.
        options: whatever the arrays depend on, numbers and lists of numbers only.
        shapes: of each array.
        simulate: makes the arrays.
        cache_dir: the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.
    """
    key = json.dumps({k: np.asarray(v).tolist() for k, v in options.items()}, sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = cache_folder(cache_dir) / f"{name.replace('_', '-')}-v{_FORMAT}-{digest}.npz"
    if path.exists():
        try:
            return _read(path, key, shapes)
        except ValueError as error:
            warnings.warn(f"The data are simulated again: their cache is damaged. {error}", stacklevel=4)
    arrays = {k: np.asarray(v, dtype=np.float32) for k, v in simulate().items()}
    try:
        with atomic_write(path) as file:
            np.savez(file, options=np.array(key), **arrays)
    except OSError as error:
        warnings.warn(f"The data are not cached and will be simulated again: {error}", stacklevel=4)
    return arrays


def picture(
    states: Arrays,
    render: Callable[[np.ndarray], np.ndarray],
    pixels: int,
    inputs: Arrays | None = None,
    verbose: int = 1,
    observed: Arrays | None = None,
    about: Mapping[str, Any] | None = None,
) -> Simulated:
    """Pictures of all states.

    Args:
        states: per split float32 [N, T, ...].
        render: [n, T, ...] to values in [0, 1] of shape [n, T, ...] with `pixels` values per frame.
        pixels: D.
        inputs: per split u, float32 [N, T, U].
        verbose: 1 shows a progress bar where it takes more than a few seconds, 0 shows nothing.
        observed: per split bool [N, T, D], true where a pixel was measured; None where all were.
        about: what else is known, see `DataDescription`.
    """
    frames = sum(array.shape[0] * array.shape[1] for array in states.values())
    many = frames * pixels > _MANY_PIXELS
    bar = keras.utils.Progbar(sum(map(len, states.values())), unit_name="sequence", verbose=verbose if many else 0)
    splits, done = {}, 0
    for split, array in states.items():
        count, length = array.shape[:2]
        images = np.empty((count, length, pixels), dtype=np.float32)
        chunk = max(1, _CHUNK // (length * pixels))
        for start in range(0, count, chunk):
            part = array[start : start + chunk]
            images[start : start + chunk] = render(part).reshape(len(part), length, pixels)
            done += len(part)
            bar.update(done, finalize=False)
        beside = {"u": inputs, "observed": observed}
        splits[split] = from_arrays(images, **{k: None if y is None else y[split] for k, y in beside.items()})
    bar.update(bar.target, finalize=True)
    known = {"units": ("intensity from 0 to 1",), **(about or {})}
    return Simulated(Splits(**splits).described(**known), states)


def _read(path: Path, key: str, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    arrays = read_flat(path, "a cached simulation")
    with named_damage(path, "cannot be read"):
        if str(arrays["options"]) != key:
            raise ValueError(f"It was simulated with {arrays['options']}, expected {key}.")
        for name, shape in shapes.items():
            if arrays[name].shape != tuple(shape) or arrays[name].dtype != np.float32:
                raise ValueError(
                    f"{name} is {arrays[name].dtype} {list(arrays[name].shape)}, expected float32 {list(shape)}."
                )
            if not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} holds NaN or infinity.")
        return {name: arrays[name] for name in shapes}
