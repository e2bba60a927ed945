"""What the edge runtime refuses: with one clear error, and a stream that stays where it was."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from export.edge.stream import Stream

BAD_FRAMES = {
    "too long": (np.zeros(5), r"shape \[4\], got \[5\]"),
    "a batch": (np.zeros([1, 4]), r"shape \[4\], got \[1, 4\]"),
    "a number": (1.0, r"shape \[4\], got \[\]"),
    "ragged": ([1.0, [2.0], 3.0, 4.0], "cannot be read as an array"),
    "NaN": ([0.0, np.nan, 0.0, 0.0], "NaN or infinity"),
    "infinite": ([0.0, np.inf, 0.0, 0.0], "NaN or infinity"),
    "beyond float32": ([0.0, 1e39, 0.0, 0.0], "NaN or infinity"),
    "text": (["0", "0", "0", "0"], "real numbers"),
    "nothing": ([None] * 4, "real numbers"),
    "complex": ([1j] * 4, "real numbers"),
    "huge": ([3e38] * 4, "not finite"),
}


@pytest.mark.parametrize("bad", BAD_FRAMES)
def test_a_bad_frame_leaves_the_stream_where_it_was(vrnn, bad: str) -> None:
    frame, message = BAD_FRAMES[bad]
    stream = Stream(vrnn[1])
    stream.push(np.ones(4))
    before = stream.state()
    with pytest.raises(ValueError, match=message):
        stream.push(frame)
    for name, value in stream.state().items():
        np.testing.assert_array_equal(value, before[name])


def test_bad_arguments(vrnn) -> None:
    stream = Stream(vrnn[1])
    place = stream.state()
    for call, message in (
        (lambda: stream.generate(0), "`n` must be at least 1"),
        (lambda: stream.push(np.ones(4), u=[1.0]), "takes no inputs: leave out `u`"),
        (lambda: stream.push(np.ones(4), next_u=[1.0]), "takes no inputs: leave out `next_u`"),
        (lambda: stream.generate(2, np.ones([2, 1])), "takes no inputs"),
        (lambda: stream.push(np.ones(4), observed=np.ones(4, bool)), "not built for partly observed .*: leave out"),
        (lambda: stream.reset(context=[1.0]), "has no context: leave out `context`"),
        (lambda: stream.restore({}), "A state of .* has .*; got none"),
        (lambda: stream.restore({name: value[:, 1:] for name, value in place.items()}), "must have the shape"),
        (lambda: stream.restore({name: value * np.nan for name, value in place.items()}), "NaN"),
        (lambda: Stream(vrnn[1], num_threads=0), "`num_threads` must be at least 1"),
        (lambda: stream.run("impute"), "has no 'impute', only encode, score, reset"),
        (lambda: stream.run("encode"), "'encode' takes x; got nothing"),
        (lambda: stream.run("encode", x=np.ones([1, 2, 4]), y=1), "'encode' takes x; got x, y"),
        (lambda: stream.run("encode", x=np.ones([2, 2, 4])), r"\[1, 2, 4\], got \[2, 2, 4\]"),
        (lambda: stream.run("encode", x=np.ones([1, 0, 4])), r"\[1, 1, 4\], got \[1, 0, 4\]"),
        (lambda: stream.run("encode", x=np.ones(4)), r"\[1, time, 4\], got \[4\]"),
        (
            lambda: stream.run("score", x=np.ones([1, 3, 4]), noise_z=np.ones([8, 2, 2])),
            r"\[8, 3, 2\], got \[8, 2, 2\]",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    for name, value in stream.state().items():
        np.testing.assert_array_equal(value, place[name])


@pytest.mark.slow
def test_inputs_in_driven_mode(exported) -> None:
    stream = Stream(exported("kvae-u")[1])
    x, u = np.ones(4), np.ones(2)
    place = stream.state()
    for call, message in (
        (lambda: stream.push(x), "driven by 2 inputs per frame: give `u`"),
        (lambda: stream.push(x, np.ones(3)), r"`u` must have the shape \[2\], got \[3\]"),
        (lambda: stream.push(x, u, [np.nan, 0.0]), "`next_u` holds NaN"),
        (lambda: stream.generate(3), "give `u`"),
        (lambda: stream.generate(3, np.ones([2, 2])), r"`u` must have the shape \[3, 2\], got \[2, 2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    for name, value in stream.state().items():
        np.testing.assert_array_equal(value, place[name])
    without = stream.push(x, u)
    assert without.prediction is None and without.prediction_scale is None
    stream.restore(place)
    whole = stream.push(x, u, u)
    assert whole.score == without.score and whole.prediction.shape == (4,)
    assert stream.generate(3, np.ones([3, 2])).shape == (3, 4)


def test_files_that_are_no_models(vrnn, tmp_path: Path) -> None:
    content = vrnn[1].read_bytes()
    file = tmp_path / "m.tflite"
    with pytest.raises(FileNotFoundError, match="There is no file"):
        Stream(file)
    noise = np.random.default_rng(0).bytes(3000)
    for damaged in (content[:-100], content[: len(content) // 2], b"", b"text", b"x" * 5000 + content[5000:], noise):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="m.tflite cannot be read as a model that tfdvae exported"):
            Stream(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "tfdvae.signatures version 99, this module reads tfdvae.signatures version 2"),
        ({"format": "other"}, "other version 2"),
        ({"signatures": {"another": {"inputs": [], "outputs": []}}}, "cannot be read"),
        ({"signatures": {"encode": {"inputs": [], "outputs": []}}}, "cannot be read .*'encode' has the inputs"),
        ({"signatures": "encode"}, "has no 'reset', only encode"),
        ({"signatures": "reset"}, "has no 'generate_step', only reset"),
    ],
)
def test_files_that_cannot_stream(vrnn, tmp_path: Path, change: dict, message: str) -> None:
    with zipfile.ZipFile(vrnn[1]) as attached:
        description = json.loads(attached.read("signatures.json"))
    if isinstance(change.get("signatures"), str):
        change = {"signatures": {change["signatures"]: description["signatures"][change["signatures"]]}}
    content = vrnn[1].read_bytes()
    file = tmp_path / "m.tflite"
    file.write_bytes(content)
    with zipfile.ZipFile(file, "a") as attached, pytest.warns(UserWarning, match="Duplicate"):
        attached.writestr("signatures.json", json.dumps(description | change))
    with pytest.raises(ValueError, match=message):
        Stream(file)
