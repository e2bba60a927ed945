"""Live anomaly scores of a sensor: CSV lines come in on standard input, a line with its score goes out for each.

tail -f sensor.csv | python -m export.edge.anomaly --model m.tflite --standardise scale.json
python -m export.edge.anomaly --model m.tflite --columns pressure flow --time timestamp < log.csv

A line is a frame, its columns are the features; a first line with names is recognised. Out comes CSV, flushed line by
line: number of the frame (or its column `--time`), score in nats, smoothed score, and a flag, 1 where the smoothed
score is below the threshold. That is learnt from the first `--learn` frames that have a score, in which up to a tenth
may be anomalies: median - tolerance * (median - lower quartile) of the smoothed scores; until then the flag is empty.

Empty fields and "nan" are values that are missing: the model's own prediction takes their place, so that time goes on
(from the first whole frame on), and the line has neither score nor flag. A damaged line (another number of fields,
something that is no number) ends the program with its number; with --keep_going it is reported, and its frame counts
as missing.
"""

import argparse
import csv
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TextIO

import numpy as np

from export import program
from export.edge.files import load_arrays
from export.edge.stream import Stream

__all__ = ["Detector", "Row", "Scaling", "monitor", "read_rows", "read_scaling", "run"]


class Scaling(NamedTuple):
    """Mean and scale `[D]` that make sensor values the model's frames, (x - mean) / scale."""

    mean: np.ndarray
    scale: np.ndarray


class Row(NamedTuple):
    """A line: its number in the file from 1, its label, its values with NaN where they are missing."""

    number: int
    label: str
    values: np.ndarray


class Detector:
    """Smooths scores, learns what is usual, and tells what is not.

    Args:
        learn: frames from which the threshold is learnt.
        tolerance: multiples of the distance from the median down to the lower quartile.
        smoothing: weight of the past in the smoothed score, at least 0, below 1.

    Attributes:
        threshold: in nats; None until it is learnt.
    """

    def __init__(self, learn: int = 200, tolerance: float = 10.0, smoothing: float = 0.5):
        if learn < 10 or tolerance <= 0.0 or not 0.0 <= smoothing < 1.0:
            raise ValueError(
                "`learn` must be at least 10, `tolerance` positive, `smoothing` at least 0 and below 1; "
                f"got {learn}, {tolerance}, {smoothing}."
            )
        self.learn, self.tolerance, self.smoothing = learn, tolerance, smoothing
        self.threshold: float | None = None
        self._seen: list[float] = []
        self._smoothed: float | None = None

    def __call__(self, score: float) -> tuple[float, bool | None]:
        """The smoothed score, and whether it is an anomaly; None while what is usual is being learnt."""
        past = score if self._smoothed is None else self._smoothed
        smoothed = self._smoothed = self.smoothing * past + (1.0 - self.smoothing) * score
        if self.threshold is not None:
            return smoothed, bool(smoothed < self.threshold)
        self._seen.append(smoothed)
        if len(self._seen) == self.learn:
            low, median = np.quantile(self._seen, (0.25, 0.5))
            self.threshold = float(median - self.tolerance * (median - low))
            self._seen.clear()
        return smoothed, None


def read_scaling(path: str, features: int) -> Scaling:
    """Mean and scale from a .json file or an .npz archive with the keys "mean" and "scale", numbers or `[D]`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none, of another number of features, not finite, or a scale is not positive.
    """
    try:
        if path.endswith(".npz"):
            content = load_arrays(path)
        else:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
        found = [content[key] for key in Scaling._fields]
        scaling = Scaling(*(np.broadcast_to(np.asarray(one, np.float64), [features]) for one in found))
    except OSError:
        raise
    # Of JSON nearly anything may come: other types, numbers beyond float64, and depths that end in RecursionError.
    except Exception as error:
        what = f"'mean' and 'scale', numbers or lists of {features}"
        raise ValueError(f"{path} cannot be read as a .json or .npz file with {what}: {error!r}") from error
    if not (np.isfinite(scaling.mean).all() and np.isfinite(scaling.scale).all() and (scaling.scale > 0).all()):
        raise ValueError(f"{path}: mean and scale must be finite, and scale positive.")
    return scaling


