"""Digits that bounce at random: pictures forecast after five given ones, as SVG's authors score them."""

import numpy as np

from tfdvae.metrics import best_of_samples, video_scores
from trainers import loading
from trainers.tables.table import Column, Finished, Row, Table

__all__ = ["VIDEO"]

GIVEN = 5
SAMPLES = 100
SEQUENCES = 100
"""Of the test split: a hundred samples of each are 100,000 pictures."""
CHUNK = 4
"""Sequences at a time, whose samples fit into a few hundred megabytes."""


def _scores(run: Finished) -> dict[str, float | None]:
    """SSIM and PSNR of the mean and of the best sample, means over forecast frames and sequences; the ELBO."""
    x, u = loading.stacked(run.measured.first(SEQUENCES))
    shape = tuple(run.config.data.frame_shape)
    x = x.reshape(*x.shape[:2], *shape)
    figures: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(x), CHUNK):
        rows = slice(start, start + CHUNK)
        past_u, next_u = (None, None) if u is None else (u[rows, :GIVEN], u[rows, GIVEN:])
        options = {"horizon": x.shape[1] - GIVEN, "future_u": next_u, "num_samples": SAMPLES}
        found = run.model.forecast(x[rows, :GIVEN], u=past_u, seed=run.config.seed + start, **options)
        truth = x[rows, GIVEN:]
        of_mean, best = video_scores(found.mean.numpy(), truth), best_of_samples(found.samples.numpy(), truth)
        for what, (ssim, psnr) in (("mean", of_mean), ("best", best)):
            figures.setdefault(f"SSIM, {what}", []).append(ssim)
            figures.setdefault(f"PSNR, {what}", []).append(psnr)
    means = {name: float(np.concatenate(values).mean()) for name, values in figures.items()}
    return {"ELBO": run.scores.elbo.nats_per_frame, **means}


VIDEO = Table(
    title="Two moving digits, stochastic",
    unit=f"Test digits. {GIVEN} frames given, 10 forecast; ELBO in nats per frame of whole sequences, in which models "
    f"with `given_frames` (SVG, SV2P) do not score the first {GIVEN}.",
    heads=("model",),
    columns=(
        Column("ELBO", 1),
        *(Column(f"SSIM, {what}", 3) for what in ("mean", "best")),
        *(Column(f"PSNR, {what}", 2) for what in ("mean", "best")),
    ),
    measure=_scores,
    rows=(
        Row(("SVG-FP",), "configs/moving_digits/svg.py", {"model.learned_prior": False}),
        Row(("SVG-LP",), "configs/moving_digits/svg.py"),
        Row(("SV2P",), "configs/moving_digits/sv2p.py"),
        Row(("VRNN",), "configs/moving_digits/vrnn.py"),
        Row(("RSSM",), "configs/moving_digits/rssm.py"),
    ),
    notes=(
        f"Mean: of {SAMPLES} samples. Best: of {SAMPLES} samples, chosen by the truth for each measure, as Babaeizadeh "
        f"et al. (2018) and Denton and Fergus (2018) do; {SEQUENCES} sequences of the test split."
    ),
)
