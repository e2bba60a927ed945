"""What readers do with files that were damaged or made to do harm: a finite result, or one ValueError that names them.

Each reader has a small valid file here. Its bytes are flipped, cut and repeated, and the arrays inside of archives too,
so that no checksum stands in the way. Beyond that there are files of which each holds one trap.
"""

import io
import json
import re
import resource
import struct
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from export.edge import anomaly, chorale
from export.edge.midi import read_midi as read_midi_on_a_device
from tests.data.motion_files import AMC, ASF
from tfdvae.callbacks import checkpoint
from tfdvae.data import (
    ICU_VARIABLES,
    events_to_grid,
    load_handwriting,
    load_icu,
    load_motion,
    load_moving_digits,
    load_pianoroll,
    points_to_offsets,
    read_audio,
    read_icu_deaths,
    read_line_strokes,
    read_midi,
    read_motions,
)
from tfdvae.data.motion_asf import read_amc, read_asf
from tfdvae.plots import plot_history

XML = (
    '<?xml version="1.0" encoding="ISO-8859-1"?><WhiteboardCaptureSession><StrokeSet><Stroke><Point x="1" y="2" '
    'time="0.1"/><Point x="3" y="4" time="0.2"/></Stroke></StrokeSet></WhiteboardCaptureSession>'
)
FLOAT_MAX = float(np.finfo(np.float32).max)


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def splits(name: str, frames: np.ndarray, **more: Any) -> dict[str, np.ndarray]:
    """A flat archive whose splits all hold the same two sequences."""
    lengths = np.array([2, len(frames) - 2])
    flat = {
        f"{split}_{key}": value
        for split in ("train", "valid", "test")
        for key, value in ((name, frames), ("len", lengths))
    }
    return flat | more


PENS = splits("frames", np.float64([[0, 1, 0], [2, 3, 1], [1, 1, 0], [0, 2, 0], [3, 4, 1]]))
ROLLS = splits("frames", np.eye(88, dtype=np.uint8)[:5])
JOINTS = splits("joints", np.arange(5 * 3 * 3, dtype=np.float64).reshape(5, 3, 3), parent=np.array([-1, 0, 1]))
STAYS = {
    "len": np.array([2, 1, 1]),
    "minute": np.array([5, 70, 0, 9]),
    "param": np.array([0, 1, 0, 2]),
    "value": np.array([3.0, 4.0, 5.0, 6.0]),
    "params": np.array(ICU_VARIABLES),
    "static_names": np.array(["Age", "Gender", "Height", "ICUType", "Weight"]),
    "static": np.float64([[50, 0, 170, 1, 80], [60, 1, 180, 2, 90], [70, 1, np.nan, 3, 60]]),
    "record": np.array([1, 2, 3]),
}


PICTURES = {
    f"{split}_{key}": value
    for split in ("train", "test")
    for key, value in (("images", np.arange(2 * 28 * 28).reshape(2, 28, 28).astype(np.uint8)), ("labels", np.arange(2)))
}
FLYING = {"num_train": 1, "num_valid": 1, "num_test": 1, "length": 2, "resolution": 16, "digit_size": 7}
STATE = {
    "meta": np.frombuffer(
        b'{"epoch": 1, "stopped": false, "history": {"loss": [1.0]}, "callbacks": [], "format": 1, '
        b'"fingerprint": {"weights": [["w", [2], "float32"]], "optimizer": [[[], "int64"]]}}',
        np.uint8,
    ),
    "array/weights/0": np.zeros(2, np.float32),
    "array/optimizer/0": np.int64(3),
}


def mat(**variables: Any) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables)
    return stream.getvalue()


def cells(*arrays: np.ndarray) -> np.ndarray:
    """A cell array of MATLAB's."""
    found = np.empty((1, len(arrays)), object)
    found[0, :] = arrays
    return found


def midi(*tracks: bytes, division: int = 4) -> bytes:
    body = b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)
    return struct.pack(">4sIHHH", b"MThd", 6, 1, len(tracks), division) + body


def note(delta: bytes) -> bytes:
    """A note that ends after `delta`, and the end of the track."""
    return b"\x00\x90\x3c\x40" + delta + b"\x80\x3c\x40\x00\xff\x2f\x00"


