"""KL(q || p) between distributions of two families: closed forms by pairs of types, else by the sample."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfdvae.families import numerics
from tfdvae.families.base import Family
from tfdvae.families.categorical import Categorical, CategoricalGroups
from tfdvae.families.diagonal import DiagonalGaussian
from tfdvae.families.triangular import Triangular, TriangularGaussian
from tfdvae.types import Gaussian

__all__ = ["has_closed_kl", "kl", "kl_groups", "register_closed_kl"]

ClosedForm = Callable[[Family, NamedTuple, Family, NamedTuple], tf.Tensor]

_CLOSED: dict[tuple[type[Family], type[Family]], ClosedForm] = {}


def register_closed_kl(q_type: type[Family], p_type: type[Family]) -> Callable[[ClosedForm], ClosedForm]:
    """Decorates a closed form of KL(q || p), called as `f(q_family, q, p_family, p)`.

    It returns `[.., G]` in nats, where G is the smaller `num_groups` of the two families.
    """

    def register(closed_form: ClosedForm) -> ClosedForm:
        _CLOSED[q_type, p_type] = closed_form
        return closed_form

    return register


def has_closed_kl(q_family: Family, p_family: Family) -> bool:
    """Whether KL(q || p) is computed in closed form, without a sample."""
    return q_family.support == p_family.support and (type(q_family), type(p_family)) in _CLOSED


def kl_groups(q_family: Family, p_family: Family) -> int:
    """G, the width of what `kl` returns: the smaller `num_groups` of both for a closed form, else 1.

    Raises ValueError where the families are over different spaces.
    """
    _check_supports(q_family, p_family)
    return min(q_family.num_groups, p_family.num_groups) if has_closed_kl(q_family, p_family) else 1


def kl(
    q_family: Family,
    q: NamedTuple,
    p_family: Family,
    p: NamedTuple,
    z: tf.Tensor | None,
    noise: tf.Tensor | None = None,
) -> tf.Tensor:
    """KL(q || p) in nats, in `kl_groups` parts: `[.., G]`.

    In closed form for two diagonal Gaussians (each dimension), for two categorical families with the same classes
    (each group), and between triangular and diagonal Gaussians (one part); `z` and `noise` are not read then. In all
    other cases, thus for flows, it is log q(z) - log p(z) at the sample `z` `[.., Z]` of q, unbiased, as one part.
    `noise` is what z was drawn with, where known; without it a flow inverts z.

    Raises ValueError where the families are over different spaces, and for no `z` where there is no closed form.
    """
    _check_supports(q_family, p_family)
    if has_closed_kl(q_family, p_family):
        return _CLOSED[type(q_family), type(p_family)](q_family, q, p_family, p)
    if z is None:
        raise ValueError(f"KL({_name(q_family)} || {_name(p_family)}) has no closed form: give a sample `z` of q.")
    return (q_family.log_prob(q, z, noise) - p_family.log_prob(p, z))[..., None]


def _name(family: Family) -> str:
    return type(family).__name__


def _check_supports(q_family: Family, p_family: Family) -> None:
    if q_family.support != p_family.support:
        raise ValueError(
            f"KL({_name(q_family)} || {_name(p_family)}) needs two families over one space, got {q_family.support} and "
            f"{p_family.support}: give posterior and prior the same latent_dim and the same classes."
        )


@register_closed_kl(DiagonalGaussian, DiagonalGaussian)
def _diagonal(q_family: Family, q: Gaussian, p_family: Family, p: Gaussian) -> tf.Tensor:
    return tfd.kl_divergence(tfd.Normal(q.loc, q.scale), tfd.Normal(p.loc, p.scale))


@register_closed_kl(Categorical, Categorical)
def _categorical(q_family: Categorical, q: CategoricalGroups, p_family: Family, p: CategoricalGroups) -> tf.Tensor:
    terms = tf.exp(q.logits) * (q.logits - p.logits)
    return tf.reduce_sum(q_family.grouped(terms), axis=-1)


@register_closed_kl(TriangularGaussian, TriangularGaussian)
def _triangular(q_family: TriangularGaussian, q: Triangular, p_family: TriangularGaussian, p: Triangular) -> tf.Tensor:
    log_ratio = p_family.log_det(p) - q_family.log_det(q)
    return _gaussian_kl(q, p.loc, log_ratio, lambda right: numerics.solve_lower(p.scale_tril, right))


@register_closed_kl(DiagonalGaussian, TriangularGaussian)
def _to_triangular(q_family: Family, q: Gaussian, p_family: TriangularGaussian, p: Triangular) -> tf.Tensor:
    embedded = Triangular(q.loc, q.scale[..., None] * tf.eye(q_family.latent_dim))
    log_ratio = p_family.log_det(p) - tf.reduce_sum(tf.math.log(q.scale), axis=-1)
    return _gaussian_kl(embedded, p.loc, log_ratio, lambda right: numerics.solve_lower(p.scale_tril, right))


@register_closed_kl(TriangularGaussian, DiagonalGaussian)
def _to_diagonal(q_family: TriangularGaussian, q: Triangular, p_family: Family, p: Gaussian) -> tf.Tensor:
    log_ratio = tf.reduce_sum(tf.math.log(p.scale), axis=-1) - q_family.log_det(q)
    return _gaussian_kl(q, p.loc, log_ratio, lambda right: right / p.scale[..., None])


def _gaussian_kl(
    q: Triangular, p_loc: tf.Tensor, log_ratio: tf.Tensor, whiten: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """(|L_p^-1 L_q|^2 + |L_p^-1 (loc_q - loc_p)|^2 - Z) / 2 + log det L_p - log det L_q, as one part `[.., 1]`.

    `log_ratio` is the difference of the log-determinants, and `whiten` multiplies `[.., Z, N]` by L_p^-1.
    """
    dim = q.scale_tril.shape[-1]
    whitened = whiten(tf.concat([q.scale_tril, (q.loc - p_loc)[..., None]], axis=-1))
    squares = tf.reduce_sum(tf.square(whitened), axis=[-2, -1])
    return (0.5 * (squares - dim) + log_ratio)[..., None]
