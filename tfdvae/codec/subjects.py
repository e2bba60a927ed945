"""Who wrote what: sequences on their way into a file, and the model that a file asks for."""

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae import validation
from tfdvae.codec.files import Header
from tfdvae.codec.steps import HalfSteps
from tfdvae.data.sequences import Sequences, from_arrays, pad
from tfdvae.models import DVAE
from tfdvae.types import Batch

__all__ = ["as_batch", "checked_steps", "content_of", "header_of", "whole_sequences"]


def whole_sequences(model: DVAE, given: Any) -> Sequences:
    """Sequences as vectors `[T_i, D]`, checked: `Sequences`, or whatever verbs take.

    Raises:
        ValueError: what verbs refuse; a mask with frames behind a gap; frames that were observed in part, of another
            shape than the model's, or that it cannot explain; inputs and context.
    """
    if isinstance(given, Sequences):
        parts, batch = (given.observed, given.u, given.context), None
    else:
        batch = validation.check_arrays(validation.as_batch(given), model.built_sizes, model.missing, model.frames)
        parts = (_gaps(batch), batch.u, batch.context)
    if any(part is not None for part in parts):
        raise ValueError("Expected sequences that were wholly observed, without inputs and context.")
    if batch is not None:
        return from_arrays(validation.flat(batch, model.frame_shape).x, batch.mask)
    if given.features != model.x_dim:
        raise ValueError(f"The model takes frames of {model.x_dim} numbers, the sequences have {given.features}.")
    for x in given.x:
        model.frames.validate(x)
    return given


def _gaps(batch: Batch) -> np.ndarray | None:
    """`observed` of a checked batch, None where all that exists was: models with missing="nan" mark every frame."""
    if batch.observed is None:
        return None
    exists = True if batch.mask is None else batch.mask.reshape(*batch.mask.shape, *[1] * (batch.x.ndim - 2))
    return batch.observed if np.any(~batch.observed & exists) else None


def as_batch(sequences: Sequences) -> Batch:
    """Padded tensors `[B, T, D]` and their mask."""
    batch = pad(sequences)
    return Batch(tf.constant(batch["x"]), tf.constant(batch["mask"]))


def content_of(frames: Iterable[np.ndarray]) -> int:
    """CRC-32 of frames as float32, one sequence after the other."""
    found = 0
    for x in frames:
        found = zlib.crc32(np.ascontiguousarray(x, "<f4").tobytes(), found)
    return found


def header_of(steps: HalfSteps, lengths: Sequence[int], kind: str) -> Header:
    """What is true of all files that a model writes of sequences like these; the rest is empty."""
    import tfdvae

    model = steps.model
    return Header(
        kind=kind,
        model=type(model).__name__,
        weights=_weights(model),
        observation=type(model.observation).__name__,
        frame_shape=tuple(model.frame_shape),
        lengths=tuple(int(length) for length in lengths),
        rows=steps.rows,
        grid_bits={},
        steps={},
        per_unit=(),
        most=(),
        seed=0,
        spare=(0, 0),
        probe=steps.probe(),
        content=0,
        versions={"tfdvae": tfdvae.__version__, "tensorflow": tf.__version__},
    )


def checked_steps(model: DVAE, header: Header) -> HalfSteps:
    """The model as it wrote the file.

    Raises:
        ValueError: it is another one, or computes other numbers here than where it wrote.
    """
    given = {"model": type(model).__name__, "observation": type(model.observation).__name__}
    given |= {"frame_shape": tuple(model.frame_shape or ()), "weights": _weights(model) if model.built else "none"}
    for name, here in given.items():
        there = getattr(header, name)
        if here != there:
            raise ValueError(
                f"it was written by another model than this one: {name} is {there} there, {here} here; load the model "
                "that wrote it"
            )
    steps = HalfSteps(model, header.rows)
    probe = steps.probe()
    if probe != header.probe:
        raise ValueError(
            "this model computes other numbers here than where the file was written (check sums of a few frames are "
            f"{probe:08x} and {header.probe:08x}): the weights are the same, but its options, the versions (there "
            f"{header.versions}, TensorFlow {tf.__version__} here) or the arithmetic of the machine differ; read it "
            "where it was written"
        )
    return steps


def _weights(model: DVAE) -> str:
    return model.identity()["weights_sha256"][:32]
