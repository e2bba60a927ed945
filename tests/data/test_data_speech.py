"""Recordings written here, read back: splits by speaker, resampling, the cache, and what is wrong with files."""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from tfdvae.data import (
    DATASETS,
    SCALED,
    Splits,
    batches,
    load_speech_spectrogram,
    load_speech_waveform,
    power_spectrogram,
    read_audio,
    read_speech,
    resynthesise,
    scaled_speech_waveform,
    stream_spectrograms,
    stream_waveforms,
    trim_silence,
    trimmed,
    waveform_moments,
)

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed: the extra `speech`")
RATE = 16000


def tone(seconds: float, seed: int, rate: int = RATE) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return 0.4 * np.sin(2 * np.pi * (200 + 37 * seed) * time) * (1.0 + 0.5 * np.sin(2 * np.pi * 3 * time)) + 0.01


def write(path: Path, waveform: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, rate, subtype=subtype)
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Six speakers in the layout of LibriSpeech, two recordings each, of which one is a WAV file."""
    folder = tmp_path / "corpus"
    for i, speaker in enumerate((19, 26, 103, 118, 201, 250)):
        for j, suffix in enumerate((".flac", ".wav")):
            path = folder / f"{speaker}" / "495" / f"{speaker}-495-{j:04d}{suffix}"
            write(path, tone(0.9 + 0.05 * i, 2 * i + j))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> dict:
    return {"cache_dir": tmp_path / "cache", "verbose": 0}


def test_no_speaker_is_in_two_splits_and_all_recordings_are_in_one(corpus: Path, cache: dict) -> None:
    speech = read_speech(corpus, valid_ratio=0.2, test_ratio=0.3, **cache)
    speakers = [set(part.speakers) for part in speech]
    assert [len(names) for names in speakers] == [3, 1, 2]
    assert set.union(*speakers) == {"19", "26", "103", "118", "201", "250"}
    assert sum(len(part.names) for part in speech) == 12
    again = read_speech(corpus, valid_ratio=0.2, test_ratio=0.3, **cache)
    assert [part.names for part in again] == [part.names for part in speech]
    splits = {tuple(set(read_speech(corpus, split_seed=seed, **cache).test.speakers)) for seed in range(5)}
    assert len(splits) > 1
    assert speech.train.names[0].count("/") == 2
    name = speech.train.names[0]
    original = soundfile.read(next(corpus.glob(f"{name}.*")), dtype="float32")[0]
    np.testing.assert_array_equal(speech.train.waveforms[0], original)
    assert speech.train.seconds == pytest.approx(sum(map(len, speech.train.waveforms)) / RATE)


def test_a_split_by_lists_of_speakers_folders_and_files(corpus: Path, cache: dict, tmp_path: Path) -> None:
    valid, test = tmp_path / "valid.txt", tmp_path / "test.txt"
    valid.write_text("26\n\n")
    test.write_text(" 103/495\r\n118/495/118-495-0000.flac\n118/495/118-495-0001\n")
    speech = read_speech(corpus, valid_list=valid, test_list=str(test), **cache)
    assert [sorted(set(part.speakers)) for part in speech] == [["19", "201", "250"], ["26"], ["103", "118"]]
    assert [len(part.names) for part in speech] == [6, 2, 4]
    train = tmp_path / "train.txt"
    train.write_text("19\n")
    assert len(read_speech(corpus, train_list=train, valid_list=valid, test_list=test, **cache).train.names) == 2


def test_folders_that_are_called_like_splits(tmp_path: Path, cache: dict) -> None:
    for folder, speaker in (("train-clean-100", 1), ("train-other", 2), ("dev-clean", 3), ("test-clean", 4)):
        write(tmp_path / "L" / folder / f"{speaker}-5-0000.flac", tone(0.3, speaker))
    speech = read_speech(tmp_path / "L", **cache)
    assert [part.speakers for part in speech] == [("1", "2"), ("3",), ("4",)]
    write(tmp_path / "L" / "test-clean" / "3-5-0001.flac", tone(0.3, 5))
    with pytest.raises(ValueError, match="Speaker '3' is both in valid and in test"):
        read_speech(tmp_path / "L", **cache)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"valid": "26\n", "test": "26/495/26-495-0000\n"}, r"lists of valid and test overlap: .*26-495-0000"),
        ({"valid": "26/495/26-495-0001\n", "test": "26/495/26-495-0000\n"}, "Speaker '26' is both in valid and"),
        ({"valid": "999\n", "test": "26\n"}, r"valid\.txt, the list of valid, names '999' \(1 such entries\)"),
        ({"valid": "\n", "test": "26\n"}, r"valid\.txt is an empty list"),
        ({"valid": "26\n"}, "needs valid_list and test_list"),
    ],
)
def test_lists_that_do_not_split(corpus: Path, cache: dict, tmp_path: Path, lists: dict, message: str) -> None:
    paths = {}
    for split, text in lists.items():
        paths[f"{split}_list"] = tmp_path / f"{split}.txt"
        paths[f"{split}_list"].write_text(text)
    with pytest.raises(ValueError, match=message):
        read_speech(corpus, **paths, **cache)


def test_speakers_by_a_pattern_and_splits_by_utterance(tmp_path: Path, cache: dict) -> None:
    for i in range(6):
        write(tmp_path / "T" / "DR1" / f"{'abc'[i % 3]}_{i}.wav", tone(0.2, i))
    speech = read_speech(tmp_path / "T", speaker_pattern=r"DR1/(\w)_", **cache)
    assert sorted(part.speakers[0] for part in speech) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="only 1: speaker 'DR1'"):
        read_speech(tmp_path / "T", **cache)
    single = read_speech(tmp_path / "T", split_by="utterance", **cache)
    assert [len(part.names) for part in single] == [4, 1, 1]
    with pytest.raises(ValueError, match="must have one group and match every file"):
        read_speech(tmp_path / "T", speaker_pattern="DR2/(.)", **cache)


def test_other_rates_are_resampled_and_channels_mixed(tmp_path: Path) -> None:
    pytest.importorskip("soxr", reason="soxr is not installed: the extra `speech`")
    time = np.arange(44100) / 44100
    wave = 0.5 * np.sin(2 * np.pi * 300 * time)
    path = write(tmp_path / "stereo.wav", np.stack([wave, 0.0 * wave], axis=1), rate=44100, subtype="FLOAT")
    x = read_audio(path, rate=8000)
    assert x.dtype == np.float32 and abs(len(x) - 8000) <= 1
    middle = slice(1000, 7000)
    np.testing.assert_allclose(x[middle], 0.25 * np.sin(2 * np.pi * 300 * np.arange(len(x)) / 8000)[middle], atol=1e-4)


def test_the_cache_is_used_and_replaced_when_it_or_a_file_has_changed(corpus: Path, cache: dict, monkeypatch) -> None:
    first = read_speech(corpus, **cache)
    assert not first.train.waveforms[0].flags.writeable
    with monkeypatch.context() as patch:
        patch.setattr("tfdvae.data.speech_files.read_audio", lambda *_: pytest.fail("decoded again"))
        again = read_speech(corpus, **cache)
    for a, b in zip(first.train.waveforms, again.train.waveforms, strict=True):
        np.testing.assert_array_equal(a, b)
    samples = next(cache["cache_dir"].glob("*.f32"))
    samples.write_bytes(samples.read_bytes()[:-4])
    with pytest.warns(UserWarning, match="decoded again: their cache is damaged.*does not hold"):
        read_speech(corpus, **cache)
    name = first.test.names[0]
    path = next(corpus.glob(f"{name}.*"))
    write(path, tone(0.5, 99))
    os.utime(path, ns=(1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_speech(corpus, **cache).test.waveforms[0]) == 8000


def test_without_a_place_for_the_cache_all_works_with_a_warning(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="not cached and will be decoded again"):
        speech = read_speech(corpus, cache_dir=tmp_path / "file", verbose=0)
    assert sum(len(part.names) for part in speech) == 12


def damage_flac(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\x00" * (len(data) - len(data) // 2)
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize(
    ("suffix", "spoil", "message"),
    [
        (".flac", lambda p: p.write_bytes(b"no sound"), "is no WAV or FLAC file, or it is damaged"),
        (".flac", cut, "damaged"),
        (".flac", damage_flac, "damaged"),
        (".wav", cut, "is damaged: it ends before the length that it states"),
        (".wav", lambda p: p.write_bytes(b""), "is no WAV or FLAC file, or it is damaged"),
        (".wav", lambda p: write(p, np.zeros(0)), "is empty: it holds no sample"),
        (".wav", lambda p: write(p, np.array([0.1, np.nan]), subtype="FLOAT"), "holds NaN or infinity"),
    ],
)
def test_a_damaged_recording_is_named(corpus: Path, cache: dict, suffix: str, spoil, message: str) -> None:
    path = next(p for p in sorted(corpus.rglob(f"*{suffix}")) if "118-" in p.name)
    spoil(path)
    with pytest.raises(ValueError, match=f"{re.escape(path.name)}.*{message}"):
        load_speech_waveform(corpus, **cache)
    assert not list(cache["cache_dir"].glob("*"))


def test_folders_without_speech(tmp_path: Path, cache: dict) -> None:
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        read_speech(tmp_path / "none", **cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"There is no \.wav or \.flac file in"):
        load_speech_spectrogram(tmp_path / "empty", **cache)
    with pytest.raises(ValueError, match="is not a folder"):
        read_speech(write(tmp_path / "a.wav", tone(0.1, 0)), **cache)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "rate must be a whole number"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"split_by": "gender"}, "split_by must be 'speaker' or 'utterance'; got 'gender'"),
        ({"valid_ratio": 0.6, "test_ratio": 0.4}, "add up to less than 1"),
        ({"frame_length": 0}, "frame_length must be at least 1"),
        ({"max_frames": 1000}, "No sequence has 1000 frames"),
    ],
)
def test_options_out_of_range(corpus: Path, cache: dict, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_speech_waveform(corpus, **options, **cache)


def test_frames_of_samples_standardised_by_the_training_set(corpus: Path, cache: dict) -> None:
    speech = read_speech(corpus, **cache)
    everything = np.concatenate(speech.train.waveforms).astype(np.float64)
    found = scaled_speech_waveform(corpus, frame_length=50, max_frames=20, **cache)
    assert found.scale[0] == pytest.approx(everything.std()) and found.mean[0] == pytest.approx(everything.mean())
    assert waveform_moments(speech.train.waveforms) == pytest.approx((everything.mean(), everything.std()))
    for split, part in zip(found.splits, speech, strict=True):
        assert set(split.lengths) == {20}
        first = found.restore(split.x[1]).ravel()
        np.testing.assert_allclose(first, part.waveforms[0][1000:2000], atol=1e-6)
        assert split.names[1] == f"{part.names[0]}[20:40]"
    whole = load_speech_waveform(corpus, frame_length=50, max_frames=None, standardise=False, limit=1, **cache)
    np.testing.assert_array_equal(whole.valid.x[0].ravel(), speech.valid.waveforms[0][: whole.valid.x[0].size])
    assert [part.num_sequences for part in whole] == [1, 1, 1]
    assert DATASETS["speech_waveform"] is load_speech_waveform and SCALED["speech_waveform"] is scaled_speech_waveform


def test_spectrograms_of_windows_for_training_and_of_whole_recordings_for_testing(corpus: Path, cache: dict) -> None:
    splits = load_speech_spectrogram(corpus, num_frames=20, trim_db=None, **cache)
    speech = read_speech(corpus, **cache)
    assert set(splits.train.lengths) == set(splits.valid.lengths) == {20}
    assert splits.train.features == 513
    waveform = speech.train.waveforms[0] / np.abs(speech.train.waveforms[0]).max()
    np.testing.assert_allclose(splits.train.x[1], power_spectrogram(waveform)[20:40], rtol=1e-5)
    assert splits.test.names == speech.test.names
    for x, original in zip(splits.test.x, speech.test.waveforms, strict=True):
        np.testing.assert_allclose(resynthesise(x, original), original / np.abs(original).max(), atol=2e-6)


def test_silence_is_left_out_of_spectrograms(tmp_path: Path, cache: dict) -> None:
    for speaker in (1, 2, 3):
        quiet = np.concatenate([np.zeros(20000), tone(0.6, speaker), np.zeros(12000)])
        write(tmp_path / "S" / f"{speaker}-5-0000.flac", quiet)
    splits = load_speech_spectrogram(tmp_path / "S", num_frames=None, **cache)
    speech = read_speech(tmp_path / "S", **cache)
    start, end = trim_silence(speech.test.waveforms[0])
    assert 18000 < start < 20001 and 29000 < end < 32000
    short = trimmed(speech.test)
    np.testing.assert_array_equal(short.waveforms[0], speech.test.waveforms[0][start:end])
    np.testing.assert_allclose(
        resynthesise(splits.test.x[0], short.waveforms[0]),
        short.waveforms[0] / np.abs(short.waveforms[0]).max(),
        atol=2e-6,
    )
    write(tmp_path / "S" / "1-5-0001.flac", np.zeros(9000))
    with pytest.raises(ValueError, match="The recording 1-5-0001: The waveform is digital silence"):
        load_speech_spectrogram(tmp_path / "S", num_frames=10, **cache)


def test_a_stream_holds_the_windows_of_the_loaders(corpus: Path, cache: dict) -> None:
    speech = read_speech(corpus, **cache)
    loaded = load_speech_spectrogram(corpus, num_frames=20, trim_db=None, **cache)
    stream = stream_spectrograms(speech.train, 2, num_frames=20)
    assert (stream.num_windows, stream.steps_per_epoch) == (loaded.train.num_sequences, loaded.train.num_sequences // 2)
    x = np.concatenate([batch["x"] for batch in stream.dataset])
    np.testing.assert_allclose(x, np.stack(loaded.train.x)[: len(x)], rtol=1e-4, atol=1e-4)
    found = scaled_speech_waveform(corpus, frame_length=50, max_frames=20, **cache)
    mean, std = waveform_moments(speech.train.waveforms)
    stream = stream_waveforms(speech.train, 3, num_frames=20, frame_length=50, mean=mean, std=std)
    got = list(stream.dataset)
    assert len(got) == stream.steps_per_epoch == int(stream.dataset.cardinality())
    x = np.concatenate([batch["x"] for batch in got])
    np.testing.assert_allclose(x, np.stack(found.splits.train.x)[: len(x)], atol=1e-5)
    assert got[0]["mask"].numpy().all() and got[0]["mask"].shape == (3, 20)
    assert batches(found.splits.train, 3).element_spec.keys() == stream.dataset.element_spec.keys()


def test_the_order_of_a_stream_depends_on_seed_and_epoch_alone(corpus: Path, cache: dict) -> None:
    speech = read_speech(corpus, **cache)

    def first(**options) -> list[float]:
        stream = stream_waveforms(speech.train, 4, num_frames=20, frame_length=50, **options)
        return [float(batch["x"][0, 0, 1]) for batch in stream.dataset]

    steps = stream_waveforms(speech.train, 4, num_frames=20, frame_length=50).steps_per_epoch
    both = first(seed=1, epochs=2)
    assert both[steps:] == first(seed=1, epochs=range(1, 2)) != both[:steps]
    assert first(seed=1) == both[:steps] != first(seed=2)
    for options, message in (
        ({"seed": -1}, "seed must not be negative"),
        ({"num_frames": 0}, "num_frames must be at least 1"),
        ({"num_frames": 10**6}, "There are 0 windows of 1000000 frames, fewer than one batch"),
        ({"std": 0.0}, "std must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            stream_waveforms(speech.train, 4, **options)


def test_without_soundfile_the_error_says_what_to_install(corpus: Path, cache: dict, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(
        ImportError, match=r"Reading WAV and FLAC files needs soundfile: pip install \"tfdvae\[speech\]\""
    ):
        load_speech_waveform(corpus, **cache)


@pytest.mark.slow
def test_the_librispeech_subset(tfdvae_data: Path, cache: dict) -> None:
    speech = read_speech(tfdvae_data / "librispeech_subset", **cache)
    assert [len(part.names) for part in speech] == [128, 32, 100]
    assert [len(set(part.speakers)) for part in speech] == [128, 32, 10]
    assert [sum(map(len, part.waveforms)) for part in speech] == [25669998, 6594640, 12265681]
    found = scaled_speech_waveform(tfdvae_data / "librispeech_subset", **cache)
    assert [part.num_sequences for part in found.splits] == [3149, 805, 1488]
    assert (found.mean[0], found.scale[0]) == (pytest.approx(-0.002343, abs=1e-6), pytest.approx(0.058246, abs=1e-6))
    assert isinstance(found.splits, Splits)
