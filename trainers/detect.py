"""Anomalies in series of CSV files: trains a detector, and scores it beside what needs no model.

    python -m trainers.detect --data sensor.csv --time date --clean_part 0.5 --workdir runs/sensor
    python -m trainers.detect --data DATA/timeseries/nab/data --snap --half report --workdir runs/nab \\
        --labels DATA/timeseries/nab/labels/combined_windows.json

One model (`tfdvae.recipes.detector`) learns the clean parts of all series, each in its own units. The clean part is
the beginning of a series, `--clean_part` of its steps, and ends before its first label where that comes sooner. The
model learns its first `--learn_part`; thresholds, at a stated risk (`tfdvae.anomalies.AlarmRule`), are fitted to the
rest, which it has never seen, since steps that were learned are more usual than new ones. Nothing of the clean part is
scored. In the working folder are then

    detector/               model.keras and detector.json, for `tfdvae.anomalies.load_detector`; the same command again
                            goes on from there
    scores/NAME.csv .png    time, values, the model's score in nats, and at each step how far each method is on the way
                            to its threshold (1 is there), and whether it raises an alarm
    detect_HALF.md .json    with labels: precision, recall and F1 of points and windows, and the scores of the Numenta
                            Anomaly Benchmark, means over the series and of all series together

With labels of several series, settings are chosen on one half of them (`--half choose`: the 1st, 3rd, ... by name) and
the other is reported (`--half report`, in the same folder: the detector learns the clean parts of all). The settings in
METHODS were chosen like that on 13 series of the benchmark.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from tfdvae import MODELS, recipes
from tfdvae.anomalies import (
    BASELINES,
    AlarmRule,
    Alarms,
    Detector,
    Learning,
    enough_scores,
    label_steps,
    load_detector,
    read_labels,
)
from tfdvae.anomalies.baselines import require_packages
from tfdvae.anomalies.detector import SETTINGS
from tfdvae.data import TimeSeries, read_csv, regular_series, snap_to_grid
from tfdvae.data.files import atomic_write, import_extra
from tfdvae.markdown import markdown_table
from tfdvae.metrics import NAB_PROFILES, nab_score, point_scores, window_scores
from tfdvae.plots import plot_alarms
from trainers import settings
from trainers.detect_methods import METHODS, Setting
from trainers.generate import save_figure
from trainers.writing import write_json, write_text

__all__ = ["HALVES", "METHODS", "Labelled", "Setting", "read_series", "run"]

HALVES = {"all": slice(None), "choose": slice(0, None, 2), "report": slice(1, None, 2)}
"""Which series, in the order of their names."""


class Labelled(NamedTuple):
    """A series, and what is known of it.

    Attributes:
        name, series: the series.
        stop: where the clean part ends.
        windows: its labels in steps, None where there is no file of labels.
    """

    name: str
    series: TimeSeries
    stop: int
    windows: list[tuple[int, int]] | None


def read_series(
    data: Path,
    labels: Path | None = None,
    *,
    time: str = "timestamp",
    values: Sequence[str] = (),
    snap: bool = False,
    clean_part: float = 0.4,
) -> list[Labelled]:
    """The series of a CSV file, or of all CSV files in a folder and those below it, in the order of their names.

    Args:
        data: the file, or the folder.
        labels: JSON as of the Numenta Anomaly Benchmark, whose keys end in "FOLDER/FILE.csv", or are "FILE.csv".
        time: column with times.
        values: columns of numbers; by default all others.
        snap: put untidy times on a grid (see `tfdvae.data.snap_to_grid`), and say what was done; else they are refused.
            Times that are left out are taken as not observed either way.
        clean_part: part of the steps that are known to be clean; less where the first label begins sooner.

    Raises:
        FileNotFoundError: no such file or folder, or no CSV file in it.
        ValueError: as `regular_series`, `read_labels` and `label_steps`; two files of the same name; no label for a
            file; a first label at the first step, so that there is no clean part.
    """
    if not 0.0 < clean_part <= 1.0:
        raise ValueError(f"--clean_part must be above 0 and at most 1, got {clean_part}.")
    paths = sorted(data.rglob("*.csv")) if data.is_dir() else [data]
    if not paths:
        raise FileNotFoundError(f"There is no CSV file in {data}.")
    seen: dict[str, Path] = {}
    for path in paths:
        if seen.setdefault(path.stem, path) is not path:
            raise ValueError(
                f"{seen[path.stem]} and {path} have the same name, which their scores would be written under: rename "
                "one of them, or give --data one folder at a time."
            )
    known = None if labels is None else read_labels(labels)
    found = []
    for path in paths:
        table = read_csv(path)
        if time not in table:
            raise ValueError(
                f"{path} has no column {time!r}, but {', '.join(table)}: name the one with times by --time."
            )
        names = list(values) or [name for name, column in table.items() if name != time and column.dtype.kind == "f"]
        try:
            if snap:
                done = snap_to_grid(table, names, time=time)
                table = done.table
                if done.unsorted or done.moved or done.merged:
                    print(
                        f"{path.stem}: {done.unsorted} rows were unsorted, {done.moved} between the steps of the grid, "
                        f"{done.merged} at a time that another row had.",
                        flush=True,
                    )
            series = regular_series(table, names, time=time, gaps="missing")
            stop = int(clean_part * len(series.x[0]))
            windows = None
            if known is not None:
                windows = label_steps(series, _labels(known, path))
                stop = min([stop, *(first for first, _ in windows)])
        except ValueError as error:
            hint = "" if snap else " (--snap puts untidy times on a grid.)"
            raise ValueError(f"{path}: {error}{hint}") from error
        if stop < 1:
            raise ValueError(f"{path} has no clean part: its first label begins at its first step.")
        found.append(Labelled(path.stem, series._replace(names=(path.stem,)), stop, windows))
    return found


def _labels(known: Mapping[str, list], path: Path) -> list:
    for name in (f"{path.parent.name}/{path.name}", path.name):
        if name in known:
            return known[name]
    raise ValueError(f"The file of labels has no entry {path.parent.name}/{path.name}, nor {path.name}.")


def run(
    items: Sequence[Labelled],
    workdir: Path,
    model: str = "rnn",
    methods: Mapping[str, Setting] = METHODS,
    half: str = "all",
    seed: int = 0,
    **options,
) -> Mapping[str, Mapping[str, float]]:
    """Prints a table, and returns its numbers by method: empty without labels; writes what the module says.

    Args:
        items: from `read_series`.
        workdir: where to write; a detector there is taken instead of training one.
        model: a name in `tfdvae.MODELS`.
        methods: settings by method, "model" among them; those that are left out are not run.
        half: a key of HALVES: which series are scored; the detector learns the clean parts of all.
        seed: of the detector.
        **options: of `recipes.detector`.

    Raises:
        ValueError: as `Detector.fit` and `AlarmRule`; no series in that half; or a detector in `workdir` that was
            fitted to other series, or made with other options.
        ImportError: a package of the extras `anomalies` and `plots` is not installed, before anything is trained.
    """
    import_extra("matplotlib", "Drawing alarms", "plots")
    require_packages(methods)
    chosen = range(len(items))[HALVES[half]]
    if not chosen:
        raise ValueError(f"There is no series in the half {half!r} of {len(items)}.")
    named = {model if name == "model" else name: setting for name, setting in methods.items()}
    _check_lengths([items[i] for i in chosen], named)
    stops = [_learned(item, methods["model"]) for item in items]
    detector = _detector(items, stops, workdir / "detector", {"model": model, "seed": seed, **options})
    detector, items = detector.of(chosen), [items[i] for i in chosen]
    nats = detector.score([item.series for item in items])
    alarms: dict[str, list[Alarms]] = {name: [] for name in named}
    for name, setting in named.items():
        for own, views, item in zip(nats, detector.views, items, strict=True):
            season = views.season or 1
            rule = AlarmRule(setting.risk, smoothing=setting.smoothing, hold=round(setting.hold * season))
            try:
                scores = _baseline(name, item, setting, season) if name in BASELINES else own
                alarms[name].append(rule(scores, _fitted_from(item, setting), item.stop))
            except ValueError as error:
                raise ValueError(f"{item.name}, {name}: {error}") from error
    for i, item in enumerate(items):
        own = {name: rows[i] for name, rows in alarms.items()}
        _write_scores(workdir / "scores", item, nats[i], own)
    counts = {
        name: [int(row.alarms[item.stop :].sum()) for row, item in zip(rows, items, strict=True)]
        for name, rows in alarms.items()
    }
    content = {"series": [item.name for item in items], "clean": [item.stop for item in items], "alarms": counts}
    table = {}
    if any(item.windows for item in items):
        table = {name: _scores(items, rows) for name, rows in alarms.items()}
        each = {name: _each_nab(items, rows) for name, rows in alarms.items()}
        content |= {"settings": {k: v._asdict() for k, v in named.items()}, "scores": table, "nab": each}
        text = _markdown(["method", *next(iter(table.values()))], [[k, *v.values()] for k, v in table.items()])
        text += "\n\n" + _markdown(["NAB, standard", *each], _by_series(items, each))
    else:
        text = _markdown(["alarms", *counts], _by_series(items, counts))
    print(text, flush=True)
    write_text(workdir / f"detect_{half}.md", text)
    write_json(workdir / f"detect_{half}.json", content)
    return table


def _check_lengths(items: Sequence[Labelled], methods: Mapping[str, Setting]) -> None:
    """Raises ValueError where clean parts are too short for thresholds, before a detector is trained in vain."""
    for item in items:
        for name, setting in methods.items():
            start = _fitted_from(item, setting)
            if not enough_scores(item.stop - start, AlarmRule().level):
                raise ValueError(
                    f"{item.name}, {name}: clean steps {start} to {item.stop} are too few for a threshold: give more "
                    "(--clean_part), or let the model learn fewer (--learn_part)."
                )


def _fitted_from(item: Labelled, setting: Setting) -> int:
    """Where the clean steps begin that thresholds are fitted to."""
    return int(setting.fit * item.stop)


def _learned(item: Labelled, setting: Setting) -> int:
    """Where the steps end that a method learns from."""
    return max(1, int(setting.learn * item.stop))


def _detector(items: Sequence[Labelled], stops: Sequence[int], folder: Path, options: Mapping) -> Detector:
    """The detector of the folder, or a new one that learns up to `stops` and is written there."""
    series = [item.series for item in items]
    asked = recipes.detector(**options)
    if (folder / SETTINGS).is_file():
        found = load_detector(folder)
        for name, there, here in _differences(found, asked, options):
            raise ValueError(
                f"The detector in {folder} was made with {name} {there}, and {here} is asked for: ask for the same, or "
                "choose another --workdir."
            )
        if found.views != found.follow(series, stops).views:
            raise ValueError(
                f"The detector in {folder} was fitted to other series, --clean_part or --learn_part: choose another "
                "--workdir."
            )
        return found
    asked.fit(series, stops, seed=options["seed"], verbose=2)
    asked.save(folder)
    return asked


def _differences(found: Detector, asked: Detector, options: Mapping) -> list[tuple[str, Any, Any]]:
    """Options that two detectors do not share, of those that were given and of those that the program has: name, and
    the value of each."""
    known = [{**d.model.get_config(), **d.learning._asdict(), "model": type(d.model).__name__} for d in (found, asked)]
    values = {name: [own.get(name) for own in known] for name in ("units", *Learning._fields, *options)}
    return [(name, there, here) for name, (there, here) in values.items() if there != here]


def _baseline(name: str, item: Labelled, setting: Setting, season: int) -> np.ndarray:
    """Scores of a method that knows series of one feature: of several the highest."""
    x = np.where(item.series.observed[0], item.series.x[0], np.nan).astype(np.float64)
    window, stop = max(round(setting.window * season), 4), _learned(item, setting)
    rows = np.stack([BASELINES[name](column, window, stop) for column in x.T])
    never = np.isnan(rows).all(axis=0)
    return np.where(never, np.nan, np.nanmax(np.where(never, 0.0, rows), axis=0))


def _scores(items: Sequence[Labelled], rows: Sequence[Alarms]) -> dict[str, float]:
    """Means over the series, but for the score of the benchmark over all series together."""
    found = {}
    for what, score in (("point", point_scores), ("window", window_scores)):
        flags = [row.flags if what == "point" else row.alarms for row in rows]
        own = [score(f, *_truth(item)) for f, item in zip(flags, items, strict=True)]
        found |= {
            f"{what} {key}": float(np.mean([getattr(x, key) for x in own])) for key in ("precision", "recall", "f1")
        }
    for profile in NAB_PROFILES:
        own = [score for score in _each_nab(items, rows, profile) if score is not None]
        found[f"NAB {profile}"] = float(np.mean(own))
    return found | {"NAB standard, together": _nab(items, rows)}


def _each_nab(items: Sequence[Labelled], rows: Sequence[Alarms], profile: str = "standard") -> list[float | None]:
    """The score of each series by itself; None where nothing is labelled, so that there is nothing to find."""
    pairs = zip(items, rows, strict=True)
    return [_nab([item], [row], profile) if item.windows else None for item, row in pairs]


def _nab(items: Sequence[Labelled], rows: Sequence[Alarms], profile: str = "standard") -> float:
    windows, observed, starts = zip(*(_truth(item) for item in items), strict=True)
    return nab_score([row.alarms for row in rows], windows, profile, observed, starts)


def _truth(item: Labelled) -> tuple[list[tuple[int, int]], np.ndarray, int]:
    """Windows, which steps were observed, and where scoring starts."""
    return item.windows, item.series.observed[0].any(axis=-1), item.stop


def _write_scores(folder: Path, item: Labelled, nats: np.ndarray, rows: Mapping[str, Alarms]) -> None:
    """The CSV of a series, and its picture."""
    series = item.series
    times = series.times(0, 0, len(series.x[0]))
    x = np.where(series.observed[0], series.x[0], np.nan)
    text = io.StringIO()
    writer = csv.writer(text)
    columns = [f"{name} {what}" for name in rows for what in ("excess", "alarm")]
    writer.writerow(["time", *series.features, "nats", *columns])
    for t, time in enumerate(times):
        cells = [cell for row in rows.values() for cell in (_cell(row.excess[t]), int(row.alarms[t]))]
        writer.writerow([time, *(_cell(value) for value in (*x[t], nats[t])), *cells])
    with atomic_write(folder / f"{item.name}.csv") as file:
        file.write(text.getvalue().encode())
    options = {"windows": item.windows or (), "clean": item.stop, "times": times, "features": series.features}
    save_figure(plot_alarms(x, rows, title=item.name, **options), folder / f"{item.name}.png")


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def _by_series(items: Sequence[Labelled], columns: Mapping[str, Sequence]) -> list[list]:
    return [[item.name, *row] for item, row in zip(items, zip(*columns.values(), strict=True), strict=True)]


def _markdown(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    texts = ([f"{y:.3f}" if isinstance(y, float) else str("" if y is None else y) for y in row] for row in rows)
    return markdown_table(head, texts)


def main() -> None:
    values = flags.FLAGS
    options = {name: values[name].value for name in ("time", "snap", "clean_part")}
    labels = None if values.labels is None else Path(values.labels)
    items = read_series(Path(values.data), labels, values=values.values or (), **options)
    asked = {name: values[name].value for name in ("risk", "smoothing", "hold") if values[name].value is not None}
    if "smoothing" in asked:
        asked["smoothing"] = tuple(settings.numbers("smoothing", asked["smoothing"], "0,0.98"))
    if values.learn_part is not None:
        if not 0.0 < values.learn_part < 1.0:
            raise ValueError(f"--learn_part must be above 0 and below 1, got {values.learn_part}.")
        asked |= {"learn": values.learn_part, "fit": values.learn_part}
    methods = {**METHODS, "model": METHODS["model"]._replace(**asked)}
    if not values.baselines:
        methods = {"model": methods["model"]}
    sizes = {name: values[name].value for name in ("units", "updates", "season") if values[name].value is not None}
    run(items, Path(values.workdir), values.model, methods, values.half, values.seed, **sizes)


if __name__ == "__main__":
    flags.DEFINE_string("data", None, "A CSV file, or a folder with CSV files in it and below.")
    flags.DEFINE_string("labels", None, "JSON file of labels, as of the Numenta Anomaly Benchmark.")
    flags.DEFINE_string("workdir", None, "Where to write.")
    flags.DEFINE_string("time", "timestamp", "Column with times.")
    flags.DEFINE_list("values", None, "Columns of numbers; by default all others.")
    flags.DEFINE_bool("snap", False, "Put untidy times on a grid instead of refusing them.")
    flags.DEFINE_enum("half", "all", sorted(HALVES), "Which series to score: the 1st, 3rd, ... by name, or the others.")
    flags.DEFINE_float("clean_part", 0.4, "Part of the steps that are known to be clean.")
    flags.DEFINE_float("learn_part", None, "Part of those that the model learns; its thresholds come from the others.")
    flags.DEFINE_enum("model", "rnn", sorted(MODELS), "Model.")
    flags.DEFINE_integer("units", None, "Units of its recurrence.", lower_bound=1)
    flags.DEFINE_integer("updates", None, "Training steps.", lower_bound=1)
    flags.DEFINE_integer("season", None, "Steps in a season; by default a day.", lower_bound=0)
    flags.DEFINE_float("risk", None, "Probability that the model flags a clean step.", lower_bound=0.0)
    flags.DEFINE_list("smoothing", None, "Weights of the past in averages of its score; 0 for none.")
    flags.DEFINE_float("hold", None, "Seasons within which a flag belongs to the alarm before it.", lower_bound=0.0)
    flags.DEFINE_bool("baselines", True, "Also run what needs no model.")
    flags.DEFINE_integer("seed", 0, "Seed of weights, noise and windows.", lower_bound=0)
    flags.mark_flags_as_required(["data", "workdir"])
    settings.run_app(main)
