import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfdvae.data import DATASETS, SCALED, SIMULATIONS, bach, load_bach, read_midi, write_midi


@pytest.fixture
def music21():
    return pytest.importorskip("music21", reason="music21 is not installed")


@pytest.fixture(scope="module")
def chorales(tmp_path_factory):
    pytest.importorskip("music21", reason="music21 is not installed")
    folder = tmp_path_factory.mktemp("bach")
    return folder, load_bach(folder, limit=6, verbose=0)


def by_name(splits):
    return {name: x for split in splits for name, x in zip(split.names, split.x, strict=True)}


def test_chorales_are_four_voices_on_a_piano_roll(chorales):
    _, splits = chorales
    assert [split.num_sequences for split in splits] == [4, 1, 1]
    for name, roll in by_name(splits).items():
        assert name.startswith("bwv")
        assert roll.shape[1] == 88 and len(roll) >= 24
        assert set(np.unique(roll)) == {0, 1}
        assert roll[0].any() and roll[-1].any()
        assert roll.sum(axis=1).max() <= 4
        assert 3 < roll.sum(axis=1).mean() <= 4
        pitches = np.flatnonzero(roll.any(axis=0)) + 21
        assert 36 <= pitches.min() < 55 and 69 < pitches.max() <= 84


@pytest.mark.slow
def test_a_chorale_agrees_with_its_score(chorales, music21):
    roll = by_name(chorales[1])["bwv2.6"]
    (path,) = music21.corpus.corpora.CoreCorpus().getComposer("bwv2.6")
    score = music21.converter.parse(path, forceSource=True, storePickle=False)
    start = min(note.getOffsetInHierarchy(score) for note in score.recurse().notes)
    for frame in range(len(roll)):
        sounding = {
            note.pitch.midi - 21
            for note in score.recurse().notes
            if note.getOffsetInHierarchy(score) <= start + frame
            and start + frame < note.getOffsetInHierarchy(score) + note.quarterLength
        }
        assert sounding == set(np.flatnonzero(roll[frame]).tolist())


def test_a_finer_grid_holds_the_coarse_one(chorales, tmp_path):
    coarse, fine = by_name(chorales[1]), by_name(load_bach(tmp_path, steps_per_quarter=4, limit=6, verbose=0))
    assert coarse.keys() == fine.keys()
    for name, roll in coarse.items():
        np.testing.assert_array_equal(fine[name][::4], roll)
        assert (np.diff(fine[name], axis=0)[np.arange(len(fine[name]) - 1) % 4 != 3] != 0).any()


def test_the_cache_is_read_instead_of_the_scores(chorales, monkeypatch):
    folder, splits = chorales
    monkeypatch.setattr(bach, "_parse_corpus", lambda *_: pytest.fail("the scores were parsed again"))
    monkeypatch.setenv("TFDVAE_CACHE", str(folder))
    again = load_bach(limit=6)
    assert [split.names for split in again] == [split.names for split in splits]
    for name, roll in by_name(again).items():
        np.testing.assert_array_equal(roll, by_name(splits)[name])


def test_a_damaged_cache_is_made_anew(chorales, tmp_path, capsys):
    folder, splits = chorales
    (original,) = folder.iterdir()
    damaged = tmp_path / original.name
    damaged.write_bytes(original.read_bytes()[:-200])
    with pytest.warns(UserWarning, match="parsed again.*cannot be read"):
        again = load_bach(tmp_path, limit=6, verbose=0)
    assert capsys.readouterr().out == ""
    assert [split.names for split in again] == [split.names for split in splits]
    assert damaged.read_bytes() == original.read_bytes()


def test_a_cache_that_cannot_be_written_costs_no_work(tmp_path, monkeypatch):
    monkeypatch.setattr(bach, "_parse_corpus", lambda *_: random_rolls(0, 10))
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="not cached"):
        splits = load_bach(tmp_path / "file" / "cache")
    assert len(by_name(splits)) == 10


