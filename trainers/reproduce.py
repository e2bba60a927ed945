"""Trains and evaluates a table of a paper, row by row, and writes it beside the published figures.

    TFDVAE_DATA=DATA_FOLDER python -m trainers.reproduce music --workdir results/music
    python -m trainers.reproduce music --workdir results/music --row JSB --row VRNN --seeds 0,1,2
    python -m trainers.reproduce music --workdir results/try --split valid --set model.dropout=0.3    # to choose by

The same command goes on after an interruption: a run that is finished is never scored on the test split again. In the
working folder are then a folder for each row and seed, as trainers.train leaves it, with `figures.json` and what else a
table makes (speakers: WAV files of swapped voices); `table.md`; and `settings.json`, what `--set` changed, which must
stay the same. With `--split valid` nothing is scored on the test split, and files are called `figures_valid.json` and
`table_valid.md`; the same command without it then scores what has been trained.
"""

import datetime
import importlib.util
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
from absl import flags
from ml_collections import ConfigDict

from tfdvae.data.files import named_damage, read_json
from trainers import settings, train
from trainers.settings import FITTED
from trainers.tables import TABLES, Finished, Row, Table, markdown
from trainers.writing import write_json, write_text

__all__ = ["config_of", "run"]

ROOT = Path(__file__).resolve().parents[1]


def run(
    table: Table,
    workdir: Path,
    seeds: Sequence[int] = (0,),
    rows: Sequence[str] = (),
    changes: Sequence[str] = (),
    split: str = "test",
) -> str:
    """Runs what is missing, and returns the table in Markdown, of all rows that are finished.

    Args:
        table: a value of `trainers.tables.TABLES`.
        workdir: its folder.
        seeds: each row is trained once with each.
        rows: labels, such as "JSB" and "VRNN"; of each column of labels that one of them stands in, those are chosen.
            All by default.
        changes: "section.key=value" for every row, such as training.epochs=2.
        split: test or valid, what to measure.

    Raises:
        ValueError: no such row or split, a table whose validation split cannot be measured, a change that no config
            has or that leaves nothing to measure, or other changes than those `workdir` was begun with.
        ImportError: a package that the table needs is not installed. Nothing has been trained then.
    """
    chosen = _choose(table, rows)
    settings.check_split(split, FITTED)
    if table.windowed and split != "test":
        raise ValueError(
            "The validation split of this table is windows of recordings, which it cannot be measured on: choose by "
            "val_loss in the log.csv of trainers.train --split=valid, which scores nothing on the test split."
        )
    for package, extra in table.needs:
        if importlib.util.find_spec(package) is None:
            raise ImportError(f'This table needs {package}: pip install "tfdvae[{extra}]"')
    configs = {(row.labels, seed): config_of(row, workdir, seed, changes) for row in chosen for seed in seeds}
    for config in configs.values():
        settings.check(config)
        for key in table.above_zero:
            section, _, name = key.partition(".")
            if not config[section][name] > 0:
                raise ValueError(
                    f"{key} must be above 0, got {config[section][name]}: this table measures what it hides."
                )
    _claim(workdir, changes)
    for count, ((labels, seed), config) in enumerate(configs.items(), 1):
        folder = _folder(workdir, labels, seed)
        if not (folder / _figures_file(split)).is_file():
            print(f"\n{count} of {len(configs)}: {', '.join(labels)}, seed {seed}", flush=True)
            _run_row(table, config, folder, split)
    text = markdown(table, _figures(table, workdir, split), split)
    write_text(workdir / f"table{settings.split_suffix(split)}.md", text)
    return text


def _choose(table: Table, labels: Sequence[str]) -> list[Row]:
    columns = [dict.fromkeys(column) for column in zip(*(row.labels for row in table.rows), strict=True)]
    unknown = [label for label in labels if not any(label in column for column in columns)]
    if unknown:
        known = "; ".join(", ".join(column) for column in columns)
        raise ValueError(f"No row is called {unknown[0]!r}; there are {known}.")
    wanted = [set(labels) & set(column) or set(column) for column in columns]
    return [row for row in table.rows if all(label in w for label, w in zip(row.labels, wanted, strict=True))]


