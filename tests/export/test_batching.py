"""A version whose requests a server may merge: the numbers of Keras, whatever was merged with what."""

import asyncio
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from export import asgi, client, parity, running, saved_model
from tests import cases
from tests.export.merging import merged, parted
from tfdvae import random, serving
from tfdvae.serving import Target
from tfdvae.serving.merging import MOST
from tfdvae.types import Batch


@pytest.fixture(scope="module")
def model() -> tfdvae.DVAE:
    return cases.make("vrnn")


@pytest.fixture(scope="module")
def keras_file(model: tfdvae.DVAE, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "model.keras"
    model.save(path)
    return str(path)


@pytest.fixture(scope="module")
def served(keras_file: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside another version, which may be empty here."""
    out = tmp_path_factory.mktemp("served") / "vrnn"
    (out / "11").mkdir(parents=True)
    arguments = ["--model", keras_file, "--out", str(out), "--batching", "--max_batch_size", "24"]
    assert saved_model.run([*arguments, "--warmup_lengths", "2", "--warmup_batch_sizes", "1", "--label", "canary"]) == 0
    return out


@pytest.fixture(scope="module")
def artefact(served: Path) -> running.Artefact:
    return running.load(served)


@pytest.mark.slow
def test_the_next_version_gets_the_next_number_and_every_signature(
    served: Path, artefact: running.Artefact, keras_file: str, capsys
) -> None:
    lines = (served / "12" / "batching_params.pbtxt").read_text().splitlines()
    assert "max_batch_size { value: 24 }" in lines and "pad_variable_length_inputs: true" in lines
    assert [line.split()[-1] for line in lines if "allowed" in line] == ["1", "2", "4", "8", "16", "24"]
    assert set(artefact.functions) == set(serving.SIGNATURES) and artefact.target == Target(merged=True)
    assert 'version_labels { key: "canary" value: 12 }' in (served / "deploy" / "models.config").read_text()
    before = (served / "12" / "saved_model.pb").read_bytes()
    arguments = ["--model", keras_file, "--out", str(served), "--version", "12", "--batching"]
    assert saved_model.run(arguments) == 1
    assert "12 exists" in capsys.readouterr().err
    assert (served / "12" / "saved_model.pb").read_bytes() == before


@pytest.mark.exhaustive
def test_it_has_the_numbers_of_keras(model: tfdvae.DVAE, artefact: running.Artefact) -> None:
    found = parity.compare(model, artefact)
    for one in found:
        assert one.relative <= 1e-5, one
    assert {one.signature for one in found} == {*serving.SIGNATURES, "step x T", "mixtures"}


@pytest.mark.parametrize("name", serving.SIGNATURES)
def test_merged_requests_get_what_each_gets_alone(model: tfdvae.DVAE, artefact: running.Artefact, name: str) -> None:
    """Requests of one sequence and of two, of unequal lengths, in a batch that is filled up to an allowed size."""
    declared = serving.declare(model, artefact.target)
    requests = [
        parity.examples(model, declared[name], declared, seed=size, batch=size, length=length)
        for size, length in ((1, 4), (2, 9))
    ]
    together = parted(artefact.functions[name](merged(requests, size=4)), [1, 2])
    for given, got in zip(requests, together, strict=True):
        assert got["valid"].all()
        for key, alone in artefact.functions[name](given).items():
            own = got[key][tuple(slice(n) for n in alone.shape)]
            scale = 1e-6 + float(np.max(np.abs(alone)))
            np.testing.assert_allclose(own, alone, rtol=0, atol=1e-5 * scale, err_msg=f"{name} {key}")


@pytest.mark.slow
def test_a_row_draws_what_the_model_draws_from_its_seed(model: tfdvae.DVAE, artefact: running.Artefact) -> None:
    """Path k of a forecast is that of the model itself for the sequence alone, from the seed folded with k."""
    declared = serving.declare(model, artefact.target)
    given = parity.examples(model, declared["forecast"], declared)
    found = artefact.functions["forecast"](given)
    for b in range(parity.BATCH):
        length, horizon, count = (int(given[name][b]) for name in ("length", "horizon", "num_samples"))
        batch = Batch(*(tf.constant(given[name][b : b + 1, :length]) for name in ("x", "mask")))
        for k in range(count):
            seed = random.fold_in(random.make_seed(int(given["seed"][b])), k)
            alone = model.draw_forecast(batch, None, tf.constant(horizon), 1, seed)
            np.testing.assert_allclose(found["samples"][b, k, :horizon], alone.samples[0, 0], rtol=1e-4, atol=1e-5)
    drawn = artefact.functions["generate"]({"length": np.int32([3, 5]), "seed": np.int64([2**40, 7])})
    for b, (length, seed) in enumerate(((3, 2**40), (5, 7))):
        alone = model.generate(length, seed=seed)
        np.testing.assert_allclose(drawn["x"][b, :length], alone.x[0], rtol=1e-4, atol=1e-5)


BAD: dict[str, list[tuple[str, object]]] = {
    "score": [("x", np.nan), ("x", np.inf), ("mask", False), ("num_samples", 0)],
    "reconstruct": [("length", 0), ("length", 99)],
    "generate": [("length", 0), ("length", MOST + 1)],
    "forecast": [("horizon", -1), ("num_samples", MOST + 1)],
    "impute": [("num_sweeps", 0)],
    "step": [("x", np.nan), ("noise_z", np.nan), ("state_h", -np.inf)],
    "generate_step": [("uniform", np.nan)],
}
"""What a row may hold that cannot be answered: one after the other in the rows after the first."""


@pytest.mark.parametrize("name", BAD)
@pytest.mark.slow
def test_a_row_that_cannot_be_answered_harms_no_other(
    model: tfdvae.DVAE, artefact: running.Artefact, name: str
) -> None:
    declared, changes, run = serving.declare(model, artefact.target), BAD[name], artefact.functions[name]
    given = parity.examples(model, declared[name], declared, batch=1 + len(changes))
    alone = run({key: value[:1] for key, value in given.items()})
    given = {key: value.copy() for key, value in given.items()}
    for b, (key, value) in enumerate(changes, 1):
        given[next(one for one in given if one.startswith(key))][b] = value
    found = run(given)
    assert found["valid"].tolist() == [True] + [False] * len(changes)
    for key, value in found.items():
        if value.dtype.kind == "f":
            assert np.isnan(value[1:]).all(), key
            own = value[:1][tuple(slice(n) for n in alone[key].shape)]
            np.testing.assert_allclose(own, alone[key], rtol=1e-4, atol=1e-5, err_msg=key)


def test_what_is_not_declared_for_it_cannot_be_merged(model: tfdvae.DVAE) -> None:
    """The test of the test: a scalar among the inputs is what the server refuses."""
    declared = serving.declare(model)
    given = parity.examples(model, declared["score"], declared)
    with pytest.raises(ValueError, match="at least one dimension"):
        merged([given, given])


# Over HTTP, without TensorFlow Serving.


@pytest.fixture(scope="module")
def app(served: Path, tmp_path_factory: pytest.TempPathFactory) -> asgi.App:
    """Of a version that knows its training data."""
    folder = shutil.copytree(served, tmp_path_factory.mktemp("known") / "vrnn")
    path, usual = folder / "12" / "signatures.json", {"mean": [0.0], "deviation": [1.0], "low": [-9.0], "high": [9.0]}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"statistics": usual}))
    return asgi.App(folder, wait=0.05)


async def ask(app: asgi.App, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request, as an ASGI server hands it on."""
    sent: list[dict] = []
    received = iter(
        [{"type": "http.request", "body": body[:7], "more_body": True}, {"type": "http.request", "body": body[7:]}]
    )

    async def receive() -> dict:
        return next(received)

    async def send(message: dict) -> None:
        sent.append(message)

    await app({"type": "http", "method": method, "path": path}, receive, send)
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.slow
def test_every_signature_has_run_before_the_server_takes_requests(served: Path) -> None:
    pytest.importorskip("tensorflow_serving", reason="tensorflow-serving-api is not installed")
    fresh, ran, sent = asgi.App(served), [], []
    for name, function in fresh._artefact.functions.items():
        fresh._artefact.functions[name] = lambda given, name=name, function=function: (
            ran.append((name, sorted(given))),
            function(given),
        )[1]
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict:
        return next(messages)

    async def send(message: dict) -> None:
        sent.append((message["type"], len(ran)))

    asyncio.run(fresh({"type": "lifespan"}, receive, send))
    assert {name for name, _ in ran} == set(fresh.specs)
    assert all(given == sorted(fresh.specs[name].inputs) for name, given in ran)
    assert sent == [("lifespan.startup.complete", len(ran)), ("lifespan.shutdown.complete", len(ran))]
    fresh.warm_up()
    assert sent[-1][1] == len(ran)


@pytest.mark.parametrize("damage", ["cut", "other"])
@pytest.mark.slow
def test_damaged_warm_up_requests_are_one_error_before_the_server_begins(
    served: Path, tmp_path: Path, damage: str
) -> None:
    pytest.importorskip("tensorflow_serving", reason="tensorflow-serving-api is not installed")
    folder = shutil.copytree(served, tmp_path / "vrnn")
    (requests,) = folder.glob("*/assets.extra/tf_serving_warmup_requests")
    fresh = asgi.App(folder)
    if damage == "cut":
        requests.write_bytes(requests.read_bytes()[:-3])
    else:
        fresh._artefact.functions.pop("score")
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "lifespan.startup"}

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(fresh({"type": "lifespan"}, receive, send))
    (message,) = sent
    told = "cannot be read as warm-up requests" if damage == "cut" else "has warm-up requests of 'score'"
    assert message["type"] == "lifespan.startup.failed" and told in message["message"]


class InProcess(client.RestClient):
    """The client of TensorFlow Serving's REST, with the application at the other end."""

    app: asgi.App

    def _exchange(self, method, path, deadline, body):
        return asyncio.run(ask(self.app, method, path, body or b""))


@pytest.mark.slow
def test_the_client_of_the_server_speaks_with_it(app: asgi.App, model: tfdvae.DVAE, served: Path) -> None:
    with InProcess("http://localhost", "vrnn", description=served / "12" / "signatures.json") as found:
        found.app = app
        assert found.wait_until_ready(1).version == 12 and set(found.signatures()) == set(serving.SIGNATURES)
        declared = serving.declare(model, Target(merged=True))
        given = parity.examples(model, declared["score"], declared)
        expected = parity.call(declared["score"], given)
        got = found.predict("score", given)
        for name, value in expected.items():
            np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-5)
        stream = found.stream(2)
        assert np.isfinite(stream.push(np.zeros([2, cases.X_DIM]))["score"]).all()
        assert stream.generate(2).shape == (2, 2, cases.X_DIM)
        with pytest.raises(client.InvalidArgumentError, match=r"cannot answer the rows \[1\]"):
            stream.push(np.array([[0.0] * cases.X_DIM, [np.nan] * cases.X_DIM]))


