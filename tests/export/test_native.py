"""The C++ program that loads a SavedModel as TensorFlow Serving does: every signature, without Python's TensorFlow."""

import json
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
from export import native, parity, running, verify
from tests import cases
from tests.export.compiler import needs_compiler
from tfdvae import serving

pytestmark = needs_compiler

ALONE = """
import sys

class Others:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        # TensorFlow may be found, not imported: its libraries are.
        if name.partition(".")[0] in ("keras", "tf_keras", "tensorflow_probability", "tfdvae"):
            return None
        return self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Others(finder) for finder in sys.meta_path]
import numpy as np
from export import native

folder, arrays, out = sys.argv[1:]
given, found = np.load(arrays), {}
with native.Program(folder) as program:
    for name in program.signatures:
        if name == "serving_default":
            continue
        inputs = {key.partition("/")[2]: given[key] for key in given.files if key.startswith(name + "/")}
        found |= {f"{name}/{key}": value for key, value in program.run(name, inputs).items()}
np.savez(out, **found)
assert not {"tensorflow", "keras", "tf_keras", "tensorflow_probability", "tfdvae"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def model() -> tfdvae.DVAE:
    return cases.make("vrnn")


@pytest.fixture(scope="module")
def folder(vrnn_versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's version, in a folder of its own."""
    out = shutil.copytree(vrnn_versions, tmp_path_factory.mktemp("native") / "vrnn")
    return out / "3"


@pytest.fixture(scope="module")
def program(folder: Path):
    with native.Program(folder) as found:
        yield found


def check(model: tfdvae.DVAE, path: Path) -> None:
    found = parity.compare(model, native.load(path))
    for one in found:
        assert one.relative <= 1e-5, one
    streamed = ["step x T", "mixtures"] if model.causal else []
    assert {one.signature for one in found} == {*serving.declare(model), *streamed}


@pytest.mark.slow
@pytest.mark.parametrize("name", cases.params(cases.PRIMARY, always=()))
def test_every_signature_of_every_model(name: str, tmp_path: Path) -> None:
    """A VRNN is what the tests below run."""
    model = cases.make(name)
    model.export(tmp_path / "model")
    check(model, tmp_path / "model")