def config_of(row: Row, workdir: Path, seed: int, changes: Sequence[str] = ()) -> ConfigDict:
    """The config of one run.

    Raises:
        ValueError: a change that it has no key for.
    """
    path = ROOT / row.config
    spec = importlib.util.spec_from_file_location(f"configs.{path.parent.name}.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.seed = seed
    for key, value in row.options.items():
        section, _, name = key.partition(".")
        with config[section].ignore_type():
            config[section][name] = value
    if row.start is not None:
        config.training.start_from = str(_folder(workdir, row.start, seed))
    for change in changes:
        section, _, assignment = change.partition(".")
        if not isinstance(config.get(section), ConfigDict):
            raise ValueError(f"Expected section.key=value, such as training.epochs=2; got {change!r}.")
        settings.override(config[section], [assignment])
    return config


def _run_row(table: Table, config: ConfigDict, folder: Path, split: str) -> None:
    model, splits, scores = train.run(config, folder, split=split)
    figures = table.measure(Finished(config, model, splits, scores, folder, split))
    about = {"figures": figures, "date": datetime.date.today().isoformat(), "parameters": model.count_params()}
    write_json(folder / _figures_file(split), about)
    keras.utils.clear_session()


def _figures(table: Table, workdir: Path, split: str) -> dict[tuple[str, ...], list[Mapping[str, float | None]]]:
    """What is finished, whichever command ran it."""
    found: dict[tuple[str, ...], list[Mapping[str, float | None]]] = {}
    for row in table.rows:
        for path in sorted(_folder(workdir, row.labels, 0).parent.glob(f"seed*/{_figures_file(split)}")):
            figures = read_json(path, "cannot be read: expected the figures of a row").get("figures")
            if not isinstance(figures, dict):
                raise ValueError(f"{path} has no figures: move it away, and the row is run again.")
            found.setdefault(row.labels, []).append(figures)
    return found


def _figures_file(split: str) -> str:
    return f"figures{settings.split_suffix(split)}.json"


def _folder(workdir: Path, labels: Sequence[str], seed: int) -> Path:
    plain = ("".join(c if c.isalnum() else "_" for c in label.lower()) for label in labels)
    return workdir / "-".join(plain) / f"seed{seed}"


def _claim(workdir: Path, changes: Sequence[str]) -> None:
    """Raises ValueError where `workdir` was begun with other changes."""
    path, text = workdir / "settings.json", json.dumps(sorted(changes))
    if not path.exists():
        write_text(path, text)
        return
    with named_damage(path, "cannot be read: expected the list of what --set changed"):
        there = json.loads(path.read_text())
    if there != json.loads(text):
        raise ValueError(
            f"{workdir} was begun with --set {path.read_text().strip()}, and now {text} is asked for: choose another "
            "--workdir, or the same settings."
        )


def main() -> None:
    values = flags.FLAGS
    seeds = [int(seed) for seed in values.seeds]
    text = run(TABLES[values.table], Path(values.workdir), seeds, values.row, values.set, values.split)
    command = shlex.join(["python", "-m", "trainers.reproduce", values.table, *sys.argv[2:]])
    print(f"\n{TABLES[values.table].title}\n\n`{command}`\n\n{text}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv[1] = f"--table={sys.argv[1]}"
    flags.DEFINE_enum("table", None, sorted(TABLES), "Which table.")
    flags.DEFINE_string("workdir", None, "Folder of its runs and of the result.")
    flags.DEFINE_list("seeds", ["0"], "One run of each row per seed.")
    flags.DEFINE_multi_string("row", [], "Label of the rows to run, such as VRNN; all by default.")
    flags.DEFINE_multi_string("set", [], "section.key=value for every row, such as training.epochs=2.")
    flags.DEFINE_enum("split", "test", list(FITTED), "What to measure: valid, to choose by.")
    flags.mark_flags_as_required(["table", "workdir"])
    settings.run_app(main)
