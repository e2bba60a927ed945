"""What a model is worth on a data set: bounds on log p(x), in every unit of the literature."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from tfdvae import bounds, random
from tfdvae.data import Sequences, batches
from tfdvae.markdown import markdown_table
from tfdvae.models import DVAE
from tfdvae.types import Batch
from trainers.writing import write_text

__all__ = ["BOUNDS", "Score", "Scores", "as_markdown", "as_text", "score", "score_fivo", "write_scores"]

BOUNDS = ("elbo", "iwae", "fivo")
"""What can be scored."""
MAX_FRAMES = 2**18
"""Frames of all paths together that are in memory at a time; four times as many of an autoregressive output over 88
keys took over 20 GB."""


class Score(NamedTuple):
    """One bound on log p(x).

    Attributes:
        nats_per_frame: its sum over the data divided by the number of frames.
        nats_per_frame_seqmean: mean over sequences of each sequence's own nats per frame.
        nats_per_sequence: mean over sequences.
    """

    nats_per_frame: float
    nats_per_frame_seqmean: float
    nats_per_sequence: float


class Scores(NamedTuple):
    """A row of a table of results: what was scored on what, by how many samples, and the scores that were asked for."""

    model: str
    data: str
    split: str
    sequences: int
    frames: int
    num_samples: int
    elbo: Score | None = None
    iwae: Score | None = None
    fivo: Score | None = None


def score(
    model: DVAE, sequences: Sequences, *, num_samples: int = 40, chunk: int = 8, batch_size: int = 32, seed: int = 0
) -> tuple[Score, Score, int]:
    """ELBO (averaged over K paths), IWAE with K paths (Burda et al. 2016), and K; from the same paths.

    Without latent variables both are the exact log-likelihood, and K is 1.

    Args:
        num_samples: K.
        chunk: paths per sequence that are in memory at a time, fewer where a batch is so long that they would be more
            than MAX_FRAMES frames.
    """
    if num_samples < 1 or chunk < 1:
        raise ValueError(f"num_samples and chunk must be at least 1; got {num_samples} and {chunk}.")
    num_samples = num_samples if model.has_latents else 1

    sequences = sequences.by_length()
    dataset = batches(sequences, batch_size)

    @functools.cache
    def paths(count: int) -> Callable[[dict[str, tf.Tensor], tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """One graph for all batches, whatever their sizes."""

        def draw(batch: dict[str, tf.Tensor], noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            terms = model.sample_terms(Batch(**batch), noise, count)
            values = bounds.ELBO().per_sequence(terms), bounds.log_weight(terms)
            return tuple(tf.reshape(value, [-1, count]) for value in values)

        signature = [dataset.element_spec, tf.TensorSpec([2], tf.int32)]
        return tf.function(draw, input_signature=signature, autograph=False)

    elbos, iwaes = [], []
    for i, batch in enumerate(dataset):
        drawn, together = [], chunk
        while together > 1 and together * tf.size(batch["mask"]) > MAX_FRAMES:
            together //= 2
        for start in range(0, num_samples, together):
            noise = random.fold_in(random.fold_in(random.make_seed(seed), i), start)
            drawn.append(paths(min(together, num_samples - start))(batch, noise))
        elbo, weights = (np.concatenate(values, axis=1, dtype=np.float64) for values in zip(*drawn, strict=True))
        elbos.append(elbo.mean(axis=1))
        iwaes.append(np.logaddexp.reduce(weights, axis=1) - np.log(num_samples))
    return *(_in_units(np.concatenate(values), sequences.lengths) for values in (elbos, iwaes)), num_samples


def score_fivo(
    model: DVAE, sequences: Sequences, *, num_samples: int = 40, batch_size: int = 32, seed: int = 0
) -> Score:
    """FIVO with K particles (Maddison et al. 2017), resampled systematically where fewer than K / 2 are effective.

    Raises:
        ValueError: the posterior of a frame sees later ones.
    """
    model.check_particles("FIVO")
    sequences = sequences.by_length()
    dataset = batches(sequences, batch_size)

    def draw(batch: dict[str, tf.Tensor], noise: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(model.filter_particles(Batch(**batch), noise, num_samples).log_evidence, axis=1)

    signature = [dataset.element_spec, tf.TensorSpec([2], tf.int32)]
    estimate = tf.function(draw, input_signature=signature, autograph=False)
    start = random.make_seed(seed)
    found = [estimate(batch, random.fold_in(start, i)) for i, batch in enumerate(dataset)]
    return _in_units(np.concatenate(found, dtype=np.float64), sequences.lengths)


def score_split(config: ConfigDict, model: DVAE, sequences: Sequences, split: str) -> Scores:
    """Scores as the section `evaluation` of a config asks for.

    Raises:
        ValueError: a bound that cannot be scored, or not for this model.
    """
    options = {**config.evaluation.to_dict(), "seed": config.seed}
    chosen = options.pop("bounds")
    if not chosen or set(chosen) - set(BOUNDS):
        raise ValueError(f"evaluation.bounds must be some of {', '.join(BOUNDS)}; got {', '.join(chosen) or 'none'}.")
    found: dict[str, Score] = {}
    if "fivo" in chosen:
        model.check_particles("FIVO")
    num_samples = options["num_samples"] if model.has_latents else 1
    if {"elbo", "iwae"} & set(chosen):
        found["elbo"], found["iwae"], num_samples = score(model, sequences, **options)
    if "fivo" in chosen:
        options.pop("chunk")
        found["fivo"] = score_fivo(model, sequences, **{**options, "num_samples": num_samples})
    data = config.data.get("set") or config.data.name
    about = (config.model.name, data, split, sequences.num_sequences, sequences.num_frames, num_samples)
    return Scores(*about, **{name: value for name, value in found.items() if name in chosen})


def as_text(scores: Scores) -> str:
    """A table for a terminal."""
    rows = [("", *Score._fields), *((name, *map(_number, values)) for name, values in _rows(scores))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([_title(scores), *lines])


def as_markdown(scores: Scores) -> str:
    """The same table in Markdown."""
    rows = [(name, *map(_number, values)) for name, values in _rows(scores)]
    return "\n".join([_title(scores), "", markdown_table(("", *Score._fields), rows)])


def as_json(scores: Scores) -> dict[str, Any]:
    """All digits."""
    found = {name: getattr(scores, name) for name in BOUNDS}
    about = {name: value for name, value in scores._asdict().items() if name not in BOUNDS}
    return {**about, **{name: value._asdict() for name, value in found.items() if value is not None}}


def write_scores(workdir: Path, scores: Scores) -> list[Path]:
    """Writes `scores_<split>` as .txt, .md and .json."""
    texts = {".txt": as_text(scores), ".md": as_markdown(scores), ".json": json.dumps(as_json(scores), indent=2)}
    paths = [workdir / f"scores_{scores.split}{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    return paths


def _in_units(log_p: np.ndarray, lengths: np.ndarray) -> Score:
    return Score(*(float(y) for y in (log_p.sum() / lengths.sum(), (log_p / lengths).mean(), log_p.mean())))


def _title(scores: Scores) -> str:
    return (
        f"{scores.model} on {scores.data}, split {scores.split}: {scores.sequences} sequences, {scores.frames} frames. "
        "Bounds on log p(x), higher is better."
    )


def _rows(scores: Scores) -> list[tuple[str, Score]]:
    k = f"(K = {scores.num_samples})"
    rows = [("ELBO", scores.elbo), (f"IWAE {k}", scores.iwae), (f"FIVO {k}", scores.fivo)]
    return [(name, value) for name, value in rows if value is not None]


def _number(value: float) -> str:
    return f"{value:.4f}"
