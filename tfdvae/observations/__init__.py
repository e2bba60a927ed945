"""Observation models p(x_t | .), one file per family, and the registry that gives them names."""

from typing import Any

import keras

from tfdvae.observations.autoregressive import AutoregressiveBernoulli
from tfdvae.observations.base import Observation
from tfdvae.observations.bernoulli import Bernoulli
from tfdvae.observations.categorical import Categorical
from tfdvae.observations.counts import NegativeBinomial, Poisson
from tfdvae.observations.gamma import Gamma
from tfdvae.observations.gaussian import Gaussian, IdentityGaussian
from tfdvae.observations.mixture import GaussianMixture
from tfdvae.observations.pen import Pen
from tfdvae.observations.student import StudentT

__all__ = [
    "AutoregressiveBernoulli",
    "Bernoulli",
    "Categorical",
    "Gamma",
    "Gaussian",
    "GaussianMixture",
    "IdentityGaussian",
    "NegativeBinomial",
    "OBSERVATIONS",
    "Observation",
    "Pen",
    "Poisson",
    "StudentT",
    "get",
]

OBSERVATIONS: dict[str, type[Observation]] = {
    "gaussian": Gaussian,
    "identity_gaussian": IdentityGaussian,
    "gaussian_mixture": GaussianMixture,
    "bernoulli": Bernoulli,
    "autoregressive_bernoulli": AutoregressiveBernoulli,
    "gamma": Gamma,
    "pen": Pen,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "student_t": StudentT,
    "categorical": Categorical,
}


def get(identifier: str | dict[str, Any] | Observation) -> Observation:
    """The observation that a name, a config or an object stands for.

    `identifier` is a name of `OBSERVATIONS` (default arguments), a dict from
    `keras.saving.serialize_keras_object`, a dict {"class_name": name, "config": arguments} with a name of
    `OBSERVATIONS`, or an `Observation`, which is returned as it is. Raises ValueError for an unknown name and
    for anything else.
    """
    if isinstance(identifier, Observation):
        return identifier
    if isinstance(identifier, str):
        if identifier in OBSERVATIONS:
            return OBSERVATIONS[identifier]()
        raise ValueError(f"Unknown observation {identifier!r}; known are {', '.join(sorted(OBSERVATIONS))}.")
    if isinstance(identifier, dict):
        family = OBSERVATIONS.get(str(identifier.get("class_name")))
        if family is not None:
            return family.from_config(identifier.get("config") or {})
        restored = keras.saving.deserialize_keras_object(identifier)
        if isinstance(restored, Observation):
            return restored
    raise ValueError(
        f"An observation is a name out of {', '.join(sorted(OBSERVATIONS))}, a serialized config or an "
        f"Observation; got {identifier!r}."
    )
