"""Faces that see the same film: who is like what, what is shown when, and faces not seen (Deng et al. 2017)."""

import numpy as np
from ml_collections import ConfigDict
from scipy.optimize import linear_sum_assignment

from tfdvae.data import Sequences, observed_moments, pad
from tfdvae.models import FVAE
from trainers import loading
from trainers.tables.table import Column, Finished, Row, Table

__all__ = ["FACTORS", "Factorisation", "recovered"]

SAMPLES = 20
"""Of the latents, per sequence."""
RIDGES = (0.1, 1.0, 10.0)
ROUNDS = 30


def recovered(found: np.ndarray, true: np.ndarray) -> float:
    """How well true factors `[N, K]` are told by those found `[N, Z]`: the mean over the true ones of the absolute
    correlation with a found one, each found one for one true one at most, by the best assignment; 0 for those without.
    """
    count = true.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        together = np.nan_to_num(np.abs(np.corrcoef(true.T, found.T)[:count, count:]))
    rows, columns = linear_sum_assignment(together, maximize=True)
    return float(together[rows, columns].sum() / count)


class Factorisation:
    """A factorisation of each feature by itself, x_itd = a_td + sum_k U_dik V_dtk, by alternating ridge regressions.

    Args:
        x: frames of the training individuals, `[I, T, D]`; anything where not observed.
        observed: which frames were, `[I, T]`.
        rank: K.
        ridge: weight of |U|^2 and |V|^2, in units of the noise of standardised features.
        seed: of where V starts.
    """

    def __init__(self, x: np.ndarray, observed: np.ndarray, rank: int, ridge: float, seed: int = 0):
        known = observed[..., None]
        self.ridge = ridge
        self.means = np.where(known, x, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        self.scale = np.sqrt(np.square(np.where(known, x - self.means, 0.0)).sum(axis=(0, 1)) / known.sum()) + 1e-12
        self.times = np.random.default_rng(seed).standard_normal((x.shape[2], x.shape[1], rank))
        values = (x - self.means) / self.scale
        for _ in range(ROUNDS):
            individuals = _ridge(values, observed, self.times, ridge)
            self.times = _ridge(values.swapaxes(0, 1), observed.T, individuals, ridge)

    def predict(self, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """All frames `[N, T, D]` of other individuals, from those of their frames that were observed."""
        individuals = _ridge((x - self.means) / self.scale, observed, self.times, self.ridge)
        return self.means + self.scale * np.einsum("dik,dtk->itd", individuals, self.times)


def _ridge(values: np.ndarray, known: np.ndarray, factors: np.ndarray, weight: float) -> np.ndarray:
    """Coefficients `[D, I, K]` of values `[I, T, D]` on factors `[D, T, K]`, over what is known, `[I, T]`."""
    known = known.astype(np.float64)
    square = np.einsum("it,dtk,dtl->dikl", known, factors, factors, optimize=True) + weight * np.eye(factors.shape[2])
    product = np.einsum("it,itd,dtk->dik", known, values, factors, optimize=True)
    return np.linalg.solve(square, product[..., None])[..., 0]


def _factorised(run: Finished) -> Factorisation:
    """With the ridge that tells a tenth of the validation split best."""
    (x, seen), (valid, seen_valid) = (_given(split) for split in run.splits[:2])
    kept = seen_valid & (np.random.default_rng(run.config.seed).uniform(size=seen_valid.shape) >= 0.1)
    hidden = seen_valid & ~kept
    rank, seed = run.config.model.latent_dim, run.config.seed
    found = [Factorisation(x, seen, rank, ridge, seed) for ridge in RIDGES]
    errors = [np.square(one.predict(valid, kept) - valid)[hidden].sum() for one in found]
    return found[int(np.argmin(errors))]


def _given(sequences: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """Frames `[N, T, D]`, and which of them were observed, `[N, T]`."""
    batch = pad(sequences)
    return np.float64(batch["x"]), np.asarray(batch["observed"]).all(axis=-1)


def _measure(run: Finished) -> dict[str, float | None]:
    """Of test individuals, who are new: their frames that were not observed, and their factors."""
    complete = ConfigDict(run.config.data)
    complete.missing_rate = 0.0
    truth, _ = loading.stacked(getattr(loading.load_splits(complete), run.split))
    batch = pad(run.measured)
    x, observed = batch["x"], batch["observed"]
    missing = ~observed
    filled = run.model.impute(x, observed=observed, num_samples=SAMPLES, seed=run.config.seed).mean.numpy()
    simple = _factorised(run)
    figures = {"squared error": filled, "factorised": simple.predict(*_given(run.measured)), "means": simple.means}
    unit = observed_moments(np.concatenate(run.splits.train.x), np.concatenate(run.splits.train.observed))[1]
    scores: dict[str, float | None] = {
        name: float(np.square((np.broadcast_to(y, truth.shape) - truth) / unit)[missing].mean())
        for name, y in figures.items()
    }
    scores |= {"U": None, "V": None, "ELBO": run.scores.elbo.nats_per_frame}
    if isinstance(run.model, FVAE):
        simulated, count = loading.load_simulated(run.config.data), run.config.data.num_factors
        individuals, times = run.model.factors(x, observed=observed)
        scores["U"] = recovered(np.asarray(individuals), simulated.constants[run.split])
        true = np.log(simulated.truth[run.split][0, :, count:])
        scores["V"] = recovered(np.log(np.asarray(times)[: len(true)]), true)
    return scores


FACTORS = Table(
    title="Faces that see the same film",
    unit=(
        "Test individuals, who are new: squared error of frames of which nothing was seen, of features of variance 1; "
        "U and V: mean absolute correlation of true factors with those found, of individuals, and of log V over time; "
        "ELBO of what was observed, nats per frame."
    ),
    heads=("model",),
    columns=(
        *(Column(name, 4, False) for name in ("squared error", "factorised", "means")),
        Column("U", 3),
        Column("V", 3),
        Column("ELBO", 2),
    ),
    measure=_measure,
    above_zero=("data.missing_rate",),
    rows=(
        Row(("FVAE",), "configs/faces/fvae.py"),
        Row(("FVAE, table of U",), "configs/faces/fvae.py", {"model.table": True}),
        Row(("VAE",), "configs/faces/vae.py"),
    ),
    notes=(
        f"Means over {SAMPLES} samples of the latents. Factorised: each feature by itself, with as many factors as the "
        "model has, by alternating ridge regressions with the ridge that is best on the validation split; test "
        "individuals are fitted to their frames that were seen. Means: of each feature at each time over the training "
        "individuals. The order of factors means nothing: each true one is compared with the one that is assigned to "
        "it. The faces of the paper are not public."
    ),
)