@pytest.mark.slow
def test_it_runs_in_a_process_without_tensorflow(model: tfdvae.DVAE, folder: Path, tmp_path: Path) -> None:
    declared = serving.declare(model)
    given = {name: parity.examples(model, one, declared) for name, one in declared.items()}
    np.savez(tmp_path / "in.npz", **{f"{n}/{k}": v for n, arrays in given.items() for k, v in arrays.items()})
    native.build()
    command = [sys.executable, "-c", ALONE, str(folder), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    environment = {**os.environ, "PYTHONPATH": str(native.ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    found = np.load(tmp_path / "out.npz")
    assert len(found.files) == sum(len(one.outputs) for one in declared.values())
    for name, signature in declared.items():
        for key, value in parity.call(signature, given[name]).items():
            scale = float(np.max(np.abs(value)))
            np.testing.assert_allclose(found[f"{name}/{key}"], value, rtol=0, atol=1e-5 * scale)


class Echo(tf.Module):
    """Returns what it is given, so that the way there and back can be tested alone."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, "a"),
            tf.TensorSpec([None, 2], tf.int64, "b"),
            tf.TensorSpec([], tf.int32, "c"),
            tf.TensorSpec([1, None], tf.bool, "d"),
            tf.TensorSpec([None], tf.float64, "e"),
        ]
    )
    def call(self, a, b, c, d, e):
        return {"a": tf.identity(a), "b": tf.identity(b), "c": tf.identity(c), "d": tf.identity(d), "e": tf.identity(e)}


def test_every_number_arrives_as_it_was_sent(tmp_path: Path) -> None:
    module = Echo()
    tf.saved_model.save(module, str(tmp_path / "echo"), {"echo": module.call})
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2**32, 2000, dtype=np.uint32).view(np.float32)
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 3.4028235e38, 0.1]
    given = {
        "a": np.concatenate([patterns, np.array(special, np.float32)]),
        "b": np.array([[2**63 - 1, -(2**63)], [2**53 + 1, -(2**53) - 1]]),
        "c": np.array(-(2**31), np.int32),
        "d": np.array([[True, False, True]]),
        "e": np.concatenate([rng.normal(size=50) * 10.0 ** rng.integers(-300, 300, 50), special]),
    }
    with native.Program(tmp_path / "echo") as program:
        assert program.signatures == ("echo",)
        found = program.run("echo", given)
        empty = program.run("echo", {**given, "a": given["a"][:0], "b": given["b"][:0], "d": given["d"][:, :0]})
    for name, value in given.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        np.testing.assert_array_equal(found[name], value)
        np.testing.assert_array_equal(np.signbit(found[name]) & (value == 0), np.signbit(value) & (value == 0))
    assert (empty["a"].shape, empty["b"].shape, empty["d"].shape) == ((0,), (0, 2), (1, 0))


@pytest.mark.parametrize(
    ("signature", "change", "message"),
    [
        ("classify", {}, "no signature 'classify'. The model has encode, forecast, .*, step"),
        ("encode", {"x": None}, "'encode' needs the input 'x'"),
        ("encode", {"y": np.zeros(1)}, "'encode' takes mask, x, and no 'y'"),
        ("encode", {"x": np.zeros([3, 7, cases.X_DIM])}, "'x' must be float32, got float64"),
        ("encode", {"x": np.zeros([3, 7, 5], "float32")}, r"'x' must have the shape \[\?,\?,4\], got \[3,7,5\]"),
        ("encode", {"mask": np.ones([3, 7, 1], bool)}, "'mask' must have the shape"),
        ("encode", {"mask": np.zeros([3, 7], bool)}, "needs a frame that exists"),
    ],
)
def test_what_cannot_be_run(
    program: native.Program, model: tfdvae.DVAE, signature: str, change: dict, message: str
) -> None:
    declared = serving.declare(model)
    good = parity.examples(model, declared["encode"], declared)
    with pytest.raises(ValueError, match=message):
        program.run(signature, {name: value for name, value in {**good, **change}.items() if value is not None})
    assert np.isfinite(program.run("encode", good)["z_mean"]).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no JSON", "This line is no JSON"),
        ("[1]", "A request is an object"),
        ('{"signature": 1, "inputs": {}}', "A request is an object"),
        ('{"signature": "reset", "inputs": {}, "repeat": -1}', '"repeat" is a count'),
        ('{"signature": "reset", "inputs": {"batch_size": 1}}', "must be an object of dtype, shape and flat data"),
        *(
            (json.dumps({"signature": "reset", "inputs": {"batch_size": {"dtype": "int32", **tensor}}}), message)
            for tensor, message in (
                ({"shape": [], "data": [1.5]}, "entry 0 of its data is none"),
                ({"shape": [], "data": [2**31]}, "entry 0 of its data is none"),
                ({"shape": [], "data": [True]}, "entry 0 of its data is none"),
                ({"shape": [], "data": []}, "needs 1 numbers, got 0"),
                ({"shape": [-1], "data": []}, "no list of sizes"),
                ({"shape": 1, "data": []}, "must be an object"),
            )
        ),
    ],
)
def test_requests_that_are_none(program: native.Program, line: str, message: str) -> None:
    program._process.stdin.write(line.encode() + b"\n")
    program._process.stdin.flush()
    with pytest.raises(ValueError, match=message):
        program._read()
    assert program.run("reset", {"batch_size": np.int32(2)})


def test_times(program: native.Program, model: tfdvae.DVAE) -> None:
    declared = serving.declare(model)
    taken = program.time("encode", parity.examples(model, declared["encode"], declared), 20)
    assert taken.shape == (20,) and (taken > 0.0).all() and np.median(taken) < 1.0


def test_threads_wait_for_each_other(program: native.Program) -> None:
    found = {}

    def run(size: int) -> None:
        for _ in range(10):
            found.setdefault(size, []).append(program.run("reset", {"batch_size": np.int32(size)}))

    threads = [threading.Thread(target=run, args=(size,)) for size in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(value.shape[0] == size for size, many in found.items() for one in many for value in one.values())


@pytest.mark.slow
def test_it_ends_with_its_last_reference_and_when_it_is_closed(folder: Path) -> None:
    artefact = native.load(folder)
    loaded = artefact.functions["reset"].__closure__
    process = next(cell.cell_contents for cell in loaded if isinstance(cell.cell_contents, native.Program))._process
    assert process.poll() is None
    del artefact, loaded
    assert process.poll() == 0
    program = native.Program(folder)
    program.close()
    program.close()
    with pytest.raises(RuntimeError, match="was closed"):
        program.run("reset", {"batch_size": np.int32(1)})


@pytest.mark.slow
def test_a_process_that_dies(folder: Path) -> None:
    with native.Program(folder) as program:
        program._process.kill()
        program._process.wait()
        with pytest.raises(RuntimeError, match="ended with the code -9"):
            program.run("reset", {"batch_size": np.int32(1)})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("load", [running.load, native.load], ids=["python", "native"])
@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("saved_model.pb", cut, "may be damaged"),
        ("saved_model.pb", Path.unlink, "holds no SavedModel with signatures.json"),
        ("signatures.json", Path.unlink, "holds no SavedModel with signatures.json"),
        ("signatures.json", cut, "holds no description of signatures"),
        ("variables/variables.data-00000-of-00001", cut, "may be damaged"),
        ("variables/variables.index", Path.unlink, "may be damaged|is not complete"),
    ],
)
def test_a_damaged_saved_model(folder: Path, tmp_path: Path, load, file: str, damage, message: str) -> None:
    shutil.copytree(folder, tmp_path / "model")
    damage(tmp_path / "model" / file)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "model")


def test_no_saved_model(tmp_path: Path) -> None:
    for path, error, message in (
        (tmp_path / "absent", FileNotFoundError, "There is no exported model"),
        (tmp_path, ValueError, "holds no SavedModel"),
    ):
        with pytest.raises(error, match=message):
            native.load(path)


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(native, "OUT", tmp_path)
    assert native.run([]) == 1
    assert "There is no C++ compiler no-such-compiler on PATH" in capsys.readouterr().err


def test_a_source_that_does_not_compile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken.cc").write_text("int main() { return undeclared; }")
    monkeypatch.setattr(native, "SOURCE", tmp_path / "broken.cc")
    monkeypatch.setattr(native, "OUT", tmp_path / "out")
    with pytest.raises(RuntimeError, match="could not compile (.|\n)*undeclared"):
        native.build()


def test_warmup_requests_replay(program: native.Program, folder: Path, model: tfdvae.DVAE) -> None:
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    replayed = []
    for record in tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests")):
        request = logs.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        outputs = program.run(request.model_spec.signature_name, inputs)
        assert all(np.isfinite(value).all() for value in outputs.values())
        replayed.append(request.model_spec.signature_name)
    assert list(dict.fromkeys(replayed)) == list(serving.declare(model))


def test_verify_runs_it(model: tfdvae.DVAE, tmp_path: Path, capsys) -> None:
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "some", signatures=["encode", "reset", "step"])
    assert verify.run([str(tmp_path / "some"), "--model", str(tmp_path / "model.keras"), "--native"]) == 0
    assert "step x T" in capsys.readouterr().out


def test_the_folder_of_versions_stands_for_the_newest(folder: Path, model: tfdvae.DVAE) -> None:
    (folder.parent / "0").mkdir(exist_ok=True)
    given = {"batch_size": np.int32(2)}
    with native.Program(folder.parent) as program:
        assert program.path == folder
        found, expected = program.run("reset", given), parity.call(serving.declare(model)["reset"], given)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    # The program by itself finds it as well.
    alone = subprocess.run([native.build(), str(folder.parent)], input="", capture_output=True, text=True, check=True)
    assert "encode" in json.loads(alone.stdout)["signatures"]
    nothing = subprocess.run([native.build(), str(folder / "assets")], input="", capture_output=True, text=True)
    assert nothing.returncode == 1 and "neither a SavedModel nor versions" in json.loads(nothing.stdout)["error"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_program_of_forty_lines_streams_with_the_header(folder: Path, model: tfdvae.DVAE) -> None:
    x = np.random.default_rng(0).normal(size=(6, cases.X_DIM)).astype("float32")
    text = "".join(" ".join(map(repr, row.tolist())) + "\n" for row in x)
    command = [str(native.build(native.EXAMPLE)), str(folder.parent), "3"]
    lines = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    state, expected = model.initial_state(1), []
    for frame in x:
        out = model.step(state, frame[None])
        state = out.state
        expected.append(float(out.log_px[0] - out.kl[0]))
    np.testing.assert_allclose([float(line) for line in lines[:6]], expected, rtol=1e-4, atol=1e-5)
    drawn = np.array([line.split() for line in lines[6:]], float)
    assert drawn.shape == (3, cases.X_DIM) and np.isfinite(drawn).all() and len(np.unique(drawn, axis=0)) == 3
    wrong = subprocess.run(command, input="1 2 3\n", capture_output=True, text=True)
    assert wrong.returncode == 1 and "'step' takes 'x' as float[?,4], got" in wrong.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_it_compares_frames_with_those_of_training(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    path = tmp_path / "model" / "signatures.json"
    usual = {"mean": [0.0], "deviation": [0.7], "low": [-1.5], "high": [1.5]}
    known = {"data": {"features": list("abcd")}, "statistics": usual}
    path.write_text(json.dumps(json.loads(path.read_text()) | known))

    def run(text: str) -> subprocess.CompletedProcess:
        command = [str(native.build(native.EXAMPLE)), str(tmp_path / "model"), "0"]
        return subprocess.run(command, input=text, capture_output=True, text=True)

    result = run("a b c d\n0 0 1.2 0\n0 0 500 0\n0 0 900 0\n")
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 3, result.stderr
    (warning,) = (line for line in result.stderr.splitlines() if "in training" in line)
    assert "WARNING: c is 500, and was between -1.5 and 1.5 in training" in warning
    result = run("b a c d\n0 0 1.2 0\n")
    assert result.returncode == 1 and "those of the model a, b, c, d, in another order." in result.stderr


def test_what_it_links_is_told(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert native.run(["--link"]) == 0
    arguments = capsys.readouterr().out.split()
    assert all(f"-l:{name}" in arguments for name in native.LIBRARIES) and "-Wl,--no-as-needed" in arguments
    # Both are compiled by the tests above.
    monkeypatch.setattr(native, "build", lambda source: source)
    assert native.run([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [Path(line) for line in lines[:2]] == [native.SOURCE, native.EXAMPLE]
    assert [Path(line.split()[1].rstrip(",")).name for line in lines[2:]] == list(native.LIBRARIES)