@pytest.mark.slow
def test_music21_is_imported_late_and_keeps_no_pickle(tmp_path, music21):
    code = (
        "import sys; from tfdvae.data import load_bach; assert 'music21' not in sys.modules; "
        "load_bach(sys.argv[1], limit=3); "
        "from music21 import environment; print('SCRATCH', environment.Environment().getRootTempDir())"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "cache")],
        env=environment, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "3/3" in run.stdout and "chorale" in run.stdout
    assert f"SCRATCH {tmp_path}" in run.stdout
    assert not [file for file in tmp_path.rglob("*") if file.name.endswith((".p", ".pgz", ".p.gz"))]
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [f"bach-v{bach._FORMAT}-q1-first3.npz"]


def random_rolls(seed, count, length=30):
    """Four-voice random walks: no two share three frames in a row."""
    rng = np.random.default_rng(seed)
    rolls = {}
    for i in range(count):
        pitches = np.cumsum(rng.integers(-2, 3, size=(length, 4)), axis=0) + [20, 30, 40, 50]
        roll = np.zeros((length, 88), np.uint8)
        np.put_along_axis(roll, np.clip(pitches, 5, 80), 1, axis=1)
        rolls[f"bwv{i}"] = roll
    return rolls


def test_the_split_depends_on_names_alone():
    rolls = random_rolls(0, 60)
    splits = bach._split(rolls, 1)
    assert [split.num_sequences for split in splits] == [42, 9, 9]
    assert sorted(by_name(splits)) == sorted(rolls)
    backwards = bach._split(dict(reversed(rolls.items())), 1)
    assert [sorted(split.names) for split in backwards] == [sorted(split.names) for split in splits]
    others = bach._split(dict(zip(rolls, random_rolls(1, 60).values(), strict=True)), 1)
    assert [split.names for split in others] == [split.names for split in splits]


def test_variants_of_a_piece_share_a_split():
    rolls = random_rolls(0, 40)
    for i in range(0, 40, 4):
        variant = np.roll(rolls[f"bwv{i}"], 3, axis=1)
        variant[20:] = rolls[f"bwv{i + 1}"][20:]
        rolls[f"bwv{i}-a"] = variant
    splits = bach._split(rolls, 1)
    where = {name: split for split, sequences in splits._asdict().items() for name in sequences.names}
    assert len(where) == 50
    assert len({where[f"bwv{i}"] for i in range(0, 40, 4)}) > 1
    for i in range(0, 40, 4):
        assert where[f"bwv{i}"] == where[f"bwv{i}-a"]


def test_equal_music_is_taken_once(monkeypatch, music21):
    rolls = list(random_rolls(0, 3).values())
    stream = iter([rolls[0], np.roll(rolls[0], 2, axis=1), None, rolls[1], rolls[0], rolls[2]])
    monkeypatch.setattr(bach, "_chorale", lambda *_: next(stream))
    taken = bach._parse_corpus(1, 3, 0)
    assert len(taken) == 3
    for roll, expected in zip(taken.values(), rolls, strict=True):
        np.testing.assert_array_equal(roll, expected)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="steps_per_quarter must be at least 1"):
        load_bach(tmp_path, steps_per_quarter=0)
    with pytest.raises(ValueError, match="limit must be at least 3"):
        load_bach(tmp_path, limit=2)


def test_a_missing_music21_is_one_clear_sentence(tmp_path, monkeypatch):
    for module in ("music21", "music21.corpus.corpora", "music21.midi"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'music21: pip install "tfdvae\[music\]"'):
        load_bach(tmp_path, verbose=0)
    with pytest.raises(ImportError, match=r'music21: pip install "tfdvae\[music\]"'):
        write_midi(tmp_path / "a.mid", np.ones((2, 88)))


def test_the_registry_names_the_loaders():
    assert DATASETS["bach"] is load_bach
    others = {"bach", "icu", "mnist", "pianoroll", "speech_spectrogram", "timeseries"}
    assert set(DATASETS) == {*others, *SCALED, *SIMULATIONS}


