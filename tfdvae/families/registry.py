"""Families by name."""

import inspect
from typing import Any

import keras

from tfdvae.families.base import Family
from tfdvae.families.categorical import Categorical
from tfdvae.families.diagonal import DiagonalGaussian
from tfdvae.families.flow import Flow
from tfdvae.families.triangular import TriangularGaussian

__all__ = ["FAMILIES", "get", "with_flow"]

FAMILIES: dict[str, type[Family]] = {
    "gaussian": DiagonalGaussian,
    "categorical": Categorical,
    "triangular": TriangularGaussian,
}


def get(identifier: str | dict[str, Any] | Family, latent_dim: int, **defaults: Any) -> Family:
    """The family over z `[.., latent_dim]` that a name, a config or an object stands for.

    Args:
        identifier: a name of `FAMILIES`, a dict {"class_name": name, "config": arguments} with a name of `FAMILIES`, a
            dict from `keras.saving.serialize_keras_object`, or a Family, which is returned as it is.
        latent_dim: Z.
        defaults: arguments for the families that take them, where the config does not set them. They do not change
            an object or a serialized family.

    Raises ValueError for an unknown name, for arguments that the family does not take, for an object of another
    `latent_dim`, and for anything else.

    Example:
        get("gaussian", 16, scale="exp")
        get({"class_name": "categorical", "config": {"classes": 8}}, 64, scale="exp")      # has no scale: left out
    """
    if isinstance(identifier, str):
        identifier = {"class_name": identifier}
    if isinstance(identifier, dict) and (kind := FAMILIES.get(str(identifier.get("class_name")))):
        taken = inspect.signature(kind).parameters
        config = dict(identifier.get("config") or {})
        if unknown := sorted(set(config) - set(taken)):
            raise ValueError(f"{kind.__name__} takes {', '.join(taken)}; got {', '.join(unknown)}.")
        offered = {name: value for name, value in defaults.items() if name in taken}
        family = kind(**{"latent_dim": latent_dim, **offered, **config})
    elif isinstance(identifier, dict) and set(identifier) > {"class_name", "config"}:
        family = keras.saving.deserialize_keras_object(identifier)
    else:
        family = identifier
    if not isinstance(family, Family):
        raise ValueError(
            f"A family is a name out of {', '.join(sorted(FAMILIES))}, a config or a Family; got {identifier!r}."
        )
    if family.latent_dim != latent_dim:
        raise ValueError(f"The family has latent_dim={family.latent_dim}, but the model has latent_dim={latent_dim}.")
    return family


def with_flow(family: Family, num_layers: int, kind: str = "coupling") -> Family:
    """The family with a flow of `num_layers` layers on top, or itself for 0 layers.

    Raises ValueError for a family other than DiagonalGaussian, a negative number of layers, or an unknown `kind`.
    """
    if num_layers == 0:
        return family
    if not isinstance(family, DiagonalGaussian):
        raise ValueError(f"`posterior_flow` needs Gaussian posteriors, got {type(family).__name__}.")
    return Flow(family, num_layers, kind)
