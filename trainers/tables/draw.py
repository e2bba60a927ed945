"""Binary MNIST digits drawn glimpse by glimpse (Gregor et al. 2015, table 1)."""

from tfdvae.data import pad
from trainers.tables.table import Column, Finished, Row, Table

__all__ = ["DRAW"]

SHOWN = 8
"""Pictures of a drawing that is written beside the figures, of test digits and of digits made up."""

ROWS = {
    "DRAW": ("draw", {}, "<= 80.97"),
    "DRAW without attention": ("draw", {"model.attention": False}, "<= 87.40"),
    "VAE of equal size": ("vae", {}, None),
}
"""Config, what differs from it, and the published bound."""


def _measure(run: Finished) -> dict[str, float | None]:
    """Of one-frame sequences: nats per sequence are nats per picture."""
    if run.folder is not None and hasattr(run.model, "drawing"):
        _write_pictures(run)
    return {
        "-log p(x) <=": -run.scores.elbo.nats_per_sequence,
        "importance-sampled": -run.scores.iwae.nats_per_sequence,
    }


def _write_pictures(run: Finished) -> None:
    """drawing.png and imagined.png, where matplotlib is installed."""
    try:
        from tfdvae.plots import plot_drawings

        shown = pad(run.measured.first(SHOWN))
        for name, found in {
            "drawing": run.model.drawing(shown["x"]),
            "imagined": run.model.generated_drawing(SHOWN, seed=run.config.seed),
        }.items():
            plot_drawings(found).savefig(run.folder / f"{name}.png")
    except ImportError as error:
        print(f"No pictures of drawings: {error}", flush=True)


DRAW = Table(
    title="Binary MNIST digits, drawn glimpse by glimpse",
    unit="All 10,000 digits of the official test set, nats per picture.",
    heads=("model",),
    columns=(Column("-log p(x) <=", 2, False), Column("importance-sampled", 2, False)),
    measure=_measure,
    rows=tuple(
        Row((name,), f"configs/mnist/{config}.py", options, {} if bound is None else {"-log p(x) <=": bound})
        for name, (config, options, bound) in ROWS.items()
    ),
    notes=(
        "Trained on the first 9,000 digits of the training set, with 1,000 for validation; published: Gregor et al. "
        "(2015), 50,000 digits. Pixels are drawn once with their brightness for a probability, by another draw than "
        "the paper's. The model without attention has more weights than the two others, which read and write less."
    ),
)
