"""Simulated data whose true states are known: what latents know of them, and how well frames are predicted."""

from collections.abc import Callable

import numpy as np

from tfdvae.metrics import linear_r2, squared_error_per_frame
from trainers import loading, predict, regress
from trainers.tables.table import Column, Finished, Row, Table, bound_columns

__all__ = ["BOUNCING_BALLS", "CART_POLE", "PENDULUM", "PHYSICS", "SPIKES", "partners"]

TARGETS = ("sin", "cos", "angular velocity")
STATES = tuple(f"{name}, states" for name in TARGETS)
GIVEN = 1 / 3
"""Part of the frames that are the past in the table of physics."""


def _r2(run: Finished) -> dict[str, float | None]:
    """From the latents of a frame, and from all that p(x_t | .) reads."""
    latents, _ = regress.regressed(run.config, run.model, split=run.split)
    states, _ = regress.regressed(run.config, run.model, states=True, split=run.split)
    return {**latents, **{f"{name}, states": value for name, value in states.items()}}


def _published(*values: str) -> dict[str, str]:
    return dict(zip(TARGETS, values, strict=True))


PENDULUM = Table(
    title="Driven pendulum",
    unit="Test split, R^2 of linear regressions fitted on the validation split, frames 2 to 30.",
    heads=("model",),
    columns=tuple(Column(name, 3) for name in TARGETS + STATES),
    measure=_r2,
    rows=(
        Row(("DKF",), "configs/pendulum/dkf.py", {}, _published("0.929", "0.979", "0.035")),
        Row(("DVBF",), "configs/pendulum/dvbf.py", {}, _published("0.961", "0.982", "0.916")),
        Row(("VSSN",), "configs/pendulum/vssn.py", {}, _published("0.973", "0.991", "0.930")),
        Row(("RSSM",), "configs/pendulum/rssm.py"),
    ),
    notes=(
        "Without a mark: from the latents of a frame alone, z_t of a DVBF, [w_t, z_t] of a VSSN. States: from all that "
        "p(x_t | .) reads, the deterministic states of VSSN and RSSM included. Published: table 1 of the VSSN paper, "
        "which fits and scores on the same frames and does not say which states it regresses from; DVBF from its own."
    ),
)


def partners(constants: np.ndarray) -> np.ndarray:
    """For each sequence the next one whose constants differ, the last beginning anew with the first: `[N]`.

    Args:
        constants: `[N, ...]`, as `Simulated.constants` has them.

    Raises:
        ValueError: all are equal.
    """
    flat = constants.reshape(len(constants), -1)
    differs = np.any(flat[:, None] != flat[None], axis=-1)
    if not differs.any(axis=1).all():
        raise ValueError("Expected sequences of different physics, such as data.gravities=(4.0, 16.0); all are equal.")
    distance = (np.arange(len(flat))[None] - np.arange(len(flat))[:, None]) % len(flat)
    return np.argmin(np.where(differs, distance, len(flat)), axis=1)


def _forecasts(run: Finished) -> dict[str, float | None]:
    """Errors of forecasts under three values of v, and what v knows of gravity."""
    simulated = loading.load_simulated(run.config.data)
    (x, u), (known, known_u) = (loading.stacked(getattr(simulated.splits, s)) for s in (run.split, run.fitted))
    given = round(GIVEN * x.shape[1])
    (past, future), (past_u, future_u) = ((None, None) if y is None else np.split(y, [given], axis=1) for y in (x, u))
    options = {"horizon": future.shape[1], "future_u": future_u, "seed": run.config.seed}
    other = partners(simulated.constants[run.split])
    other_u = None if past_u is None else past_u[other]
    none = np.zeros([len(x), run.model.cell.global_dim], np.float32)
    found = {
        "own v": run.model.forecast(past, u=past_u, **options),
        "swapped v": run.model.swap(past, past[other], u=past_u, u_other=other_u, **options),
        "no v": run.model.forecast(past, u=past_u, latents={"v": none}, **options),
    }
    figures: dict[str, float | None] = {
        name: squared_error_per_frame(loading.as_vectors(forecast.mean), future) for name, forecast in found.items()
    }
    figures["last frame"] = squared_error_per_frame(np.repeat(past[:, -1:], future.shape[1], axis=1), future)
    v = [run.model.encode(frames, u=inputs)["v"].loc.numpy() for frames, inputs in ((known, known_u), (x, u))]
    gravity = [simulated.constants[split][:, :1] for split in (run.fitted, run.split)]
    figures["gravity from v"] = float(linear_r2(v[0], gravity[0], v[1], gravity[1])[0])
    return figures


PHYSICS = Table(
    title="Pendulums of different gravity",
    unit="Test split, 10 frames given and 20 forecast: squared error summed over pixels, mean over frames.",
    heads=("model",),
    columns=(
        *(Column(name, 3, False) for name in ("own v", "swapped v", "no v", "last frame")),
        Column("gravity from v", 3),
    ),
    measure=_forecasts,
    rows=(Row(("DSSM",), "configs/pendulum/dssm.py"),),
    notes=(
        "Own: v inferred from the given frames. Swapped: that of the next sequence with another gravity. No v: zero, "
        "the mean of its prior, for the past as well. Last column: R^2 of a linear regression of gravity from the mean "
        "of v of whole sequences, fitted on the validation split."
    ),
)


