"""The demos of the edge runtime: anomaly scores of a CSV, a chorale as MIDI, speech frames of a WAV file."""

import csv
import io
import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from export.edge import anomaly, chorale, midi, speech
from export.edge.stream import Stream
from tests.export.edge.conftest import STREAMING
from tests.trainers.helpers import ROOT
from tfdvae.types import Batch


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def lines(x: np.ndarray, header: bool = False) -> str:
    rows = [["a", "b", "c", "d"]] if header else []
    return "".join(",".join(map(str, row)) + "\n" for row in [*rows, *x.tolist()])


def score(path: Path, text: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return anomaly.run(["--model", str(path), *arguments])


@pytest.fixture(scope="module")
def signal() -> np.ndarray:
    """A smooth signal of a sensor."""
    time = np.arange(300)[:, None]
    rng = np.random.default_rng(0)
    return np.sin(0.2 * time + np.arange(4)) + 0.1 * rng.normal(size=(300, 4))


# Anomalies.


def test_scores_are_those_of_the_elbo(vrnn, signal, monkeypatch, capsys) -> None:
    model, path = vrnn
    mean, scale = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 0.5, 3.0])
    (scaling := path.with_name("scaling.json")).write_text(json.dumps({"mean": mean.tolist(), "scale": scale.tolist()}))
    text = lines(signal[:30] * scale + mean, header=True)
    assert score(path, text, monkeypatch, "--standardise", str(scaling), "--learn", "10") == 0
    rows = table(capsys.readouterr().out)
    x = tf.constant(signal[None, :30], tf.float32)
    terms = model.terms(model.infer(x), Batch(x))
    expected = (terms.log_px - terms.kl)[0].numpy()
    np.testing.assert_allclose([float(row["score"]) for row in rows], expected, atol=2e-4 * np.abs(expected).max())
    assert [row["time"] for row in rows] == [str(t) for t in range(30)]
    assert [row["flag"] for row in rows[:10]] == [""] * 10 and all(row["flag"] for row in rows[10:])


def test_disturbed_frames_are_flagged_and_no_others(vrnn, signal, monkeypatch, capsys) -> None:
    disturbed = {150, 222, 223}
    x = signal.copy()
    x[sorted(disturbed)] += 6.0
    x[20] -= 30.0
    assert score(vrnn[1], lines(x), monkeypatch, "--learn", "100", "--smoothing", "0") == 0
    captured = capsys.readouterr()
    flagged = {int(row["time"]) for row in table(captured.out) if row["flag"] == "1"}
    assert disturbed <= flagged
    # The frame after a disturbance is judged from a disturbed past.
    assert flagged <= disturbed | {t + 1 for t in disturbed}
    assert f"300 frames, {len(flagged)} flagged; threshold" in captured.err


def test_the_threshold_is_learnt_from_quantiles() -> None:
    scores = np.random.default_rng(0).normal(size=50)
    scores[::12] -= 100.0
    detector = anomaly.Detector(learn=50, tolerance=4.0, smoothing=0.0)
    assert [detector(value)[1] for value in scores] == [None] * 50
    low, median = np.quantile(scores, (0.25, 0.5))
    assert detector.threshold == pytest.approx(median - 4.0 * (median - low)) and detector.threshold > -10.0
    assert detector(detector.threshold - 0.1)[1] is True and detector(detector.threshold)[1] is False
    smooth = anomaly.Detector(smoothing=0.75)
    assert [smooth(value)[0] for value in (1.0, 5.0, 5.0)] == [1.0, 2.0, 2.75]


def test_missing_values_take_the_prediction(vrnn, signal, monkeypatch, capsys) -> None:
    x = signal[:8].astype("float32")
    text = lines(x).splitlines()
    text[0] = ",,,"
    text[4] = f"{x[4, 0]},,nan,{x[4, 3]}"
    assert score(vrnn[1], "\n".join(text) + "\n", monkeypatch) == 0
    rows = table(capsys.readouterr().out)
    assert [row["time"] for row in rows if not row["score"]] == ["0", "4"]
    stream = Stream(vrnn[1])
    for row in x[1:4]:
        expected = stream.push(row).prediction
    stream.push([x[4, 0], expected[1], expected[2], x[4, 3]])
    assert float(rows[5]["score"]) == pytest.approx(stream.push(x[5]).score, abs=2e-4)


