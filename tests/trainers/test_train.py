"""Training by config: what it leaves behind, going on after an interruption, and what it refuses."""

import csv
import datetime
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from ml_collections import ConfigDict

from tests.trainers.helpers import smoke
from tfdvae.data import load_pianoroll, window_steps
from trainers import building, loading, settings, train


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(workdir: Path) -> list[dict[str, str]]:
    with (workdir / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_the_model_the_scores_and_the_logs(finished: Path, config: ConfigDict, rolls: Path) -> None:
    assert settings.load(finished).to_json() == ConfigDict(settings.as_json(config)).to_json()
    model = building.load_model(finished)
    assert (model.latent_dim, model.cell.dropout, model.x_dim) == (2, 0.2, 88)
    train_set = loading.load_splits(config.data).train
    assert model.data.features[:2] == ("A0", "A#0") and model.data.origin == f"piano-rolls of {rolls.name}"
    np.testing.assert_allclose(model.statistics.mean, np.concatenate(train_set.x).mean(axis=0), rtol=1e-5)
    assert datetime.date.fromisoformat(model.trained) <= datetime.datetime.now(datetime.UTC).date()
    log = rows(finished)
    assert [row["epoch"] for row in log] == ["0", "1", "2"]
    assert [float(row["kl_weight"]) for row in log] == [0.0, 1.0, 1.0]
    scores = json.loads((finished / "scores_test.json").read_text())
    test = load_pianoroll(rolls).test
    assert (scores["sequences"], scores["frames"], scores["num_samples"]) == (3, test.num_frames, 4)
    for suffix in (".txt", ".md"):
        text = (finished / f"scores_test{suffix}").read_text()
        assert f"{scores['elbo']['nats_per_frame']:.4f}" in text
        assert f"{scores['iwae']['nats_per_sequence']:.4f}" in text
    assert list((finished / "tensorboard").glob("*/events*"))


def test_the_saved_weights_are_those_of_the_best_epoch(finished: Path, rolls: Path) -> None:
    log = [float(row["val_elbo_nats_per_frame"]) for row in rows(finished)]
    model = building.load_model(finished)
    best = np.load(finished / "checkpoints" / "epoch-00003.npz", allow_pickle=False)
    meta = json.loads(best["meta"].tobytes().decode())
    assert meta["callbacks"][0]["state"]["best_epoch"] == int(np.argmax(log))
    for i, weight in enumerate(model.get_weights()):
        np.testing.assert_array_equal(weight, best[f"array/callbacks/0/best_weights/{i}"])


def test_the_bias_starts_at_the_data(config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def fit(model: keras.Model, *args, **kwargs) -> None:
        seen["bias"] = np.asarray(model.observation.bias)
        raise KeyboardInterrupt

    monkeypatch.setattr(building.DVAE, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        train.run(config, tmp_path)
    frames = np.concatenate(loading.load_splits(config.data).train.x)
    rate = 1.0 / (1.0 + np.exp(-seen["bias"]))
    assert np.abs(rate - frames.mean(axis=0)).max() < 0.02
    assert rate[60 - 21] > 0.05


class Interrupted(Exception):
    """Stands for a pulled plug."""


def interrupt(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Pulls the plug when an epoch has been logged, and before it is saved."""
    original = train.Resume.on_epoch_end

    def on_epoch_end(self: train.Resume, number: int, logs: dict | None = None) -> None:
        if number == epoch:
            raise Interrupted
        original(self, number, logs)

    monkeypatch.setattr(train.Resume, "on_epoch_end", on_epoch_end)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_result(
    finished: Path, config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt(patch, epoch=1)
        train.run(config, tmp_path)
    assert len(rows(tmp_path)) == 2
    capsys.readouterr()
    train.run(config, tmp_path)
    assert "Going on after epoch 1." in capsys.readouterr().out
    assert rows(tmp_path) == rows(finished)
    for name in ("scores_test.json", "scores_test.txt", "scores_test.md", "config.json"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()
    resumed, whole = (building.load_model(folder).get_weights() for folder in (tmp_path, finished))
    for a, b in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(a, b)
    # And once more, when nothing is left to do.
    train.run(config, tmp_path)
    assert "Training was complete." in capsys.readouterr().out
    assert rows(tmp_path) == rows(finished)
    assert (tmp_path / "scores_test.json").read_bytes() == (finished / "scores_test.json").read_bytes()


@pytest.mark.slow
def test_training_in_windows_goes_on_after_an_interruption(
    config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = config.copy_and_resolve_references()
    windows.training.update(truncate=5, epochs=2)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    model, splits, _ = train.run(windows, whole)
    steps = window_steps(splits.train, windows.training.batch_size, 5)
    assert model.stateful and model.optimizer.iterations == 2 * steps
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt(patch, epoch=1)
        train.run(windows, cut)
    train.run(windows, cut)
    assert rows(cut) == rows(whole)
    for a, b in zip(*(building.load_model(folder).get_weights() for folder in (cut, whole)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_folder_of_another_run_is_left_alone(finished: Path, config: ConfigDict) -> None:
    before = contents(finished)
    other = config.copy_and_resolve_references()
    other.model.latent_dim = 3
    other.optimizer.learning_rate = 0.5
    message = (
        r"another config: model\.latent_dim is 2 there, 3 here; optimizer\.learning_rate is 0\.01 there, 0\.5 here"
    )
    with pytest.raises(ValueError, match=message):
        train.run(other, finished)
    assert contents(finished) == before


def test_a_run_from_before_there_were_options_is_that_of_their_defaults(config: ConfigDict, tmp_path: Path) -> None:
    settings.claim(tmp_path, config)
    found = json.loads((tmp_path / "config.json").read_text())
    del found["training"]["semi_amortized"], found["model"]["posterior_flow"]
    (tmp_path / "config.json").write_text(json.dumps(found))
    settings.claim(tmp_path, config)
    config = config.copy_and_resolve_references()
    config.training.semi_amortized = 1
    with pytest.raises(ValueError, match=r"training\.semi_amortized is 0 there, 1 here\. Choose"):
        settings.claim(tmp_path, config)


def test_a_folder_with_a_damaged_config_is_left_alone(config: ConfigDict, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model": {')
    with pytest.raises(ValueError, match=r"config\.json is no config of a run"):
        train.run(config, tmp_path)
    assert contents(tmp_path) == {"config.json": b'{"model": {'}


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("data", {"path": "no/such/file.npz"}, "no/such/file.npz"),
        ("optimizer", {"schedule": "linear"}, "Unknown schedule"),
        ("training", {"batch_size": 0}, "batch_size"),
        ("model", {"dropout": 1.5}, "`dropout` must be in"),
    ],
)
def test_a_config_that_cannot_be_right_leaves_no_folder(
    section: str, values: dict, message: str, config: ConfigDict, tmp_path: Path
) -> None:
    other = config.copy_and_resolve_references()
    other[section].update(values)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train.run(other, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "sections"),
    [
        (
            "dkf",
            {
                "optimizer": {"schedule": "cosine", "warmup_steps": 1, "name": "adamw", "weight_decay": 0.01},
                "training": {"bound": "iwae", "bound_samples": 2, "kl_warmup_epochs": 0, "kl_warmup_steps": 3},
            },
        ),
        (
            "rnn",
            {
                "model": {"observation": "autoregressive_bernoulli", "precision": "mixed_bfloat16"},
                "optimizer": {"schedule": "constant", "plateau_patience": 1},
                "data": {"transpose": 1, "window": 4, "hop": 2},
                "training": {"buckets": 2},
            },
        ),
        ("vae", {"training": {"patience": 1, "free_bits": 0.05, "jit_compile": True, "epochs": 1}}),
    ],
)
@pytest.mark.slow
def test_other_models_and_settings_train(model: str, sections: dict, rolls: Path, tmp_path: Path) -> None:
    config = smoke("pianoroll", model, rolls, **sections)
    trained, _, scores = train.run(config, tmp_path)
    values = [*scores.elbo, *scores.iwae]
    assert np.isfinite(values).all()
    assert building.load_model(tmp_path).dtype_policy.name == config.model.precision
    assert trained.optimizer.iterations.numpy() == config.training.epochs * -(-rows_of(config) // 4)
    if not trained.latent_dim:
        assert scores.num_samples == 1
        np.testing.assert_allclose(scores.elbo, scores.iwae, rtol=1e-6)


def rows_of(config: ConfigDict) -> int:
    return loading.training_set(config.data, loading.load_splits(config.data).train).num_sequences


def test_paths_take_environment_variables_and_other_keys(
    config: ConfigDict, rolls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = config.data.copy_and_resolve_references()
    data.update(path="$MUSIC/{set}.npz", set=rolls.stem, max_sequences=2)
    monkeypatch.setenv("MUSIC", str(rolls.parent))
    assert [split.num_sequences for split in loading.load_splits(data)] == [2, 2, 2]
    monkeypatch.delenv("MUSIC")
    with pytest.raises(ValueError, match="needs the environment variable MUSIC"):
        loading.load_splits(data)


@pytest.mark.slow
def test_the_training_set_is_transposed_and_cut(config: ConfigDict, rolls: Path) -> None:
    data = config.data.copy_and_resolve_references()
    train_split = load_pianoroll(rolls).train
    data.update(transpose=2)
    assert loading.training_set(data, train_split).num_sequences == 5 * train_split.num_sequences
    data.update(transpose=0, window=3, hop=1)
    assert loading.training_set(data, train_split).lengths.max() == 3
