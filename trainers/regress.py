"""What the latents of a model know of the true state: R^2 of linear regressions, as in table 1 of the VSSN paper.

    python -m trainers.regress --workdir runs/pendulum_vssn
    python -m trainers.regress --workdir runs/pendulum_vssn --split valid    # to choose by
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from tfdvae.metrics import linear_r2
from tfdvae.models import DVAE, RecurrentDVAE
from trainers import building, loading, settings
from trainers.settings import FITTED
from trainers.writing import write_json

__all__ = ["TARGETS", "regressed", "run"]


def _pendulum(states: np.ndarray) -> dict[str, np.ndarray]:
    return {"sin": np.sin(states[..., 0]), "cos": np.cos(states[..., 0]), "angular velocity": states[..., 1]}


def _ball(states: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(("x", "y", "velocity x", "velocity y"), np.moveaxis(states, -1, 0), strict=True))


def _cart_pole(states: np.ndarray) -> dict[str, np.ndarray]:
    place, angle, velocity, turning = np.moveaxis(states, -1, 0)
    found = {"place": place, "sin": np.sin(angle), "cos": np.cos(angle)}
    return {**found, "velocity": velocity, "angular velocity": turning}


def _dot(states: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(("position", "velocity"), np.moveaxis(states, -1, 0), strict=True))


def _oscillator(states: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(("oscillator 1", "oscillator 2"), np.moveaxis(states, -1, 0), strict=True))


TARGETS: dict[str, Callable[[np.ndarray], dict[str, np.ndarray]]] = {
    "ball_in_box": _ball,
    "cart_pole": _cart_pole,
    "dot": _dot,
    "pendulum": _pendulum,
    "spikes": _oscillator,
}
"""By data set, what is regressed: from true states `[N, T, ...]` to named `[N, T]`."""


def run(workdir: Path, skip: int = 1, states: bool = False, split: str = "test") -> dict[str, float]:
    """Prints and returns R^2 of each target; writes `regression.json` or `regression_states.json`, of the validation
    split `regression_valid.json` or `regression_states_valid.json`.

    Ordinary least squares from the posterior means of a frame's latents, or from the state that a model infers through
    them (z of a DVBF), fitted on the validation split and scored on the test split; or on those before them (FITTED).

    Args:
        workdir: folder of a finished run on one of TARGETS.
        skip: frames at the beginning that are left out: a single picture does not show a velocity.
        states: regress from all that p(x_t | .) reads instead, deterministic states included (d_t of a VSSN).
        split: test or valid, what to score on.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: an unknown split; true states that are unknown, or that no target is defined for; a model without
            latents per frame, or, with `states`, without such states.
    """
    settings.check_split(split, FITTED)
    config = settings.load(workdir)
    found, width = regressed(config, building.load_model(workdir), skip, states, split)
    what = "states" if states else "latents"
    content = {"model": config.model.name, "data": config.data.name, "split": split, "from": what, "r2": found}
    name = "regression" + ("_states" if states else "") + settings.split_suffix(split)
    write_json(workdir / f"{name}.json", content)
    values = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
    print(
        f"{config.model.name} on {config.data.name}, split {split}, from {width} {what}: R^2 of {values}", flush=True
    )
    return found


def regressed(
    config: ConfigDict, model: DVAE, skip: int = 1, states: bool = False, split: str = "test"
) -> tuple[dict[str, float], int]:
    """R^2 of each target, and of how many numbers per frame it is regressed from; see `run`."""
    simulated = loading.load_simulated(config.data)
    if config.data.name not in TARGETS:
        raise ValueError(f"Nothing to regress is defined for {config.data.name!r}: expected one of {sorted(TARGETS)}.")
    if states and not isinstance(model, RecurrentDVAE):
        raise ValueError(f"{config.model.name!r} has no recurrent cell whose states could be read: leave out --states.")
    if not states and not model.frame_latents:
        raise ValueError(f"{config.model.name!r} has no latents of frames to regress from.")
    pairs = []
    for part in (FITTED[split], split):
        x, u = loading.stacked(getattr(simulated.splits, part))
        if states:
            latents = np.concatenate([np.asarray(y) for y in model.encode_states(x, None, u).values()], axis=-1)
        else:
            found = model.encode(x, None, u)
            of_frames = [latent.q.mean(found[latent.name]) for latent in model.frame_latents]
            of_frames = [found[name] for name in model.states] or of_frames
            latents = np.concatenate([np.asarray(y) for y in of_frames], axis=-1)
        latents = latents[:, skip:]
        named = TARGETS[config.data.name](simulated.truth[part][:, skip:])
        targets = np.stack(list(named.values()), axis=-1)
        pairs += [y.reshape(-1, y.shape[-1]) for y in (latents, targets)]
    found = {name: float(value) for name, value in zip(named, linear_r2(*pairs), strict=True)}
    return found, latents.shape[-1]


def main() -> None:
    run(Path(flags.FLAGS.workdir), flags.FLAGS.skip, flags.FLAGS.states, flags.FLAGS.split)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of a finished run of trainers.train.")
    flags.DEFINE_integer("skip", 1, "Frames at the beginning that are left out.", lower_bound=0)
    flags.DEFINE_bool("states", False, "From all that p(x_t | .) reads, deterministic states included.")
    flags.DEFINE_enum("split", "test", list(FITTED), "What to score on; fitted on the split before it.")
    flags.mark_flag_as_required("workdir")
    settings.run_app(main)
