"""How much of the gap between the ELBO and log p(x) better inference for given data closes, on chorales."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae import random
from tfdvae.bounds import log_weight
from tfdvae.data import batches
from tfdvae.models import DVAE
from tfdvae.types import Batch, Refined
from trainers.tables.table import Column, Finished, Row, Table

__all__ = ["REFINE"]

SEQUENCES = 16
"""Of the test split, its first: a thousand paths and a hundred steps for each cost more than the training."""
BATCH = 8
STEPS = 50
"""Of the ascent, at each frame where it goes frame by frame."""
RATE = 0.1
PATHS = 64
"""New ones, to measure a bound by: none of those that a search has looked at."""
MANY = 1000
CHUNK = 50
"""Paths per sequence that are in memory at a time."""

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "VAE": ("vae", {}),
    "STORN": ("storn", {"model.units": 100}),
    "VRNN": ("vrnn", {"model.units": 100}),
    "SRNN": ("srnn", {"model.units": 100}),
    "DKF": ("dkf", {"model.units": 100, "model.latent_dim": 32, "training.kl_warmup_epochs": 4}),
    "RVAE, causal": ("rvae", {"model.units": 100}),
    "RVAE, non-causal": ("rvae_noncausal", {"model.units": 100}),
    "DSAE": ("dsae", {"model.units": 100}),
    "TCN": ("tcn", {"model.units": 64}),
    "Transformer": ("transformer", {"model.units": 64}),
}
"""Configs, and what differs: all are small enough for half an hour on two cores, together."""
FEW = {
    "data.transpose": 0,
    "training.epochs": 20,
    "training.kl_warmup_epochs": 4,
    "evaluation.num_samples": 8,
}


def _measure(run: Finished) -> dict[str, float | None]:
    """Nats per frame of the same sequences by every way, and parts of the gap."""
    model, sequences = run.model, run.measured.first(SEQUENCES)
    by_frame = model.not_by_frames is None
    totals: dict[str, float] = {}

    def add(name: str, values: Any) -> None:
        totals[name] = totals.get(name, 0.0) + float(np.sum(np.asarray(values, np.float64)))

    terms_of = _terms_of(model)
    for i, batch in enumerate(batches(sequences.by_length(), BATCH)):
        given = Batch(**batch)
        seed = 1000 * run.config.seed + i
        options = {"steps": STEPS, "learning_rate": RATE, "seed": seed}
        add("ELBO", terms_of(given, None, seed))
        add("refined", terms_of(given, model.refine(**batch, **options), seed))
        if by_frame:
            add("refined by frame", terms_of(given, model.refine(**batch, **options, by="frame"), seed))
        add(f"IWAE-{MANY}", model.log_prob(**batch, num_samples=MANY, chunk=CHUNK, seed=seed))
    gap = totals[f"IWAE-{MANY}"] - totals["ELBO"]
    closed = {f"{name}, % of the gap": 100.0 * (totals[name] - totals["ELBO"]) / gap for name in list(totals)[1:-1]}
    return {**{name: value / sequences.num_frames for name, value in totals.items()}, **closed}


def _terms_of(model: DVAE) -> Callable[[Batch, Refined | None, int], tf.Tensor]:
    """The bound of each sequence by new paths from its posteriors, moved ones or the networks'."""

    @functools.partial(tf.function, autograph=False, reduce_retracing=True)
    def bound(batch: Batch, moves: Any, seed: tf.Tensor) -> tf.Tensor:
        terms = (
            model.sample_terms(batch, seed, PATHS) if moves is None else model.moved_terms(batch, moves, seed, PATHS)
        )
        return tf.reduce_mean(tf.reshape(log_weight(terms), [-1, PATHS]), axis=1)

    def found(batch: Batch, refined: Refined | None, seed: int) -> tf.Tensor:
        new = random.fold_in(random.make_seed(seed), "new paths")
        return bound(model.tensors(batch), None if refined is None else refined.moves, new)

    return found


_WAYS = ("refined", "refined by frame")

REFINE = Table(
    title="Better inference for given chorales",
    unit=f"JSB chorales, the first {SEQUENCES} of the test split, nats per frame, and percent.",
    heads=("model",),
    columns=(
        *(Column(name, 3) for name in ("ELBO", *_WAYS, f"IWAE-{MANY}")),
        *(Column(f"{name}, % of the gap", 0) for name in _WAYS),
    ),
    measure=_measure,
    rows=tuple(
        Row((name,), f"configs/pianoroll/{config}.py", {"data.set": "jsb_chorales", **FEW, **own})
        for name, (config, own) in MODELS.items()
    ),
    notes=(
        f"The bound of the networks' own posteriors, of those that {STEPS} steps of `refine` moved, all frames of a "
        f"sequence together or (variational filtering) one after the other, each by {PATHS} new paths; and IWAE with "
        f"{MANY} paths from the networks' posteriors. The gap is between the first and the last, which is a lower "
        "bound itself: where q is poor, more than 100% can be closed. Frame by frame exists for causal models alone, "
        "and moves no frame for the sake of a later one. Models are small and trained for 20 epochs without "
        "transpositions: their likelihoods compare with each other only."
    ),
)
