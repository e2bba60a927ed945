"""Bounds by name."""

from tfdvae.bounds.fivo import FIVO, NASMC
from tfdvae.bounds.objectives import ELBO, IWAE, Bound

__all__ = ["BOUNDS", "get"]

BOUNDS: dict[str, type[Bound]] = {"elbo": ELBO, "fivo": FIVO, "iwae": IWAE, "nasmc": NASMC}


def get(identifier: str | Bound) -> Bound:
    """A bound from its name, or the object itself. Raises ValueError for names that are not in BOUNDS."""
    if isinstance(identifier, Bound):
        return identifier
    if identifier not in BOUNDS:
        raise ValueError(f"Unknown bound {identifier!r}: expected one of {sorted(BOUNDS)} or a Bound object.")
    return BOUNDS[identifier]()