def wav(samples: np.ndarray, rate: int = 16000) -> bytes:
    """Floats in one channel."""
    content = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate, (4 * rate) % 2**32, 4, 32)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def rig(folder: Path):
    (folder / "whole.asf").write_text(ASF)
    return read_asf(folder / "whole.asf")


def folder_of(path: Path, suffix: str) -> Path:
    """A folder SUBJECT/NAME for a reader of folders, with the file in it."""
    target = path.parent / "folder" / "subject" / f"{path.stem}{suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(path.read_bytes())
    return target.parents[1]


READERS: dict[str, tuple[bytes, Callable[[Path], Any]]] = {
    "a.asf": (ASF.encode(), lambda path: read_asf(path)),
    "a.amc": (AMC.encode(), lambda path: read_amc(path, rig(path.parent))),
    "a.xml": (XML.encode(), read_line_strokes),
    "midi.mid": (midi(note(b"\x20")), read_midi),
    "edge.mid": (midi(note(b"\x20")), read_midi_on_a_device),
    "a.wav": (wav(np.linspace(-1, 1, 50)), read_audio),
    "pens.npz": (npz(**PENS), load_handwriting),
    "rolls.npz": (npz(**ROLLS), load_pianoroll),
    "joints.npz": (npz(**JOINTS), lambda path: read_motions(path)[0]),
    "deaths.npz": (npz(**STAYS, death=np.array([0, 1, 0])), read_icu_deaths),
    "stays.npz": (npz(**STAYS), lambda path: load_icu(path, num_train=1, num_valid=1)),
    "a.npy": (npy(np.arange(12.0).reshape(2, 2, 3)), lambda path: read_motions(folder_of(path, ".npy"), verbose=0)[0]),
    "rolls.mat": (
        mat(**{f"{name}data": cells(ROLLS["train_frames"]) for name in ("train", "valid", "test")}),
        load_pianoroll,
    ),
    "digits.npz": (
        npz(**PICTURES),
        lambda path: load_moving_digits(path, **FLYING, cache_dir=path.parent / "cache", verbose=0).test.x,
    ),
    "prime.npy": (npy(ROLLS["train_frames"]), lambda path: chorale.read_prime(str(path))),
    "epoch-00001.npz": (npz(**STATE), lambda path: list(checkpoint.newest(path.parent).arrays.values())),
    "scale.json": (b'{"mean": [0.5, 1], "scale": 2}', lambda path: anomaly.read_scaling(str(path), 2)),
    "scale.npz": (npz(mean=np.zeros(2), scale=np.ones(2)), lambda path: anomaly.read_scaling(str(path), 2)),
}


def arrays_in(found: Any) -> list[np.ndarray]:
    """All numbers of what a reader returns."""
    if isinstance(found, np.ndarray):
        return [found] if found.dtype.kind in "fiub" else []
    if isinstance(found, float | int):
        return [np.asarray(found)]
    return [array for one in found for array in arrays_in(one)] if isinstance(found, tuple | list) else []


def check(read: Callable[[Path], Any], path: Path) -> None:
    """A finite result, or one ValueError that names the file; all else passes through and fails the test."""
    try:
        found = read(path)
    except ValueError as error:
        assert path.name in str(error), error
        return
    assert all(np.isfinite(array).all() for array in arrays_in(found)), found


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The bytes after one to four of: a flip, a cut, a repetition, a number that is large or none."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(max(len(data), 1)))
        match rng.integers(5):
            case 0 | 1 if data:
                data[at] ^= 1 << rng.integers(8)
            case 2:
                del data[at : at + int(rng.integers(1, 20))]
            case 3:
                data[at:at] = data[at : at + int(rng.integers(1, 30))]
            case _:
                data[at : at + 3] = (b"nan", b"1e39", b"\xff\xff\xff", b"-1", b"9e99")[rng.integers(5)]
    return bytes(data) if rng.integers(8) else bytes(data[: rng.integers(len(data) + 1)])


