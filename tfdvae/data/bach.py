"""Four-part Bach chorales from the corpus that the music21 package ships (extra `music`)."""

import hashlib
import os
import re
import warnings
from collections import Counter
from pathlib import Path

import keras
import numpy as np

from tfdvae.data.files import cache_folder, import_music
from tfdvae.data.pianoroll import KEY_NAMES, KEYS, LOWEST_NOTE, load_pianoroll, save_pianoroll
from tfdvae.data.sequences import Sequences, Splits, from_arrays

__all__ = ["load_bach"]

_FORMAT = 1
_VOICES = ("soprano", "alto", "tenor", "bass")
_HELD_OUT = 0.15
# The choir pauses for whole orchestral bars in a few cantata movements.
_MOST_SILENCE = 0.2
# Two settings count as one piece when they share this much of their four-frame patterns, in whatever keys:
# the corpus holds some chorales twice, transposed, with other endings or with an orchestra (0.3 to 1 shared).
_PATTERN = 4
_SAME_PIECE = 0.3


def load_bach(
    cache_dir: str | os.PathLike | None = None,
    steps_per_quarter: int = 1,
    limit: int | None = None,
    verbose: int = 1,
) -> Splits:
    """Piano-rolls [T, 88] (column = MIDI note - 21) of about 400 chorales: soprano, alto, tenor, bass.

    A key is on in a frame if a voice sounds it at that moment, so ties and fermatas need no rule, and repeats
    are written once. Silent quarters before and silence after are cut off. Movements without exactly one part
    per voice, or in which the choir is silent for more than a fifth of the frames, are left out.

    The split, about 70 / 15 / 15, is by a hash of the names: the same everywhere. Equal rolls occur once,
    also when transposed; variants of one piece (the corpus has some chorales in two keys or editions) are in
    the same split.

    The scores are parsed once, in about half a minute, and kept in `cache_dir`; a damaged cache is replaced,
    with a warning.

    Args:
        cache_dir: the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.
        steps_per_quarter: frames per quarter note.
        limit: only the first `limit` chorales, at least 3, to try things out.
        verbose: 1 shows a progress bar while parsing, 0 shows nothing.

    Returns:
        Splits of float32 sequences; names are those of the corpus, as "bwv269".

    Raises:
        ImportError: music21 is not installed and nothing is cached.
        FileNotFoundError: the installed music21 comes without its corpus.
        ValueError: steps_per_quarter below 1, limit below 3.
    """
    if steps_per_quarter < 1:
        raise ValueError(f"steps_per_quarter must be at least 1; got {steps_per_quarter}.")
    if limit is not None and limit < 3:
        raise ValueError(f"limit must be at least 3, one chorale per split; got {limit}.")
    size = "" if limit is None else f"-first{limit}"
    path = cache_folder(cache_dir) / f"bach-v{_FORMAT}-q{steps_per_quarter}{size}.npz"
    if path.exists():
        try:
            return _described(load_pianoroll(path), steps_per_quarter)
        except ValueError as error:
            warnings.warn(f"The chorales are parsed again: their cache is damaged. {error}", stacklevel=2)
    splits = _split(_parse_corpus(steps_per_quarter, limit, verbose), steps_per_quarter)
    try:
        save_pianoroll(path, splits)
    except OSError as error:
        warnings.warn(f"The chorales are not cached and will be parsed again: {error}", stacklevel=2)
    return _described(splits, steps_per_quarter)


def _described(splits: Splits, steps_per_quarter: int) -> Splits:
    return splits.described(
        features=KEY_NAMES,
        frame_period=1.0 / steps_per_quarter,
        time_unit="quarter note",
        origin="four-part chorales of Bach in music21's corpus",
    )


