"""Programs for the experiments on simulated data and on windows of music, on the smoke variants of their configs."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from tests import turns
from tests.trainers.helpers import EXPERIMENTS, load, smoke
from tfdvae.data import SIMULATIONS, read_midi
from trainers import building, impute, latent_map, loading, predict, regress, settings, train

PNG = b"\x89PNG"
needs_music = pytest.mark.skipif(importlib.util.find_spec("music21") is None, reason="needs the extra music")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def finished(dataset: str, model: str, folder: Path, **sections) -> Path:
    workdir = folder / f"{dataset}_{model}"
    if not workdir.exists():
        train.run(smoke(dataset, model, **sections), workdir)
    return workdir


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


PREDICTED = [("bouncing_balls", "vrnn"), ("bouncing_balls", "vssn"), ("pendulum", "dkf")]
IMPUTED = [("ball_in_box", "kvae"), ("bouncing_balls", "vrnn")]
"""A KVAE of pictures is imputed by `test_convolutions_see_the_pictures_that_data_sets_hold_as_vectors` as well."""


@pytest.mark.parametrize(("dataset", "model"), turns.params(PREDICTED, always=(PREDICTED[0], PREDICTED[2])))
@pytest.mark.slow
def test_predict_measures_one_step_ahead_and_draws(
    dataset: str, model: str, runs: Path, capsys: pytest.CaptureFixture
) -> None:
    workdir = finished(dataset, model, runs, data={"window": None})
    errors = predict.run(workdir, num_samples=2)
    x = np.stack(loading.load_splits(settings.load(workdir).data).test.x)
    previous = np.square(x[:, 1:] - x[:, :-1]).sum(-1).mean()
    assert errors.previous_frame == pytest.approx(previous, rel=1e-5)
    line = np.square(x[:, 2:] - 2 * x[:, 1:-1] + x[:, :-2]).sum(-1).mean()
    assert errors.straight_line == pytest.approx(line, rel=1e-5)
    assert np.isfinite(errors.model) and errors.model > 0
    assert f"{errors.model:.4f} (frame before {errors.previous_frame:.4f}" in capsys.readouterr().out
    saved = json.loads((workdir / "predictions_test.json").read_text())
    assert saved["squared_error_per_frame"] == errors._asdict()
    assert (saved["model"], saved["data"], saved["sequences"]) == (model, dataset, 4)
    assert (workdir / "predictions_test.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("model", turns.params(["dkf", "vssn", "dvbf"], always=["dkf"]))
@pytest.mark.slow
def test_regress_finds_what_the_latents_know(model: str, runs: Path) -> None:
    workdir = finished("pendulum", model, runs)
    found = regress.run(workdir)
    assert list(found) == ["sin", "cos", "angular velocity"]
    assert json.loads((workdir / "regression.json").read_text())["r2"] == found
    config, trained = settings.load(workdir), building.load_model(workdir)
    simulated = SIMULATIONS["pendulum"](
        **{k: config.data[k] for k in settings.loader_options("pendulum") if k in config.data}
    )

    own = {"dkf": ["z"], "vssn": ["w", "z"], "dvbf": ["z"]}[model]

    def part(split: str) -> tuple[np.ndarray, np.ndarray]:
        sequences = getattr(simulated.splits, split).first(config.data.max_sequences)
        truth = simulated.truth[split][: sequences.num_sequences]
        found = trained.encode(np.stack(sequences.x), None, np.stack(sequences.u))
        z = np.concatenate([getattr(found[name], "loc", found[name]) for name in own], axis=-1)[:, 1:]
        return z.reshape(-1, z.shape[-1]), np.sin(truth[:, 1:, 0]).reshape(-1)

    chosen_by = regress.run(workdir, split="valid")
    assert json.loads((workdir / "regression.json").read_text())["r2"] == found
    assert json.loads((workdir / "regression_valid.json").read_text())["r2"] == chosen_by
    for r2, fitted, scored in ((found, "valid", "test"), (chosen_by, "train", "valid")):
        (z, y), (other_z, other_y) = part(fitted), part(scored)
        weights = np.linalg.lstsq(np.c_[z, np.ones(len(z))], y, rcond=None)[0]
        residual = other_y - np.c_[other_z, np.ones(len(other_z))] @ weights
        explained = 1 - np.square(residual).sum() / np.square(other_y - other_y.mean()).sum()
        assert r2["sin"] == pytest.approx(explained, abs=1e-3)
    with pytest.raises(ValueError, match="Unknown split 'train': expected one of test, valid"):
        regress.run(workdir, split="train")


@pytest.mark.parametrize(("dataset", "model"), [pair for pair in EXPERIMENTS if pair[0] in SIMULATIONS])
def test_what_is_simulated_is_what_the_config_expects(dataset: str, model: str, tmp_path: Path) -> None:
    config = load(dataset, model, "smoke")
    if "path" in config.data:
        config.data.path = str(tmp_path / "digits.npz")
        images = np.random.default_rng(0).integers(256, size=(3, 28, 28), dtype=np.uint8)
        digits = {
            f"{split}_{what}": y
            for split in ("train", "test")
            for what, y in (("images", images), ("labels", [0, 1, 2]))
        }
        np.savez(config.data.path, **digits)
    settings.check(config)
    x, u = loading.stacked(loading.load_splits(config.data).train)
    built = building.build_model(config)
    built.check(x.reshape(*x.shape[:2], *config.data.frame_shape) if config.data.frame_shape else x, u=u)
    assert built.x_dim == x.shape[-1]


def test_configs_may_ask_for_physics_that_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDVAE_CACHE", str(tmp_path))
    for model, gravities in (("dssm", {4.0, 9.81, 16.0}), ("dkf", {9.81})):
        config = load("pendulum", model, "smoke")
        config.data.update(num_train=40, max_sequences=30)
        constants = loading.load_simulated(config.data).constants["train"]
        assert constants.shape == (30, 2)
        assert set(np.round(constants[:, 0].astype(float), 3)) == gravities


@pytest.mark.slow
def test_regress_reads_deterministic_states_where_asked(runs: Path, capsys: pytest.CaptureFixture) -> None:
    workdir = finished("pendulum", "vssn", runs)
    found = regress.run(workdir, states=True)
    assert json.loads((workdir / "regression_states.json").read_text())["r2"] == found
    cell = building.load_model(workdir).cell
    assert f"from {cell.units + cell.latent_dim} states" in capsys.readouterr().out


@pytest.mark.slow
def test_regress_needs_states_that_are_known(finished_rolls: Path, runs: Path) -> None:
    with pytest.raises(ValueError, match="true states of 'pianoroll' are not known"):
        regress.run(finished_rolls)
    with pytest.raises(ValueError, match="Nothing to regress is defined for 'bouncing_balls'"):
        regress.run(finished("bouncing_balls", "vrnn", runs, data={"window": None}))


@pytest.fixture(scope="module")
def finished_rolls(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue("finished")


@pytest.mark.parametrize(("dataset", "model"), turns.params(IMPUTED, always=IMPUTED[1:]))
@pytest.mark.slow
def test_impute_compares_ways_to_fill_in_frames(
    dataset: str, model: str, runs: Path, capsys: pytest.CaptureFixture
) -> None:
    workdir = finished(dataset, model, runs, data={"window": None} if model == "vrnn" else {})
    table = impute.run(workdir, rates=(0.4, 0.8), context=2)
    assert list(table) == [0.4, 0.8]
    expected = ["impute (samples)", "last observed frame", "line between neighbours"]
    assert list(table[0.4]) == (["smoothing", "filtering", *expected] if model == "kvae" else expected)
    text = capsys.readouterr().out
    assert "40% missing" in text and all(name in text for name in table[0.4])
    saved = json.loads((workdir / "imputation.json").read_text())
    assert saved["errors"]["0.8"] == {name: error._asdict() for name, error in table[0.8].items()}
    assert (workdir / "imputation.png").read_bytes().startswith(PNG)
    binary = dataset == "ball_in_box"
    assert all((e.wrong_features is not None) == binary for row in table.values() for e in row.values())
    with pytest.raises(ValueError, match=r"between 0 and 1, got \[1.5\]"):
        impute.run(workdir, rates=(1.5,))


@pytest.mark.slow
def test_convolutions_see_the_pictures_that_data_sets_hold_as_vectors(runs: Path) -> None:
    conv = {"class_name": "conv", "config": {"filters": (3, 2)}}
    networks = {"frame_encoder": conv, "frame_decoder": conv, "encoder_units": (), "decoder_units": ()}
    config = smoke("ball_in_box", "kvae", model=networks, data={"frame_shape": (12, 12, 1)})
    model, splits, _ = train.run(config, runs / "pictures")
    assert model.frame_shape == (12, 12, 1) and splits.test.x[0].shape[1:] == (144,)
    table = impute.run(runs / "pictures", rates=(0.4,), context=2)
    assert {"smoothing", "impute (samples)"} < set(table[0.4])
    assert all(np.isfinite(error.squared_error_per_frame) for error in table[0.4].values())
    assert predict.run(runs / "pictures", num_samples=2).model > 0
    config.data.frame_shape = (12, 12, 3)
    with pytest.raises(ValueError, match=r"\(12, 12, 3\) makes frames of 432 features, the data has 144"):
        train.run(config, runs / "other")


def test_the_simple_ways_fill_in_what_they_say() -> None:
    x = np.arange(6, dtype=np.float32)[None, :, None] ** 2
    observed = np.array([[True, False, True, False, False, True]])
    seen = np.where(observed[..., None], x, 0.0)
    last, line = (
        impute.METHODS[name][1](None, seen, observed)[0, :, 0]
        for name in ("last observed frame", "line between neighbours")
    )
    np.testing.assert_array_equal(last, [0, 0, 4, 4, 4, 25])
    np.testing.assert_allclose(line, [0, 2, 4, 11, 18, 25])
    ends = impute.METHODS["line between neighbours"][1](None, seen[:, :5], observed[:, :5])[0, :, 0]
    np.testing.assert_allclose(ends, [0, 2, 4, 4, 4])


@needs_music
@pytest.mark.slow
def test_a_latent_map_and_music_between_two_pieces(runs: Path) -> None:
    workdir = finished("bach", "vrae", runs, data={"window": 8, "hop": 4, "limit": 20})
    paths = latent_map.run(workdir, num=3, endless=20)
    assert [path.name for path in paths] == [
        "latent_map.png",
        *(f"interpolation_{i:02d}.mid" for i in range(3)),
        "interpolation.png",
        "endless.mid",
    ]
    for path in paths:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(PNG)
    assert len(read_midi(workdir / "endless.mid")) <= 20
    with pytest.raises(ValueError, match="needs a VRAE trained on windows"):
        latent_map.run(finished("pendulum", "dkf", runs))
