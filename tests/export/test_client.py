"""The clients of a model server, over real sockets, against a server in this process."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfdvae
from export import client, parity, saved_model, verify
from tests import cases
from tfdvae import serving

model_server = pytest.importorskip("tests.export.model_server", reason="tensorflow-serving-api is not installed")

Serving = model_server.Serving
KINDS = ("rest", "grpc")


@pytest.fixture(scope="module")
def model() -> tfdvae.DVAE:
    return cases.make("vrnn")


@pytest.fixture(scope="module")
def folder(vrnn_versions: Path) -> Path:
    return vrnn_versions


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Serving]:
    with model_server.serve(model_server.Servables("vrnn", folder)) as found:
        yield found


def connect(kind: str, server: Serving, name: str = "vrnn", **options) -> client.Client:
    make = {"rest": client.RestClient, "grpc": client.GrpcClient}[kind]
    return make(getattr(server, kind), name, **options)


@pytest.fixture(autouse=True)
def well_behaved(server: Serving) -> None:
    server.servables.delay = server.servables.down = 0


@pytest.fixture(params=KINDS)
def one(request: pytest.FixtureRequest, server: Serving) -> Iterator[client.Client]:
    with connect(request.param, server) as found:
        yield found


def check(model: tfdvae.DVAE, artefact) -> None:
    found = parity.compare(model, artefact)
    for difference in found:
        assert difference.relative <= 1e-5, difference
    assert {difference.signature for difference in found} >= set(serving.declare(model))


def score(model: tfdvae.DVAE) -> dict[str, np.ndarray]:
    declared = serving.declare(model)
    return parity.examples(model, declared["score"], declared)


@pytest.mark.slow
def test_every_signature_has_the_numbers_of_keras(one: client.Client, model: tfdvae.DVAE, folder: Path) -> None:
    check(model, one.artefact(folder))


@pytest.mark.parametrize("name", cases.params([name for name in cases.PRIMARY if name != "vrnn"], always=()))
def test_every_model(name: str, tmp_path: Path) -> None:
    model = cases.make(name)
    saved_model.write_version(model, tmp_path / "m")
    with model_server.serve(model_server.Servables("m", tmp_path / "m")) as server:
        for kind in KINDS:
            with connect(kind, server, "m") as found:
                check(model, found.artefact(tmp_path / "m"))


def test_what_the_server_tells_of_itself(one: client.Client, model: tfdvae.DVAE) -> None:
    assert one.status() == [client.VersionStatus(3, "AVAILABLE", "")] and one.wait_until_ready(5).version == 3
    found = one.signatures()
    assert set(found) == {*serving.declare(model), "serving_default"}
    assert found["serving_default"] == found["reconstruct"]
    assert found["generate"].inputs["seed"] == client.TensorSpec("int64", ())
    assert found["encode"].inputs["x"] == client.TensorSpec("float32", (None, None, cases.X_DIM))
    assert set(found["encode"].outputs) == {"z_mean", "z_scale"}


def test_large_seeds_masks_and_nan_arrive(one: client.Client, model: tfdvae.DVAE) -> None:
    given = score(model)
    seeds = [one.predict("score", {**given, "seed": np.int64(2**60 + i)})["log_prob"] for i in (0, 1, 0)]
    assert (seeds[0] != seeds[1]).any() and (seeds[0] == seeds[2]).all()
    spoilt = {**given, "x": np.where(given["mask"][..., None], given["x"], np.nan)}
    np.testing.assert_array_equal(one.predict("score", spoilt)["elbo"], one.predict("score", given)["elbo"])
    state = one.predict("reset", {"batch_size": 1})
    with pytest.raises(client.InvalidArgumentError, match="`x` holds NaN or infinity"):
        infinite = np.full([1, cases.X_DIM], -np.inf, "float32")
        one.predict("step", {**state, "x": infinite, "noise_z": np.zeros([1, model.latent_dim])})


def test_a_version_by_its_number(server: Serving, model: tfdvae.DVAE) -> None:
    for kind in KINDS:
        with connect(kind, server, version=3) as found:
            assert found.predict("reset", {"batch_size": 2}) and found.status()[0].version == 3


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_server_does_not_have(server: Serving, kind: str) -> None:
    with connect(kind, server, "absent") as found:
        with pytest.raises(client.NotFoundError, match="has no model 'absent'"):
            found.predict("reset", {"batch_size": 1})
    with connect(kind, server, version=4) as found:
        with pytest.raises(client.NotFoundError, match="version 4, is not served .* Versions that are: 3"):
            found.predict("reset", {"batch_size": 1})
        with pytest.raises(client.DeadlineExceededError, match="was not ready within 2 seconds: .*version 4"):
            found.wait_until_ready(2.0)
    with connect(kind, server) as found:
        with pytest.raises(client.NotFoundError, match="has no signature 'classify'. There are encode, forecast"):
            found.predict("classify", {})


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_answer_is_told_although_a_later_question_was_cut_off(
    server: Serving, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([client.NotFoundError("version 4 is not served")])

    def status(version: int | None, deadline: Any) -> list:
        raise next(answers, client.DeadlineExceededError("no answer"))

    with connect(kind, server) as found:
        monkeypatch.setattr(found, "_status", status)
        with pytest.raises(client.DeadlineExceededError, match="within 0.5 seconds: version 4 is not served"):
            found.wait_until_ready(0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "x is missing"),
        ({"y": 1.0}, "it has no y"),
        ({"x": np.zeros([2, cases.X_DIM])}, r"'x' must have the shape \[batch, time, 4\], got \[2, 4\]"),
        ({"x": np.zeros([3, 7, cases.X_DIM + 1])}, r"got \[3, 7, 5\]"),
        ({"mask": np.ones([3, 6], bool)}, "the axis 'time' has 7 entries in 'x' and 6 in 'mask'"),
        ({"mask": np.ones([3, 7])}, "'mask' must be bool, got float64"),
        ({"num_samples": 2**40}, "'num_samples' must be int32, got int64 that cannot be converted"),
        ({"x": np.zeros([0, 7, cases.X_DIM])}, "'x' is empty"),
        ({"x": "text"}, "got"),
    ],
)
def test_inputs_that_do_not_fit_are_not_sent(
    server: Serving, model: tfdvae.DVAE, folder: Path, change: dict, message: str
) -> None:
    given = {name: value for name, value in {**score(model), **change}.items() if value is not None}
    with connect("rest", server, description=folder / "3" / "signatures.json") as found:
        before = server.servables.calls
        with pytest.raises(client.InvalidArgumentError, match=message):
            found.predict("score", given)
        assert server.servables.calls == before


def test_what_only_the_server_can_refuse(one: client.Client, model: tfdvae.DVAE) -> None:
    with pytest.raises(client.InvalidArgumentError, match="`num_samples` must be at least 1"):
        one.predict("score", {**score(model), "num_samples": 0})
    with pytest.raises(client.InvalidArgumentError):
        one.predict("score", {**score(model), "mask": np.ones([3, 6], bool)})
    with pytest.raises(client.InvalidArgumentError):
        one.predict("score", {**score(model), "observed": np.ones([3, 6, cases.X_DIM], bool)})


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_server(server: Serving, kind: str) -> None:
    with connect(kind, server) as found:
        found.signatures()
        server.servables.delay = 2.0
        start = time.monotonic()
        with pytest.raises(client.DeadlineExceededError, match="no answer within 0.3 seconds"):
            found.predict("reset", {"batch_size": 1}, timeout=0.3)
        assert 0.25 < time.monotonic() - start < 1.8


def test_a_server_that_comes_up_is_asked_again_and_one_that_stays_down_is_not(server: Serving) -> None:
    for kind in KINDS:
        with connect(kind, server) as found:
            found.signatures()
            server.servables.down, before = 2, server.servables.calls
            assert found.predict("reset", {"batch_size": 1})
            assert server.servables.calls == before + 3
            server.servables.down, before = 99, server.servables.calls
            with pytest.raises(client.UnavailableError, match="starting"):
                found.predict("reset", {"batch_size": 1})
            assert server.servables.calls == before + 4
            server.servables.down, before = 99, server.servables.calls
            with pytest.raises(client.UnavailableError):
                found.predict("reset", {"batch_size": 1}, timeout=0.25)
            assert before < server.servables.calls <= before + 2
            server.servables.down = 0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize("kind", KINDS)
def test_no_server(kind: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    nowhere = Serving(f"http://{address}", address, None)
    with connect(kind, nowhere, retries=1) as found:
        with pytest.raises(client.UnavailableError, match=f"{address} cannot be reached"):
            found.predict("reset", {"batch_size": 1})
        with pytest.raises(client.DeadlineExceededError, match="was not ready within 0.3 seconds: .*cannot be reached"):
            found.wait_until_ready(0.3)


def test_a_server_that_starts_later(server: Serving) -> None:
    ports = {kind: free_port() for kind in KINDS}
    later = Serving(f"http://127.0.0.1:{ports['rest']}", f"127.0.0.1:{ports['grpc']}", server.servables)
    found = {}

    def wait(kind: str) -> None:
        with connect(kind, later) as one:
            found[kind] = one.wait_until_ready(20.0).version, one.predict("reset", {"batch_size": 1})

    threads = [threading.Thread(target=wait, args=(kind,)) for kind in KINDS]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    start = time.monotonic()
    with model_server.serve(server.servables, ports["rest"], ports["grpc"]):
        for thread in threads:
            thread.join()
    assert set(found) == set(KINDS) and time.monotonic() - start < 10.0


def answering(content: bytes, pause: float = 0.0) -> tuple[int, threading.Thread]:
    """A port that answers one connection with these bytes, one by one where there is a pause."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listening, listening.accept()[0] as connection:
            connection.recv(1 << 16)
            for piece in [content] if not pause else [content[i : i + 1] for i in range(len(content))]:
                try:
                    connection.sendall(piece)
                except OSError:
                    return
                time.sleep(pause)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return listening.getsockname()[1], thread


