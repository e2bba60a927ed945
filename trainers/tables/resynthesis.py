"""Analysis and resynthesis: how well frames are rebuilt from the posterior means (Girin et al. 2021, table 13.1)."""

from collections.abc import Callable

import numpy as np

from tfdvae.data.sequences import pad
from tfdvae.data.spectrograms import peak_normalised, resynthesise
from tfdvae.metrics import diagnose, mpjpe, speech_scores
from trainers import loading
from trainers.tables.table import Column, Finished, Row, Table

__all__ = ["MOTION", "SPEECH_RESYNTHESIS", "active_units", "reconstructions"]

MODELS = {
    "VAE": "vae",
    "DKF": "dkf",
    "STORN": "storn",
    "VRNN": "vrnn",
    "SRNN": "srnn",
    "RVAE, causal": "rvae",
    "RVAE, non-causal": "rvae_noncausal",
    "DSAE": "dsae",
}
TUNED = "SRNN, fine-tuned"
MODES = {"": "teacher_forced", ", own output": "generation"}
"""The two ways to rebuild a frame, by what headings say of them."""


def reconstructions(run: Finished, mode: str) -> list[np.ndarray]:
    """Each sequence `[T, D]` that is measured, rebuilt from its posterior means."""
    return [loading.as_vectors(run.model.reconstruct(x[None], mode=mode))[0] for x in run.measured.x]


def active_units(run: Finished) -> float:
    """Groups of the latents of frames, dimensions of a Gaussian, whose KL is above the threshold, on up to 64 sequences
    of the validation split.
    """
    batch = pad(run.splits.valid.first(64))
    return float(sum(found.active.sum() for found in diagnose(run.model, batch).values()))


def _in_both_modes(run: Finished, measure: Callable[[str], dict[str, float]]) -> dict[str, float | None]:
    """Figures under teacher forcing, and from the model's own output where frames are drawn one by one."""
    found: dict[str, float | None] = {}
    for suffix, mode in MODES.items():
        if mode == "teacher_forced" or run.model.feeds_back:
            found |= {name + suffix: value for name, value in measure(mode).items()}
    return {**found, "active dimensions": active_units(run)}


def measure_speech(run: Finished) -> dict[str, float | None]:
    """Waveforms from the power spectra of the model and the phases of the originals, against the originals."""
    data = run.config.data
    waveforms = loading.recordings(data).test.waveforms[: run.measured.num_sequences]
    originals = [peak_normalised(waveform) for waveform in waveforms]

    def measure(mode: str) -> dict[str, float]:
        pairs = zip(reconstructions(run, mode), originals, strict=True)
        own = [resynthesise(power, original, data.window_length, data.hop_length) for power, original in pairs]
        scores = speech_scores(own, originals, data.rate)
        return {name: float(y.mean()) for name, y in zip(("SI-SDR, dB", "PESQ", "ESTOI"), scores, strict=True)}

    return _in_both_modes(run, measure)


def measure_motion(run: Finished) -> dict[str, float | None]:
    """Mean per joint position error."""

    def measure(mode: str) -> dict[str, float]:
        own, originals = np.concatenate(reconstructions(run, mode)), np.concatenate(run.measured.x)
        return {"MPJPE, mm": mpjpe(own, originals, None, run.config.data.unit_mm)}

    return _in_both_modes(run, measure)


def _rows(folder: str, published: dict[str, dict[str, str]], tuning: dict[str, object]) -> tuple[Row, ...]:
    rows = [Row((label,), f"configs/{folder}/{model}.py", {}, published[label]) for label, model in MODELS.items()]
    options = {
        "training.scheduled_sampling": 1.0,
        "training.keep": "last",
        "training.patience": None,
        "training.kl_warmup_epochs": 0,
        **tuning,
    }
    return (*rows, Row((TUNED,), f"configs/{folder}/srnn.py", options, published[TUNED], ("SRNN",)))


def _speech(*figures: str) -> dict[str, str]:
    return dict(zip(("SI-SDR, dB", "PESQ", "ESTOI"), figures, strict=True))


def _own(figures: dict[str, str]) -> dict[str, str]:
    return {name + ", own output": value for name, value in figures.items()}


SPEECH_RESYNTHESIS = Table(
    title="Speech, analysis and resynthesis",
    unit="Test split, means over recordings. Frames from posterior means; phases of the originals.",
    heads=("model",),
    columns=(
        Column("SI-SDR, dB", 2),
        Column("PESQ", 2),
        Column("ESTOI", 3),
        Column("SI-SDR, dB, own output", 2),
        Column("PESQ, own output", 2),
        Column("ESTOI, own output", 3),
        Column("active dimensions", 1, None),
    ),
    measure=measure_speech,
    rows=_rows(
        "speech_spectrogram",
        {
            "VAE": _speech("5.3", "2.97", "0.83"),
            "DKF": _speech("9.3", "3.53", "0.91"),
            "STORN": {**_speech("6.9", "3.42", "0.90"), "active dimensions": "4"},
            "VRNN": {**_speech("10.0", "3.61", "0.92"), "active dimensions": "14"},
            "SRNN": {
                **_speech("11.0", "3.68", "0.93"),
                **_own(_speech("-1.0", "1.93", "0.64")),
                "active dimensions": "8",
            },
            "RVAE, causal": {**_speech("9.0", "3.49", "0.90"), "active dimensions": "16"},
            "RVAE, non-causal": {**_speech("8.9", "3.58", "0.91"), "active dimensions": "16"},
            "DSAE": {**_speech("9.2", "3.55", "0.91"), "active dimensions": "16"},
            TUNED: _own(_speech("7.8", "3.37", "0.88")),
        },
        {"training.epochs": 500, "training.sampling_epochs": 250},
    ),
    notes=(
        "Published: WSJ0, other and more speech, and networks that see raw power where ours see its logarithm. Own "
        "output: x_<t is what the model made of it, z_1:T still comes from the data (the survey's SRNN-TF-GM and, "
        "fine-tuned by scheduled sampling, SRNN-GM)."
    ),
    needs=(("soundfile", "speech"), ("pystoi", "speech"), ("pesq", "pesq")),
    windowed=True,
)

MOTION = Table(
    title="Human motion, analysis and resynthesis",
    unit="Test split, mean over joints, frames and sequences. Frames from posterior means.",
    heads=("model",),
    columns=(
        Column("MPJPE, mm", 2, False),
        Column("MPJPE, mm, own output", 2, False),
        Column("active dimensions", 1, None),
    ),
    measure=measure_motion,
    rows=_rows(
        "motion",
        {
            "VAE": {"MPJPE, mm": "48.69"},
            "DKF": {"MPJPE, mm": "42.21"},
            "STORN": {"MPJPE, mm": "9.47"},
            "VRNN": {"MPJPE, mm": "9.22"},
            "SRNN": {"MPJPE, mm": "7.86", "MPJPE, mm, own output": "221.87"},
            "RVAE, causal": {"MPJPE, mm": "31.09"},
            "RVAE, non-causal": {"MPJPE, mm": "28.59"},
            "DSAE": {"MPJPE, mm": "28.61"},
            TUNED: {"MPJPE, mm, own output": "43.98"},
        },
        {"training.epochs": 500, "training.sampling_epochs": 250},
    ),
    notes=(
        "Published: H3.6M, trained by the survey's authors on the mean distance of joints. Ours: CMU motion capture, "
        "trained on a Gaussian of 1 mm."
    ),
)
