"""Recordings of speech: found in folders, split by speaker, decoded once into one file that is mapped into memory."""

import dataclasses
import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from tfdvae.data.files import (
    atomic_write,
    cache_folder,
    finite_float32,
    import_extra,
    named_damage,
    read_json,
    require_file,
    require_folder,
)
from tfdvae.data.splitting import Lists, check_disjoint, split_by_lists, split_by_ratio

__all__ = ["SpeechSplits", "Utterances", "read_audio", "read_speech"]

SUFFIXES = (".wav", ".flac")

MOST_RESAMPLING = 64
"""How many times higher or lower than its own rate a file may be resampled: with a rate of 1 Hz in its header, 2 kB
would become 64 MB."""

MOST_SAMPLES_PER_BYTE = 1024
"""How many samples, of all channels, a byte of a file may stand for: 1 in WAV, 290 in FLAC for silence in the usual
blocks of 4,096 samples, and beyond 5,000 in files that were made to be large."""

_FORMAT = 1
_BLOCK = 1 << 16
_FOLDERS = {"train": ("train",), "valid": ("valid", "validation", "dev"), "test": ("test",)}
_LIBRISPEECH = re.compile(r"(\d+)-\d+-\d+")


class Utterances(NamedTuple):
    """Recordings in a fixed order.

    Attributes:
        waveforms: float32 arrays [L_i] in [-1, 1], read-only and mapped into memory: only what is used is read.
        names: paths below the folder, without suffix, as "19/198/19-198-0000".
        speakers: one per recording.
        rate: samples per second.
    """

    waveforms: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    speakers: tuple[str, ...]
    rate: int

    @property
    def seconds(self) -> float:
        """Of all recordings together."""
        return sum(map(len, self.waveforms)) / self.rate


class SpeechSplits(NamedTuple):
    """Recordings, split by speaker."""

    train: Utterances
    valid: Utterances
    test: Utterances


@dataclasses.dataclass(frozen=True)
class _File:
    path: Path
    name: str
    speaker: str


def read_speech(
    path: str | os.PathLike,
    *,
    rate: int = 16000,
    train_list: Lists | None = None,
    valid_list: Lists | None = None,
    test_list: Lists | None = None,
    valid_ratio: float = 0.1,
    test_ratio: float = 0.1,
    split_seed: int = 0,
    split_by: str = "speaker",
    speaker_pattern: str | None = None,
    limit: int | None = None,
    cache_dir: str | os.PathLike | None = None,
    verbose: int = 1,
) -> SpeechSplits:
    """All WAV and FLAC files below a folder, in the layout of LibriSpeech (SPEAKER/CHAPTER/*.flac) or another one.

    The split is by lists where valid_list is given; else by folders, where all files are in folders directly below
    `path` that are called train, valid or dev, and test, or begin so ("train-clean-100"); else by a ratio.

    Files are decoded once, mixed to one channel and resampled to `rate`, and kept as float32 in `cache_dir`, 230 MB per
    hour at 16 kHz. The cache holds for the same files with the same sizes and times; a damaged one is made again, with
    a warning.

    Args:
        path: the folder.
        rate: samples per second, Hz.
        train_list, valid_list, test_list: text files, one entry per line: a speaker, or the path of a file (with or
            without suffix) or of a folder, below `path`. Without train_list the rest is trained on.
        valid_ratio, test_ratio: shares of the speakers (or utterances).
        split_seed: of the split by ratio.
        split_by: "speaker", no speaker is in two splits; or "utterance", as for corpora of a single speaker.
        speaker_pattern: regular expression with one group, searched for in the path below the folder (with "/"); by
            default the first number of a name such as 19-198-0000, else the folder that holds the file; files that are
            in no folder below `path` count as one speaker each.
        limit: at most so many recordings of each split, to try things out.
        cache_dir: the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.
        verbose: 1 shows a progress bar while decoding, 0 shows nothing.

    Raises:
        FileNotFoundError: no such folder or list, or no recording in the folder.
        ValueError: a damaged, empty or non-finite recording, which is named; lists that overlap or name what does not
            exist; a speaker in two splits; options out of range.
        ImportError: soundfile is not installed, or soxr where a file has another rate.
    """
    if rate < 1 or int(rate) != rate:
        raise ValueError(f"rate must be a whole number of samples per second, at least 1; got {rate!r}.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1; got {limit}.")
    if split_by not in ("speaker", "utterance"):
        raise ValueError(f"split_by must be 'speaker' or 'utterance'; got {split_by!r}.")
    files = _find(require_folder(path), speaker_pattern)
    lists = {"train": train_list, "valid": valid_list, "test": test_list}
    groups = [file.speaker if split_by == "speaker" else file.name for file in files]
    if any(given is not None for given in lists.values()):
        keys = [_keys(file) for file in files]
        parts = split_by_lists(keys, lists, "recording, folder or speaker")
    else:
        parts = _by_folders(files) or split_by_ratio(groups, valid_ratio, test_ratio, split_seed, split_by)
    check_disjoint(parts, groups, split_by.capitalize())
    chosen = {split: [files[i] for i in indices[:limit]] for split, indices in parts.items()}
    waveforms = iter(_decoded([file for part in chosen.values() for file in part], rate, cache_dir, verbose))
    return SpeechSplits(
        **{
            split: Utterances(
                tuple(next(waveforms) for _ in part),
                tuple(file.name for file in part),
                tuple(file.speaker for file in part),
                int(rate),
            )
            for split, part in chosen.items()
        }
    )


