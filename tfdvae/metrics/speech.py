"""How close speech is to its original: SI-SDR in dB, PESQ and ESTOI (the last two by the extra `speech`)."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfdvae.data.files import import_extra

__all__ = ["SpeechScores", "estoi", "pesq", "si_sdr", "speech_scores"]

_PESQ_MODES = {16000: "wb", 8000: "nb"}


class SpeechScores(NamedTuple):
    """One value per recording, float64 [N]; the tables of papers are their means.

    Attributes:
        si_sdr_db: scale-invariant signal-to-distortion ratio, dB.
        pesq: mean opinion score, wide-band (ITU-T P.862.2) at 16 kHz, narrow-band (P.862) at 8 kHz; None where it was
            not asked for.
        estoi: extended short-time objective intelligibility, 1 is perfect.
    """

    si_sdr_db: np.ndarray
    pesq: np.ndarray | None
    estoi: np.ndarray


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Scale-invariant signal-to-distortion ratio in dB, `[...]`, of waveforms `[..., L]` (Le Roux et al. 2019; no
    mean is subtracted):

        s = (<estimate, reference> / |reference|^2) reference,    10 log10(|s|^2 / |s - estimate|^2).

    Infinity for an estimate that is a multiple of its reference; minus infinity for one that is orthogonal to it.

    Raises:
        ValueError: different shapes, no sample, NaN, or silence, for which the ratio is not defined.
    """
    estimate, reference = _pair(estimate, reference)
    energy = np.square(reference).sum(axis=-1, keepdims=True)
    if not (energy > 0.0).all() or not (np.square(estimate).sum(axis=-1) > 0.0).all():
        raise ValueError("SI-SDR is not defined for silence: a waveform is all zeros.")
    target = (estimate * reference).sum(axis=-1, keepdims=True) / energy * reference
    with np.errstate(divide="ignore"):
        ratio = np.square(target).sum(axis=-1) / np.square(target - estimate).sum(axis=-1)
        return 10.0 * np.log10(ratio)


def pesq(estimate: np.ndarray, reference: np.ndarray, rate: int = 16000) -> float:
    """Perceptual evaluation of speech quality of one waveform `[L]`, by the package pesq: wide-band at 16 kHz,
    narrow-band at 8 kHz.

    Raises:
        ValueError: another rate, shapes that differ, NaN, or a recording in which no speech is found.
        ImportError: pesq is not installed.
    """
    if rate not in _PESQ_MODES:
        raise ValueError(f"PESQ is defined at 16000 and 8000 Hz; got {rate}.")
    estimate, reference = _one(estimate, reference)
    package = import_extra("pesq", "PESQ", "pesq")
    try:
        return float(package.pesq(rate, _float32(reference), _float32(estimate), _PESQ_MODES[rate]))
    except package.PesqError as error:
        raise ValueError(
            f"PESQ cannot be computed for these {len(reference) / rate:.2f} s of audio: {error}"
        ) from error


def estoi(estimate: np.ndarray, reference: np.ndarray, rate: int = 16000) -> float:
    """Extended short-time objective intelligibility (Jensen and Taal 2016) of one waveform `[L]`, by the package
    pystoi.

    Raises:
        ValueError: shapes that differ, NaN, or less than the 0.4 s of speech that it needs.
        ImportError: pystoi is not installed.
    """
    estimate, reference = _one(estimate, reference)
    package = import_extra("pystoi", "ESTOI", "speech")
    with warnings.catch_warnings():
        # It warns and returns 1e-5 where it has too little to go by.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(package.stoi(reference, estimate, rate, extended=True))
        except RuntimeWarning as error:
            raise ValueError(
                f"ESTOI cannot be computed for these {len(reference) / rate:.2f} s of audio: {error}"
            ) from error


def speech_scores(
    estimates: Sequence[np.ndarray], references: Sequence[np.ndarray], rate: int = 16000, *, with_pesq: bool = True
) -> SpeechScores:
    """All three measures of recordings `[L_i]`, such as resynthesised ones, against their originals.

    Args:
        estimates, references: waveforms, in the same order.
        rate: samples per second.
        with_pesq: whether PESQ is among them, which few rates have, and which needs a package of its own.

    Raises:
        ValueError: different numbers of recordings, none, or whatever a measure raises, with the number of the
            recording.
        ImportError: pesq or pystoi is not installed.
    """
    if not len(references) or len(estimates) != len(references):
        raise ValueError(f"Expected as many estimates as references, got {len(estimates)} and {len(references)}.")
    rows = []
    for i, pair in enumerate(zip(estimates, references, strict=True)):
        try:
            quality = pesq(*pair, rate) if with_pesq else np.nan
            rows.append((float(si_sdr(*pair)), quality, estoi(*pair, rate)))
        except ValueError as error:
            raise ValueError(f"Recording {i}: {error}") from error
    found = SpeechScores(*np.array(rows, np.float64).T)
    return found if with_pesq else found._replace(pesq=None)


def _pair(estimate: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    estimate, reference = np.asarray(estimate, np.float64), np.asarray(reference, np.float64)
    if estimate.shape != reference.shape or not reference.ndim or not reference.size:
        raise ValueError(f"Expected waveforms of one shape [..., L], got {estimate.shape} and {reference.shape}.")
    if not (np.isfinite(estimate).all() and np.isfinite(reference).all()):
        raise ValueError("Waveforms must be finite; got NaN or infinity.")
    return estimate, reference


def _one(estimate: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    estimate, reference = _pair(estimate, reference)
    if reference.ndim != 1:
        raise ValueError(f"Expected one waveform [L] at a time, got shape {reference.shape}.")
    return estimate, reference


def _float32(waveform: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(waveform, np.float32)
