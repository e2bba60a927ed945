"""The edge runtime: frame by frame the numbers of one Keras call, in constant memory, from any thread."""

import copy
import gc
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from export.edge import stream as edge
from export.edge.stream import Model, Stream
from tests import cases
from tests.export.edge.conftest import STREAMING
from tests.memory import least_growth, needs_linux
from tfdvae.serving.quantisation import INTEGER
from tfdvae.types import Batch

LENGTH = 12
CAUSAL = (
    "rnn",
    "vae",
    "vae-u",
    "vrnn-u",
    "vrnn-gru2-u",
    "storn",
    "srnn-filter-u",
    "dkf-st_l-u",
    "dkf-mf_l",
    "dkf-frame",
    "kvae-gru",
)

TOLERANCES = {"float16": 1e-2, "int8_dynamic": 0.1, "int16x8": 0.1, "int8_full": 0.5}
"""Largest root mean square error of scores, relative to their standard deviation."""


def close(found: np.ndarray, expected: np.ndarray) -> None:
    scale = float(np.max(np.abs(expected)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)


def frames(model: tfdvae.DVAE, name: str, length: int = LENGTH) -> tuple[np.ndarray, np.ndarray | None]:
    """One sequence `[T, D]`, and its inputs."""
    x, _, u, *_ = cases.frames(name, 1, length)
    return x[0].numpy(), None if u is None else u[0].numpy()


def check_parity(model: tfdvae.DVAE, path: Path, name: str) -> None:
    """T pushes against one call of Keras on the sequence, and predictions against Keras' own steps."""
    x, u = frames(model, name)
    stream = Stream(path)
    rows = [None] * LENGTH if u is None else u
    found = [stream.push(x[t], rows[t], rows[(t + 1) % LENGTH]) for t in range(LENGTH)]

    batch = (tf.constant(x[None]), None, None if u is None else tf.constant(u[None]))
    path_ = model.infer(*batch)
    terms = model.terms(path_, Batch(*batch))
    kl = terms.kl[0].numpy()
    close(np.array([one.log_px for one in found]), terms.log_px[0].numpy())
    close(np.array([one.score for one in found]), terms.log_px[0].numpy() - kl)
    np.testing.assert_allclose([one.kl for one in found], kl, atol=1e-5 * max(1.0, float(kl.max())))
    for latent in model.frame_latents:
        q = path_.latents[latent.name].q
        close(np.stack([one.latents[latent.name] for one in found]), q.loc[0].numpy())
        close(np.stack([one.latent_scales[latent.name] for one in found]), q.scale[0].numpy())
    if not model.frame_latents:
        assert all(one.latents == {} and one.latent_scales == {} and one.kl == 0.0 for one in found)

    state, params = model.initial_state(1), []
    for t in range(LENGTH):
        state = model.step(state, x[t][None], None if u is None else u[t][None]).state
        ahead = None if u is None else u[(t + 1) % LENGTH][None]
        params.append(model.generate_step(state, ahead)[0].params[0])
    p = model.frames.distribution(tf.stack(params))
    close(np.stack([one.prediction for one in found]), p.mean().numpy())
    close(np.stack([one.prediction_scale for one in found]), p.stddev().numpy())


@pytest.mark.slow
def test_pushes_are_one_call_in_driven_mode(exported) -> None:
    check_parity(*exported("kvae-u"), "kvae-u")


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", CAUSAL)
def test_pushes_are_one_call_in_every_causal_model(exported, name: str) -> None:
    model, path = exported(name)
    check_parity(model, path, name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["storn", "dkf-mf_l"])
def test_pushes_have_seen_the_frames_that_were_drawn_before_them(exported, name: str) -> None:
    """Their posteriors are those of one call on given and drawn frames together, where they read x alone."""
    model, path = exported(name)
    stream, x, means = Stream(path), frames(model, name)[0], {}
    for t in range(LENGTH):
        if t % 3 == 2:
            means[t] = stream.push(x[t]).latents["z"]
        else:
            x[t] = stream.generate(1)[0]
    close(np.stack(list(means.values())), model.encode(x[None])["z"].loc.numpy()[0, list(means)])


@pytest.mark.slow
def test_pushes_of_a_vrnn_are_one_call(vrnn) -> None:
    check_parity(*vrnn, "vrnn")


@pytest.fixture(scope="module")
def larger() -> tfdvae.DVAE:
    """With matrices large enough for the converter to store them as integers."""
    pytest.importorskip("ai_edge_litert")
    model = tfdvae.VRNN(8, units=64)
    model.build_for(cases.X_DIM)
    return model


@pytest.mark.exhaustive
@pytest.mark.parametrize("precision", TOLERANCES)
def test_smaller_weights(larger: tfdvae.DVAE, precision: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(4, 30, cases.X_DIM)).astype("float32")
    given = {"representative": x} if precision in INTEGER else {}
    path = tmp_path / "m.tflite"
    larger.export(path, format="litert", signatures=STREAMING, precision=precision, **given)
    stream = Stream(path)
    assert stream.description["precision"] == precision
    terms = larger.terms(larger.infer(x[:1]), Batch(x[:1]))
    expected = (terms.log_px - terms.kl)[0].numpy()
    error = np.std([stream.push(row).score for row in x[0]] - expected) / np.std(expected)
    assert 1e-6 < error < TOLERANCES[precision]
    assert np.isfinite(stream.generate(10)).all()


def test_what_a_file_is(vrnn) -> None:
    stream = Stream(vrnn[1])
    assert (stream.features, stream.inputs) == (cases.X_DIM, 0)
    assert (stream.frame_shape, stream.context, stream.latents) == ((cases.X_DIM,), 0, ("z",))
    assert stream.signatures == ("encode", "score", "reset", "step", "generate_step")
    assert stream.description["model"] == "VRNN" and stream.description["precision"] == "float32"


WITHOUT = """
import sys

class Others:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            return None
        return self.finder.find_spec(name, path, target)

BLOCKED = {"tensorflow", "tf_keras", "keras", "tensorflow_probability", "tfdvae", "export", "scipy", "absl"}
sys.meta_path[:] = [Others(finder) for finder in sys.meta_path]
from edge.stream import Stream
stream = Stream(sys.argv[1])
for row in eval(sys.argv[2]):
    print(stream.push(row).score)
print(stream.generate(2, advance=False).shape)
assert not BLOCKED & set(sys.modules), BLOCKED & set(sys.modules)
"""


def test_the_two_files_need_numpy_and_litert_alone(vrnn, tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    for name in ("stream.py", "model.py", "known.py"):
        shutil.copy(Path(edge.__file__).with_name(name), tmp_path / "edge")
    x, _ = frames(vrnn[0], "vrnn", 3)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONPATH": "."}
    command = [sys.executable, "-c", WITHOUT, str(vrnn[1]), repr(x.tolist())]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    *scores, shape = result.stdout.splitlines()
    stream = Stream(vrnn[1])
    assert [float(score) for score in scores] == [stream.push(row).score for row in x]
    assert shape == f"(2, {cases.X_DIM})"


@pytest.mark.slow
def test_generate_draws_from_the_model(vrnn) -> None:
    """Moments of many next frames after a past, beside those that Keras draws after the same past."""
    model, path = vrnn
    x, _ = frames(model, "vrnn", 4)
    stream, count = Stream(path), 4000
    for row in x:
        stream.push(row)
    found = np.concatenate([stream.generate(1, advance=False) for _ in range(count)])
    state = model.initial_state(count)
    for row in x:
        state = model.step(state, np.tile(row, (count, 1))).state
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(count, model.latent_dim)).astype("float32")
    uniform = rng.uniform(1e-6, 1 - 1e-6, (count, model.observation.noise_dim)).astype("float32")
    expected = model.generate_step(state, noise=noise, uniform=uniform)[0].x.numpy()
    error = np.sqrt((found.var(axis=0) + expected.var(axis=0)) / count)
    assert (np.abs(found.mean(axis=0) - expected.mean(axis=0)) < 5 * error).all()
    np.testing.assert_allclose(found.std(axis=0), expected.std(axis=0), rtol=0.08)


def test_generate_moves_on_and_repeats_itself(vrnn) -> None:
    stream = Stream(vrnn[1], seed=3)
    whole = stream.generate(5)
    parts = Stream(vrnn[1], seed=3)
    np.testing.assert_array_equal(np.concatenate([parts.generate(2), parts.generate(3)]), whole)
    assert not np.array_equal(stream.generate(5), whole)
    stream.reset(seed=3)
    np.testing.assert_array_equal(stream.generate(5), whole)
    assert not np.array_equal(Stream(vrnn[1], seed=4).generate(5), whole)


def test_generate_ahead_without_losing_the_place(vrnn) -> None:
    x, _ = frames(vrnn[0], "vrnn")
    straight = Stream(vrnn[1])
    expected = [straight.push(row).score for row in x][-1]
    stream = Stream(vrnn[1])
    for row in x[:-1]:
        stream.push(row)
    first, second = stream.generate(3, advance=False), stream.generate(3, advance=False)
    assert not np.array_equal(first, second)
    place = stream.state()
    stream.generate(3)
    assert stream.push(x[-1]).score != expected
    stream.restore(place)
    for own in (place, stream.state()):  # both are copies
        for value in own.values():
            value.fill(0.0)
    assert stream.push(x[-1]).score == expected


def test_sampled_latents(vrnn) -> None:
    x, _ = frames(vrnn[0], "vrnn")
    mean = [Stream(vrnn[1]).push(x[0]) for _ in range(2)]
    np.testing.assert_array_equal(mean[0].latents["z"], mean[1].latents["z"])
    stream, drawn = Stream(vrnn[1], sample=True), []
    for _ in range(2000):
        stream.reset()
        drawn.append(stream.push(x[0]).latents["z"])
    center, scale = mean[0].latents["z"], mean[0].latent_scales["z"]
    np.testing.assert_allclose(np.std(drawn, axis=0), scale, rtol=0.1)
    assert (np.abs(np.mean(drawn, axis=0) - center) < 5 * scale / 2000**0.5).all()


def test_what_was_returned_stays(vrnn) -> None:
    x, _ = frames(vrnn[0], "vrnn")
    stream = Stream(vrnn[1])
    first = stream.push(x[0])
    kept = copy.deepcopy(first)
    for row in x[1:]:
        stream.push(row)
    assert first.latents.keys() == kept.latents.keys() == {"z"}
    pairs = [*zip(first[2:], kept[2:], strict=True)]
    pairs += [(one["z"], other["z"]) for one, other in zip(first[:2], kept[:2], strict=True)]
    for value, other in pairs:
        np.testing.assert_array_equal(value, other)


@needs_linux
@pytest.mark.slow
def test_memory_is_constant(vrnn, request: pytest.FixtureRequest) -> None:
    """`--stream-steps 1000000` is the long form."""
    stream, x = Stream(vrnn[1]), frames(vrnn[0], "vrnn")[0]
    for _ in range(2000):
        stream.push(x[0])
    stream.generate(200)
    gc.collect()

    def run(count: int) -> None:
        for _ in range(count):
            for row in x[:10]:
                pushed = stream.push(row)
            stream.generate(1)
        assert np.isfinite([pushed.score, *pushed.latents["z"]]).all()

    growth = least_growth(run, request.config.getoption("--stream-steps") // 10)
    assert growth.resident < 2**18
    assert growth.blocks < 50


def test_threads_share_a_stream(vrnn) -> None:
    """The same frame from many threads, and another one that looks ahead all the time: no push is lost or doubled."""
    x, count, threads = frames(vrnn[0], "vrnn")[0][0], 300, 4
    serial, shared = Stream(vrnn[1]), Stream(vrnn[1])
    expected = [serial.push(x).score for _ in range(count * threads)]
    found: list[float] = []
    done = threading.Event()

    def push() -> None:
        for _ in range(count):
            found.append(shared.push(x).score)

    def look() -> None:
        while not done.is_set():
            shared.generate(2, advance=False)
            shared.run("encode", x=x[None, None])

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        looker, workers = threading.Thread(target=look), [threading.Thread(target=push) for _ in range(threads)]
        for one in (looker, *workers):
            one.start()
        for one in workers:
            one.join()
        done.set()
        looker.join()
    finally:
        sys.setswitchinterval(before)
    assert sorted(found) == sorted(expected)
    for name, value in serial.state().items():
        np.testing.assert_array_equal(shared.state()[name], value)


@pytest.mark.slow
def test_whole_sequences(vrnn) -> None:
    model, path = vrnn
    x, _ = frames(model, "vrnn")
    found = Model(path).run("encode", x=x[None])
    close(found["z_mean"], model.encode(x[None])["z"].loc.numpy())
    given = {"x": x[None], "noise_z": np.zeros([8, LENGTH, 2])}
    stream = Stream(path)
    close(Model(path).run("score", **given)["elbo_frames"][0], np.array([stream.push(row).score for row in x]))
    drawn = [Model(path, seed=seed).run("score", x=x[None])["elbo"].item() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.exhaustive
def test_a_model_that_cannot_step_generates(exported) -> None:
    """Its latents of the whole sequence are drawn by every reset."""
    path = exported("vrae", "encode", "reset", "generate_step")[1]
    stream = Stream(path)
    with pytest.raises(ValueError, match="has no 'step', only encode, reset, generate_step"):
        stream.push(np.ones(4))
    first = stream.state()
    stream.reset()
    assert any(not np.array_equal(value, first[name]) for name, value in stream.state().items())
    assert stream.generate(6).shape == (6, 4)