@settings(deadline=None, max_examples=30)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.just(88)), elements=st.integers(0, 1)),
    st.sampled_from([1, 2, 3, 4, 24]),
)
def test_midi_round_trip(tmp_path_factory, roll, steps_per_quarter):
    pytest.importorskip("music21", reason="music21 is not installed")
    roll[0, 40] = 1
    path = tmp_path_factory.mktemp("midi") / "roll.mid"
    write_midi(path, roll, steps_per_quarter, tempo=97)
    again = read_midi(path, steps_per_quarter)
    assert again.dtype == np.uint8
    np.testing.assert_array_equal(again, roll)


def test_music21_hears_the_same_notes(tmp_path, music21):
    roll = np.zeros((6, 88))
    roll[0:3, 60 - 21] = 1
    roll[4:6, 60 - 21] = 1
    roll[2:4, 67 - 21] = 1
    write_midi(tmp_path / "a.mid", roll, steps_per_quarter=2, tempo=100)
    score = music21.converter.parse(tmp_path / "a.mid", forceSource=True, storePickle=False).flatten()
    notes = sorted((float(n.offset), n.pitch.midi, float(n.quarterLength)) for n in score.notes)
    assert notes == [(0.0, 60, 1.5), (1.0, 67, 1.0), (2.0, 60, 1.0)]
    assert [mark.number for mark in score.getElementsByClass("MetronomeMark")] == [100]


def test_reading_music_written_by_others(tmp_path, music21):
    """Two parts, one note off the grid and one shorter than a frame."""
    upper, lower = music21.stream.Part(), music21.stream.Part()
    for offset, pitch, length in ((0.0, 72, 1.0), (1.1, 74, 0.8), (2.0, 76, 0.25)):
        upper.insert(offset, music21.note.Note(pitch, quarterLength=length))
    lower.insert(0.0, music21.note.Note(48, quarterLength=4.0))
    music21.stream.Score([upper, lower]).write("midi", fp=tmp_path / "a.mid")
    roll = read_midi(tmp_path / "a.mid")
    expected = np.zeros((4, 88))
    expected[:, 48 - 21] = 1
    expected[[0, 1, 2], [72 - 21, 74 - 21, 76 - 21]] = 1
    np.testing.assert_array_equal(roll[:4], expected)
    assert not roll[4:].any()


def test_damaged_midi_is_one_clear_error(tmp_path, music21):
    path = tmp_path / "a.mid"
    write_midi(path, np.eye(88)[:20])
    whole = path.read_bytes()
    for size in (0, 3, 10, 20, 40, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"a\.mid is"):
            read_midi(path)
    path.write_bytes(b"RIFF" + whole)
    with pytest.raises(ValueError, match=r"a\.mid is no MIDI file"):
        read_midi(path)
    write_midi(path, np.zeros((4, 88)))
    with pytest.raises(ValueError, match="no note"):
        read_midi(path)
    with pytest.raises(FileNotFoundError, match=r"none\.mid"):
        read_midi(tmp_path / "none.mid")


@pytest.mark.parametrize(
    ("roll", "options", "message"),
    [
        (np.zeros((3, 87)), {}, r"\[3, 87\]"),
        (np.zeros((0, 88)), {}, "at least 1"),
        (np.full((3, 88), 0.3), {}, "only 0 and 1"),
        (np.zeros((3, 88)), {"steps_per_quarter": 0}, "steps_per_quarter"),
        (np.zeros((3, 88)), {"steps_per_quarter": 11}, "divide 10080"),
        (np.zeros((3, 88)), {"tempo": 0}, "tempo"),
    ],
)
def test_what_is_no_roll_is_not_written(tmp_path, roll, options, message):
    with pytest.raises(ValueError, match=message):
        write_midi(tmp_path / "a.mid", roll, **options)
    assert not list(tmp_path.iterdir())