HEAD = b"HTTP/1.1 %s\r\nContent-Type: text/html\r\n\r\n%s"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD % (b"200 OK", b"<html>hello</html>"), "something else than a JSON object: <html>hello</html>"),
        (HEAD % (b"200 OK", b"[1, 2]"), "something else than a JSON object"),
        (HEAD % (b"200 OK", b'{"other": 1}'), "words that cannot be read"),
        (HEAD % (b"502 Bad Gateway", b"<html>proxy</html>"), "refused with HTTP 502: <html>proxy</html>"),
        (b"\x00\x00\x04 gRPC", "does not answer as REST does .* Is it the port of gRPC"),
        (b"", "closed the connection without an answer"),
    ],
)
def test_what_is_no_answer_of_a_model_server(content: bytes, message: str) -> None:
    port, thread = answering(content)
    with pytest.raises(client.ServingError, match=message):
        client.RestClient(f"http://127.0.0.1:{port}", "vrnn", retries=0).signatures()
    thread.join(5)


def test_a_server_that_answers_byte_by_byte() -> None:
    port, thread = answering(HEAD % (b"200 OK", b"x" * 400), pause=0.02)
    start = time.monotonic()
    with pytest.raises(client.DeadlineExceededError, match="within 2 seconds"):
        client.RestClient(f"http://127.0.0.1:{port}", "vrnn", retries=0).signatures(timeout=2)
    assert 1.9 < time.monotonic() - start < 4.0
    thread.join(5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: client.RestClient("localhost:8501", "m"), "`address` of REST must look like"),
        (lambda: client.GrpcClient("http://localhost:8500", "m"), "`address` of gRPC must look like"),
        (lambda: client.RestClient("http://localhost", "m", timeout=0.0), "`timeout` must be a positive"),
        (lambda: client.RestClient("http://localhost", "m", version=0), "`version` from 1"),
    ],
)
def test_arguments_that_make_no_sense(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.slow
def test_the_command_line(server: Serving, model: tfdvae.DVAE, tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "in.npz", **score(model))
    files = ["--inputs", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz")]
    for kind in KINDS:
        where = [f"--{kind}", getattr(server, kind), "--model", "vrnn"]
        assert client.run(where) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "version 3: AVAILABLE"
        encode = "encode: mask bool[?, ?], x float32[?, ?, 4] -> z_mean float32[?, ?, 2], z_scale float32[?, ?, 2]"
        assert encode in lines
        if (tmp_path / "out.npz").exists():
            assert client.run([*where, "--signature", "score", *files]) == 1
            assert "out.npz exists. Name a new path, or give --overwrite" in capsys.readouterr().err
        assert client.run([*where, "--signature", "score", *files, "--overwrite"]) == 0
        assert "elbo float32[3]" in capsys.readouterr().out
        expected = parity.call(serving.declare(model)["score"], score(model))
        with np.load(tmp_path / "out.npz") as found:
            np.testing.assert_allclose(found["elbo"], expected["elbo"], rtol=1e-5)
        assert client.run([*where, "--signature", "encode", *files, "--overwrite"]) == 1
        assert "InvalidArgumentError: 'encode' takes" in capsys.readouterr().err
        assert client.run([*where, "--signature", "score"]) == 1
        assert "--inputs and --out are needed" in capsys.readouterr().err


def test_verify_asks_a_server(server: Serving, model: tfdvae.DVAE, folder: Path, tmp_path: Path, capsys) -> None:
    model.save(tmp_path / "model.keras")
    assert verify.run([str(folder), "--model", str(tmp_path / "model.keras"), "--rest", server.rest]) == 0
    assert "within 1e-05" in capsys.readouterr().out
