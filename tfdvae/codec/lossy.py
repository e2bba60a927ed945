"""Sequences with loss: quantised latents under their prior, and what the decoder makes of them.

The writer goes the reader's way. At frame t it takes the mode of the posterior from where it stands, rounds it to a
whole number of steps from the mean of the prior, and lets the frame that the reader will have, E[x_t | z_<=t, ...], be
what the model hears next. So errors do not add up unseen: later latents correct what earlier ones have left.

The step of each dimension is `step` times the usual deviation of its posterior: what the model itself takes to be
without consequence. Rates are those of an entropy coder, to which nothing but the numbers themselves is written.
"""

import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfdvae.codec.blocks import at_frame, blocks_of, by_blocks, live_rows, mask_of, rows_for, stacked
from tfdvae.codec.files import MAX_GRID_BITS, Coded
from tfdvae.codec.latents import REACH, ClassesOf, deviations, grids_of
from tfdvae.codec.laws import Bins, Law, Stack, Writer
from tfdvae.codec.steps import HalfSteps, check_model
from tfdvae.codec.subjects import as_batch, checked_steps, content_of, header_of, whole_sequences
from tfdvae.data.sequences import Sequences
from tfdvae.models import DVAE
from tfdvae.types import Gaussian, State

__all__ = ["Lossy", "RatePoint", "compress_lossy", "decompress_lossy", "rate_distortion"]


class Lossy(NamedTuple):
    """What compression with loss has made: the file, and the frames `[T_i, D]` that will come out of it."""

    coded: Coded
    frames: tuple[np.ndarray, ...]


class RatePoint(NamedTuple):
    """A point of a rate-distortion curve.

    Attributes:
        step: of the latents, in usual deviations of their posteriors.
        bits_per_frame: on the coder's stack.
        squared_error: of a feature, in squared units of the data; a mean over features and frames.
    """

    step: float
    bits_per_frame: float
    squared_error: float


class _Steps(NamedTuple):
    """z = loc + step k for the loc of the prior, and whole numbers k.

    Attributes:
        step: float `[Z]`.
        bits: int `[Z]`, k is at most 2^bits.
    """

    step: np.ndarray
    bits: np.ndarray

    def prior(self, p: Gaussian) -> Law:
        """The law of k."""
        scale = p.scale.numpy() / self.step
        return Bins(np.zeros_like(scale), scale, 2**self.bits)

    def nearest(self, q: Gaussian, p: Gaussian) -> np.ndarray:
        """The number of what is nearest to the mode of the posterior."""
        most = 2**self.bits
        return np.clip(np.rint((q.loc.numpy() - p.loc.numpy()) / self.step), -most, most).astype(np.int32)

    def value(self, k: np.ndarray, p: Gaussian) -> np.ndarray:
        """z `[N, Z]`, float32."""
        return p.loc.numpy() + (self.step * k).astype(np.float32)


def compress_lossy(model: DVAE, sequences: Any, step: float = 1.0) -> Lossy:
    """Compresses sequences to latents of a finite precision.

    Args:
        model: built, without inputs and context, with latents of frames alone.
        sequences: as for `compress`; of any observation.
        step: of the latents, in the usual (median) deviation of the posterior of each dimension: the larger, the fewer
            bits.

    Returns:
        Header and words for `write_coded`, and the frames that `decompress` will make of them: E[x_t | z_<=t].

    Raises:
        ValueError: a model that cannot be coded or has no latents, a step below 0.001 or above 1000, or frames
            that the model does not explain.
        ImportError: the package `constriction` is not installed.

    Example:
        coded, frames = tfdvae.codec.compress_lossy(model, splits.test, step=0.5)
    """
    _check_step(step)
    return _compressed(_prepared(model, sequences), step)


def decompress_lossy(model: DVAE, coded: Coded) -> list[np.ndarray]:
    """Frames of each sequence; see `decompress`."""
    header = coded.header
    half_steps, stack = checked_steps(model, header), Stack(coded.words)
    grids = grids_of(model.latents, _Steps, header.steps, header.grid_bits)

    def read(block: list[int]) -> list[np.ndarray]:
        return _read(half_steps, grids, [header.lengths[i] for i in block], stack)

    return by_blocks(len(header.lengths), blocks_of(header.lengths, header.rows)[::-1], read)