@pytest.mark.slow
def test_requests_that_come_at_once_are_one_run(app: asgi.App, model: tfdvae.DVAE) -> None:
    declared = serving.declare(model, Target(merged=True))
    requests = [
        parity.examples(model, declared["reconstruct"], declared, seed=n, batch=1 + n % 2, length=3 + n)
        for n in range(5)
    ]
    bodies = [json.dumps({"inputs": {k: v.tolist() for k, v in one.items()}}).encode() for one in requests]

    async def all_at_once() -> list[tuple[int, bytes]]:
        return await asyncio.gather(*(ask(app, "POST", "/v1/models/vrnn:predict", body) for body in bodies))

    before = app.runs
    answers = asyncio.run(all_at_once())
    assert app.runs == before + 1
    for given, (code, body) in zip(requests, answers, strict=True):
        expected = parity.call(declared["reconstruct"], given)["mean"]
        assert code == 200
        np.testing.assert_allclose(json.loads(body)["outputs"]["mean"], expected, rtol=1e-4, atol=1e-5)


def test_it_warns_once_of_frames_far_outside_of_the_training_data(app: asgi.App) -> None:
    x = np.zeros([1, 3, cases.X_DIM])
    x[0, 2, 1] = 500.0

    def told(**inputs: object) -> list[str]:
        body = json.dumps({"inputs": {"x": x.tolist(), "length": [3], **inputs}}).encode()
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            code, _ = asyncio.run(ask(app, "POST", "/v1/models/vrnn:predict", body))
        codes.append(code)
        return [str(one.message) for one in found if one.category is UserWarning]

    codes: list[int] = []
    assert told(mask=[[True, True, False]]) == []
    assert told(mask=[[True, True]]) == []
    (message,) = told(mask=[[True, True, True]])
    assert "feature 1 is 500, and was between -9 and 9 in training" in message
    assert told(mask=[[True, True, True]]) == [] and codes == [200, 400, 200, 200]


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "message"),
    [
        ("GET", "/v1/models/other", b"", 404, "There is no model 'other'"),
        ("GET", "/v1/models/vrnn/versions/3", b"", 404, "only vrnn, 12"),
        ("GET", "/v1/models/vrnn/labels/stable", b"", 404, "There are no labels of versions here, such as 'stable'"),
        ("GET", "/v1/models/vrnn/labels/stable/metadata", b"", 404, "There are no labels of versions here"),
        ("GET", "/", b"", 400, "Malformed request"),
        ("GET", "/v1/models/vrnn:predict", b"", 400, "Malformed request"),
        ("POST", "/v1/models/vrnn:predict", b"no JSON", 400, "A request is an object"),
        ("POST", "/v1/models/vrnn:predict", b"[]", 400, "A request is an object"),
        ("POST", "/v1/models/vrnn:predict", b'{"signature_name": "x", "inputs": {}}', 400, "no signature 'x'"),
        ("POST", "/v1/models/vrnn:predict", b'{"inputs": {"x": 1}}', 400, "mask, length is missing"),
        (
            "POST",
            "/v1/models/vrnn:predict",
            b'{"signature_name": "reset", "inputs": {"row": [0.5]}}',
            400,
            "must be int32",
        ),
        ("POST", "/v1/models/vrnn:predict", b'{"signature_name": "reset", "inputs": {"row": [[0], 1]}}', 400, "row"),
    ],
)
def test_what_it_refuses(app: asgi.App, method: str, path: str, body: bytes, code: int, message: str) -> None:
    got, answer = asyncio.run(ask(app, method, path, body))
    assert got == code and message in json.loads(answer)["error"], answer
