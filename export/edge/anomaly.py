"""Live anomaly scores of a sensor: CSV lines come in on standard input, a line with its score goes out for each.

tail -n +1 -f sensor.csv | python -m export.edge.anomaly --model m.tflite --standardise scale.json
python -m export.edge.anomaly --model m.tflite --columns pressure flow --time timestamp < log.csv

A line is a frame, its columns are the features; a first line with names is recognised, and must have those that the
model's file knows, in their order. Frames are scaled as its training data were. Out comes CSV, flushed line by line:
number of the frame (or its column `--time`, quoted where it has a comma), score in nats, smoothed score, and a flag, 1
where the smoothed score is below the threshold. That is learnt from the first `--learn` frames that have a score, in
which up to a tenth may be anomalies: median - tolerance * (median - lower quartile) of the smoothed scores; until then
the flag is empty. Or it is known already (`--threshold`), as minus that of `tfdvae.anomalies.AlarmRule`, whose scores
are minus these.

Empty fields and "nan" are values that are missing. A model of partly observed frames takes them for unobserved; in
others its own prediction takes their place, so that time goes on (from the first whole frame on). Either way the line
has neither score nor flag. With --time, frames that are missing between two stamps (numbers of seconds, or ISO dates)
are said, and pass in the same way; a period that is not the model's is an error. A damaged line (another number of
fields, something that is no number) ends the program with its number; with --keep_going it is reported, and its frame
counts as missing.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TextIO

import numpy as np

from export import program
from export.edge.files import load_arrays
from export.edge.known import Known
from export.edge.rows import Clock, Format, Row, read_rows
from export.edge.stream import Pushed, Stream

__all__ = ["Detector", "Scaling", "known_scaling", "monitor", "read_scaling", "run"]

MOST_MISSING = 10_000
"""Frames in a row that are passed over one by one where they are missing; after more the stream begins anew."""


class Scaling(NamedTuple):
    """Mean and scale `[D]` that make sensor values the model's frames, (x - mean) / scale."""

    mean: np.ndarray
    scale: np.ndarray


class Detector:
    """Smooths scores, learns what is usual, and tells what is not.

    Args:
        learn: frames from which the threshold is learnt.
        tolerance: multiples of the distance from the median down to the lower quartile.
        smoothing: weight of the past in the smoothed score, at least 0, below 1.
        threshold: in nats, where it is known; then nothing is learnt.

    Attributes:
        threshold: in nats; None until it is learnt.
    """

    def __init__(
        self, learn: int = 200, tolerance: float = 10.0, smoothing: float = 0.5, threshold: float | None = None
    ):
        if learn < 10 or tolerance <= 0.0 or not 0.0 <= smoothing < 1.0:
            raise ValueError(
                "`learn` must be at least 10, `tolerance` positive, `smoothing` at least 0 and below 1; "
                f"got {learn}, {tolerance}, {smoothing}."
            )
        if threshold is not None and not np.isfinite(threshold):
            raise ValueError(f"`threshold` must be finite, got {threshold}.")
        self.learn, self.tolerance, self.smoothing, self.threshold = learn, tolerance, smoothing, threshold
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


def known_scaling(known: Known, features: int) -> Scaling | None:
    """What the model's file says of how its training data were scaled, if anything."""
    if not (known.shift or known.scale):
        return None
    return Scaling(*(np.broadcast_to(np.float64(one), [features]) for one in (known.shift or 0.0, known.scale or 1.0)))


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


def monitor(
    stream: Stream,
    rows: Iterable[Row],
    detector: Detector,
    out: TextIO,
    scaling: Scaling | None = None,
    clock: Clock | None = None,
) -> tuple[int, int]:
    """Scores rows as they come, one line of CSV for each. Returns the number of frames, and of flags.

    Raises:
        ValueError: a model with inputs, a frame that it cannot take, or a time stamp that cannot be, with the number of
            its line.
    """
    mean, scale = scaling or (0.0, 1.0)
    expected: np.ndarray | None = None
    frames = flags = 0
    # Time stamps may hold decimal commas, which the writer quotes.
    table = csv.writer(out, lineterminator="\n")
    print("time,score,smoothed,flag", file=out, flush=True)
    for row in rows:
        expected = _pass_over(stream, expected, row, 0 if clock is None else clock(row))
        x = (row.values - mean) / scale
        missing = np.isnan(x)
        cells = ("", "", "")
        if stream.partly_observed or expected is not None or not missing.any():
            try:
                pushed = _push(stream, x, missing, expected)
            except ValueError as error:
                raise ValueError(f"Line {row.number}: {error}") from error
            expected = pushed.prediction
            if not missing.any():
                smoothed, flag = detector(pushed.score)
                cells = (f"{pushed.score:.4f}", f"{smoothed:.4f}", "" if flag is None else str(int(flag)))
                flags += bool(flag)
        frames += 1
        table.writerow((row.label, *cells))
        out.flush()
    return frames, flags


