"""Sequences without loss: p(x_t | x_<t) straight away, or bits back where there are latents.

Bits back over a sequence (Townsend et al. 2019; for latents in time as in Townsend and Murray 2021, from memory). To
write x_1:T, the writer

    takes z_1, ..., z_T off the stack, as a sample of q(z_t | z_<t, x_1:T): forwards, since q reads z_<t,
    puts z_T, x_T, ..., z_1, x_1 on it by p(x_t | z_<=t, x_<t) and p(z_t | z_<t, x_<t): backwards, since the
    reader wants z_1 first.

So the stack grows by log2 q(z | x) - log2 p(x, z), whose mean is -ELBO / ln 2 bits. The reader undoes it: takes z_1,
x_1, ..., z_T, x_T off the stack, then knows x and puts z_T, ..., z_1 back by q. Any posterior will do, smoothing ones
too. What the first sequence takes off must lie there already; these initial bits are pseudo-random, come out again at
the end, and all later sequences find what those before them put down. The shortest one is the first.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.arguments import whole
from tfdvae.codec.blocks import at_frame, blocks_of, by_blocks, live_rows, mask_of, rows_for, stacked
from tfdvae.codec.files import MAX_SEED, MAX_SPARE, Coded, spare_words
from tfdvae.codec.frames import Resolution, check_lossless, code_frame, from_numbers, to_numbers
from tfdvae.codec.latents import ClassesOf, Grid, choose_fineness, grids_of
from tfdvae.codec.laws import Law, Stack, Writer
from tfdvae.codec.steps import HalfSteps, check_model
from tfdvae.codec.subjects import as_batch, checked_steps, content_of, header_of, whole_sequences
from tfdvae.data.sequences import Sequences
from tfdvae.models import DVAE
from tfdvae.types import State

__all__ = ["compress", "decompress_lossless", "resolution_of"]

MAX_MOST = 8191
"""How far whole numbers behind real ones may be from 0: their probabilities are tables."""


def compress(model: DVAE, sequences: Any, *, seed: int = 0, resolution: Sequence[float] | float | None = None) -> Coded:
    """Compresses sequences so that `decompress` gives back exactly what they hold.

    Args:
        model: built, without inputs and context; its latents, if it has any, those of frames.
        sequences: `Sequences`, or frames as verbs take them, whose padding comes last; wholly observed.
        seed: of the initial bits of bits back.
        resolution: of real numbers (pen strokes, Gaussians): numbers per unit, of all features or of each, with which
            x * resolution is whole. By default the originals are taken to be whole, as those of pen strokes are: the
            scale of the sequences' description where there is one and nothing was shifted, else 1.

    Returns:
        Header and words, for `write_coded` or `decompress`; `bits_per_frame` is the rate.

    Raises:
        ValueError: a model or an observation that cannot be coded (see `check_model`), frames that it does not explain,
            or that are not on the grid; a seed that is negative or above 2^63.
        ImportError: the package `constriction` is not installed.

    Example:
        coded = tfdvae.codec.compress(model, splits.test)
        print(coded.bits_per_frame)
        tfdvae.codec.write_coded("chorales.dvae", coded)
    """
    seed = whole("seed", seed, at_least=0)
    if seed > MAX_SEED:
        raise ValueError(f"`seed` must be at most 2^63, got {seed}.")
    check_model(model)
    kind = check_lossless(model.observation)
    sequences = whole_sequences(model, sequences)
    if resolution is not None and not kind.continuous:
        raise ValueError(f"{type(model.observation).__name__} explains whole numbers: leave out `resolution`.")
    grid = resolution_of(model, sequences, resolution) if kind.continuous else None
    numbers = [to_numbers(x, grid) for x in sequences.x]
    # With bits back each sequence pays for the next one.
    rows = 1 if model.latents else rows_for(sequences.lengths, sequences.features)
    fineness = choose_fineness(model, as_batch(sequences)) if model.latents else {}
    steps = HalfSteps(model, rows)
    spare = spare_words(seed, _most_words(model, int(sequences.lengths.max())))
    stack, grids = Stack(spare), grids_of(model.latents, Grid, fineness)
    for block in blocks_of(sequences.lengths, rows):
        _write(steps, grids, grid, [numbers[i] for i in block], stack)
    # Nothing below the lowest word that was ever taken off, and two that the coder holds beside it, was touched.
    untouched = max(stack.low - 3, 0)
    header = header_of(steps, sequences.lengths, "lossless")._replace(
        content=content_of(from_numbers(own, grid) for own in numbers),
        grid_bits=fineness,
        seed=seed,
        spare=(untouched, len(spare)),
        per_unit=() if grid is None else tuple(map(float, grid.per_unit)),
        most=() if grid is None else tuple(map(int, grid.most)),
    )
    return Coded(header, stack.words[untouched:])


def decompress_lossless(model: DVAE, coded: Coded) -> list[np.ndarray]:
    """Frames of each sequence; see `decompress`."""
    header = coded.header
    steps = checked_steps(model, header)
    kind = check_lossless(model.observation)
    if kind.continuous != bool(header.most):
        raise ValueError(f"{header.observation} and the resolution that the header states do not belong together.")
    if max(header.most, default=0) > MAX_MOST:
        raise ValueError(f"Its whole numbers reach {max(header.most)}, and {MAX_MOST} is the most there can be.")
    grid = Resolution(np.float32(header.per_unit), np.array(header.most)) if header.most else None
    grids, stack = grids_of(model.latents, Grid, header.grid_bits), Stack(coded.words)
    first, last = header.spare
    if last != _most_words(model, max(header.lengths)):
        raise ValueError(f"It states {last} initial words, which sequences of this length do not have.")

    def read(block: list[int]) -> list[np.ndarray]:
        found = _read(steps, grids, grid, [header.lengths[i] for i in block], stack)
        return [from_numbers(own, grid) for own in found]

    frames = by_blocks(len(header.lengths), blocks_of(header.lengths, header.rows)[::-1], read)
    if not np.array_equal(stack.words, spare_words(header.seed, last)[first:]):
        raise ValueError(
            "What lies on the stack behind the last frame is not what it began with: other numbers were found than "
            "written, here or where the file comes from."
        )
    return frames


def resolution_of(model: DVAE, sequences: Sequences, per_unit: Sequence[float] | float | None = None) -> Resolution:
    """The grid of real numbers; see `compress`. Features without a unit, such as the pen bit, are whole themselves.

    Raises:
        ValueError: numbers per unit that are not positive, or of another number of features; or frames that reach
            beyond MAX_MOST of them.
    """
    if per_unit is None:
        known = sequences.description
        per_unit = known.scale if known is not None and known.scale and not any(known.shift) else 1.0
    per_unit = np.asarray(per_unit, np.float32)
    per_unit = per_unit[0] if per_unit.shape == (1,) else per_unit
    if per_unit.shape not in ((), (sequences.features,)) or not (np.isfinite(per_unit).all() and (per_unit > 0).all()):
        raise ValueError(
            f"`resolution` must be one positive number, or one for each of {sequences.features} features; got "
            f"{per_unit.tolist()}."
        )
    per_unit = np.where(np.array(model.observation.units) == "none", np.float32(1.0), per_unit)
    per_unit = np.broadcast_to(per_unit, [sequences.features])
    most = np.max([np.abs(x * np.float64(per_unit)).max(axis=0) for x in sequences.x], axis=0)
    if most.max() > MAX_MOST:
        raise ValueError(
            f"Frames reach {most.max():.6g} steps of this resolution from 0, and {MAX_MOST} are the most there can be: "
            "choose a coarser one."
        )
    return Resolution(per_unit, np.maximum(np.ceil(most), 1.0).astype(np.int64))


def _most_words(model: DVAE, length: int) -> int:
    """How many words the latents of one sequence take off the stack at most, and those that the coder holds."""
    if not model.latents:
        return 0
    count = 2 + length * sum(latent.latent_dim for latent in model.latents)
    if count > MAX_SPARE:
        raise ValueError(f"A sequence of {length} frames is too long for bits back: cut it (`tfdvae.data.windows`).")
    return count


def _write(
    steps: HalfSteps,
    grids: Sequence[Grid | ClassesOf],
    resolution: Resolution | None,
    numbers: Sequence[np.ndarray],
    stack: Stack,
) -> None:
    """Puts a block of sequences, whole numbers `[T_i, D]`, on the stack."""
    lengths = [len(own) for own in numbers]
    x = stacked(numbers, steps.rows)
    frames, writer = steps.model.frames, Writer()
    seen = steps.encode(from_numbers(x, resolution), mask_of(lengths, steps.rows)) if grids else None

    def latent(t: int, index: int, state: State, p: Any) -> np.ndarray:
        grid = grids[index]
        k = stack.pop(grid.posterior(steps.posterior[index](state, at_frame(seen, t)), p))
        return grid.value(writer.add(grid.prior(p), k), p)

    def frame(t: int, params: tf.Tensor) -> np.ndarray:
        code_frame(frames, params, x[:, t], live_rows(writer.add, lengths, t), resolution)
        return from_numbers(x[:, t], resolution)

    steps.walk(max(lengths), latent, frame)
    writer.flush(stack)


def _read(
    steps: HalfSteps,
    grids: Sequence[Grid | ClassesOf],
    resolution: Resolution | None,
    lengths: Sequence[int],
    stack: Stack,
) -> list[np.ndarray]:
    """Takes a block off the stack again, and puts back what its latents had taken off."""
    x = np.zeros([steps.rows, max(lengths), steps.model.x_dim], np.int32)
    passed: list[tuple[int, int, State, Any, np.ndarray]] = []

    def take(law: Law, _: np.ndarray | None) -> np.ndarray:
        return stack.pop(law)

    def latent(t: int, index: int, state: State, p: Any) -> np.ndarray:
        k = stack.pop(grids[index].prior(p))
        passed.append((t, index, state, p, k))
        return grids[index].value(k, p)

    def frame(t: int, params: tf.Tensor) -> np.ndarray:
        x[:, t] = code_frame(steps.model.frames, params, None, live_rows(take, lengths, t), resolution)
        return from_numbers(x[:, t], resolution)

    steps.walk(max(lengths), latent, frame)
    seen = steps.encode(from_numbers(x, resolution), mask_of(lengths, steps.rows)) if grids else None
    while passed:
        t, index, state, p, k = passed.pop()
        stack.push(grids[index].posterior(steps.posterior[index](state, at_frame(seen, t)), p), k)
    return [own[:length] for own, length in zip(x, lengths, strict=False)]