def damaged_inside(content: bytes, rng: np.random.Generator) -> bytes:
    """An archive of which one member was damaged, and whose checksums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(members)[rng.integers(len(members))]
    members[name] = damaged(members[name], rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for key, value in members.items():
            archive.writestr(key, value)
    return stream.getvalue()


def check_damaged(folder: Path, count: int) -> None:
    """Lets every reader read so many damaged copies of its file."""
    for number, (name, (content, read)) in enumerate(READERS.items()):
        path = folder / name
        path.write_bytes(content)
        read(path)  # The whole file can be read.
        rng = np.random.default_rng(number)
        # scipy reads .mat files in a process of its own.
        for i in range(count if path.suffix != ".mat" else count // 20):
            inside = name.endswith("z") and i % 2
            path.write_bytes((damaged_inside if inside else damaged)(content, rng))
            check(read, path)


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_damaged_bytes_are_a_finite_result_or_one_error(tmp_path: Path, count: int) -> None:
    check_damaged(tmp_path, count)


def changed(arrays: dict[str, np.ndarray], **changes: Any) -> bytes:
    return npz(**(arrays | changes))


def header(shape: str, dtype: str = "<f4", content: bytes = b"") -> bytes:
    """An .npy file with a header of our own."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + content


TRAPS: list[tuple[str, str, bytes]] = [
    ("no direction", "a.asf", ASF.replace("0 -1 0", "0 0 0").encode()),
    ("a length of NaN", "a.asf", ASF.replace("length 2.0", "length nan").encode()),
    ("a length of infinity", "a.asf", ASF.replace("length 2.0", "length inf").encode()),
    ("a unit of NaN", "a.asf", ASF.replace("length 0.5", "length nan").encode()),
    ("a unit of 0", "a.asf", ASF.replace("length 0.5", "length 0").encode()),
    ("a cycle of bones", "a.asf", ASF.replace("thigh shin", "thigh shin\n    shin thigh").encode()),
    ("a bone of its own", "a.asf", ASF.replace("thigh shin", "thigh shin shin").encode()),
    ("rotations without end", "a.asf", ASF.replace("90  XYZ", "90  " + "XYZ" * 99).encode()),
    ("a root beyond float32", "a.amc", AMC.replace("1 10 0", "1e39 10 0").encode()),
    ("joints beyond float32", "joints.npz", changed(JOINTS, test_joints=np.full((5, 3, 3), 1e300))),
    (
        "a product beyond float32",
        "joints.npz",
        changed(JOINTS, train_joints=np.full((5, 3, 3), 3e38), joint_scale_m=np.float64(1)),
    ),
    ("a cycle of joints", "joints.npz", changed(JOINTS, parent=np.array([-1, 2, 1]))),
    ("a scale of two numbers", "joints.npz", changed(JOINTS, joint_scale_m=np.ones(2))),
    ("a frame beyond float32", "a.npy", npy(np.full((2, 2, 3), 1e300))),
    ("sizes beyond memory", "a.npy", header("(1000000000000, 3)")),
    ("lengths whose sum wraps around", "pens.npz", changed(PENS, train_len=np.array([2**62] * 4 + [5]))),
    ("names without end", "stays.npz", changed(STAYS, params=np.array([*ICU_VARIABLES, *map(str, range(10**4))]))),
    ("pens beyond float32", "pens.npz", changed(PENS, valid_frames=PENS["valid_frames"] * [1e300, 1, 1])),
    ("a quarter of 0 ticks", "midi.mid", midi(note(b"\x20"), division=0)),
    ("a note of a year", "edge.mid", midi(note(b"\xff\xff\xff\x7f"))),
    ("ticks beyond floats", "midi.mid", midi(note(b"\xff" * 200 + b"\x7f"))),
    ("a rate of 1 Hz", "a.wav", wav(np.zeros(500), rate=1)),
    ("a depth without end", "scale.json", b'{"mean": ' + b"[" * 10**5),
    ("numbers beyond floats", "scale.json", b'{"mean": 1' + b"0" * 400 + b', "scale": 1}'),
]


@pytest.mark.parametrize(("name", "content"), [trap[1:] for trap in TRAPS], ids=[trap[0] for trap in TRAPS])
def test_a_trap_is_one_error_that_names_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(name)):
        READERS[name][1](path)


def test_sums_of_finite_numbers_that_are_not_finite(tmp_path: Path) -> None:
    # Every number is one in float32; their sums and differences are not.
    for name, content in (("long.asf", ASF.replace("3.0", "4e36").replace("2.0", "4e36")), ("a.amc", AMC)):
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=r"a\.amc is no motion"):
        read_amc(tmp_path / "a.amc", read_asf(tmp_path / "long.asf"))
    far = np.float32([[[0, 0, 0], [3e38, 0, 0], [0, 0, 0]]])
    far = np.concatenate([far, -far] * 2 + [far])
    far[:, 0] = -far[:, 1]
    (tmp_path / "far.npz").write_bytes(changed(JOINTS, train_joints=far, joint_scale_m=np.float32(0.001)))
    with pytest.raises(ValueError, match=r"far\.npz"):
        load_motion(tmp_path / "far.npz", num_frames=None, step=1)
    with pytest.raises(ValueError, match="NaN or infinity"):
        points_to_offsets([np.float32([[3e38, 0], [-3e38, 0]])])
    with pytest.raises(ValueError, match="add"):
        options = {"num_variables": 1, "interval": 1, "num_frames": 1}
        events_to_grid([], [], [], np.array([2**62, 2**62, 2**62, 2**62]), **options)


