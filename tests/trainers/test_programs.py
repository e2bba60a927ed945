"""evaluate, generate and demo, and all of them as the shell runs them."""

import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from ml_collections import ConfigDict

import tfdvae
from export.edge.stream import Stream
from tests.trainers.helpers import load, program, smoke
from tfdvae.data import load_pianoroll, read_midi, write_midi
from trainers import building, demo, evaluate, generate, settings

PNG = b"\x89PNG"
needs_music = pytest.mark.skipif(importlib.util.find_spec("music21") is None, reason="needs the extra music")


@pytest.mark.slow
def test_evaluate_gives_the_table_of_training(finished: Path, capsys: pytest.CaptureFixture) -> None:
    scores = evaluate.run(finished)
    saved = json.loads((finished / "scores_test.json").read_text())
    np.testing.assert_allclose(scores.elbo, list(saved["elbo"].values()), rtol=1e-6)
    np.testing.assert_allclose(scores.iwae, list(saved["iwae"].values()), rtol=1e-6)
    assert capsys.readouterr().out.strip() == (finished / "scores_test.txt").read_text().strip()


@pytest.mark.slow
def test_evaluate_on_another_split_and_other_data(finished: Path, rolls: Path) -> None:
    valid = load_pianoroll(rolls).valid
    scores = evaluate.run(finished, "valid", ["max_sequences=2"], num_samples=3)
    assert (scores.split, scores.sequences, scores.num_samples) == ("valid", 2, 3)
    assert scores.frames == valid.lengths[:2].sum()


