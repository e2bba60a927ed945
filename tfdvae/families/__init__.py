"""Families of distributions over latents, q(z_t | .) and p(z_t | .): their densities, samples and divergences."""

from tfdvae.families.base import Family
from tfdvae.families.categorical import Categorical, CategoricalGroups
from tfdvae.families.diagonal import DiagonalGaussian
from tfdvae.families.divergence import has_closed_kl, kl, kl_groups, register_closed_kl
from tfdvae.families.flow import Flow, FlowGaussian
from tfdvae.families.flow_network import FlowNetwork
from tfdvae.families.head import Head
from tfdvae.families.registry import FAMILIES, get, with_flow
from tfdvae.families.triangular import Triangular, TriangularGaussian

__all__ = [
    "Categorical",
    "CategoricalGroups",
    "DiagonalGaussian",
    "FAMILIES",
    "Family",
    "Flow",
    "FlowGaussian",
    "FlowNetwork",
    "Head",
    "Triangular",
    "TriangularGaussian",
    "get",
    "has_closed_kl",
    "kl",
    "kl_groups",
    "register_closed_kl",
    "with_flow",
]