def read_rows(
    lines: Iterable[str],
    features: int,
    columns: Sequence[str] | None = None,
    time: str | None = None,
    keep_going: bool = False,
) -> Iterator[Row]:
    """Frames of CSV lines, one at a time, as they come.

    Args:
        columns: names of the columns to read; by default all but `time`.
        time: name of the column that labels a line; by default frames are counted from 0.
        keep_going: report damaged lines on standard error, and go on with a missing frame.

    Raises:
        ValueError: a damaged line, with its number; names without a first line that has them; another number of
            columns than features.
    """
    chosen: list[int] | None = None
    width, label, count = 0, None, 0
    for number, fields in _split(lines):
        if chosen is None:
            names = [field.strip() for field in fields]
            named = columns is not None or time is not None
            header = named or all(_number(name) is None for name in names)
            absent = [name for name in (*(columns or ()), *([time] if time else ())) if name not in names]
            if absent:
                raise ValueError(f"Line {number} names no column {absent[0]!r}, but {', '.join(names)}.")
            label = names.index(time) if time else None
            wanted = [names.index(name) for name in columns] if columns else range(len(names))
            chosen, width = [i for i in wanted if columns or i != label], len(names)
            if len(chosen) != features:
                found = f"line {number} has {len(chosen)}"
                raise ValueError(f"The model reads {features} columns, {found}: choose with --columns NAME NAME ...")
            if header:
                continue
        values, damage = np.full(features, np.nan), None
        if len(fields) != width:
            damage = f"has {len(fields)} fields instead of {width}"
        else:
            found = [_number(fields[i]) for i in chosen]
            bad = [fields[i] for i, value in zip(chosen, found, strict=True) if value is None or math.isinf(value)]
            damage = f"holds {bad[0]!r}, which is no finite number" if bad else None
            values = values if bad else np.array(found)
        if damage is not None:
            message = f"Line {number} {damage}: {','.join(fields)[:80]}"
            if not keep_going:
                raise ValueError(f"{message}. --keep_going takes such lines for missing frames.")
            print(message, file=sys.stderr, flush=True)
        known = label is not None and label < len(fields)
        yield Row(number, fields[label] if known else str(count), values)
        count += 1


def _split(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not blank."""
    reader = csv.reader(lines)
    while True:
        try:
            fields = next(reader, None)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"Line {reader.line_num + 1} cannot be read as CSV: {error}") from error
        if fields is None:
            return
        if fields:
            yield reader.line_num, fields


def _number(text: str) -> float | None:
    """NaN where the text is empty, None where it is no number."""
    try:
        return float(text) if text.strip() else math.nan
    except ValueError:
        return None


def monitor(
    stream: Stream, rows: Iterable[Row], detector: Detector, out: TextIO, scaling: Scaling | None = None
) -> tuple[int, int]:
    """Scores rows as they come, one line of CSV for each. Returns the number of frames, and of flags.

    Raises:
        ValueError: a model with inputs, or a frame that it cannot take, with the number of its line.
    """
    mean, scale = scaling or (0.0, 1.0)
    expected: np.ndarray | None = None
    frames = flags = 0
    print("time,score,smoothed,flag", file=out, flush=True)
    for row in rows:
        x = (row.values - mean) / scale
        missing = np.isnan(x)
        cells = ("", "", "")
        if expected is not None or not missing.any():
            try:
                pushed = stream.push(np.where(missing, expected, x) if missing.any() else x)
            except ValueError as error:
                raise ValueError(f"Line {row.number}: {error}") from error
            expected = pushed.prediction
            if not missing.any():
                smoothed, flag = detector(pushed.score)
                cells = (f"{pushed.score:.4f}", f"{smoothed:.4f}", "" if flag is None else str(int(flag)))
                flags += bool(flag)
        frames += 1
        print(row.label, *cells, sep=",", file=out, flush=True)
    return frames, flags


def main(given: argparse.Namespace) -> int:
    stream = Stream(given.model)
    scaling = read_scaling(given.standardise, stream.features) if given.standardise else None
    detector = Detector(given.learn, given.tolerance, given.smoothing)
    rows = read_rows(sys.stdin, stream.features, given.columns, given.time, given.keep_going)
    try:
        frames, flags = monitor(stream, rows, detector, sys.stdout, scaling)
    except BrokenPipeError:
        # Whoever read the scores has gone; the interpreter must not stumble over it once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    limit = "not learnt yet" if detector.threshold is None else f"{detector.threshold:.4f} nats"
    print(f"{frames} frames, {flags} flagged; threshold {limit}", file=sys.stderr)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.edge.anomaly", description=__doc__.partition("\n")[0])
    found.add_argument("--model", required=True, help="a .tflite file with 'step'")
    found.add_argument("--standardise", help=".json or .npz file with 'mean' and 'scale' of the training data")
    found.add_argument("--columns", nargs="+", help="names of the columns to read, in the model's order (default: all)")
    found.add_argument("--time", help="name of a column to repeat in front of each score (default: count frames)")
    found.add_argument("--learn", type=int, default=200, help="frames to learn the threshold from (default: 200)")
    found.add_argument(
        "--tolerance", type=float, default=10.0, help="how far below the median is unusual (default: 10)"
    )
    found.add_argument("--smoothing", type=float, default=0.5, help="weight of the past in the score (default: 0.5)")
    found.add_argument("--keep_going", action="store_true", help="take damaged lines for missing frames")
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