def test_evaluate_refuses_what_it_cannot_do(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Unknown split 'all': expected one of train, valid, test"):
        evaluate.run(finished, "all")
    with pytest.raises(ValueError, match=r"Expected key=value with a key of .*path.*; got 'paht=3'"):
        evaluate.run(finished, data=["paht=3"])
    with pytest.raises(FileNotFoundError, match="must be the folder of a run"):
        evaluate.run(tmp_path)


def test_a_run_that_has_not_finished_or_is_damaged(finished: Path, tmp_path: Path) -> None:
    (tmp_path / settings.FILE).write_bytes((finished / settings.FILE).read_bytes())
    with pytest.raises(FileNotFoundError, match="has not finished; the command that began it goes on"):
        evaluate.run(tmp_path)
    (tmp_path / building.MODEL_FILE).write_bytes((finished / building.MODEL_FILE).read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot be loaded as a model of this library"):
        evaluate.run(tmp_path)
    keras.Sequential([keras.Input([2]), keras.layers.Dense(1)]).save(tmp_path / building.MODEL_FILE)
    with pytest.raises(ValueError, match="holds a Sequential"):
        evaluate.run(tmp_path)


def test_a_run_begun_before_a_setting_existed(finished: Path, tmp_path: Path) -> None:
    content = json.loads((finished / settings.FILE).read_text())
    content["training"].pop("keep")
    (tmp_path / settings.FILE).write_text(json.dumps(content))
    assert settings.load(tmp_path).training.keep == "best"
    content["training"]["kept"] = "best"
    (tmp_path / settings.FILE).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="config.training has no key 'kept'"):
        settings.load(tmp_path)


@needs_music
@pytest.mark.slow
def test_generate_writes_music_that_can_be_read_back(finished: Path, tmp_path: Path) -> None:
    paths = generate.run(finished, length=12, num=2, seed=3, output=tmp_path)
    assert [p.name for p in paths] == ["sample_000.mid", "sample_000.png", "sample_001.mid", "sample_001.png"]
    drawn = generate.draw(building.load_model(finished), 12, 2, seed=3)
    assert drawn.shape == (2, 12, 88)
    for i, roll in enumerate(drawn):
        np.testing.assert_array_equal(read_midi(tmp_path / f"sample_{i:03d}.mid"), roll)
        assert (tmp_path / f"sample_{i:03d}.png").read_bytes().startswith(PNG)
    assert (drawn[0] != drawn[1]).any()
    assert (generate.draw(building.load_model(finished), 12, 2, seed=4) != drawn).any()


@needs_music
@pytest.mark.parametrize("kind", ["mid", "npz"])
@pytest.mark.slow
def test_generate_continues_given_music(kind: str, finished: Path, rolls: Path, tmp_path: Path) -> None:
    given = load_pianoroll(rolls).test.x[0]
    path = rolls
    if kind == "mid":
        path = tmp_path / "given.mid"
        write_midi(path, given)
    generate.run(finished, length=5, prefix=path, prefix_frames=4, output=tmp_path / "out")
    roll = read_midi(tmp_path / "out" / "sample_000.mid")
    assert roll.shape == (9, 88)
    np.testing.assert_array_equal(roll[:4], given[:4])
    with pytest.raises(ValueError, match=f"from 1 to {len(given)}"):
        generate.run(finished, length=5, prefix=path, prefix_frames=99, output=tmp_path / "out")


def test_generate_refuses_models_of_other_data() -> None:
    model = tfdvae.VAE(2, encoder_units=(4,), decoder_units=(4,), observation="gaussian")
    model.build_for(3)
    with pytest.raises(ValueError, match=r"MIDI needs frames of 88 keys.*Gaussian draws 3 features"):
        generate.draw(model, 4)


@needs_music
@pytest.mark.slow
def test_the_demo_on_a_few_chorales(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("ai_edge_litert")
    config = smoke("bach", "vrnn", data={"cache_dir": str(tmp_path / "cache"), "limit": 4})
    paths = demo.run(config, tmp_path / "demo")
    printed = capsys.readouterr().out
    assert all(path.is_file() and str(path) in printed for path in paths)
    assert {path.name for path in paths} >= {"chorale.mid", "chorale.png", "curves.png", "latents.png", "model.keras"}
    assert all(path.read_bytes().startswith(PNG) for path in paths if path.suffix == ".png")
    first = read_midi(tmp_path / "demo" / "chorale.mid")
    assert first.shape == (demo.FRAMES, 88)
    continued, original = (read_midi(tmp_path / "demo" / f"{name}.mid") for name in ("continued", "original"))
    assert continued.shape == (demo.FRAMES, 88)
    np.testing.assert_array_equal(continued[: demo.PRIME], original[: demo.PRIME])
    stream = Stream(tmp_path / "demo" / "chorale_model.tflite")
    for frame in original[: demo.PRIME]:
        stream.push(frame)
    np.testing.assert_array_equal(continued[demo.PRIME :], stream.generate(demo.FRAMES - demo.PRIME))
    assert "Without TensorFlow: " in printed
    assert "vrnn on bach, split test: 1 sequences" in printed
    # Run again, it only draws again.
    demo.run(config, tmp_path / "demo")
    assert "Training was complete." in capsys.readouterr().out
    np.testing.assert_array_equal(read_midi(tmp_path / "demo" / "chorale.mid"), first)
    np.testing.assert_array_equal(read_midi(tmp_path / "demo" / "continued.mid"), continued)
    assert not list((tmp_path / "demo").glob(".*"))


def test_the_demo_takes_minutes_and_not_hours() -> None:
    """Its variant has what makes it short; the time itself depends on the machine."""
    config, full = load("bach", "vrnn", "demo"), load("bach", "vrnn")
    assert config.training.epochs <= 20 < full.training.epochs


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_shell_trains_evaluates_and_generates(config: ConfigDict, rolls: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    options = [f"--config.data.path={rolls}", "--config.training.epochs=1", "--config.model.phi_x=(4, 4)"]
    command = ["train", "--config", "configs/pianoroll/vrnn.py:smoke", "--workdir", workdir]
    trained = program(*command, *options)
    assert trained.returncode == 0, trained.stderr
    assert (workdir / "scores_test.txt").read_text().strip() in trained.stdout
    assert building.load_model(workdir).cell.phi_x == (4, 4)
    again = program(*command, options[0])
    assert again.returncode == 1
    assert again.stderr.count("ValueError") == 1
    assert "model.phi_x is [4, 4] there, [8] here" in again.stderr
    evaluated = program("evaluate", "--workdir", workdir, "--split", "valid", "--data", "max_sequences=1")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "split valid: 1 sequences" in evaluated.stdout
    if importlib.util.find_spec("music21"):
        drawn = program("generate", "--workdir", workdir, "--length", 8, "--output", tmp_path / "out")
        assert drawn.returncode == 0, drawn.stderr
        assert read_midi(tmp_path / "out" / "sample_000.mid").shape == (8, 88)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config", "configs/bach/vrnn.py", "--config.model.latent_dimm=3"],
            "There is no config.model.latent_dimm: config.model has activation, cell,",
        ),
        pytest.param(
            ["--config", "configs/bach/vrnn.py:tiny"],
            "Unknown variant 'tiny': expected one of",
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_the_shell_names_what_is_wrong(arguments: list, message: str, tmp_path: Path) -> None:
    result = program("train", *arguments, "--workdir", tmp_path / "run")
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()
