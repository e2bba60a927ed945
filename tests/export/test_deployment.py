"""What lies beside the versions of a model: files that a server, Compose, Kubernetes and Prometheus read."""

import re
import shlex
import shutil
import socketserver
import subprocess
import threading
from pathlib import Path

import pytest

from export import deployment, saved_model
from export.deployment import Policy

text_format = pytest.importorskip("google.protobuf.text_format")
protos = pytest.importorskip("tests.export.server_protos")
yaml = pytest.importorskip("yaml")

SERVER_FLAGS = {
    *("port", "rest_api_port", "model_config_file", "model_config_file_poll_wait_seconds", "monitoring_config_file"),
    *("allow_version_labels_for_unavailable_models", "enable_batching", "enable_per_model_batching_parameters"),
    "batching_parameters_file",
}
"""As the server's main.cc spells them: it ends where it is given another."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with three versions, which may be empty here."""
    for number in (1, 2, 3):
        (tmp_path / "a model" / "Bach_1" / str(number)).mkdir(parents=True)
    return tmp_path / "a model" / "Bach_1"


def served(out: Path, file: str = "models.config"):
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    text = (out / "deploy" / file).read_text()
    (one,) = text_format.Parse(text, config.ModelServerConfig()).model_config_list.config
    return one


def run(out: Path, *options: str) -> int:
    return deployment.run(["--out", str(out), *options])