def test_columns_by_name(vrnn, signal, monkeypatch, capsys) -> None:
    x = signal[:5]
    named = [["when", "d", "c", "b", "a"], *([f"12:0{t}", *row[::-1]] for t, row in enumerate(x.tolist()))]
    text = "".join(",".join(map(str, row)) + "\n" for row in named)
    assert score(vrnn[1], text, monkeypatch, "--columns", "a", "b", "c", "d", "--time", "when") == 0
    rows = table(capsys.readouterr().out)
    assert score(vrnn[1], lines(x), monkeypatch) == 0
    assert [row["score"] for row in rows] == [row["score"] for row in table(capsys.readouterr().out)]
    assert [row["time"] for row in rows] == [f"12:0{t}" for t in range(5)]


def test_time_stamps_with_decimal_commas_stay_one_field(vrnn, signal, monkeypatch, capsys) -> None:
    text = "t;a;b;c;d\n" + "".join(f"{t / 2};{';'.join(map(str, row))}\n" for t, row in enumerate(signal[:3].tolist()))
    form = ("--delimiter", ";", "--decimal", ",", "--time", "t")
    assert score(vrnn[1], text.replace(".", ","), monkeypatch, *form) == 0
    rows = table(capsys.readouterr().out)
    assert [row["time"] for row in rows] == ["0,0", "0,5", "1,0"] and all(float(row["score"]) for row in rows)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3", "Line 3 has 3 fields instead of 4"),
        ("1,2,3,4,5", "Line 3 has 5 fields instead of 4"),
        ("1,2,x,4", "Line 3 holds 'x', which is no finite number"),
        ("1,2,inf,4", "Line 3 holds 'inf', which is no finite number"),
        ("1,2,1e38,4", "Line 3: 'step' gave numbers that are not finite"),
    ],
)
def test_a_damaged_line(vrnn, line: str, message: str, monkeypatch, capsys) -> None:
    good = "1,2,3,4"
    assert score(vrnn[1], f"{good}\n{good}\n{line}\n{good}\n", monkeypatch) == 1
    captured = capsys.readouterr()
    assert message in captured.err and len(table(captured.out)) == 2


def test_going_on_after_damaged_lines(vrnn, monkeypatch, capsys) -> None:
    text = "1,2,3,4\n1,2\n1,2,3,4\n"
    assert score(vrnn[1], text, monkeypatch, "--keep_going") == 0
    captured = capsys.readouterr()
    assert "Line 2 has 2 fields" in captured.err
    assert [bool(row["score"]) for row in table(captured.out)] == [True, False, True]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("a,b,c\n", (), "reads 4 columns, line 1 has 3"),
        ("a,b,c,d\n", ("--columns", "a", "e"), "Line 1 names no column 'e', but a, b, c, d"),
        ("", ("--smoothing", "1"), "`smoothing` at least 0 and below 1"),
        ("", ("--standardise", "absent.json"), "absent.json"),
    ],
)
def test_what_cannot_be_scored(vrnn, text: str, arguments: tuple, message: str, monkeypatch, capsys) -> None:
    assert score(vrnn[1], text, monkeypatch, *arguments) == 1
    assert message in capsys.readouterr().err


