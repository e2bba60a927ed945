"""A table trained row by row, on a few made sequences."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.helpers import program
from trainers import reproduce, settings, train
from trainers.tables import TABLES, Column, Finished, Row, Table, markdown

FEW = ["data.path={rolls}", "training.epochs=1", "training.kl_warmup_epochs=0", "data.transpose=0", "model.units=4"]


def table() -> Table:
    """Two models, and the second one fine-tuned."""
    small = {"model.dropout": 0.0, "model.phi_x": (4,), "model.decoder_units": (4,), "evaluation.num_samples": 2}
    small |= {"evaluation.chunk": 2}
    tuned = {"training.scheduled_sampling": 1.0, "training.sampling_epochs": 1, "training.sampling_stairs": 1}
    config = "configs/pianoroll/vrnn.py"
    latent = {**small, "model.latent_dim": 2, "model.phi_z": (3,)}
    rows = (
        Row(("RNN", "plain"), "configs/pianoroll/rnn.py", small, {"ELBO": "-1.5"}),
        Row(("VRNN", "plain"), config, latent),
        Row(("VRNN", "tuned"), config, {**latent, **tuned, "training.keep": "last"}, start=("VRNN", "plain")),
    )

    def measure(run: Finished) -> dict[str, float | None]:
        return {"ELBO": run.scores.elbo.nats_per_frame, "parts": None if run.config.seed else 3.0}

    columns = (Column("ELBO", 3), Column("parts", 1, None))
    return Table("A table", "Nats per frame.", ("model", "training"), columns, measure, rows, "Note.")


@pytest.fixture(scope="module")
def changes(rolls: Path) -> list[str]:
    return [one.format(rolls=rolls) for one in FEW]


@pytest.fixture(scope="module")
def made(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    workdir = tmp_path_factory.mktemp("results") / "table"
    return workdir, reproduce.run(table(), workdir, changes=changes)


def figures(workdir: Path, row: str, seed: int = 0) -> dict:
    return json.loads((workdir / row / f"seed{seed}" / "figures.json").read_text())["figures"]


@pytest.mark.slow
def test_every_row_stands_beside_what_was_published(made: tuple[Path, str]) -> None:
    workdir, text = made
    assert (workdir / "table.md").read_text() == text + "\n"
    values = {row: figures(workdir, row)["ELBO"] for row in ("rnn-plain", "vrnn-plain", "vrnn-tuned")}
    for row, value in values.items():
        scores = json.loads((workdir / row / "seed0" / "scores_test.json").read_text())
        assert value == pytest.approx(scores["elbo"]["nats_per_frame"])
    assert text.splitlines() == [
        "Nats per frame. ELBO: higher is better.",
        "",
        "| model | training | ELBO | ELBO, published | parts |",
        "|---|---|---:|---:|---:|",
        f"| RNN | plain | {values['rnn-plain']:.3f} | -1.5 | 3.0 |",
        f"| VRNN | plain | {values['vrnn-plain']:.3f} |  | 3.0 |",
        f"| VRNN | tuned | {values['vrnn-tuned']:.3f} |  | 3.0 |",
        "",
        "Note.",
    ]


def test_fine_tuning_starts_from_the_other_run(made: tuple[Path, str], changes: list[str]) -> None:
    workdir = made[0]
    config = reproduce.config_of(table().rows[2], workdir, 0, changes)
    assert config.training.start_from == str(workdir / "vrnn-plain" / "seed0")
    with pytest.raises(ValueError, match="start_from: the model in .* has other weights"):
        config.model.units = 5
        train.run(config, workdir / "never")
    assert not (workdir / "never").exists()


@pytest.mark.slow
def test_what_is_finished_is_not_scored_again_and_seeds_are_averaged(
    made: tuple[Path, str], changes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir, text = made
    with monkeypatch.context() as patched:
        patched.setattr(train, "run", lambda *_: pytest.fail("a finished row was run again"))
        assert reproduce.run(table(), workdir, changes=changes) == text
    again = reproduce.run(table(), workdir, (0, 1), ["RNN"], changes)
    pair = [figures(workdir, "rnn-plain", seed)["ELBO"] for seed in (0, 1)]
    assert pair[0] != pair[1]
    assert f"| {np.mean(pair):.3f} ± {np.std(pair, ddof=1):.3f} | -1.5 | 3.0 |" in again
    assert not (workdir / "vrnn-plain" / "seed1").exists()


@pytest.mark.slow
def test_rows_are_compared_on_validation_before_the_test_split_is_read(
    changes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table_of_one, workdir = table(), tmp_path / "table"
    text = reproduce.run(table_of_one, workdir, rows=["RNN"], changes=changes, split="valid")
    folder = workdir / "rnn-plain" / "seed0"
    assert text.startswith("Of split 'valid' in place of the test split, with fits to split 'train'. Nats per frame.")
    assert (workdir / "table_valid.md").read_text() == text + "\n"
    assert not {"scores_test.json", "figures.json"} & {path.name for path in folder.iterdir()}
    value = json.loads((folder / "figures_valid.json").read_text())["figures"]["ELBO"]
    assert value == pytest.approx(json.loads((folder / "scores_valid.json").read_text())["elbo"]["nats_per_frame"])
    log = (folder / "log.csv").read_text()
    reproduce.run(table_of_one, workdir, rows=["RNN"], changes=changes)
    assert (folder / "log.csv").read_text() == log, "trained anew"
    assert figures(workdir, "rnn-plain")["ELBO"] != value
    assert (workdir / "table_valid.md").read_text() == text + "\n"


def test_windows_of_recordings_cannot_stand_in_for_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="windows of recordings"):
        reproduce.run(TABLES["speakers"], tmp_path / "table", split="valid")
    assert not (tmp_path / "table").exists()


def test_other_settings_need_another_folder(made: tuple[Path, str], changes: list[str]) -> None:
    with pytest.raises(ValueError, match="was begun with --set"):
        reproduce.run(table(), made[0], changes=[*changes, "training.batch_size=3"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": ["SRNN"]}, "No row is called 'SRNN'; there are RNN, VRNN; plain, tuned"),
        ({"changes": ["epochs=3"]}, "Expected section.key=value"),
        ({"changes": ["training.epoch=3"]}, "Expected key=value with a key of .*epochs.*; got 'epoch=3'"),
        ({"split": "train"}, "Unknown split 'train': expected one of test, valid"),
        ({"changes": ["training.epochs"]}, "Expected key=value with a key of .*; got 'epochs'"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_is_written(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        reproduce.run(table(), tmp_path / "table", **options)
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize("name", ["factors", "healing"])
def test_what_hides_nothing_is_refused_by_tables_of_what_is_hidden(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.missing_rate must be above 0, got 0.0: this table measures"):
        reproduce.run(TABLES[name], tmp_path / "table", changes=["data.missing_rate=0.0"])
    assert not (tmp_path / "table").exists()


def test_rows_without_a_figure_are_left_out() -> None:
    text = markdown(table(), {("VRNN", "tuned"): [{"ELBO": None, "parts": 1.25}]})
    assert "| VRNN | tuned |  |  | 1.2 |" in text and "RNN | plain" not in text


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_the_papers_are_made_of_configs_that_exist(name: str, tmp_path: Path) -> None:
    found = TABLES[name]
    assert len({row.labels for row in found.rows}) == len(found.rows)
    names = {column.name for column in found.columns}
    for row in found.rows:
        config = reproduce.config_of(row, tmp_path, 3)
        assert config.seed == 3
        settings.check(config)
        assert set(row.published) <= names
        assert row.start is None or any(other.labels == row.start for other in found.rows)


@pytest.mark.exhaustive
def test_the_shell_makes_a_table(rolls: Path, tmp_path: Path) -> None:
    options = [f"--set=data.path={rolls}", "--set=training.epochs=1", "--set=model.units=4", "--set=model.phi_x=[4]"]
    options += ["--set=model.decoder_units=[4]", "--row=JSB", "--row=RNN"]
    done = program("reproduce", "music", f"--workdir={tmp_path / 'music'}", *options)
    assert done.returncode == 0, done.stderr
    assert "| JSB | RNN |" in done.stdout and "| -8.71 |" in done.stdout