def test_what_a_server_reads(out: Path) -> None:
    assert deployment.write(out, "Bach_1") == []
    for file, base_path in (("models.config", "/models/Bach_1"), ("models.host.config", str(out.resolve()))):
        one = served(out, file)
        assert (one.name, one.base_path, one.model_platform) == ("Bach_1", base_path, "tensorflow")
        assert not one.HasField("model_version_policy")
    files = out / "deploy"
    threads = text_format.Parse((files / "batching.config").read_text(), protos.BatchingParameters())
    assert threads.num_batch_threads.value >= 1 and threads.thread_pool_name.value
    version = text_format.Parse(saved_model.batching_params(24), protos.BatchingParameters())
    assert list(version.allowed_batch_sizes) == [1, 2, 4, 8, 16, 24] and version.max_batch_size.value == 24
    assert version.pad_variable_length_inputs and not version.HasField("num_batch_threads")
    monitoring = text_format.Parse((files / "monitoring.config").read_text(), protos.MonitoringConfig())
    assert monitoring.prometheus_config.enable
    (job,) = yaml.safe_load((files / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == monitoring.prometheus_config.path
    assert job["static_configs"] == [{"targets": ["serving:8501"]}]


def test_the_flags_are_the_servers_and_name_files_that_are_there(out: Path) -> None:
    deployment.write(out, "Bach_1")
    command, container = map(shlex.split, deployment.commands(out))
    compose = yaml.safe_load((out / "deploy" / "compose.yaml").read_text())["services"]["serving"]
    pods = list(yaml.safe_load_all((out / "deploy" / "kubernetes.yaml").read_text()))
    inner = pods[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    kserve = yaml.safe_load((out / "deploy" / "kserve.yaml").read_text())["spec"]["predictor"]["model"]["args"]
    assert command[0] == "tensorflow_model_server" and compose["command"] == inner
    assert container[:2] == ["docker", "compose"] and Path(container[3]).is_file()
    places = ((command[1:], ""), (inner, "/models/Bach_1"), (kserve, "/mnt/models"))
    for flags, root in places:
        given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
        assert set(given) <= SERVER_FLAGS and len(given) == len(flags)
        assert given["enable_batching"] == given["enable_per_model_batching_parameters"] == "true"
        for path in (value for key, value in given.items() if key.endswith("_file")):
            there = out / Path(path).relative_to(root) if root else Path(path)
            assert there.is_file(), path


def test_the_container(out: Path) -> None:
    deployment.write(out, "Bach_1")
    service = yaml.safe_load((out / "deploy" / "compose.yaml").read_text())["services"]["serving"]
    # A pinned release; the folder may be moved, since what is mounted lies beside the file.
    assert re.fullmatch(r"tensorflow/serving:\$\{TF_SERVING_TAG:-\d+\.\d+\.\d+\}", service["image"])
    mounted = {"type": "bind", "source": "..", "target": "/models/Bach_1", "read_only": True}
    assert service["volumes"] == [mounted] and service["environment"] == {"MODEL_NAME": "Bach_1"}
    assert service["ports"] == ["8500:8500", "8501:8501"] and service["restart"] == "unless-stopped"
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


def test_pods(out: Path) -> None:
    deployment.write(out, "Bach_1")
    found = {one["kind"]: one for one in yaml.safe_load_all((out / "deploy" / "kubernetes.yaml").read_text())}
    assert set(found) == {"Deployment", "Service", "PodDisruptionBudget"}
    pod = found["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    # Kubernetes takes lower case and hyphens for its own names; the server's model keeps its name.
    assert pod["metadata"]["labels"] == found["Service"]["spec"]["selector"] == {"app": "bach-1"}
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == {"app": "bach-1"}
    names = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert names == {"grpc": 8500, "rest": 8501}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/v1/models/Bach_1", "port": "rest"}
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["spec"]["volumes"]}
    assert container["image"].rpartition(":")[2] == deployment.tag()
    kserve = yaml.safe_load((out / "deploy" / "kserve.yaml").read_text())
    model = kserve["spec"]["predictor"]["model"]
    assert kserve["kind"] == "InferenceService" and model["storageUri"] == "pvc://models/Bach_1"


class Status(socketserver.StreamRequestHandler):
    """Answers as the server's REST does, and closes."""

    def handle(self) -> None:
        path = self.rfile.readline().decode().split()[1]
        while self.rfile.readline().strip():
            pass
        state = self.server.states.get(path, "")
        self.wfile.write(b'HTTP/1.0 200 OK\r\n\r\n{"model_version_status": [{"state": "%s"}]}' % state.encode())


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash on PATH, which the image has")
def test_the_health_check_tells_whether_the_model_answers(out: Path) -> None:
    deployment.write(out, "Bach_1")
    check = yaml.safe_load((out / "deploy" / "compose.yaml").read_text())["services"]["serving"]["healthcheck"]["test"]
    assert check[:3] == ["CMD", "bash", "-c"] and "/8501" in check[3]
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Status) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        command = ["bash", "-c", check[3].replace("/8501", f"/{server.server_address[1]}")]
        for state, healthy in (("LOADING", False), ("AVAILABLE", True), ("END", False)):
            server.states = {"/v1/models/Bach_1": state}
            assert (subprocess.run(command, capture_output=True, timeout=30).returncode == 0) is healthy, state
        server.shutdown()
    assert subprocess.run(command, capture_output=True, timeout=30).returncode != 0


def test_a_canary_and_its_promotion(out: Path, capsys) -> None:
    assert run(out, "--label", "stable=1", "--label", "canary=2") == 0
    said = capsys.readouterr().out
    assert said.startswith("model_config_list {") and 'key: "stable" value: 1' in said
    for file in ("models.config", "models.host.config"):
        one = served(out, file)
        assert dict(one.version_labels) == {"stable": 1, "canary": 2}
        # The newest was served before, and still is.
        assert list(one.model_version_policy.specific.versions) == [1, 2, 3]
    assert run(out, "--versions", "1") == 0
    assert list(served(out).model_version_policy.specific.versions) == [1, 2]
    # No server would move a label to a version that it does not serve.
    assert run(out, "--label", "stable=3") == 1
    assert "cannot move from version 1 to 3, which is not served" in capsys.readouterr().err
    assert dict(served(out).version_labels) == {"stable": 1, "canary": 2}
    assert run(out, "--label", "stable=2", "--versions", "1") == 0
    assert dict(served(out).version_labels) == {"stable": 2, "canary": 2}
    assert list(served(out).model_version_policy.specific.versions) == [1, 2]
    assert run(out, "--label", "stable=1") == 0
    assert dict(served(out).version_labels) == {"stable": 1, "canary": 2}
    # Another export leaves all of that alone.
    assert deployment.write(out, "Bach_1") == []
    assert dict(served(out).version_labels) == {"stable": 1, "canary": 2}


def test_the_next_canary_is_served_before_its_label_moves(out: Path, capsys) -> None:
    """What a refusal advises does what was asked for, though the label in question is the canary's."""
    assert run(out, "--label", "stable=1", "--label", "canary=2", "--versions", "1") == 0
    assert run(out, "--label", "canary=3") == 1
    advised = re.search(r"with (--versions [\d ]*\d)", capsys.readouterr().err)
    assert advised and run(out, *advised[1].split()) == 0
    assert list(served(out).model_version_policy.specific.versions) == [1, 2, 3]
    assert run(out, "--label", "canary=3") == 0
    assert dict(served(out).version_labels) == {"stable": 1, "canary": 3}


def test_the_newest_versions(out: Path) -> None:
    assert run(out, "--keep", "2") == 0
    assert served(out).model_version_policy.latest.num_versions == 2 and not served(out).version_labels
    assert deployment.policy_of((out / "deploy" / "models.config").read_text()) == Policy(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--label", "stable=9"], "has no version 9, only 1, 2, 3"),
        (["--label", "stable"], "as stable=1; got 'stable'"),
        (["--label", "sta ble=1"], "as stable=1; got 'sta ble=1'"),
        (["--versions", "7"], "has no version 7"),
        (["--keep", "-1"], "--keep counts from 1"),
        (["--keep", "2", "--label", "stable=1"], "--keep goes by age"),
    ],
)
def test_policies_that_make_no_sense(out: Path, capsys, options: list[str], message: str) -> None:
    assert run(out, *options) == 1
    assert message in capsys.readouterr().err
    assert not (out / "deploy").exists()


def test_files_that_were_edited_stay(out: Path) -> None:
    deployment.write(out, "Bach_1")
    (out / "deploy" / "compose.yaml").write_text("# mine")
    (remark,) = deployment.write(out, "Bach_1")
    assert "compose.yaml was kept" in remark and (out / "deploy" / "compose.yaml").read_text() == "# mine"


@pytest.mark.slow
def test_no_folder_of_versions(tmp_path: Path, capsys) -> None:
    assert run(tmp_path / "absent") == 1
    assert "There is no folder" in capsys.readouterr().err
