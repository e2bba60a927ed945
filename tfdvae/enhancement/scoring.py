"""How much methods gain on speech mixed with made noise: SI-SDR, ESTOI and, where it is installed, PESQ."""

import importlib.util
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfdvae.arguments import whole
from tfdvae.enhancement.baselines import Method
from tfdvae.enhancement.noises import make_noise, mixed
from tfdvae.enhancement.waveforms import Transform
from tfdvae.markdown import markdown_table
from tfdvae.metrics import speech_scores

__all__ = ["EnhancementScores", "NoisySpeech", "noisy_speech", "score_methods", "score_table"]


class NoisySpeech(NamedTuple):
    """Recordings with one noise at one ratio.

    Attributes:
        noise: its name.
        snr_db: energy of the speech over that of the noise, dB.
        noisy, clean: waveforms `[L_i]`, in the same order.
    """

    noise: str
    snr_db: float
    noisy: list[np.ndarray]
    clean: list[np.ndarray]


class EnhancementScores(NamedTuple):
    """One value per recording, `[N]`, and what it took.

    Attributes:
        si_sdr_db, estoi: see `tfdvae.metrics`.
        pesq: None where the package pesq is not installed, and at other rates than 8 and 16 kHz.
        seconds: of computation per second of audio.
    """

    si_sdr_db: np.ndarray
    estoi: np.ndarray
    pesq: np.ndarray | None
    seconds: float


def noisy_speech(
    recordings: Sequence[np.ndarray],
    speakers: Sequence[str],
    rate: int,
    noises: Sequence[str],
    snrs_db: Sequence[float],
    seed: int = 0,
    voices: tuple[Sequence[np.ndarray], Sequence[str]] | None = None,
) -> list[NoisySpeech]:
    """Every recording with every noise at every ratio; a recording has the same noise at all ratios.

    Args:
        recordings: clean speech `[L_i]`.
        speakers: one per recording; babble is of others.
        rate: samples per second.
        noises: names in `NOISES`.
        snrs_db: ratios, dB.
        seed: recording i has noise of seed + i.
        voices: recordings and their speakers that babble is made of; the same ones by default.

    Raises:
        ValueError: as `make_noise` and `mixed`.
    """
    voices = (recordings, speakers) if voices is None else voices
    seed, found = whole("seed", seed), []
    for name in noises:
        made = []
        for i, (speech, speaker) in enumerate(zip(recordings, speakers, strict=True)):
            others = [voice for voice, other in zip(*voices, strict=True) if other != speaker]
            made.append(make_noise(name, len(speech), rate, seed + i, others))
        for snr_db in snrs_db:
            noisy = [mixed(speech, noise, snr_db) for speech, noise in zip(recordings, made, strict=True)]
            found.append(NoisySpeech(name, float(snr_db), noisy, list(recordings)))
    return found


def score_methods(
    methods: Mapping[str, Method], tests: Sequence[NoisySpeech], transform: Transform
) -> dict[str, list[EnhancementScores]]:
    """Scores of each method, one entry for each of the tests.

    A method sees the recordings of all tests in one call, and nothing but them.

    Raises:
        ValueError: a method returns another number of waveforms, or other lengths; a measure is not defined.
        ImportError: pystoi is not installed.
    """
    noisy = [waveform for test in tests for waveform in test.noisy]
    audio = sum(map(len, noisy)) / transform.rate
    found: dict[str, list[EnhancementScores]] = {}
    for name, method in methods.items():
        began = time.perf_counter()
        speech = method(noisy, transform)
        seconds = (time.perf_counter() - began) / audio
        if [len(y) for y in speech] != [len(y) for y in noisy]:
            raise ValueError(f"{name} did not return a waveform of the same length for each of {len(noisy)}.")
        left = iter(speech)
        found[name] = [_scores([next(left) for _ in test.clean], test.clean, transform.rate, seconds) for test in tests]
    return found


def _scores(speech: list[np.ndarray], clean: list[np.ndarray], rate: int, seconds: float) -> EnhancementScores:
    found = speech_scores(speech, clean, rate, with_pesq=_has_pesq(rate))
    return EnhancementScores(found.si_sdr_db, found.estoi, found.pesq, seconds)


def _has_pesq(rate: int) -> bool:
    """Whether it is installed, and defined at that rate."""
    return rate in (8000, 16000) and importlib.util.find_spec("pesq") is not None


def score_table(tests: Sequence[NoisySpeech], scores: Mapping[str, Sequence[EnhancementScores]]) -> str:
    """Markdown: a row per noise and ratio and one for all of them, a column per method; means over recordings as
    SI-SDR in dB / ESTOI / PESQ (left out where it is not installed)."""
    rows = [
        [test.noise, f"{test.snr_db:g}", *(_cell([found[i]]) for found in scores.values())]
        for i, test in enumerate(tests)
    ]
    rows.append(["all", "", *map(_cell, scores.values())])
    return markdown_table(["noise", "SNR, dB", *scores], rows)


def _cell(rows: Sequence[EnhancementScores]) -> str:
    parts = [
        f"{np.mean(np.concatenate([row.si_sdr_db for row in rows])):.2f}",
        f"{np.mean(np.concatenate([row.estoi for row in rows])):.3f}",
    ]
    if rows[0].pesq is not None:
        parts.append(f"{np.mean(np.concatenate([row.pesq for row in rows])):.2f}")
    return " / ".join(parts)
