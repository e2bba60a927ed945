"""MIDI without music21, compared with it."""

from pathlib import Path

import numpy as np
import pytest

from export.edge import midi
from tfdvae.data import read_midi, write_midi

pytest.importorskip("music21")


def test_midi_as_music21_reads_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    roll = (rng.uniform(size=(300, midi.KEYS)) < 0.1).astype("float32")
    roll[40:200] = 0.0
    roll[-3:] = 0.0
    midi.write_midi(tmp_path / "a.mid", roll, steps_per_quarter=4, tempo=90.0)
    np.testing.assert_array_equal(read_midi(tmp_path / "a.mid", 4), roll)
    assert (300_000).to_bytes(3, "big") not in (tmp_path / "a.mid").read_bytes()[:40]
    midi.write_midi(tmp_path / "a.mid", roll, tempo=200.0)
    assert b"\xff\x51\x03" + (300_000).to_bytes(3, "big") in (tmp_path / "a.mid").read_bytes()[:40]
    for bad in (np.zeros([3, 87]), np.zeros([0, 88]), np.full([3, 88], 0.5)):
        with pytest.raises(ValueError, match="A roll is"):
            midi.write_midi(tmp_path / "b.mid", bad)
    with pytest.raises(ValueError, match="must divide 960"):
        midi.write_midi(tmp_path / "b.mid", roll, 7)
    assert not (tmp_path / "b.mid").exists()


def test_reading_midi_as_the_library_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    roll = (rng.uniform(size=(60, midi.KEYS)) < 0.1).astype("float32")
    file = tmp_path / "a.mid"
    for write in (write_midi, midi.write_midi):
        write(file, roll, 2)
        np.testing.assert_array_equal(midi.read_midi(file, 2), roll)
        np.testing.assert_array_equal(midi.read_midi(file, 1), read_midi(file, 1))
    # Running status, velocity 0 for note-off, percussion, a program change, a text, a note that never ends.
    events = (
        "00 c0 05  00 ff 01 02 41 42  00 90 3c 40  81 00 3c 00  00 40 40  40 40 00"
        "00 99 23 40  60 89 23 40  00 ff 2f 00",
        "60 91 30 40  81 40 b1 07 64  20 ff 2f 00",
    )
    tracks = [bytes.fromhex(text) for text in events]
    body = b"".join(b"MTrk" + len(track).to_bytes(4, "big") + track for track in tracks)
    file.write_bytes(b"MThd" + bytes.fromhex("00000006 0001 0002 0040") + body)
    found = midi.read_midi(file)
    np.testing.assert_array_equal(found, read_midi(file))
    assert [midi.names(row) for row in found] == ["C4", "C4", "C3 E4", "C3", "C3"]
    content = file.read_bytes()
    for size in range(0, len(content) - 1, 5):
        file.write_bytes(content[:size])
        with pytest.raises(ValueError, match="cannot be read as MIDI"):
            midi.read_midi(file)


@pytest.mark.slow
def test_names_of_notes() -> None:
    frame = np.zeros(midi.KEYS)
    assert midi.names(frame) == "-"
    frame[[0, 39, 49, 87]] = 1.0
    assert midi.names(frame) == "A0 C4 A#4 C8"
