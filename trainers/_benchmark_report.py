"""Turns measurements into Markdown."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trainers.sizes import SIZES

__all__ = ["Memory", "memory_section", "table", "times_section"]

_TIMES_NOTE = """\
Frames per second: medians over the rounds of each process, warm-up excluded. Train and eval: one step of `fit` and of
`evaluate`. Generate: B sequences of T frames from the prior. Stream: `step`, one sequence, frame by frame; models whose
posterior needs later frames cannot. Cost: train step times, each first divided by the time of a large matrix product
in the same process, relative to the first row. Eval/train: frames per second of the one over the other. MAC/frame:
multiply-adds of all matrix products in the train step's graph, gradients included, loop bodies counted as often as they
run. Matmul: float32, the fastest of several large sizes, in turns with the train step. Share: the part of that rate at
which the train step's multiply-adds pass, median over rounds. Peak: resident set of the process after two train steps,
less what it took before there was a model; compilation is part of it."""


class Memory(NamedTuple):
    """Peak memory by length, rows of "length", "peak_mib", "total_mib", "train" (seconds), shortest first.

    `slope` (MiB per frame of T) and `intercept` (MiB) of the least-squares line; `deviation`: largest distance from it
    as a part of the growth from the shortest to the longest. `truncate`: frames that gradients reach back; None: all.
    """

    model: str
    size: str
    batch_size: int
    rows: list[dict[str, Any]]
    slope: float
    intercept: float
    deviation: float
    truncate: int | None = None

    @classmethod
    def of(
        cls, model: str, size: str, batch_size: int, rows: list[dict[str, Any]], truncate: int | None = None
    ) -> "Memory":
        """Fits the line."""
        lengths, peaks = (np.array([row[k] for row in rows], float) for k in ("length", "peak_mib"))
        slope, intercept = np.polyfit(lengths, peaks, 1)
        growth = max(abs(slope) * np.ptp(lengths), 1e-9)
        deviation = np.max(np.abs(peaks - intercept - slope * lengths)) / growth
        return cls(model, size, batch_size, rows, float(slope), float(intercept), float(deviation), truncate)

    @property
    def growth(self) -> float:
        """Of the peak from the shortest to the longest, MiB."""
        return self.rows[-1]["peak_mib"] - self.rows[0]["peak_mib"]

    @property
    def data(self) -> float:
        """What the frames of the longest take more than those of the shortest, MiB."""
        more = self.rows[-1]["length"] - self.rows[0]["length"]
        return 4.0 * self.batch_size * more * SIZES[self.size].x_dim / 2**20


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded to be read as plain text; all columns but the first to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(header), line(rule), *(line(row) for row in rows)])


def times_section(rows: Sequence[dict[str, Any]]) -> str:
    """One table per size."""
    parts = [
        _size_section(size, [r for r in rows if r["size"] == size]) for size in dict.fromkeys(r["size"] for r in rows)
    ]
    return "\n".join([*parts, _TIMES_NOTE, ""])


def memory_section(memory: Memory, faults: Sequence[str]) -> str:
    """Peak memory by length, the line through it, and the verdict."""
    took = "train step s" if memory.truncate is None else "epoch s"
    header = ["T", "peak above start MiB", "line MiB", "whole process MiB", took]
    rows = [
        [
            f"{r['length']}",
            f"{r['peak_mib']:.0f}",
            f"{memory.intercept + memory.slope * r['length']:.0f}",
            f"{r['total_mib']:.0f}",
            f"{r['train']:.2f}",
        ]
        for r in memory.rows
    ]
    title = f"## Memory of training, {memory.model} at {memory.size} size, B = {memory.batch_size}"
    fit = (
        f"Peak memory = {memory.intercept:.0f} MiB + {memory.slope:.3f} MiB per frame of T; largest deviation "
        f"{memory.deviation:.1%} of the growth."
    )
    if memory.truncate is not None:
        title += f", in windows of {memory.truncate} frames"
        fit = (
            f"From the shortest to the longest memory grows by {memory.growth:.0f} MiB, and the frames themselves by "
            f"{memory.data:.0f} MiB."
        )
    verdict = f"Not as it should be: {'; '.join(faults)}." if faults else "Linear in T, and within the limit."
    return f"{title}\n\n{table(header, rows)}\n\n{fit} {verdict}\n"


def _size_section(name: str, rows: Sequence[dict[str, Any]]) -> str:
    size = SIZES[name]
    frames = size.batch_size * size.length
    reference = rows[0]["train"] * rows[0]["rate"]
    header = ["model", "compiler", "train fr/s", "step ms", "cost", "eval fr/s", "eval/train", "generate fr/s"]
    header += ["stream fr/s", "MAC/frame", "matmul GMAC/s", "share", "peak MiB", "rounds"]
    body = [
        [
            r["model"],
            r["compiler"],
            _per_second(frames, r["train"]),
            f"{r['train'] * 1e3:.1f}",
            f"{r['train'] * r['rate'] / reference:.2f}",
            _per_second(frames, r["evaluation"]),
            f"{r['train'] / r['evaluation']:.2f}",
            _per_second(frames, r["generation"]),
            "-" if r["streaming"] is None else _per_second(1, r["streaming"]),
            f"{r['multiply_adds']:,.0f}",
            f"{r['rate'] / 1e9:.1f}",
            f"{100.0 * r['share']:.3g}%",
            f"{r['peak_mib']:.0f}",
            f"{r['rounds']}",
        ]
        for r in rows
    ]
    latent = size.common["latent_dim"]
    shapes = f"D {size.x_dim}, Z {latent}, H {size.common['units']}, T {size.length}, B {size.batch_size}"
    return f"## {name}: {shapes}, {size.common['observation']}\n\n{table(header, body)}\n"


def _per_second(count: int, seconds: float) -> str:
    return f"{count / seconds:,.0f}"