def _parse_corpus(steps_per_quarter: int, limit: int | None, verbose: int) -> dict[str, np.ndarray]:
    """Rolls by name, each music once, in the order of the catalogue."""
    corpora = import_music("music21.corpus.corpora", "Parsing the Bach chorales")
    paths = sorted(
        corpora.CoreCorpus().getComposer("bach", fileExtensions=("xml",)),
        key=lambda path: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.stem)],
    )
    if not paths:
        raise FileNotFoundError(
            "The installed music21 has no corpus of Bach's scores; the package that pip installs has it."
        )
    bar = keras.utils.Progbar(len(paths) if limit is None else limit, unit_name="chorale", verbose=verbose)
    rolls, seen = {}, set()
    for i, path in enumerate(paths):
        roll = _chorale(path, steps_per_quarter)
        music = None if roll is None else _in_any_key(roll).tobytes()
        if music is not None and music not in seen:
            seen.add(music)
            rolls[path.stem] = roll
        bar.update(i + 1 if limit is None else len(rolls), finalize=False)
        if len(rolls) == limit:
            break
    bar.update(bar.target, finalize=True)
    return rolls


def _chorale(path: Path, steps_per_quarter: int) -> np.ndarray | None:
    """One score as a roll, or None where it is no four-part chorale."""
    converter = import_music("music21.converter", "Parsing the Bach chorales").Converter()
    # The usual entry points of music21 keep and load pickles of what they parsed.
    converter.parseFileNoPickle(path)
    by_voice = [
        [part for part in converter.stream.parts if (part.partName or "").lower().startswith(voice)]
        for voice in _VOICES
    ]
    if any(len(parts) != 1 for parts in by_voice):
        return None
    notes = [note for (part,) in by_voice for note in part.flatten().notes]
    steps = np.array([(note.offset, note.offset + note.quarterLength) for note in notes], dtype=float)
    # Offsets are exact fractions in the score; the tolerance is for triplets as floats.
    steps = np.ceil(steps * steps_per_quarter - 1e-6).astype(int)
    roll = np.zeros((steps.max(), KEYS), dtype=np.uint8)
    for note, (start, end) in zip(notes, steps.tolist(), strict=True):
        for pitch in note.pitches:
            roll[start:end, pitch.midi - LOWEST_NOTE] = 1
    sounding = np.flatnonzero(roll.any(axis=1))
    first_quarter = sounding[0] // steps_per_quarter * steps_per_quarter
    roll = roll[first_quarter : sounding[-1] + 1]
    return None if len(sounding) < (1 - _MOST_SILENCE) * len(roll) else roll


def _split(rolls: dict[str, np.ndarray], steps_per_quarter: int) -> Splits:
    names = list(rolls)
    pieces = _pieces([rolls[name][::steps_per_quarter] for name in names])
    pieces.sort(key=lambda piece: hashlib.sha256(names[piece[0]].encode()).digest())
    held_out = max(1, round(_HELD_OUT * len(pieces)))
    parts = {
        "train": pieces[2 * held_out :],
        "valid": pieces[:held_out],
        "test": pieces[held_out : 2 * held_out],
    }
    return Splits(**{split: _sequences(rolls, names, part) for split, part in parts.items()})


def _sequences(rolls: dict[str, np.ndarray], names: list[str], pieces: list[list[int]]) -> Sequences:
    chosen = [names[i] for i in sorted(i for piece in pieces for i in piece)]
    return from_arrays([rolls[name] for name in chosen], names=chosen)


def _pieces(rolls: list[np.ndarray]) -> list[list[int]]:
    """Groups the indices of rolls that are variants of one piece."""
    patterns = [_patterns(roll) for roll in rolls]
    piece = list(range(len(rolls)))
    for i, first in enumerate(patterns):
        for j, second in enumerate(patterns[:i]):
            shared = sum((first & second).values()) if first.keys() & second.keys() else 0
            if shared > _SAME_PIECE * min(first.total(), second.total()) and piece[i] != piece[j]:
                old, new = piece[i], piece[j]
                piece = [new if p == old else p for p in piece]
    return [[i for i, p in enumerate(piece) if p == number] for number in sorted(set(piece))]


def _patterns(roll: np.ndarray) -> Counter:
    spans = (roll[i : i + _PATTERN] for i in range(len(roll) - _PATTERN + 1))
    return Counter(_in_any_key(span).tobytes() for span in spans if span.any())


def _in_any_key(roll: np.ndarray) -> np.ndarray:
    """Transposed so that the lowest note is column 0."""
    return np.roll(roll, -int(np.flatnonzero(roll.any(axis=0))[0]), axis=1)
