"""`check_model`: the contract of this library, checked on a model from anywhere."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from tfdvae.models import DVAE
from tfdvae.testing import (
    driver,
    execution,
    jacobians,
    masking,
    missing,
    paths,
    saving,
    sequences,
    streaming,
    trajectories,
)
from tfdvae.testing.parents import Parents, check_parents

__all__ = ["CHECKS", "Subject", "check_model"]


class Subject(NamedTuple):
    """A model under test.

    Attributes:
        make: a new built model with all weights moved a little, the same every time, from further options.
        model: one of them; checks leave its weights as they are.
        parents: its graphical model, or None.
    """

    make: Callable[..., DVAE]
    model: DVAE
    parents: Parents | None


def _every(check: Callable[..., None], *arguments: Any) -> Callable[[Subject], None]:
    """A check of the model, once with each argument."""

    def run(subject: Subject) -> None:
        for argument in arguments:
            check(subject.model, *argument)

    return run


def _of_model(check: Callable[[DVAE], None]) -> Callable[[Subject], None]:
    return lambda subject: check(subject.model)


def _of_cell(check: Callable[..., None], *arguments: Any) -> Callable[[Subject], None]:
    """A check of models that are built around a cell."""

    def run(subject: Subject) -> None:
        if hasattr(subject.model, "cell"):
            check(subject.model, *arguments)

    return run


def _arguments(subject: Subject) -> None:
    saving.check_arguments(subject.model)
    if hasattr(subject.model, "cell"):
        saving.check_arguments(subject.model.cell)


def _dropout(subject: Subject) -> None:
    cell = getattr(subject.model, "cell", None)
    if cell is not None and cell.dropout > 0.0:
        paths.check_dropout(subject.model)
        paths.check_ways(subject.model, dropout=True)


def _missing(subject: Subject) -> None:
    for options in missing.FILLS.values():
        model = subject.make(**options)
        missing.check_junk(model)
        missing.check_all_observed(model)
        missing.check_missing_and_masked(model)
        streaming.check_mixtures(model, missing.partly(model, 0.0))


def _graph(subject: Subject) -> None:
    if subject.parents is not None:
        jacobians.check_jacobians(subject.model, subject.parents)
        jacobians.check_reach(subject.model, subject.parents)


CHECKS: dict[str, Callable[[Subject], None]] = {
    "trajectory": _every(trajectories.check_trajectory, (3, 5), (1, 5), (3, 1), (1, 1)),
    "separate sequences": _of_model(trajectories.check_separate),
    "modes": _of_model(trajectories.check_modes),
    "densities": _of_model(trajectories.check_densities),
    "gradients": _of_model(execution.check_gradients),
    "masks": _of_model(masking.check_masked),
    "masked terms": _of_model(masking.check_masked_terms),
    "masked verbs": _of_model(masking.check_masked_verbs),
    "arguments": _arguments,
    "config": _of_model(saving.check_config),
    "config of the cell": _of_cell(saving.check_cell_config),
    "file": lambda subject: saving.check_saved(subject.make),
    "half-steps": _of_cell(driver.check_driver),
    "parents": _graph,
    "ways through the cell": _of_cell(paths.check_ways),
    "states": _of_cell(paths.check_states),
    "dropout": _dropout,
    "streaming": _of_model(streaming.check_steps),
    "generated steps": _of_model(streaming.check_generated_steps),
    "generation": _of_cell(paths.check_generation),
    "mixtures": _of_model(streaming.check_mixtures),
    "missing values": _missing,
    "graph": _of_model(execution.check_graph),
    "XLA": _of_model(execution.check_compiled),
}
"""What `check_model` checks, by name and in this order."""


def check_model(
    cls: type[DVAE],
    sizes: Mapping[str, Any],
    *,
    parents: Parents | None = None,
    x_dim: int | Sequence[int] = 4,
    u_dim: int = 0,
    context_dim: int = 0,
    checks: Iterable[str] | None = None,
) -> None:
    """Checks that a model keeps the contract, so that verbs, bounds, training and export can be relied on.

    It takes about a minute. Frames are normal numbers, so the observation must be one of real numbers, as the default
    is. A model with control inputs is checked twice, with `u_dim=0` and with some.

    Args:
        cls: the model, usually a subclass of `tfdvae.RecurrentDVAE` with a `StochasticCell`, registered with Keras.
        sizes: arguments of `cls`: small, and every width another, so that a mix-up of two shapes cannot pass. With
            `dropout` above zero it is checked as well.
        parents: the graphical model, a table as in `tfdvae.testing.parents`; None leaves it unchecked.
        x_dim: D, or the shape of a frame.
        u_dim: U, 0 for none.
        context_dim: C, 0 for none.
        checks: names in `tfdvae.testing.CHECKS`; None for all.

    Raises:
        AssertionError: a check failed; the message names every one that did, and what differed.
        ValueError: `checks` or `parents` name what does not exist.

    Example:
        earlier = {"prior": {"z": "previous"}, "posterior": {"x": "now", "z": "previous"}}
        check_model(MyModel, {"latent_dim": 2, "units": 5}, parents={"z": earlier, "x": {"z": "now"}})
    """
    names = list(CHECKS) if checks is None else list(checks)
    if not set(names) <= set(CHECKS):
        raise ValueError(f"`checks` are names among {', '.join(CHECKS)}; got {', '.join(names)}.")
    make = functools.partial(_make, cls, sizes, x_dim, u_dim, context_dim)
    subject = Subject(make, make(), parents)
    if parents is not None:
        if not hasattr(subject.model, "cell"):
            raise ValueError(f"`parents` needs a model with a cell, which {cls.__name__} is not: leave it out.")
        check_parents(parents, subject.model)
    failed = {}
    for name in names:
        try:
            CHECKS[name](subject)
        except Exception as error:
            failed[name] = error
    if failed:
        says = [f"[{name}] {_text(error)}" for name, error in failed.items()]
        head = f"{cls.__name__} fails {len(failed)} of {len(names)} checks:"
        raise AssertionError("\n\n".join([head, *says])) from next(iter(failed.values()))


def _make(cls: type[DVAE], sizes: Mapping, x_dim: Any, u_dim: int, context_dim: int, **options: Any) -> DVAE:
    keras.utils.set_random_seed(0)
    model = cls(**{**sizes, **options})
    model.build_for(x_dim, u_dim, context_dim)
    sequences.jitter(model.trainable_variables, 1)
    return model


def _text(error: Exception) -> str:
    text = str(error).strip()
    return text if isinstance(error, AssertionError) else f"{type(error).__name__}: {text}"