def _imagined(run: Finished) -> dict[str, float | None]:
    """Errors of forecasts under the forces that were, and under others, and what the state knows of the true one."""
    x, u = loading.stacked(run.measured)
    given = round(GIVEN * x.shape[1])
    (past, future), (past_u, future_u) = (np.split(y, [given], axis=1) for y in (x, u))
    inputs = {"own forces": future_u, "others' forces": np.roll(future_u, 1, axis=0), "no forces": 0.0 * future_u}
    options = {"u": past_u, "horizon": future.shape[1], "num_samples": 16, "seed": run.config.seed}

    def error(own: np.ndarray) -> float:
        return squared_error_per_frame(
            loading.as_vectors(run.model.forecast(past, future_u=own, **options).mean), future
        )

    figures: dict[str, float | None] = {name: error(own) for name, own in inputs.items()}
    figures["last frame"] = squared_error_per_frame(np.repeat(past[:, -1:], future.shape[1], axis=1), future)
    return {**figures, **regress.regressed(run.config, run.model, states=True, split=run.split)[0]}


CART_POLE = Table(
    title="Cart and pole that are pushed",
    unit=(
        "Test split, 17 frames given and 33 forecast: squared error summed over pixels, mean over frames; R^2 of "
        "linear regressions from all that p(x_t | .) reads, fitted on the validation split, frames 2 to 50."
    ),
    heads=("model",),
    columns=(
        *(Column(name, 2, False) for name in ("own forces", "others' forces", "no forces", "last frame")),
        *(Column(name, 3) for name in ("place", "sin", "cos", "velocity", "angular velocity")),
    ),
    measure=_imagined,
    rows=(
        Row(("RSSM",), "configs/cart_pole/rssm.py"),
        Row(("RSSM, overshooting",), "configs/cart_pole/rssm.py", {"model.overshooting": 5}),
        Row(("VRNN",), "configs/cart_pole/vrnn.py"),
    ),
    notes=(
        "Forecasts are means of 16 samples. Others' forces are those of the sequence before: a model that does not "
        "listen to what it is told is no worse under them. Nothing is published for these data."
    ),
)


def _one_step(samples: int) -> Callable[[Finished], dict[str, float | None]]:
    def measure(run: Finished) -> dict[str, float | None]:
        x, u = loading.stacked(run.measured)
        errors, _ = predict.predicted(run.model, x, u, num_samples=samples, seed=run.config.seed)
        return {"squared error": errors.model, "frame before": errors.previous_frame, "line": errors.straight_line}

    return measure


BOUNCING_BALLS = Table(
    title="Three bouncing balls",
    unit="Test split, each frame from those before it: squared error summed over pixels, mean over frames 2 to 100.",
    heads=("model",),
    columns=tuple(Column(name, 4, False) for name in ("squared error", "frame before", "line")),
    measure=_one_step(8),
    rows=tuple(
        Row((name,), f"configs/bouncing_balls/{config}.py", {"training.patience": 5, **more}, published)
        for name, config, more, published in (
            ("VSSN", "vssn", {"training.epochs": 60}, {"squared error": "0.74"}),
            ("VRNN", "vrnn", {"training.epochs": 60}, {}),
            ("DKF", "dkf", {"training.epochs": 60}, {}),
            ("SVG-LP", "svg", {"training.epochs": 60}, {}),
            ("SV2P", "sv2p", {"training.epochs": 60}, {}),
        )
    ),
    notes=(
        "8 paths of latents per prediction. Published: table 2 of the VSSN paper, which has PGN 0.65, DTSBN 2.79, TSBN "
        "3.07 and SRTRBM 3.31 beside it, on other draws of the same kind. Line: through the two frames before."
    ),
)


OSCILLATOR = ("oscillator 1", "oscillator 2")
_BOUNDS, _bounds = bound_columns("nats_per_frame")


def _spikes(run: Finished) -> dict[str, float | None]:
    """Bounds, and what posterior means know of the oscillator."""
    return {**_bounds(run), **regress.regressed(run.config, run.model, split=run.split)[0]}


SPIKES = Table(
    title="Spikes of a latent oscillator",
    unit=(
        "Test split, nats per frame, and R^2 of linear regressions of the true state from the means of the latents, "
        "fitted on the validation split, frames 2 to 100."
    ),
    heads=("model", "posterior", "transition"),
    columns=(*_BOUNDS, *(Column(name, 3) for name in OSCILLATOR)),
    measure=_spikes,
    rows=(
        *(
            Row(("DKF", inference, transition), "configs/spikes/dkf.py", options)
            for inference in ("tridiagonal", "st_r", "st_lr", "mf_lr")
            for transition in ("linear", "gated")
            for options in [{"model.inference": inference, "model.transition": transition}]
        ),
        Row(("LatentLDS", "smooth", "linear"), "configs/spikes/latent_lds.py"),
    ),
    notes=(
        "The data are a linear dynamical system of 2 dimensions with Poisson frames, and all models have linear "
        "readouts of 2 latents, so those with a linear transition can be the system itself."
    ),
)
