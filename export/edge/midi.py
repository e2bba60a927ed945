"""Piano-rolls as MIDI files with the standard library and numpy, for devices; on a PC `tfdvae.data` has music21 for it.

Standard MIDI Files 1.0: a file of format 0 is a header and one track of events, each after a number of ticks.
"""

import os
import struct
from collections import defaultdict
from pathlib import Path

import numpy as np

from export.edge.files import new_file

__all__ = ["KEYS", "LOWEST_NOTE", "MAX_FRAMES", "names", "read_midi", "write_midi"]

KEYS, LOWEST_NOTE = 88, 21
MAX_FRAMES = 1 << 20  # how long a piece may be by default, a roll of 92 MB: a few bytes can state billions
_TICKS_PER_QUARTER, _VELOCITY, _PERCUSSION = 960, 80, 9
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def write_midi(path: str | os.PathLike, roll: np.ndarray, steps_per_quarter: int = 1, tempo: float = 80.0) -> None:
    """Writes a piano-roll; frames in a row in which a key is on become one note.

    Args:
        path: the file to write; it appears complete or not at all.
        roll: `[T, 88]`, 0 and 1, column = MIDI note - 21.
        steps_per_quarter: frames per quarter note; divides 960.
        tempo: quarter notes per minute.

    Raises:
        ValueError: another shape, no frame, values besides 0 and 1, a number of steps or a tempo out of range.
    """
    roll = np.asarray(roll)
    if roll.ndim != 2 or roll.shape[1] != KEYS or not len(roll) or not np.isin(roll, (0, 1)).all():
        raise ValueError(f"A roll is [T, {KEYS}] of 0 and 1 with T of at least 1; got shape {list(roll.shape)}.")
    if steps_per_quarter < 1 or _TICKS_PER_QUARTER % steps_per_quarter:
        raise ValueError(f"The steps per quarter must divide {_TICKS_PER_QUARTER}; got {steps_per_quarter}.")
    if not 4 <= tempo <= 1000:
        raise ValueError(f"The tempo must be 4 to 1000 quarter notes per minute; got {tempo}.")
    ticks = _TICKS_PER_QUARTER // steps_per_quarter
    events = [b"\x00\xff\x51\x03" + round(60e6 / tempo).to_bytes(3, "big")]
    change = np.diff(roll.astype(np.int8), axis=0, prepend=0, append=0)
    last = 0
    for frame in np.flatnonzero(change.any(axis=1)).tolist():
        for status, velocity, sign in ((0x80, 0, -1), (0x90, _VELOCITY, 1)):
            for key in np.flatnonzero(change[frame] == sign).tolist():
                events.append(_length((frame - last) * ticks) + bytes([status, key + LOWEST_NOTE, velocity]))
                last = frame
    events.append(_length((len(roll) - last) * ticks) + b"\xff\x2f\x00")
    track = b"".join(events)
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, _TICKS_PER_QUARTER)
    with new_file(path) as partial:
        partial.write_bytes(header + struct.pack(">4sI", b"MTrk", len(track)) + track)


def read_midi(path: str | os.PathLike, steps_per_quarter: int = 1, max_frames: int = MAX_FRAMES) -> np.ndarray:
    """Reads a file as `tfdvae.data.read_midi` does: all tracks and channels but percussion in one roll.

    Args:
        path: the file.
        steps_per_quarter: frames per quarter note.
        max_frames: T may be so large at most; the roll takes 88 bytes per frame, however small the file is.

    Returns:
        uint8 `[T, 88]`, column = MIDI note - 21. Notes begin and end at the nearest frame, and last one at least.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else or damaged, timed in seconds, has no note on a piano, or states a piece of more
            than `max_frames`; names the file. Or an option is out of range.
    """
    if steps_per_quarter < 1 or max_frames < 1:
        raise ValueError(f"Steps and frames must be at least 1; got {steps_per_quarter} and {max_frames}.")
    content = Path(path).read_bytes()
    try:
        kind, size, form, count, division = struct.unpack_from(">4sIHHH", content)
        if kind != b"MThd" or form > 1 or division == 0 or division & 0x8000:
            raise ValueError("it must be of format 0 or 1, timed in quarter notes")
        notes, ends, at = [], [], 8 + size
        for _ in range(count):
            kind, size = struct.unpack_from(">4sI", content, at)
            if kind != b"MTrk" or at + 8 + size > len(content):
                raise ValueError("a track is missing, or cut off")
            found, end = _notes(content[at + 8 : at + 8 + size])
            notes.extend(found)
            ends, at = [*ends, end], at + 8 + size
        piano = [one for one in notes if LOWEST_NOTE <= one[0] < LOWEST_NOTE + KEYS]
        if not piano:
            raise ValueError("it has no note on a piano")
        # Integers, since the ticks of a damaged file may be more than a float can hold.
        if max(ends) * steps_per_quarter > max_frames * division:
            raise ValueError(f"it states more than {max_frames} frames; pass a larger max_frames if they are meant")
    except (ValueError, IndexError, struct.error) as error:
        raise ValueError(f"{path} cannot be read as MIDI: {error}") from error
    spans = [(key, *(round(tick * steps_per_quarter / division) for tick in ticks)) for key, *ticks in piano]
    length = max(round(max(ends) * steps_per_quarter / division), *(max(end, start + 1) for _, start, end in spans))
    roll, filled = np.zeros((length, KEYS), np.uint8), defaultdict(int)
    # Each cell is written once: thousands of notes of one key may last as long as the piece.
    for key, start, end in sorted(spans):
        end = max(end, start + 1)
        roll[max(start, filled[key]) : end, key - LOWEST_NOTE] = 1
        filled[key] = max(filled[key], end)
    return roll


def _notes(track: bytes) -> tuple[list[tuple[int, int, int]], int]:
    """Note, first and last tick of what sounds in a track, and the track's last tick."""
    notes, sounding, at, now, running = [], defaultdict(list), 0, 0, 0
    while True:
        ticks, at = _number(track, at)
        now += ticks
        status = running
        if track[at] & 0x80:
            status, at = track[at], at + 1
        if not status:
            raise ValueError("a track begins without an event")
        if status == 0xFF and track[at] == 0x2F:
            return [*notes, *((key, start, now) for (_, key), starts in sounding.items() for start in starts)], now
        if status >= 0xF0:
            size, at = _number(track, at + (status == 0xFF))
            at += size
            continue
        running = status
        kind, channel, key, velocity = status & 0xF0, status & 0x0F, track[at], track[at + 1 : at + 2]
        at += 1 if kind in (0xC0, 0xD0) else 2
        if kind not in (0x80, 0x90) or channel == _PERCUSSION:
            continue
        if kind == 0x90 and velocity != b"\0":
            sounding[channel, key].append(now)
        elif sounding[channel, key]:
            notes.append((key, sounding[channel, key].pop(0), now))


def _number(track: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, and where it ends."""
    number = track[at] & 0x7F
    while track[at] & 0x80:
        at += 1
        number = number << 7 | track[at] & 0x7F
    return number, at + 1


def names(frame: np.ndarray) -> str:
    """The notes of a frame `[88]`, such as "C3 E4"; "-" for a rest."""
    notes = (np.flatnonzero(frame) + LOWEST_NOTE).tolist()
    return " ".join(f"{_NAMES[note % 12]}{note // 12 - 1}" for note in notes) or "-"


def _length(number: int) -> bytes:
    """A number in groups of seven bits, all but the last with the eighth bit set."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))
