"""Edge programs compare what comes in with what the model's file says of its training data."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from export.edge import anomaly, chorale, speech
from export.edge.known import Known, Watch
from export.edge.stream import Stream
from tests.export.edge.conftest import with_data
from tests.export.edge.test_demos import lines, score, signal, table, write_wav

__all__ = ["signal"]

NAMES = ["a", "b", "c", "d"]
USUAL = {"mean": [0.0], "deviation": [0.7], "low": [-1.5], "high": [1.5]}


@pytest.fixture(scope="module")
def known(vrnn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that knows its features, units and clock."""
    data = {"features": NAMES, "frame_period": 0.5, "time_unit": "s", "sampling_rate": 8000.0, "origin": "a bench"}
    return with_data(vrnn[1], tmp_path_factory.mktemp("known") / "m.tflite", data, USUAL)


def test_a_stream_knows_what_its_file_says(known: Path, vrnn) -> None:
    stream = Stream(known)
    assert stream.known == Known(tuple(NAMES), frame_period=0.5, sampling_rate=8000.0, origin="a bench")
    assert stream.known.seconds == 0.5 and Stream(vrnn[1]).known.features == ()


@pytest.mark.parametrize(
    ("data", "statistics"),
    [
        ({"features": ["a"]}, None),
        ({"features": [1, 2, 3, 4]}, None),
        ({"frame_period": -1.0}, None),
        ({"frame_period": "1"}, None),
        ({"scale": [0.0]}, None),
        ({"origin": None}, None),
        (None, {"mean": [0.0]}),
        (None, {**USUAL, "low": ["x"]}),
        (None, {**USUAL, "low": [2.0]}),
    ],
)
def test_damaged_knowledge_is_one_error(vrnn, tmp_path: Path, data: dict | None, statistics: dict | None) -> None:
    path = with_data(vrnn[1], tmp_path / "m.tflite", data, statistics)
    with pytest.raises(ValueError, match="m.tflite cannot be read as a model that tfdvae exported"):
        Stream(path)


def test_frames_on_another_scale_are_said_once(known: Path) -> None:
    stream = Stream(known)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream.push([0.5, -1.4, 1.0, 4.0])
    with pytest.warns(UserWarning, match="c is 500, and was between -1.5 and 1.5 in training: .* units, the order"):
        stream.push([0.5, -1.4, 500.0, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream.push([0.5, -1.4, 500.0, 0.0])


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"features": ["b", "a"]}, "The features are b, a, and those of the model a, b, in another order"),
        ({"features": ["a"]}, "The features are a, and those of the model a, b."),
        ({"units": ["V", "A"]}, "The units are V, A, and those of the model V"),
        ({"inputs": ["w"]}, "The inputs are w, and those of the model v"),
        ({"frame_period": 0.52}, "The period of the frames is 0.52 s, and 0.5 s in training: resample"),
        ({"frame_period": float("nan")}, "The period of the frames is nan s"),
        ({"sampling_rate": 44100}, "The sampling rate of the frames is 44100, and 8000 in training"),
    ],
)
def test_what_frames_are_said_to_be_is_compared(told: dict, message: str) -> None:
    known = Known(("a", "b"), ("V",), ("v",), frame_period=0.5, sampling_rate=8000.0)
    with pytest.raises(ValueError, match=message):
        known.check(**told)
    known.check(["a", "b"], units=["V", "V"], inputs=("v",), frame_period=0.5001, sampling_rate=8000)
    known.check()
    Known().check(**told)


def test_frames_of_many_sequences_are_looked_at_together() -> None:
    x, watch = np.zeros((2, 3, 2, 2), np.float32), Watch("m.tflite", USUAL, (2, 2), ())
    x[1, 2, 1, 0], known = 9.0, np.ones(x.shape, bool)
    known[1, 2] = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch(x, known)
        watch(x[:, :0])
    with pytest.warns(UserWarning, match="feature 2 is 9, and was between -1.5 and 1.5"):
        watch(x)
    with pytest.warns(UserWarning, match="120 frames changed by less than a hundredth"):
        Watch("m.tflite", USUAL, (2, 2), ())(np.zeros((2, 60, 2, 2), np.float32))


