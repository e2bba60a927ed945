"""TensorFlow Serving itself, where its binary is installed: every signature over REST and gRPC; and what starts it."""

import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from export import client, deployment, parity, saved_model
from tests import cases
from tfdvae import serving

BINARY = "tensorflow_model_server"
needs_binary = pytest.mark.skipif(shutil.which(BINARY) is None, reason=f"no {BINARY} on PATH")


@pytest.fixture(scope="module")
def model() -> tfdvae.DVAE:
    return cases.make("vrnn")


@pytest.fixture(scope="module", params=[False, True], ids=["single", "batching"])
def folder(request: pytest.FixtureRequest, model: tfdvae.DVAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("served") / "vrnn"
    saved_model.write_version(model, out, max_batch_size=8 if request.param else None, lengths=(2,))
    deployment.write(out, "vrnn")
    return out


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def ports(folder: Path) -> Iterator[dict[str, str]]:
    """The server that `export.saved_model` says to start, on other ports."""
    command, _ = deployment.commands(folder)
    remote, rest = free_port(), free_port()
    replaced = command.replace("--port=8500", f"--port={remote}").replace("api_port=8501", f"api_port={rest}")
    with (folder.parent / "server.log").open("wb") as log:
        process = subprocess.Popen(shlex.split(replaced), stdout=log, stderr=subprocess.STDOUT)
        try:
            found = {"rest": f"http://127.0.0.1:{rest}", "grpc": f"127.0.0.1:{remote}"}
            for kind in found:
                with connect(kind, found) as one:
                    one.wait_until_ready(60.0)
            yield found
        except client.ServingError as error:
            pytest.fail(f"{error}\n{(folder.parent / 'server.log').read_text()[-4000:]}")
        finally:
            process.terminate()
            process.wait(30)


def connect(kind: str, ports: dict[str, str], **options) -> client.Client:
    make = {"rest": client.RestClient, "grpc": client.GrpcClient}[kind]
    return make(ports[kind], "vrnn", timeout=60.0, **options)


@needs_binary
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_every_signature_has_the_numbers_of_keras(
    kind: str, ports: dict[str, str], folder: Path, model: tfdvae.DVAE
) -> None:
    with connect(kind, ports) as one:
        artefact = one.artefact(folder)
        found = parity.compare(model, artefact)
    for difference in found:
        assert difference.relative <= 1e-5, difference
    assert {difference.signature for difference in found} >= set(artefact.functions)


@needs_binary
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_errors_of_the_server(kind: str, ports: dict[str, str], model: tfdvae.DVAE) -> None:
    declared = serving.declare(model)
    with connect(kind, ports, version=99) as one:
        with pytest.raises(client.NotFoundError, match="Versions that are: 1"):
            one.predict("encode", {})
    with connect(kind, ports) as one:
        given = parity.examples(model, declared["encode"], declared)
        with pytest.raises(client.NotFoundError, match="There are .*encode"):
            one.predict("classify", given)
        with pytest.raises(client.InvalidArgumentError, match="needs a frame that exists"):
            one.predict("encode", {**given, "mask": np.zeros_like(given["mask"])})
        with pytest.raises(client.DeadlineExceededError):
            one.predict("encode", given, timeout=1e-4)


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions without a SavedModel, for tests of what lies around it."""

    def export(model: tfdvae.DVAE, folder: Path, merged: bool) -> None:
        folder.mkdir()
        (folder / "saved_model.pb").write_text("whole")

    monkeypatch.setattr(serving, "export_saved_model", export)
    monkeypatch.setattr(saved_model, "write_warmup", lambda *arguments: None)


@pytest.mark.parametrize("name", ["a/b", "a:b", 'a"b', "with space"])
def test_a_name_that_no_server_takes(model: tfdvae.DVAE, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="A model's name on a server"):
        saved_model.write_version(model, tmp_path / "out", name=name)
    assert list(tmp_path.iterdir()) == []


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_full_disk_leaves_earlier_versions_as_they_are(model: tfdvae.DVAE, tmp_path: Path, capfd) -> None:
    """No file may grow beyond a size that saved_model.pb exceeds: writing ends as on a full disk."""
    resource = pytest.importorskip("resource")
    model.export(tmp_path / "out" / "1", signatures=["reset"])
    before = snapshot(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="out/2 could not be written: .*File too large"):
            saved_model.write_version(model, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert snapshot(tmp_path) == before and [path.name for path in (tmp_path / "out").iterdir()] == ["1"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), tf.errors.ResourceExhaustedError(None, None, "full")]
)
@pytest.mark.parametrize("where", ["write_warmup", "batching_params"])
def test_a_failure_late_in_a_version(
    cheap: None, model: tfdvae.DVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, where: str
) -> None:
    saved_model.write_version(model, tmp_path / "out")
    before = snapshot(tmp_path / "out" / "1")

    def fail(*arguments) -> None:
        raise error

    monkeypatch.setattr(saved_model, where, fail)
    with pytest.raises(OSError, match="No space|full"):
        saved_model.write_version(model, tmp_path / "out", max_batch_size=4)
    assert snapshot(tmp_path / "out" / "1") == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1"]


def test_of_two_versions_at_once_the_second_takes_the_next_number(
    cheap: None, model: tfdvae.DVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[Path] = []

    def meanwhile(*arguments) -> None:
        monkeypatch.setattr(saved_model, "write_warmup", lambda *arguments: None)
        others.append(saved_model.write_version(model, tmp_path / "out")[0])

    monkeypatch.setattr(saved_model, "write_warmup", meanwhile)
    path, _ = saved_model.write_version(model, tmp_path / "out")
    assert (others, path) == ([tmp_path / "out" / "1"], tmp_path / "out" / "2")
    assert all((version / "saved_model.pb").read_text() == "whole" for version in (*others, path))
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["1", "2"]


def test_a_folder_that_cannot_be_written(model: tfdvae.DVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not bind the superuser, so the operating system's refusal is imitated."""
    model.export(tmp_path / "out" / "1", signatures=["reset"])
    before, make = snapshot(tmp_path), Path.mkdir

    def refuse(self: Path, *arguments, **options) -> None:
        if self.parent == tmp_path / "out":
            raise PermissionError(13, "Permission denied", str(self))
        make(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionError, match="2 cannot be made: Permission denied"):
        saved_model.write_version(model, tmp_path / "out")
    assert snapshot(tmp_path) == before
