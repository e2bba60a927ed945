"""What latents of whole sequences know of who speaks, and speech in another voice, from models of single recordings."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfdvae.data import Sequences, Utterances
from tfdvae.data.files import atomic_write, import_extra
from tfdvae.data.spectrograms import peak_normalised, resynthesise
from trainers import loading
from trainers.tables.table import Column, Finished, Row, Table

__all__ = ["SPEAKERS", "nearest_neighbours", "swap_voices"]

SWAPS: Mapping[str, Callable[[Any, np.ndarray, np.ndarray], Any]] = {
    "fhvae": lambda model, x, other: model.swap(x, other),
    "dsae": lambda model, x, other: model.swap(other, x),
}
"""By the name of a model: frames `[1, T, D]` of x with what the whole of another sequence has."""


def nearest_neighbours(features: np.ndarray, speakers: list[str]) -> tuple[float, float]:
    """How many of the sequences, in percent, have a nearest neighbour among the others that is of the same speaker; and
    by chance.

    Args:
        features: `[N, F]`, compared by Euclidean distance.
        speakers: one per sequence.
    """
    neighbors = import_extra("sklearn.neighbors", "finding nearest neighbours", "sklearn")
    found = neighbors.NearestNeighbors(n_neighbors=1).fit(features).kneighbors(return_distance=False)[:, 0]
    _, number, counts = np.unique(speakers, return_inverse=True, return_counts=True)
    chance = (counts[number] - 1).mean() / (len(number) - 1)
    return 100.0 * float((number[found] == number).mean()), 100.0 * float(chance)


def sequence_means(model: Any, sequences: Sequences) -> np.ndarray:
    """Posterior means `[N, Z]` of the latent that exists once per sequence."""
    (latent,) = model.sequence_latents
    return np.concatenate([latent.q.mean(model.encode(x[None])[latent.name]) for x in sequences.x])


def speakers_of(sequences: Sequences, known: Utterances) -> list[str]:
    """Who speaks in each sequence, a recording or a window of one."""
    by_name = dict(zip(known.names, known.speakers, strict=True))
    return [by_name[name] for name in loading.origins(sequences)]


def swap_voices(run: Finished, speech: Utterances, folder: Path) -> None:
    """Writes, for the first recordings of two speakers, each as it is, and in the voice of the other with the phases of
    the original: WAV files of 16 bits."""
    soundfile = import_extra("soundfile", "writing WAV files", "speech")
    speakers = speakers_of(run.splits.test, speech)
    chosen = [speakers.index(speaker) for speaker in list(dict.fromkeys(speakers))[:2]]
    data = run.config.data
    for own, other in zip(chosen, reversed(chosen), strict=True):
        original = peak_normalised(speech.waveforms[own])
        x, voice = (run.splits.test.x[i][None] for i in (own, other))
        power = loading.as_vectors(SWAPS[run.config.model.name](run.model, x, voice))[0]
        changed = peak_normalised(resynthesise(power, original, data.window_length, data.hop_length))
        for name, waveform in ((speakers[own], original), (f"{speakers[own]}_as_{speakers[other]}", changed)):
            with atomic_write(folder / f"{name}.wav") as file:
                soundfile.write(file, waveform, data.rate, subtype="PCM_16", format="WAV")


def measure(run: Finished) -> dict[str, float | None]:
    """Speakers from the latent of whole test recordings, of windows of the validation split, and from mean spectra."""
    speech = loading.recordings(run.config.data)
    test, valid = run.splits.test, run.splits.valid
    who = speakers_of(test, speech.test)
    found, chance = nearest_neighbours(sequence_means(run.model, test), who)
    spectra = np.stack([np.log(x + 1e-8).mean(axis=0) for x in test.x])
    windows, _ = nearest_neighbours(sequence_means(run.model, valid), speakers_of(valid, speech.valid))
    if run.folder is not None and len(set(who)) > 1:
        swap_voices(run, speech.test, run.folder)
    return {
        "test recordings, %": found,
        "chance, %": chance,
        "from mean log spectra, %": nearest_neighbours(spectra, who)[0],
        "validation windows, %": windows,
        "ELBO": run.scores.elbo.nats_per_frame,
    }


LONGER = {"data.num_frames": 100}
"""Sequences of 1.6 seconds, five segments."""

SPEAKERS = Table(
    title="Speakers from latents of whole sequences",
    unit=(
        "Whose recording is nearest, by posterior means of the latent of the whole sequence, each test recording among "
        "all others, and each window of the validation split; ELBO in nats per frame, test split."
    ),
    heads=("model",),
    columns=(
        Column("test recordings, %", 1),
        Column("chance, %", 1, None),
        Column("from mean log spectra, %", 1, None),
        Column("validation windows, %", 1),
        Column("ELBO", 2),
    ),
    measure=measure,
    rows=(
        Row(("FHVAE",), "configs/speech_spectrogram/fhvae.py", LONGER),
        Row(
            ("FHVAE, table and discriminative objective",),
            "configs/speech_spectrogram/fhvae.py",
            {**LONGER, "model.num_sequences": 128, "training.penalty_weight": 10.0},
        ),
        Row(("DSAE",), "configs/speech_spectrogram/dsae.py", LONGER),
    ),
    notes=(
        "Speakers of the three splits differ, and no training saw who speaks: a row of the table is a recording. "
        "Validation windows of one recording are of one room as well. The papers have other corpora and measures."
    ),
    needs=(("soundfile", "speech"), ("sklearn", "sklearn")),
    windowed=True,
)
