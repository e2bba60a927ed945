"""What a table of results is: rows that train one config each, columns that say what is measured, published figures."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from tfdvae.data import Sequences, Splits
from tfdvae.markdown import markdown_table
from tfdvae.models import DVAE
from trainers.scoring import Scores
from trainers.settings import FITTED

__all__ = ["Column", "Finished", "Row", "Table", "bound_columns", "markdown"]


class Finished(NamedTuple):
    """A run that was trained: what columns are measured from.

    Attributes:
        config, model, splits, scores: of the run.
        folder: where it is, for what a table writes beside figures; None for figures alone.
        split: what is measured: test, which is read once, or valid, to choose by.
    """

    config: ConfigDict
    model: DVAE
    splits: Splits
    scores: Scores
    folder: Path | None = None
    split: str = "test"

    @property
    def measured(self) -> Sequences:
        """The sequences of `split`."""
        return getattr(self.splits, self.split)

    @property
    def fitted(self) -> str:
        """The split that regressions and the like are fitted on: valid for test, train for valid."""
        return FITTED[self.split]


class Column(NamedTuple):
    """One figure of a row.

    Attributes:
        name: its heading.
        digits: behind the point.
        higher: whether more is better, for the reader; None where neither is.
    """

    name: str
    digits: int
    higher: bool | None = True


class Row(NamedTuple):
    """One experiment.

    Attributes:
        labels: what the first columns of the table say of it, unlike those of every other row.
        config: its file.
        options: "section.key" to value, what differs from the file.
        published: figures of papers as text, by the column that they compare with.
        start: labels of the row whose weights it begins with.
    """

    labels: tuple[str, ...]
    config: str
    options: Mapping[str, Any] = {}
    published: Mapping[str, str] = {}
    start: tuple[str, ...] | None = None


class Table(NamedTuple):
    """Rows that belong together.

    Attributes:
        title: one line.
        unit: of the figures, and over what they are averaged.
        heads: names of the labels.
        columns: what is measured.
        measure: a finished run to a figure, or None, for each column by name.
        rows: the experiments.
        notes: what a reader must know to compare with the papers.
        needs: packages that loading or measuring imports, as (package, extra).
        above_zero: settings, "section.key", without which there is nothing to measure, such as the share of a split
            that is hidden.
        windowed: the validation split is windows of what the test split has whole, so `measure` cannot take it.
    """

    title: str
    unit: str
    heads: tuple[str, ...]
    columns: tuple[Column, ...]
    measure: Callable[[Finished], dict[str, float | None]]
    rows: tuple[Row, ...]
    notes: str = ""
    needs: tuple[tuple[str, str], ...] = ()
    above_zero: tuple[str, ...] = ()
    windowed: bool = False


def bound_columns(unit: str) -> tuple[tuple[Column, ...], Callable[[Finished], dict[str, float | None]]]:
    """ELBO and importance-sampled log-likelihood of the scores, in a unit of `trainers.scoring.Score`.

    They stand in one column where a model has no latents, and the likelihood is exact.
    """

    def measure(run: Finished) -> dict[str, float | None]:
        found = {"ELBO": run.scores.elbo, "importance-sampled": run.scores.iwae}
        figures = {name: None if score is None else getattr(score, unit) for name, score in found.items()}
        return figures if run.model.has_latents else {**figures, "ELBO": None}

    return (Column("ELBO", 4), Column("importance-sampled", 4)), measure


def markdown(
    table: Table, figures: Mapping[tuple[str, ...], Sequence[Mapping[str, float | None]]], split: str = "test"
) -> str:
    """The table, with the mean over seeds and, where there are several, their standard deviation.

    Args:
        figures: those of each seed by labels; rows without any are left out.
        split: what they are of.
    """
    published = [column for column in table.columns if any(column.name in row.published for row in table.rows)]
    heads = [*table.heads]
    for column in table.columns:
        heads += [column.name, f"{column.name}, published"] if column in published else [column.name]
    rows = []
    for row in table.rows:
        if row.labels not in figures:
            continue
        cells = list(row.labels)
        for column in table.columns:
            cells.append(_cell([found.get(column.name) for found in figures[row.labels]], column.digits))
            if column in published:
                cells.append(row.published.get(column.name, ""))
        rows.append(cells)
    better = {True: "higher is better", False: "lower is better"}
    directions = [f"{c.name}: {better[c.higher]}" for c in table.columns if c.higher is not None]
    text = f"{table.unit} {'; '.join(directions)}.\n\n{markdown_table(heads, rows, len(table.heads))}"
    if split != "test":
        text = f"Of split {split!r} in place of the test split, with fits to split {FITTED[split]!r}. {text}"
    return f"{text}\n\n{table.notes}" if table.notes else text


def _cell(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.{digits}f}{spread}"
