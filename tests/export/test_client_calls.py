"""Streams over a model server, many requests at once, asyncio, and what is asked again: over real sockets."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from export import client, load, parity
from export.client_many import join, part
from tests import cases
from tfdvae import serving

model_server = pytest.importorskip("tests.export.model_server", reason="tensorflow-serving-api is not installed")

Serving = model_server.Serving
KINDS = {"rest": client.RestClient, "grpc": client.GrpcClient}


@pytest.fixture(scope="module")
def model() -> tfdvae.DVAE:
    return cases.make("vrnn")


@pytest.fixture(scope="module")
def server(vrnn_versions: Path) -> Iterator[Serving]:
    with model_server.serve(model_server.Servables("vrnn", vrnn_versions)) as found:
        yield found


@pytest.fixture(scope="module")
def description(vrnn_versions: Path) -> Path:
    return vrnn_versions / "3" / "signatures.json"


@pytest.fixture(autouse=True)
def well_behaved(server: Serving) -> None:
    server.servables.delay = server.servables.down = 0
    server.servables.labels = {}


@pytest.fixture(params=KINDS)
def one(request: pytest.FixtureRequest, server: Serving, description: Path) -> Iterator[client.Client]:
    with KINDS[request.param](getattr(server, request.param), "vrnn", description=description) as found:
        yield found


def frames(length: int, batch: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(batch, length, cases.X_DIM)).astype("float32")


# Streams.


def test_a_stream_says_frame_by_frame_what_the_model_says(one: client.Client, model: tfdvae.DVAE) -> None:
    x, stream, state = frames(5), one.stream(2), model.initial_state(2)
    for t in range(x.shape[1]):
        found, expected = stream.push(x[:, t]), model.step(state, x[:, t])
        state = expected.state
        np.testing.assert_allclose(found["score"], expected.log_px - expected.kl, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["z_mean"], expected.latents["z"].q.loc, rtol=1e-4, atol=1e-5)
        ahead = model.frames.mean(model.generate_step(state)[0].params)
        np.testing.assert_allclose(found["next_mean"], ahead, rtol=1e-4, atol=1e-5)
        assert not any(name.startswith("state_") for name in found)


def test_a_stream_generates_goes_back_and_goes_on(one: client.Client) -> None:
    x, stream = frames(3), one.stream(2, seed=1)
    for t in range(3):
        stream.push(x[:, t])
    place = stream.state()
    futures = [stream.generate(4, advance=False) for _ in range(2)]
    assert futures[0].shape == (2, 4, cases.X_DIM) and (futures[0] != futures[1]).any()
    for name, value in stream.state().items():
        np.testing.assert_array_equal(value, place[name])
    stream.generate(1)
    assert any((value != place[name]).any() for name, value in stream.state().items())
    other = one.stream(2, seed=1)
    other.restore(place)
    np.testing.assert_array_equal(other.generate(4), futures[0])
    other.reset(seed=1)
    np.testing.assert_array_equal(other.state()["state_h"] if "state_h" in place else 0.0, 0.0)
    with pytest.raises(ValueError, match="A state of this stream has state_"):
        other.restore({"state_none": np.zeros(2)})


def test_a_stream_outlives_a_server_that_is_away_for_a_moment(one: client.Client, server: Serving) -> None:
    x = frames(2)
    whole, broken = one.stream(2, sample=True, seed=3), one.stream(2, sample=True, seed=3)
    expected = [whole.push(x[:, t])["z"] for t in range(2)]
    server.servables.down = 2
    np.testing.assert_array_equal(broken.push(x[:, 0])["z"], expected[0])
    place, server.servables.down = broken.state(), 99
    with pytest.raises(client.UnavailableError):
        broken.push(x[:, 1], timeout=0.2)
    server.servables.down = 0
    for name, value in broken.state().items():
        np.testing.assert_array_equal(value, place[name])


def test_frames_that_no_model_takes_leave_a_stream_where_it_was(one: client.Client) -> None:
    stream = one.stream(1)
    place = stream.state()
    with pytest.raises(client.InvalidArgumentError, match="`x` holds NaN"):
        stream.push(np.full([1, cases.X_DIM], np.nan))
    with pytest.raises(client.InvalidArgumentError, match=r"'x' must have the shape \[batch, 4\], got \[4\]"):
        stream.push(np.zeros(cases.X_DIM))
    for name, value in stream.state().items():
        np.testing.assert_array_equal(value, place[name])


def test_what_a_stream_needs(server: Serving, description: Path) -> None:
    with client.RestClient(server.rest, "vrnn") as found, pytest.raises(ValueError, match="give the client"):
        found.stream()
    with client.RestClient(server.rest, "vrnn", description=description) as found:
        with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
            found.stream(0)
        with pytest.raises(client.InvalidArgumentError, match="it has no context"):
            found.stream(1, context=np.zeros([1, 2]))
        with pytest.raises(ValueError, match="`length` must be at least 1"):
            found.stream().generate(0)


# Retries.


def test_only_what_may_help_is_asked_again(one: client.Client, server: Serving, model: tfdvae.DVAE) -> None:
    declared = serving.declare(model)
    given = parity.examples(model, declared["encode"], declared)
    before = server.servables.calls
    with pytest.raises(client.InvalidArgumentError):
        one.predict("encode", {**given, "mask": np.zeros_like(given["mask"])})
    assert server.servables.calls == before + 1
    with pytest.raises(client.NotFoundError):
        one.predict("classify", given)
    assert server.servables.calls == before + 1
    server.servables.down, start = 3, time.monotonic()
    one.predict("encode", given)
    # 0.1, 0.2 and 0.4 seconds, and up to half as much again.
    assert server.servables.calls == before + 5 and time.monotonic() - start >= 0.7


# Many requests.


def test_many_requests_travel_together(one: client.Client, server: Serving, model: tfdvae.DVAE) -> None:
    declared = serving.declare(model)["reconstruct"]
    lengths = [(1, 4), (2, 7), (1, 1), (3, 5), (1, 9)]
    requests = [
        {"x": frames(length, batch, batch), "mask": np.ones([batch, length], bool)} for batch, length in lengths
    ]
    before = server.servables.calls
    found = one.predict_many("reconstruct", requests, batch_size=4)
    assert server.servables.calls == before + 2
    for given, got in zip(requests, found, strict=True):
        assert got["mean"].shape == given["x"].shape
        np.testing.assert_allclose(got["mean"], parity.call(declared, given)["mean"], rtol=1e-4, atol=1e-5)
    assert one.predict_many("reconstruct", []) == []


def test_requests_that_cannot_travel_together_go_one_by_one(one: client.Client, server: Serving) -> None:
    requests = [{"batch_size": 1, "length": n, "seed": n} for n in (2, 5, 3)]
    before = server.servables.calls
    found = one.predict_many("generate", requests)
    assert server.servables.calls == before + 3
    assert [one["x"].shape[1] for one in found] == [2, 5, 3]


def test_one_bad_request_among_many(one: client.Client) -> None:
    good = {"x": frames(3, 1), "mask": np.ones([1, 3], bool)}
    requests = [good, {**good, "x": np.full([1, 3, cases.X_DIM], np.inf, "float32")}, {"x": good["x"]}, good]
    with pytest.raises(client.InvalidArgumentError):
        one.predict_many("encode", requests)
    found = one.predict_many("encode", requests, return_errors=True)
    assert [isinstance(answer, client.InvalidArgumentError) for answer in found] == [False, True, True, False]
    assert "holds NaN or infinity" in str(found[1]) and "mask is missing" in str(found[2])
    np.testing.assert_allclose(found[0]["z_mean"], found[3]["z_mean"], rtol=1e-5)


def test_calls_are_under_way_at_once(one: client.Client, server: Serving) -> None:
    one.predict("reset", {"batch_size": 1})
    server.servables.delay, start = 0.3, time.monotonic()
    assert len(one.predict_many("reset", [{"batch_size": 1}] * 4)) == 4
    assert time.monotonic() - start < 1.1


def test_asyncio(one: client.Client, server: Serving) -> None:
    async def ask() -> list:
        server.servables.delay = 0.2
        calls = [one.predict_async("reset", {"batch_size": n}) for n in (1, 2, 3, 4)]
        waiting = asyncio.create_task(asyncio.sleep(0.0))
        answers = await asyncio.gather(*calls)
        assert waiting.done()
        with pytest.raises(client.InvalidArgumentError):
            await one.predict_async("reset", {"batch_size": 0})
        return answers

    answers = asyncio.run(ask())
    assert [len(next(iter(answer.values()))) for answer in answers] == [1, 2, 3, 4]


def test_a_version_by_its_label(one: client.Client, server: Serving) -> None:
    server.servables.labels = {"stable": 3}
    kind, address = type(one), one.address
    with kind(address, "vrnn", label="stable") as found:
        assert found.predict("reset", {"batch_size": 2}) and found.wait_until_ready(5).version == 3
    with kind(address, "vrnn", label="canary") as found, pytest.raises(client.ServingError, match="canary"):
        found.predict("reset", {"batch_size": 2})
    with pytest.raises(ValueError, match="a number or a label"):
        kind(address, "vrnn", version=3, label="stable")


def test_answers_are_cut_at_what_each_row_asked_for() -> None:
    """In the form for servers that merge, lengths and counts stand in rows."""
    tf.keras.utils.set_random_seed(0)
    model = cases.make("vrnn")
    declared = serving.declare(model, serving.Target(merged=True))
    signature = declared["forecast"]
    spec = client.SignatureSpec(
        *(
            {f.name: client.TensorSpec(f.dtype.name, f.spec().shape, tuple(map(str, f.shape)), f.random) for f in side}
            for side in (signature.inputs, signature.outputs)
        )
    )
    requests = [parity.examples(model, signature, declared, seed=n, batch=n, length=2 + n) for n in (1, 2)]
    for request, samples in zip(requests, (3, 2), strict=True):
        request["num_samples"][:] = samples
    outputs = {name: value.numpy() for name, value in parity.call(signature, join(spec, requests)).items()}
    for request, got in zip(requests, part(spec, requests, outputs), strict=True):
        alone = parity.call(signature, request)
        for name, value in alone.items():
            assert got[name].shape == value.shape
            np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_latencies_with_several_clients(server: Serving, tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "in.npz", batch_size=np.int32(2))
    server.servables.delay = 0.05
    where = ["--rest", server.rest, "--model", "vrnn", "--inputs", str(tmp_path / "in.npz"), "--seconds", "0.5"]
    assert load.run([*where, "--signature", "reset", "--clients", "1", "4"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["1", "4"] and all(row[-1] == "0" for row in rows)
    assert all(float(row[2]) >= 50.0 and float(row[3]) >= float(row[2]) for row in rows)
    assert float(rows[1][1]) > 1.5 * float(rows[0][1])
    assert load.run([*where, "--signature", "absent", "--clients", "2"]) == 1
    assert "The first call failed: " in capsys.readouterr().err