def rate_distortion(
    model: DVAE, sequences: Any, steps: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0)
) -> list[RatePoint]:
    """Rate and error at each of these steps; see `compress_lossy`. `tfdvae.plots.plot_rate_distortion` draws them."""
    for step in steps:
        _check_step(step)
    given, points = _prepared(model, sequences), []
    sequences = given.sequences
    for step in steps:
        coded, frames = _compressed(given, step)
        error = sum(float(np.sum((x - y) ** 2, dtype=np.float64)) for x, y in zip(sequences.x, frames, strict=True))
        count = sequences.num_frames * sequences.features
        points.append(RatePoint(float(step), coded.bits_per_frame, error / count))
    return points


def _check_step(step: float) -> None:
    if isinstance(step, bool) or not isinstance(step, numbers.Real) or not 1e-3 <= step <= 1e3:
        raise ValueError(f"`step` must be from 0.001 to 1000 deviations, got {step!r}.")


class _Prepared(NamedTuple):
    """What is the same for every step: the model's half-steps, sequences, and by the name of each Gaussian latent the
    usual deviation of its posterior and the widest one of its prior, `[Z]`."""

    half_steps: HalfSteps
    sequences: Sequences
    scales: dict[str, tuple[np.ndarray, np.ndarray]]


def _prepared(model: DVAE, sequences: Any) -> _Prepared:
    check_model(model)
    if not model.latents:
        raise ValueError(f"{type(model).__name__} has no latents to quantise: compress without loss.")
    sequences = whole_sequences(model, sequences)
    found = deviations(model, as_batch(sequences)).items()
    scales = {name: (np.median(own, axis=0).astype(np.float64), prior.max(axis=0)) for name, (own, prior) in found}
    return _Prepared(HalfSteps(model, rows_for(sequences.lengths, sequences.features)), sequences, scales)


def _compressed(given: _Prepared, step: float) -> Lossy:
    """See `compress_lossy`."""
    half_steps, sequences, scales = given
    sizes = {name: (step * usual).tolist() for name, (usual, _) in scales.items()}
    bits = {}
    # A latent may be REACH of the widest deviations of its prior from its mean, at least.
    for name, (usual, widest) in scales.items():
        reach = np.maximum(REACH * widest / (step * usual), 8.0)
        bits[name] = np.minimum(np.ceil(np.log2(reach)), MAX_GRID_BITS).astype(int).tolist()
    stack, grids = Stack(), grids_of(half_steps.latents, _Steps, sizes, bits)

    def write(block: list[int]) -> list[np.ndarray]:
        return _write(half_steps, grids, [sequences.x[i] for i in block], stack)

    frames = by_blocks(sequences.num_sequences, blocks_of(sequences.lengths, half_steps.rows), write)
    header = header_of(half_steps, sequences.lengths, "lossy")
    header = header._replace(grid_bits=bits, steps=sizes, content=content_of(frames))
    return Lossy(Coded(header, stack.words), tuple(frames))


def _write(
    half_steps: HalfSteps, grids: Sequence[_Steps | ClassesOf], sequences: Sequence[np.ndarray], stack: Stack
) -> list[np.ndarray]:
    """Puts the latents of a block on the stack, and returns its frames as the reader will have them."""
    lengths, rows = [len(x) for x in sequences], half_steps.rows
    seen, writer = half_steps.encode(stacked(sequences, rows), mask_of(lengths, rows)), Writer()

    def latent(t: int, index: int, state: State, p: Any) -> np.ndarray:
        k = grids[index].nearest(half_steps.posterior[index](state, at_frame(seen, t)), p)
        return grids[index].value(live_rows(writer.add, lengths, t)(grids[index].prior(p), k), p)

    made = _frames(half_steps, lengths, latent)
    writer.flush(stack)
    return made


def _read(
    half_steps: HalfSteps, grids: Sequence[_Steps | ClassesOf], lengths: Sequence[int], stack: Stack
) -> list[np.ndarray]:
    """The frames of a block, from latents that come off the stack."""

    def take(law: Law, _: np.ndarray | None) -> np.ndarray:
        return stack.pop(law)

    def latent(t: int, index: int, state: State, p: Any) -> np.ndarray:
        return grids[index].value(live_rows(take, lengths, t)(grids[index].prior(p), None), p)

    return _frames(half_steps, lengths, latent)


def _frames(half_steps: HalfSteps, lengths: Sequence[int], latent: Any) -> list[np.ndarray]:
    """The means of all frames along a path that hears them."""
    made = np.zeros([half_steps.rows, max(lengths), half_steps.model.x_dim], np.float32)

    def frame(t: int, params: tf.Tensor) -> np.ndarray:
        made[:, t] = half_steps.model.frames.mean(params).numpy()
        return made[:, t]

    half_steps.walk(max(lengths), latent, frame)
    return [own[:length] for own, length in zip(made, lengths, strict=False)]
