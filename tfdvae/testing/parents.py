"""The graphical model of a paper as a table: which frames of what reach which distribution.

    parents = {
        "z": {
            "prior": {"x": "earlier", "z": "earlier", "u": "up_to_now"},
            "posterior": {"x": "up_to_now", "z": "earlier", "u": "up_to_now"},
        },
        "x": {"x": "earlier", "z": "up_to_now", "u": "up_to_now"},
    }

reads: p(z_t | x_<t, z_<t, u_<=t), q(z_t | x_<=t, z_<t, u_<=t), p(x_t | x_<t, z_<=t, u_<=t). Whatever is left out is no
parent; a prior that is left out is fixed. Latents stand under their names, those of a sequence or data set as well:
they have one value, so "everything" says that it is a parent (at every frame), and a callable is asked for frame 0.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["RELATIONS", "Parents", "Relation", "check_parents", "matrix", "relation_of", "targets"]

Relation = str | Callable[[int, int], bool]
"""One of `RELATIONS`, or a function of (t, s): whether frame s of the source is a parent at frame t."""

Parents = Mapping[str, Mapping[str, Any]]
"""By name of a latent: "prior" and "posterior", each a dict from source to Relation; "x": such a dict itself."""

Target = tuple[str, str]
"""A distribution: name of a latent, and "prior" or "posterior"; p(x_t | .) is ("x", "observation")."""

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "nothing": lambda t, s: False,
    "everything": lambda t, s: True,
    "earlier": lambda t, s: s < t,
    "up_to_now": lambda t, s: s <= t,
    "now": lambda t, s: s == t,
    "previous": lambda t, s: s == t - 1,
    "from_now_on": lambda t, s: s >= t,
    "neighbours": lambda t, s: abs(t - s) <= 1,
}
"""Which frames s of a source are parents at frame t."""


def targets(latents: Iterable[Any]) -> list[Target]:
    """Every distribution of a model with these latents."""
    return [*((latent.name, of) for latent in latents for of in ("prior", "posterior")), ("x", "observation")]


def check_parents(parents: Parents, model: Any) -> None:
    """Raises ValueError where a table does not fit a model: names or relations unknown, or latents left out."""
    names = {latent.name for latent in model.latents}
    sources = names | {"x", "u"}
    if set(parents) != names | {"x"}:
        raise ValueError(
            f"`parents` of {type(model).__name__} must have the entries {', '.join(sorted(names | {'x'}))}, got "
            f"{', '.join(sorted(parents)) or 'none'}."
        )
    for name in names:
        if not set(parents[name]) <= {"prior", "posterior"}:
            raise ValueError(f"parents[{name!r}] has the entries 'prior' and 'posterior', got {sorted(parents[name])}.")
    for name, of in targets(model.latents):
        for source, relation in _entry(parents, (name, of)).items():
            if source not in sources:
                known = ", ".join(sorted(sources))
                raise ValueError(f"{source!r}, among the parents of {name!r}, is none of {known}.")
            if not callable(relation) and relation not in RELATIONS:
                known = ", ".join(RELATIONS)
                raise ValueError(f"{relation!r}, among the parents of {name!r}, is no function and none of {known}.")


def relation_of(parents: Parents, target: Target, source: str) -> Callable[[int, int], bool]:
    """The relation of a source to a target; nothing where the table does not name it."""
    relation = _entry(parents, target).get(source, "nothing")
    return relation if callable(relation) else RELATIONS[relation]


def matrix(reaches: Callable[[int, int], bool], rows: int, columns: int) -> np.ndarray:
    """`[t, s]`, true where frame s is a parent at frame t. One row or column stands for what has no frames."""
    return np.array([[bool(reaches(t, s)) for s in range(columns)] for t in range(rows)])


def _entry(parents: Parents, target: Target) -> Mapping[str, Relation]:
    name, of = target
    return parents["x"] if of == "observation" else parents[name].get(of, {})