def read_audio(path: str | os.PathLike, rate: int = 16000) -> np.ndarray:
    """One WAV or FLAC file as a waveform float32 [L], one channel (the mean of several), resampled by soxr where the
    file has another rate.

    Memory follows from what the file holds, not from what its header states: it is decoded piece by piece, and
    `MOST_SAMPLES_PER_BYTE` and `MOST_RESAMPLING` are limits.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, cut off, empty, holds NaN or infinity, states a rate that is implausibly far from
            `rate`, or more samples than a file of its size can hold.
        ImportError: soundfile is not installed, or soxr where it is needed.
    """
    path = require_file(path)
    soundfile = import_extra("soundfile", "Reading WAV and FLAC files", "speech")
    most = MOST_SAMPLES_PER_BYTE * path.stat().st_size
    with named_damage(path, "is no WAV or FLAC file, or it is damaged"), soundfile.SoundFile(path) as file:
        expected, found = file.frames, file.samplerate
        if expected * file.channels > most:
            raise ValueError(f"{path} is damaged: it states {expected} samples, more than its bytes can hold.")
        parts = [
            # In float64, in which the sum over channels cannot overflow.
            finite_float32(part, str(path)).mean(axis=1, dtype=np.float64).astype(np.float32)
            for part in file.blocks(max(1, _BLOCK // file.channels), dtype="float32", always_2d=True)
        ]
    waveform = np.concatenate([np.zeros(0, np.float32), *parts])
    if len(waveform) != expected or _is_cut_off(path):
        raise ValueError(f"{path} is damaged: it ends before the length that it states.")
    if not len(waveform):
        raise ValueError(f"{path} is empty: it holds no sample.")
    if found != rate:
        if not found * MOST_RESAMPLING >= rate >= found / MOST_RESAMPLING:
            raise ValueError(
                f"{path} states {found} samples per second, more than {MOST_RESAMPLING} times off the {rate} that are "
                "asked for: it is likely to be damaged. If it is not, resample it, or ask for another rate."
            )
        soxr = import_extra("soxr", f"Resampling {path} from {found} to {rate} Hz", "speech")
        with named_damage(path, f"cannot be resampled from {found} to {rate} Hz"):
            waveform = finite_float32(soxr.resample(waveform, found, rate), str(path))
        if not len(waveform):
            raise ValueError(f"{path} is too short: no sample is left at {rate} Hz.")
    return waveform


def _find(folder: Path, pattern: str | None) -> list[_File]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    paths = sorted(path for path in found if path.is_file())
    if not paths:
        raise FileNotFoundError(f"There is no {' or '.join(SUFFIXES)} file in {folder} or in a folder below it.")
    files = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        files.append(_File(path, name.removesuffix(path.suffix), _speaker(path, name, pattern)))
    doubles = len(files) - len({file.name for file in files})
    if doubles:
        raise ValueError(f"{folder} holds {doubles} recordings twice, as {' and '.join(SUFFIXES)}: remove one of them.")
    return files


def _speaker(path: Path, name: str, pattern: str | None) -> str:
    if pattern is not None:
        found = re.search(pattern, name)
        if found is None or found.re.groups != 1:
            raise ValueError(
                f"speaker_pattern {pattern!r} must have one group and match every file; {name} it does not."
            )
        return found[1]
    found = _LIBRISPEECH.fullmatch(path.stem)
    if found:
        return found[1]
    # A file that is not in a folder of its own is its own speaker.
    return path.parent.name if "/" in name else path.stem


def _keys(file: _File) -> list[str]:
    """All that a list may call it: its speaker, its path, and the folders that it is in."""
    folders = [parent.as_posix() for parent in Path(file.name).parents if parent.name]
    return [file.speaker, file.name, f"{file.name}{file.path.suffix}", *folders]


def _by_folders(files: list[_File]) -> dict[str, list[int]] | None:
    tops = [re.split(r"[-_/]", file.name)[0].lower() if "/" in file.name else "" for file in files]
    parts = {split: [i for i, top in enumerate(tops) if top in names] for split, names in _FOLDERS.items()}
    return parts if all(parts.values()) and sum(map(len, parts.values())) == len(files) else None


def _decoded(files: list[_File], rate: int, cache_dir: str | os.PathLike | None, verbose: int) -> list[np.ndarray]:
    """All waveforms, from the cache or after they have been decoded into it."""
    stamps = [(str(file.path.resolve()), file.path.stat().st_size, file.path.stat().st_mtime_ns) for file in files]
    key = hashlib.sha256(json.dumps([_FORMAT, int(rate), stamps]).encode()).hexdigest()
    base = cache_folder(cache_dir) / f"speech-v{_FORMAT}-{key[:16]}"
    index, samples = base.with_suffix(".json"), base.with_suffix(".f32")
    if index.exists():
        try:
            return _mapped(index, samples, key, len(files))
        except (OSError, ValueError) as error:
            warnings.warn(f"The recordings are decoded again: their cache is damaged. {error}", stacklevel=5)
    lengths = []
    try:
        with atomic_write(samples) as file:
            for waveform in _progress(files, rate, verbose):
                file.write(waveform.astype("<f4").tobytes())
                lengths.append(len(waveform))
        with atomic_write(index) as file:
            file.write(json.dumps({"key": key, "lengths": lengths}).encode())
        return _mapped(index, samples, key, len(files))
    except OSError as error:
        warnings.warn(f"The recordings are not cached and will be decoded again: {error}", stacklevel=5)
        return list(_progress(files, rate, verbose))


def _progress(files: Iterable[_File], rate: int, verbose: int) -> Iterator[np.ndarray]:
    files = list(files)
    bar = keras.utils.Progbar(len(files), unit_name="recording", verbose=verbose)
    for i, file in enumerate(files):
        yield read_audio(file.path, rate)
        bar.update(i + 1, finalize=i + 1 == len(files))


def _mapped(index: Path, samples: Path, key: str, count: int) -> list[np.ndarray]:
    """The `count` waveforms of the cache.

    Raises:
        FileNotFoundError, ValueError: it is incomplete, damaged, or holds others.
    """
    contents = read_json(index, "cannot be read: expected the lengths of recordings")
    lengths = contents.get("lengths")
    if not isinstance(lengths, list) or not all(type(length) is int and length > 0 for length in lengths):
        raise ValueError(f"{index} does not hold the lengths of recordings.")
    whole = require_file(samples).stat().st_size == 4 * sum(lengths)
    if contents.get("key") != key or len(lengths) != count or not whole:
        raise ValueError(f"{samples} does not hold what {index} says.")
    everything = np.memmap(samples, dtype="<f4", mode="r")
    return [np.asarray(part) for part in np.split(everything, np.cumsum(lengths)[:-1])]


def _is_cut_off(path: Path) -> bool:
    """Whether a RIFF file is shorter than its header says, which libsndfile reads without a word. Headers of streams
    state no length: 0 or the largest number."""
    with path.open("rb") as file:
        header = file.read(8)
    stated = int.from_bytes(header[4:8], "little")
    return header[:4] == b"RIFF" and 0 < stated < 2**32 - 1 and stated + 8 > path.stat().st_size