def test_a_log_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"epoch,elbo_nats_per_frame\n0,\xff\xfe\n")
    with pytest.raises(ValueError, match=r"log\.csv is no log of numbers"):
        plot_history(tmp_path / "log.csv")


@pytest.mark.parametrize("kind", [0x3C02, 0x7702, 0xCD02])
def test_a_file_that_crashes_scipy_is_an_error_like_others(tmp_path: Path, kind: int) -> None:
    """An element of an unknown kind, where uint8 was, ends the process that scipy runs in."""
    rolls = READERS["rolls.mat"][0]
    (tmp_path / "rolls.mat").write_bytes(rolls.replace(struct.pack("<II", 2, 5 * 88), struct.pack("<II", kind, 5 * 88)))
    with pytest.raises(ValueError, match=r"rolls\.mat cannot be read: expected a MATLAB file"):
        load_pianoroll(tmp_path / "rolls.mat")


def test_many_long_notes_of_one_key(tmp_path: Path) -> None:
    """The roll is filled once, not once for each note; overlapping notes are the union of their frames."""
    begin, rest = b"\x00\x90\x3c\x40" * 300, b"\x87\x68" + b"\x80\x3c\x40\x00" * 300 + b"\xff\x2f\x00"
    (tmp_path / "a.mid").write_bytes(midi(begin + rest))
    for read in (read_midi, read_midi_on_a_device):
        roll = read(tmp_path / "a.mid")
        assert roll.shape == (250, 88) and roll.sum() == 250 and roll[:, 0x3C - 21].all()
    with pytest.raises(ValueError, match=r"a\.mid .*more than 249 frames"):
        read_midi(tmp_path / "a.mid", max_frames=249)


def within_limits(folder: Path, megabytes: int = 300, seconds: int = 60) -> None:
    """Lets every reader read damaged files and traps in this process, which is limited from then on: in memory beyond
    what it has, and in time."""
    for name, (content, read) in READERS.items():
        (folder / name).write_bytes(content)
        read(folder / name)  # with all that it imports
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + megabytes * 2**20,) * 2)
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds,) * 2)
    check_damaged(folder, 20)
    for _, name, content in TRAPS:
        (folder / name).write_bytes(content)
        try:
            READERS[name][1](folder / name)
        except ValueError as error:
            assert name in str(error) and "not enough memory" not in str(error), error


@pytest.mark.slow
def test_memory_and_time_follow_from_the_file(tmp_path: Path) -> None:
    """In a process that may take 300 MB and a minute more than the imports did."""
    (tmp_path / "midi.mid").write_bytes(midi(note(b"\xff\xff\xff\x7f"), division=1))
    (tmp_path / "edge.mid").write_bytes(midi(note(b"\xff\xff\xff\x7f"), division=1))
    (tmp_path / "a.wav").write_bytes(wav(np.zeros(20000), rate=1))
    (tmp_path / "scale.npz").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "scale.npz", "w") as archive:
        archive.writestr("mean.npy", header("(1000000000000,)"))
    (tmp_path / "pens.npz").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "pens.npz", "w") as archive:
        archive.writestr("train_frames.npy", header("(1000000000, 3)"))
    (tmp_path / "small").mkdir()
    script = f"""
    import sys
    sys.path[:0] = {json.dumps(sys.path)}
    from pathlib import Path
    from tests.data.test_hostile_files import READERS, within_limits
    folder = Path({str(tmp_path)!r})
    within_limits(folder / "small")
    for name in ("midi.mid", "edge.mid", "a.wav", "pens.npz", "scale.npz"):
        try:
            print("read", name, len(READERS[name][1](folder / name)))
        except ValueError as error:
            assert name in str(error) and "not enough memory" not in str(error), error
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr[-2000:]
