"""Piano-rolls to MIDI files and back, through the MIDI classes of music21 (extra `music`)."""

import itertools
import os
from collections import defaultdict

import numpy as np

from tfdvae.data.files import atomic_write, import_music, named_damage, require_file
from tfdvae.data.pianoroll import KEYS, LOWEST_NOTE

__all__ = ["MAX_FRAMES", "read_midi", "write_midi"]

MAX_FRAMES = 1 << 20
"""How long a piece may be by default: a day at 12 frames a second, a roll of 92 MB. A few bytes of a file can state
billions."""

_TICKS_PER_QUARTER = 10080
_PERCUSSION_CHANNEL = 10
_VELOCITY = 80


def write_midi(path: str | os.PathLike, roll: np.ndarray, steps_per_quarter: int = 1, tempo: float = 80.0) -> None:
    """Writes a piano-roll as one track; frames in a row in which a key is on become one note.

    Args:
        path: the file to write; it appears complete or not at all.
        roll: [T, 88], booleans or 0 and 1, column = MIDI note - 21.
        steps_per_quarter: frames per quarter note.
        tempo: quarter notes per minute.

    Raises:
        ValueError: another shape, no frame, values besides 0 and 1, steps_per_quarter that does not divide
            10080, tempo outside 4 to 1000.
        ImportError: music21 is not installed.
    """
    roll = np.asarray(roll)
    if roll.ndim != 2 or roll.shape[1] != KEYS or not len(roll):
        raise ValueError(f"roll must be [T, {KEYS}] with T of at least 1; got shape {list(roll.shape)}.")
    if not np.isin(roll, (0, 1)).all():
        raise ValueError("roll must hold only 0 and 1: draw a sample, or threshold probabilities.")
    if not 4 <= tempo <= 1000:
        raise ValueError(f"tempo must be 4 to 1000 quarter notes per minute; got {tempo}.")
    ticks = _ticks_per_step(steps_per_quarter)
    midi = import_music("music21.midi", "Writing MIDI")
    track = midi.MidiTrack(1)
    now = 0

    def add(time: int, kind, **values) -> None:
        nonlocal now
        delta, event = midi.DeltaTime(track), midi.MidiEvent(track, type=kind)
        delta.time, now = time - now, time
        for name, value in values.items():
            setattr(event, name, value)
        track.events += [delta, event]

    add(0, midi.MetaEvents.SET_TEMPO, data=midi.putNumber(round(60e6 / tempo), 3))
    change = np.diff(roll.astype(np.int8), axis=0, prepend=0, append=0)
    for frame in np.flatnonzero(change.any(axis=1)).tolist():
        for key in np.flatnonzero(change[frame] < 0).tolist():
            add(frame * ticks, midi.ChannelVoiceMessages.NOTE_OFF, pitch=key + LOWEST_NOTE, velocity=0)
        for key in np.flatnonzero(change[frame] > 0).tolist():
            add(frame * ticks, midi.ChannelVoiceMessages.NOTE_ON, pitch=key + LOWEST_NOTE, velocity=_VELOCITY)
    add(len(roll) * ticks, midi.MetaEvents.END_OF_TRACK, data=b"")
    file = midi.MidiFile()
    file.ticksPerQuarterNote = _TICKS_PER_QUARTER
    file.tracks = [track]
    with atomic_write(path) as stream:
        stream.write(file.writestr())


def read_midi(path: str | os.PathLike, steps_per_quarter: int = 1, max_frames: int = MAX_FRAMES) -> np.ndarray:
    """Reads a MIDI file as a piano-roll, uint8 [T, 88], column = MIDI note - 21.

    Notes begin and end at the nearest frame and last at least one; all tracks and channels are merged,
    without the percussion channel, notes off the piano, pedals and tempo. T reaches to the end of the longest
    track.

    Args:
        path: the file.
        steps_per_quarter: frames per quarter note.
        max_frames: T may be so large at most; the roll takes 88 bytes per frame, however small the file is.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged or foreign file, a file timed in seconds, one without a note on the piano, a piece of
            more than `max_frames`, or an option out of range.
        ImportError: music21 is not installed.
    """
    _ticks_per_step(steps_per_quarter)
    if max_frames < 1:
        raise ValueError(f"max_frames must be at least 1; got {max_frames}.")
    path = require_file(path)
    midi = import_music("music21.midi", "Reading MIDI")
    file = midi.MidiFile()
    with named_damage(path, "is no MIDI file of format 0 or 1, or it is damaged"):
        file.readstr(path.read_bytes())
        ended = all(any(_is(event, "END_OF_TRACK") for event in track.events) for track in file.tracks)
    if not file.tracks or not ended:
        raise ValueError(f"{path} is a MIDI file that ends early: a track is missing, or it has no end.")
    if file.ticksPerSecond is not None:
        raise ValueError(f"{path} is timed in seconds; expected a MIDI file timed in quarter notes.")
    if file.ticksPerQuarterNote < 1:
        raise ValueError(f"{path} is damaged: it divides a quarter note into {file.ticksPerQuarterNote} ticks.")
    frames_per_tick = steps_per_quarter / file.ticksPerQuarterNote
    with named_damage(path, "is damaged"):
        notes, ends = zip(*(_notes(track) for track in file.tracks), strict=True)
    # Integers, since the ticks of a damaged file may be more than a float can hold.
    if max(ends) * steps_per_quarter > max_frames * file.ticksPerQuarterNote:
        raise ValueError(
            f"{path} states a piece of more than {max_frames} frames, {steps_per_quarter} per quarter note. It is "
            "likely to be damaged; if it is not, pass a larger max_frames, at 88 bytes per frame."
        )
    spans = [
        (pitch - LOWEST_NOTE, round(start * frames_per_tick), round(end * frames_per_tick))
        for pitch, start, end in itertools.chain.from_iterable(notes)
        if LOWEST_NOTE <= pitch < LOWEST_NOTE + KEYS
    ]
    if not spans:
        raise ValueError(f"{path} has no note within the {KEYS} keys of a piano.")
    length = max([round(max(ends) * frames_per_tick)] + [max(start + 1, end) for _, start, end in spans])
    roll, filled = np.zeros((length, KEYS), dtype=np.uint8), defaultdict(int)
    # Each cell is written once: thousands of notes of one key may last as long as the piece.
    for key, start, end in sorted(spans):
        end = max(start + 1, end)
        roll[max(start, filled[key]) : end, key] = 1
        filled[key] = max(filled[key], end)
    return roll


def _notes(track) -> tuple[list[tuple[int, int, int]], int]:
    """(pitch, first tick, last tick) of each note of a track, and the track's end."""
    notes, sounding, now = [], defaultdict(list), 0
    for event in track.events:
        if event.isDeltaTime():
            now += event.time
        elif event.channel == _PERCUSSION_CHANNEL:
            continue
        elif event.isNoteOn():
            sounding[event.channel, event.pitch].append(now)
        elif event.isNoteOff() and sounding[event.channel, event.pitch]:
            notes.append((event.pitch, sounding[event.channel, event.pitch].pop(0), now))
    notes += [(pitch, start, now) for (_, pitch), starts in sounding.items() for start in starts]
    return notes, now


def _is(event, kind: str) -> bool:
    return getattr(event.type, "name", None) == kind


def _ticks_per_step(steps_per_quarter: int) -> int:
    if steps_per_quarter < 1 or _TICKS_PER_QUARTER % steps_per_quarter:
        raise ValueError(f"steps_per_quarter must divide {_TICKS_PER_QUARTER}; got {steps_per_quarter}.")
    return _TICKS_PER_QUARTER // steps_per_quarter