def test_frames_that_hardly_change_are_said_once() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(scale=0.7e-3, size=(300, 2, 2)).astype("float32")
    watch = Watch("m.tflite", USUAL, (2, 2), ())
    with pytest.warns(UserWarning, match="100 frames changed by less than a hundredth of what is usual") as found:
        for frame in x:
            watch(frame)
    assert len(found) == 1
    quiet = Watch("m.tflite", {**USUAL, "deviation": [0.0], "low": [1.0], "high": [1.0]}, (2, 2), ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for frame in x:
            quiet(frame * 1e6)
        watch = Watch("m.tflite", USUAL, (2, 2), ())
        watch(1e6 * x[0], np.zeros([2, 2], bool))


def test_columns_are_compared_with_the_features(known: Path, signal, monkeypatch, capsys) -> None:
    x = signal[:4]
    swapped = "b,a,c,d\n" + lines(x[:, [1, 0, 2, 3]])
    assert score(known, swapped, monkeypatch) == 1
    assert "Line 1 has the columns b, a, c, d, and the model's features are a, b, c, d" in capsys.readouterr().err
    assert score(known, swapped, monkeypatch, "--columns", *NAMES) == 0
    by_name = table(capsys.readouterr().out)
    assert score(known, "\ufeff" + lines(x, header=True), monkeypatch) == 0
    assert by_name == table(capsys.readouterr().out)


def test_data_are_scaled_as_the_file_says(vrnn, tmp_path: Path, signal, monkeypatch, capsys) -> None:
    data = {"shift": [1.0, 2.0, 3.0, 4.0], "scale": [10.0]}
    path = with_data(vrnn[1], tmp_path / "m.tflite", data)
    assert score(path, lines(signal[:5] * 10.0 + [1.0, 2.0, 3.0, 4.0]), monkeypatch) == 0
    found = [float(row["score"]) for row in table(capsys.readouterr().out)]
    assert score(vrnn[1], lines(signal[:5]), monkeypatch) == 0
    expected = [float(row["score"]) for row in table(capsys.readouterr().out)]
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def stamped(x: np.ndarray, times: list[float]) -> str:
    return "when,a,b,c,d\n" + "".join(
        ",".join(map(str, [t, *row])) + "\n" for t, row in zip(times, x.tolist(), strict=True)
    )


def test_missing_frames_pass(known: Path, signal, monkeypatch, capsys) -> None:
    """Two frames between the stamps 1.0 and 2.5; this model does not know parts of frames, so predictions stand in."""
    x = signal[:5].astype("float32")
    text = stamped(x, [0.0, 0.5, 1.0, 2.5, 3.0])
    assert score(known, text, monkeypatch, "--time", "when") == 0
    captured = capsys.readouterr()
    assert "Line 5: 2 frames are missing before 2.5." in captured.err
    stream = Stream(known)
    for row in x[:3]:
        expected = stream.push(row).prediction
    for _ in range(2):
        expected = stream.push(expected).prediction
    rest = [stream.push(row).score for row in x[3:]]
    np.testing.assert_allclose([float(row["score"]) for row in table(captured.out)[3:]], rest, atol=2e-4)
    monkeypatch.setattr(anomaly, "MOST_MISSING", 1)
    assert score(known, text, monkeypatch, "--time", "when") == 0
    captured = capsys.readouterr()
    assert "2 frames are missing before 2.5, the stream begins anew" in captured.err
    fresh = Stream(known)
    np.testing.assert_allclose(float(table(captured.out)[3]["score"]), fresh.push(x[3]).score, atol=2e-4)
    assert score(known, stamped(x, [0.0, 5.0, 10.0, 15.0, 20.0]) + "25,0,0,0,0\n", monkeypatch, "--time", "when") == 1
    assert "a frame every 5 s, and the model's frames come every 0.5 s" in capsys.readouterr().err


def test_recordings_of_any_rate_width_and_number_of_channels(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    wave = 12000.0 * np.sin(2 * np.pi * 100.0 * np.arange(4000) / 8000.0)
    for width, error in ((1, 1 / 64), (2, 1e-4), (3, 1e-4), (4, 1e-4)):
        path = write_wav(tmp_path / "a.wav", np.stack([wave, wave / 2], axis=1), channels=2, width=width)
        with speech.open_wav(str(path)) as recording:
            found = np.concatenate(list(recording.pieces))
        assert recording.rate == 8000
        np.testing.assert_allclose(found, 0.75 * wave / 32768.0, atol=error)
    soundfile.write(tmp_path / "b.wav", wave / 32768.0, 8000, subtype="FLOAT")
    with speech.open_wav(str(tmp_path / "b.wav")) as recording:
        np.testing.assert_allclose(np.concatenate(list(recording.pieces)), wave / 32768.0, atol=1e-6)


def test_another_sampling_rate_is_resampled_or_an_error(known: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    pytest.importorskip("soxr")
    seconds = np.arange(44100) / 44100.0
    path = write_wav(tmp_path / "a.wav", 12000.0 * np.sin(2 * np.pi * 100.0 * seconds), rate=44100)
    with speech.open_wav(str(path), 8000.0) as recording:
        found = np.concatenate(list(recording.pieces))
    expected = 12000.0 / 32768.0 * np.sin(2 * np.pi * 100.0 * np.arange(8000) / 8000.0)
    assert recording.rate == 8000.0 and abs(len(found) - 8000) <= 1
    np.testing.assert_allclose(found[400:7600], expected[400:7600], atol=2e-3)
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(ImportError, match=r"a.wav has 44100 samples per second, .* from 8000: soxr resamples them"):
        with speech.open_wav(str(path), 8000.0):
            pass
    with speech.open_wav(str(path), 44100.0) as recording:
        assert len(next(recording.pieces)) == speech.PIECE


def test_frames_of_speech_in_another_period_are_refused(vrnn, tmp_path: Path, capsys) -> None:
    path = with_data(
        vrnn[1], tmp_path / "m.tflite", {"frame_period": 4 / 8000, "time_unit": "s", "sampling_rate": 8000}
    )
    arguments = ["--model", str(path), "--wav", str(write_wav(tmp_path / "a.wav", np.ones(100)))]
    assert speech.run(arguments) == 0
    assert speech.run([*arguments, "--spectrum"]) == 1
    message = "The model's frames come every 0.5 ms, these would every 0.125 ms: leave out --spectrum"
    assert message in capsys.readouterr().err


def test_quarter_notes_of_a_model(capsys) -> None:
    known = Known(frame_period=0.25, time_unit="quarter note")
    assert chorale._steps_per_quarter(known, None) == 4 and chorale._steps_per_quarter(Known(), None) == 1
    with pytest.raises(ValueError, match="The model has 4 frames per quarter note: leave out --steps_per_quarter 2"):
        chorale._steps_per_quarter(known, 2)


@pytest.mark.slow
def test_tables_are_not_replaced_by_chance(vrnn, tmp_path: Path, capsys) -> None:
    wav, out = write_wav(tmp_path / "a.wav", np.ones(40)), tmp_path / "scores.csv"
    out.write_text("mine")
    arguments = ["--model", str(vrnn[1]), "--wav", str(wav), "--csv", str(out)]
    assert speech.run(arguments) == 1 and out.read_text() == "mine"
    assert "scores.csv exists. Name a new path, or give --overwrite" in capsys.readouterr().err
    assert speech.run([*arguments, "--overwrite"]) == 0 and out.read_text().startswith("seconds,score")