def _push(stream: Stream, x: np.ndarray, missing: np.ndarray, expected: np.ndarray | None) -> Pushed:
    """Pushes a frame. What is missing of it is not observed, where the model knows that; else its own prediction stands
    in."""
    shape = stream.frame_shape
    if stream.partly_observed:
        return stream.push(np.where(missing, 0.0, x).reshape(shape), observed=~missing.reshape(shape))
    whole = x if expected is None or not missing.any() else np.where(missing, expected.reshape(-1), x)
    return stream.push(whole.reshape(shape))


def _pass_over(stream: Stream, expected: np.ndarray | None, row: Row, count: int) -> np.ndarray | None:
    """Lets the time of missing frames pass, and returns the prediction of the next one; after too many of them the
    stream begins anew."""
    if count == 0:
        return expected
    if count > MOST_MISSING:
        print(
            f"Line {row.number}: {count} frames are missing before {row.label}, the stream begins anew.",
            file=sys.stderr,
            flush=True,
        )
        stream.reset()
        return None
    print(f"Line {row.number}: {count} frames are missing before {row.label}.", file=sys.stderr, flush=True)
    nothing = np.full(stream.features, np.nan)
    for _ in range(count):
        if stream.partly_observed or expected is not None:
            expected = _push(stream, nothing, np.isnan(nothing), expected).prediction
    return expected


def main(given: argparse.Namespace) -> int:
    stream = Stream(given.model)
    known = stream.known
    scaling = known_scaling(known, stream.features)
    if given.standardise:
        scaling = read_scaling(given.standardise, stream.features)
    detector = Detector(given.learn, given.tolerance, given.smoothing, given.threshold)
    form = Format(given.delimiter, given.decimal).checked()
    rows = read_rows(sys.stdin, stream.features, given.columns, given.time, given.keep_going, known.features, form)
    timed = given.time and not given.no_clock
    clock = Clock(given.period or known.seconds, given.time_unit, form.decimal) if timed else None
    try:
        frames, flags = monitor(stream, rows, detector, sys.stdout, scaling, clock)
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
    found.add_argument(
        "--standardise",
        help=".json or .npz file with 'mean' and 'scale' of the training data (default: what the model's file says)",
    )
    found.add_argument("--columns", nargs="+", help="names of the columns to read, in the model's order (default: all)")
    found.add_argument("--time", help="name of a column to repeat in front of each score (default: count frames)")
    found.add_argument("--delimiter", default=",", help="between fields: one character, or 'tab' (default: ,)")
    found.add_argument("--decimal", default=".", choices=(".", ","), help="before decimals (default: .)")
    found.add_argument("--period", type=float, help="seconds from frame to frame (default: the model's, or the usual)")
    found.add_argument("--time_unit", type=float, default=1.0, help="seconds in 1 of numbers in --time (default: 1)")
    found.add_argument("--no_clock", action="store_true", help="take --time for labels: no gaps, no check of the rate")
    found.add_argument("--learn", type=int, default=200, help="frames to learn the threshold from (default: 200)")
    found.add_argument(
        "--tolerance", type=float, default=10.0, help="how far below the median is unusual (default: 10)"
    )
    found.add_argument("--threshold", type=float, help="score in nats below which to flag (default: learn it)")
    found.add_argument("--smoothing", type=float, default=0.5, help="weight of the past in the score (default: 0.5)")
    found.add_argument("--keep_going", action="store_true", help="take damaged lines for missing frames")
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