def test_scalings(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", mean=np.float32(1.0), scale=np.array([1.0, 2.0]))
    np.testing.assert_array_equal(anomaly.read_scaling(str(tmp_path / "s.npz"), 2), [[1.0, 1.0], [1.0, 2.0]])
    for content, message in (
        ("{", "cannot be read"),
        ('{"mean": 0}', "cannot be read as a .json or .npz file with 'mean' and 'scale'"),
        ('{"mean": [0, 0, 0], "scale": 1}', "lists of 2"),
        ('{"mean": 0, "scale": [1, 0]}', "scale positive"),
        ('{"mean": NaN, "scale": 1}', "must be finite"),
    ):
        (tmp_path / "s.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            anomaly.read_scaling(str(tmp_path / "s.json"), 2)


def test_scores_come_line_by_line(vrnn) -> None:
    """As the shell runs it: an answer to each line before the next one is sent."""
    command = [sys.executable, "-m", "export.edge.anomaly", "--model", str(vrnn[1])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes)
    with process:
        for t in range(3):
            process.stdin.write("0.1,0.2,0.3,0.4\n")
            process.stdin.flush()
            if t == 0:
                assert process.stdout.readline() == "time,score,smoothed,flag\n"
            assert process.stdout.readline().startswith(f"{t},-")
        process.stdin.close()
        assert process.wait(timeout=60) == 0
        # And not a line of the runtime's own.
        assert process.stderr.read() == "3 frames, 0 flagged; threshold not learnt yet\n"


# Chorales.


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> tuple[tfdvae.DVAE, Path]:
    """A model of piano-rolls without latents, of random weights and few notes."""
    pytest.importorskip("ai_edge_litert")
    tf.keras.utils.set_random_seed(0)
    model = tfdvae.RNN(units=5, phi_x=(6,), decoder_units=(), observation="bernoulli")
    model.build_for(midi.KEYS)
    model.observation.adapt(np.tile(np.arange(midi.KEYS) % 9 == 0, (50, 1)).astype("float32"))
    path = tmp_path_factory.mktemp("music") / "music.tflite"
    model.export(path, format="litert", signatures=STREAMING)
    return model, path


@pytest.mark.slow
def test_pushes_of_a_model_without_latents(music) -> None:
    model, path = music
    x = (np.random.default_rng(0).uniform(size=(1, 9, midi.KEYS)) < 0.1).astype("float32")
    stream = Stream(path)
    found = [stream.push(row) for row in x[0]]
    expected = model.terms(model.infer(x), Batch(x)).log_px[0].numpy()
    np.testing.assert_allclose([one.score for one in found], expected, atol=1e-5 * np.abs(expected).max())
    assert all(one.latents == {} and one.latent_scales == {} and one.kl == 0.0 for one in found)
    assert all(one.prediction.shape == (midi.KEYS,) for one in found)


def test_a_chorale_is_continued(music, tmp_path: Path, capsys) -> None:
    pytest.importorskip("music21")
    prime = np.zeros([10, midi.KEYS], np.uint8)
    prime[:, [39, 43, 46]] = 1
    prime[5:, 43] = 0
    np.save(tmp_path / "prime.npy", prime)
    out = tmp_path / "made" / "song.mid"
    arguments = ["--model", str(music[1]), "--out", str(out), "--length", "14", "--steps_per_quarter", "2"]
    primed = [*arguments, "--prime", str(tmp_path / "prime.npy"), "--prime_frames", "7"]
    assert chorale.run(primed) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 15 and printed[0].split()[0] == "7" and "7 frames of" in printed[-1]
    roll = tfdvae.data.read_midi(out, 2)
    assert roll.shape == (21, midi.KEYS)
    np.testing.assert_array_equal(roll[:7], prime[:7])
    stream = Stream(music[1])
    for row in prime[:7]:
        stream.push(row)
    np.testing.assert_array_equal(roll[7:], stream.generate(14))
    assert [line.split("ms  ")[1] for line in printed[:-1]] == [midi.names(row) for row in roll[7:]]
    np.testing.assert_array_equal(chorale.read_prime(str(out), 7, 2), prime[:7])
    first = out.read_bytes()
    again = ["--quiet", "--overwrite"]
    assert chorale.run([*primed, "--quiet"]) == 1 and out.read_bytes() == first
    assert "song.mid exists. Name a new path, or give --overwrite" in capsys.readouterr().err
    assert chorale.run([*primed, *again]) == 0 and out.read_bytes() == first
    assert chorale.run([*primed, *again, "--seed", "1"]) == 0 and out.read_bytes() != first
    assert chorale.run([*arguments, "--overwrite"]) == 0 and tfdvae.data.read_midi(out, 2).shape == (14, midi.KEYS)
    assert list(out.parent.iterdir()) == [out]


def test_primes_that_are_none(music, vrnn, tmp_path: Path, capsys) -> None:
    out = ["--out", str(tmp_path / "song.mid")]
    np.savez(tmp_path / "two.npz", a=np.zeros([2, 88]), b=np.zeros([2, 88]))
    np.savez(tmp_path / "x.npz", x=np.zeros([2, 88]), y=np.zeros(1))
    np.save(tmp_path / "narrow.npy", np.zeros([2, 87]))
    np.save(tmp_path / "half.npy", np.full([2, 88], 0.5))
    for name in ("text.npy", "text.mid"):
        (tmp_path / name).write_text("text")
    for file, message in (
        ("two.npz", "'x'"),
        ("narrow.npy", r"must hold a roll [T, 88] of 0 and 1, got float64[2, 87]"),
        ("half.npy", "of 0 and 1"),
        ("text.npy", "cannot be read as .mid, .npy"),
        ("text.mid", "text.mid cannot be read as MIDI"),
        ("absent.npy", "absent.npy"),
    ):
        assert chorale.run(["--model", str(music[1]), *out, "--prime", str(tmp_path / file)]) == 1
        assert message in capsys.readouterr().err
    assert chorale.read_prime(str(tmp_path / "x.npz")).shape == (2, 88)
    with pytest.raises(ValueError, match="has 2 frames, so take from 1 to that many, not 3"):
        chorale.read_prime(str(tmp_path / "x.npz"), 3)
    assert chorale.run(["--model", str(vrnn[1]), *out]) == 1
    assert "frames of 4 features" in capsys.readouterr().err
    assert not (tmp_path / "song.mid").exists()


# Speech.


def write_wav(path: Path, samples: np.ndarray, channels: int = 1, width: int = 2, rate: int = 8000) -> Path:
    """Samples `[n]` or `[n, channels]` of 16 bits, in as many as `width` bytes have."""
    wide = np.round(samples).astype("<i4") << 16
    raw = wide.view(np.uint8).reshape(-1, 4)[:, 4 - width :]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes((raw ^ 128 if width == 1 else raw).tobytes())
    return path


def test_frames_of_samples(vrnn, tmp_path: Path, capsys) -> None:
    samples = np.random.default_rng(0).integers(-20000, 20000, 42)
    path = write_wav(tmp_path / "a.wav", samples)
    out = tmp_path / "scores.csv"
    arguments = ["--model", str(vrnn[1]), "--wav", str(path), "--csv", str(out), "--mean", "0.1", "--scale", "0.5"]
    assert speech.run(arguments) == 0
    printed = capsys.readouterr().out
    assert "10 frames, one every 0.50 ms" in printed and "times faster than real time" in printed
    rows = table(out.read_text())
    x = (samples[:40].reshape(10, 4) / 32768 - 0.1) / 0.5
    stream = Stream(vrnn[1])
    pushed = [stream.push(row) for row in x]
    np.testing.assert_allclose([float(row["score"]) for row in rows], [one.score for one in pushed], atol=1e-4)
    assert [row["seconds"] for row in rows[:4]] == ["0.0000", "0.0005", "0.0010", "0.0015"]
    errors = [np.sum((x[t] - pushed[t - 1].prediction) ** 2) for t in range(1, 10)]
    expected = [10 * np.log10(np.sum(x[t] ** 2) / errors[t - 1]) for t in range(1, 10)]
    assert rows[0]["prediction_snr_db"] == ""
    np.testing.assert_allclose([float(row["prediction_snr_db"]) for row in rows[1:]], expected, atol=6e-3)
    total = 10 * np.log10(np.sum(x[1:] ** 2) / np.sum(errors))
    assert f"{total:.2f} dB" in printed


def test_frames_of_spectra(tmp_path: Path) -> None:
    samples = np.round(10000 * np.sin(2 * np.pi * np.arange(1000) / 16))
    with speech.open_wav(str(write_wav(tmp_path / "a.wav", samples))) as recording:
        frames = list(speech.sample_frames(recording.pieces, 64, 16))
    assert len(frames) == 1 + (1000 - 64) // 16
    for i, frame in enumerate(frames):
        np.testing.assert_allclose(frame, samples[16 * i : 16 * i + 64] / 32768)
    spectrum = list(speech.spectra(iter(frames)))[0]
    window = np.sin(np.pi * (np.arange(64) + 0.5) / 64)
    expected = tf.abs(tf.signal.rfft(tf.constant(window * frames[0], tf.float32))) ** 2
    np.testing.assert_allclose(spectrum, expected, atol=1e-4)
    assert np.argmax(spectrum) == 64 // 16


def test_files_that_are_no_speech(vrnn, tmp_path: Path, capsys) -> None:
    (tmp_path / "text.wav").write_text("text")
    write_wav(tmp_path / "short.wav", np.zeros(3))
    for name, message in (
        ("absent.wav", "absent.wav"),
        ("text.wav", "cannot be read as a WAV file"),
        ("short.wav", "shorter than one frame, 4 samples"),
    ):
        out = tmp_path / "out.csv"
        assert speech.run(["--model", str(vrnn[1]), "--wav", str(tmp_path / name), "--csv", str(out)]) == 1
        assert message in capsys.readouterr().err
        assert not out.exists()


@pytest.mark.slow
def test_a_threshold_that_is_known_is_not_learnt() -> None:
    detector = anomaly.Detector(smoothing=0.0, threshold=-3.0)
    assert [detector(score)[1] for score in (0.0, -3.1, -2.9)] == [False, True, False] and detector.threshold == -3.0
    with pytest.raises(ValueError, match="`threshold` must be finite"):
        anomaly.Detector(threshold=float("nan"))
