"""Speech out of noisy recordings, by a DVAE that was trained on clean speech.

    python -m trainers.train --config configs/speech_spectrogram/rvae.py --workdir runs/speech_spectrogram_rvae
    python -m trainers.denoise --workdir runs/speech_spectrogram_rvae --wav noisy.wav --out speech.wav
    python -m trainers.denoise --workdir runs/speech_spectrogram_rvae --split valid --recordings 10

With --wav one file becomes another. Without, recordings of different speakers of the run's data are mixed with made
noise, denoised, and scored beside a Wiener filter and, where the extra `enhancement` is installed, spectral gating; in
the working folder are then

    denoise_<split>.md .json   a row per noise and ratio: SI-SDR in dB / ESTOI / PESQ (extra `pesq`), means

Noise is white, pink, babble of other speakers of the training split, or the hum of mains; it follows from the seed.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from tfdvae.data import Splits, Utterances
from tfdvae.enhancement import (
    NOISES,
    Denoiser,
    EnhancementScores,
    Method,
    decision_directed,
    denoise_file,
    noisy_speech,
    score_methods,
    score_table,
    spectral_gating,
    unchanged,
)
from trainers import building, loading, settings
from trainers.writing import write_json, write_text

__all__ = ["chosen", "run", "run_file"]


def run_file(workdir: Path, source: Path, target: Path, seed: int = 0, **options: Any) -> None:
    """Writes the speech in a WAV or FLAC file to another WAV file.

    Args:
        workdir: folder of a finished run on power spectrograms of clean speech.
        source, target, seed: see `tfdvae.enhancement.denoise_file`.
        **options: of `tfdvae.enhancement.Denoiser`.

    Raises:
        FileNotFoundError, ValueError: as `denoise_file`, or no finished run there.
    """
    denoise_file(Denoiser(building.load_model(workdir), **options), source, target, seed)
    print(f"{target}: the speech in {source}", flush=True)


def run(
    workdir: Path,
    split: str = "test",
    noises: Sequence[str] = tuple(NOISES),
    snrs_db: Sequence[float] = (0.0, 5.0, 10.0),
    recordings: int = 10,
    seconds: float = 5.0,
    seed: int = 0,
    compare: Sequence[Path] = (),
    **options: Any,
) -> dict[str, list[EnhancementScores]]:
    """Prints a table, returns scores by method; writes `denoise_<split>.md` and `.json`.

    Args:
        workdir: folder of a finished run on power spectrograms of clean speech.
        split: train, valid or test, where the speech is from.
        noises, snrs_db: see `tfdvae.enhancement.noisy_speech`.
        recordings: how many, each of another speaker as long as there are others.
        seconds: of each, its beginning; shorter ones are left out.
        seed: of noise and of all that is drawn.
        compare: folders of further runs on the same data, for more columns, which are called as folders are.
        **options: of `tfdvae.enhancement.Denoiser`.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: an unknown split or noise, a model that is none of power spectra, two folders of one name, or
            one that is called as a column is that has no model.
    """
    settings.check_split(split)
    config = settings.load(workdir)
    folders = {folder.resolve().name: folder for folder in (workdir, *compare)}
    if len(folders) < 1 + len(compare):
        raise ValueError(f"Columns are called as folders are: expected other names than {', '.join(folders)} twice.")
    if taken := {"noisy", "Wiener filter", "noisereduce"} & set(folders):
        raise ValueError(f"Columns are called as folders are, and the table has one called {min(taken)!r}: rename it.")
    denoisers = {name: Denoiser(building.load_model(folder), **options) for name, folder in folders.items()}
    transform = next(iter(denoisers.values())).transform
    speech = loading.recordings(config.data)
    part = chosen(getattr(speech, split), recordings, round(seconds * transform.rate))
    voices = (speech.train.waveforms, speech.train.speakers)
    tests = noisy_speech(part.waveforms, part.speakers, transform.rate, noises, snrs_db, seed, voices)
    methods: dict[str, Method] = {"noisy": unchanged, "Wiener filter": decision_directed}
    if importlib.util.find_spec("noisereduce") is not None:
        methods["noisereduce"] = spectral_gating
    methods |= {name: denoiser.method(seed) for name, denoiser in denoisers.items()}
    scores = score_methods(methods, tests, transform)
    table = score_table(tests, scores)
    print(table, flush=True)
    write_text(workdir / f"denoise_{split}.md", table)
    content = {"split": split, "seed": seed, "recordings": part.names, "seconds": seconds, "options": options}
    rows = [
        {"noise": test.noise, "snr_db": test.snr_db, "method": name, **_as_json(found[i])}
        for i, test in enumerate(tests)
        for name, found in scores.items()
    ]
    write_json(workdir / f"denoise_{split}.json", {**content, "scores": rows})
    return scores


def chosen(utterances: Utterances, count: int, length: int) -> Utterances:
    """The beginning, of `length` samples, of `count` recordings that are at least as long, or of all: the first of each
    speaker, then the second of each, and so on.

    Raises:
        ValueError: `count` or `length` is not positive, or no recording is as long.
    """
    if count < 1 or length < 1:
        raise ValueError(f"Expected at least one recording of some length, got {count} of {length} samples.")
    turns: dict[str, int] = {}
    order = []
    for i, (waveform, speaker) in enumerate(zip(utterances.waveforms, utterances.speakers, strict=True)):
        if len(waveform) >= length:
            order.append((turns.setdefault(speaker, 0), i))
            turns[speaker] += 1
    if not order:
        raise ValueError(f"No recording is as long as {length / utterances.rate:g} s: ask for fewer seconds.")
    rows = [i for _, i in sorted(order)[:count]]
    return Utterances(
        tuple(utterances.waveforms[i][:length] for i in rows),
        tuple(utterances.names[i] for i in rows),
        tuple(utterances.speakers[i] for i in rows),
        utterances.rate,
    )


def _as_json(scores: EnhancementScores) -> dict[str, float | None]:
    means = {name: None if y is None else float(np.mean(y)) for name, y in scores._asdict().items()}
    return {**means, "seconds": scores.seconds}


def main() -> None:
    values = flags.FLAGS
    names = ("rank", "steps", "settling", "learning_rate", "steadiness", "gain")
    options = {name: values[name].value for name in names if values[name].present}
    workdir = Path(values.workdir)
    if (values.wav is None) != (values.out is None):
        raise ValueError("--wav and --out belong together: the noisy recording, and the file for its speech.")
    if values.wav is not None:
        run_file(workdir, Path(values.wav), Path(values.out), values.seed, **options)
        return
    table = {"split": values.split, "noises": values.noises, "snrs_db": settings.numbers("snrs", values.snrs, "0,5,10")}
    table |= {"recordings": values.recordings, "seconds": values.seconds, "seed": values.seed}
    run(workdir, **table, compare=[Path(folder) for folder in values.compare], **options)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of a finished run of trainers.train on speech_spectrogram.")
    flags.DEFINE_string("wav", None, "A noisy recording, WAV or FLAC.")
    flags.DEFINE_string("out", None, "The WAV file for its speech.")
    flags.DEFINE_enum("split", "test", Splits._fields, "Whose speech the table is of.")
    flags.DEFINE_list("noises", list(NOISES), f"Some of {', '.join(NOISES)}.")
    flags.DEFINE_list("snrs", ["0", "5", "10"], "Energy of the speech over that of the noise, dB.")
    flags.DEFINE_integer("recordings", 10, "How many are mixed with each noise.", lower_bound=1)
    flags.DEFINE_float("seconds", 5.0, "Of each recording.", lower_bound=0.1)
    flags.DEFINE_integer("seed", 0, "Of noise and of all that is drawn.", lower_bound=0)
    flags.DEFINE_list("compare", [], "Folders of further runs, for more columns.")
    flags.DEFINE_integer("rank", None, "Spectra that noise is made of.", lower_bound=1)
    flags.DEFINE_integer("steps", None, "Iterations of EM.", lower_bound=0)
    flags.DEFINE_integer("settling", None, "How many of them, the first ones, learn no noise.", lower_bound=0)
    flags.DEFINE_float("learning_rate", None, "Of the steps on the posteriors.", lower_bound=0.0)
    flags.DEFINE_float("steadiness", None, "How much noise is held to one level; 0 for not at all.", lower_bound=0.0)
    flags.DEFINE_string("gain", None, "Loudness that is learnt: frame, sequence or none.")
    flags.mark_flag_as_required("workdir")
    settings.run_app(main)
