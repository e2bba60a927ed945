"""Training curves."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfdvae.data.files import named_damage
from tfdvae.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_history"]

PANELS = (
    ("ELBO", "nats per frame", "elbo_nats_per_frame"),
    ("log p(x | z)", "nats per frame", "log_likelihood_nats_per_frame"),
    ("KL(q || p)", "nats per frame", "kl_nats_per_frame"),
    ("weight of the KL", "", "kl_weight"),
    ("learning rate", "", "learning_rate"),
)


def plot_history(history: Mapping[str, Sequence[float]] | str | os.PathLike) -> "Figure":
    """Training (line) and validation (dashed) against epochs: ELBO, log-likelihood, KL, and what was scheduled.

    Args:
        history: `fit(...).history`, or the path of a file that `keras.callbacks.CSVLogger` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: none of the curves is in it.
        ImportError: matplotlib is not installed.
    """
    table = dict(history) if isinstance(history, Mapping) else _read(Path(history))
    panels = [panel for panel in PANELS if panel[2] in table or f"val_{panel[2]}" in table]
    if not panels:
        raise ValueError(f"Expected curves such as {PANELS[0][2]!r} in the history, got {sorted(table)}.")
    figure = new_figure(3.4 * len(panels), 3.0)
    for axes, (title, unit, name) in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
        for key, style, label in ((name, "-", "training"), (f"val_{name}", "--", "validation")):
            if key in table:
                epochs = table.get("epoch", range(len(table[key])))
                axes.plot(np.asarray(epochs) + 1, table[key], style, label=label)
        axes.set(title=title, xlabel="epoch", ylabel=unit)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    return figure


def _read(path: Path) -> dict[str, list[float]]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    with named_damage(path, "is no log of numbers as keras.callbacks.CSVLogger writes it"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        names = rows[0].keys() if rows else ()
        return {name: [float(row[name]) for row in rows] for name in names if rows[0][name] != "NA"}
