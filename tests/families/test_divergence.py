"""KL(q || p): closed forms against Monte Carlo and TensorFlow Probability, and the estimate where there is none."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.families.cases import CASES, DISCRETE, FLOWS, assert_mean, drawn, raw_for, samples
from tfdvae import families
from tfdvae.families import Categorical, DiagonalGaussian, Family

tfd = tfp.distributions

GAUSSIANS = ["gaussian", "gaussian exp", "triangular", "triangular exp"]
CLOSED = [
    *((q, p) for q in GAUSSIANS for p in GAUSSIANS if q.split()[0] != p.split()[0] or q != p),
    *((name, name) for name in CASES if name not in FLOWS),
]


def parts(q_family: Family, p_family: Family) -> int:
    """How finely the divergence is reported, in the words of the contract."""
    kinds = {type(q_family), type(p_family)}
    if kinds == {DiagonalGaussian}:
        return q_family.latent_dim
    return q_family.latent_dim // q_family.classes if kinds == {Categorical} else 1


@pytest.mark.parametrize(("q_name", "p_name"), CLOSED)
def test_closed_forms_are_the_mean_log_ratio(q_name: str, p_name: str) -> None:
    q_family, p_family = CASES[q_name](6), CASES[p_name](6)
    q, p = (f.parameters(raw_for(f, seed=seed, spread=0.4)) for f, seed in ((q_family, 5), (p_family, 6)))
    assert families.has_closed_kl(q_family, p_family)
    closed = families.kl(q_family, q, p_family, p, None)
    assert closed.shape == (families.kl_groups(q_family, p_family),) == (parts(q_family, p_family),)
    many, noise, z = samples(q_family, q, 20_000)
    assert_mean(q_family.log_prob(many, z, noise) - p_family.log_prob(p, z), float(tf.reduce_sum(closed)))


@pytest.mark.parametrize(("q_name", "p_name"), CLOSED)
def test_closed_forms_are_those_of_float64(q_name: str, p_name: str) -> None:
    """Against TensorFlow Probability's full covariances, or sums over classes, in float64; `[B, F]` and `[B, T, F]`."""
    q_family, p_family = CASES[q_name](6), CASES[p_name](6)
    q, _, z = drawn(q_family, 4, 3, seed=5)
    p = drawn(p_family, 4, 3, seed=6).dist

    def wide(family: Family, dist: tuple) -> tfd.Distribution:
        loc, root = (np.asarray(value, np.float64) for value in dist)
        return tfd.MultivariateNormalTriL(loc, root if root.ndim == 4 else root[..., None] * np.eye(6))

    if q_name in DISCRETE:
        logits = [np.asarray(dist.logits, np.float64).reshape(4, 3, -1, q_family.classes) for dist in (q, p)]
        expected = (np.exp(logits[0]) * (logits[0] - logits[1])).sum(axis=-1)
    else:
        expected = np.asarray(tfd.kl_divergence(wide(q_family, q), wide(p_family, p)))[..., None]
    found = families.kl(q_family, q, p_family, p, z)
    assert found.shape == (4, 3, families.kl_groups(q_family, p_family)) and found.dtype == tf.float32
    if found.shape[-1] != expected.shape[-1]:
        terms = [tfd.Normal(*(np.asarray(value, np.float64) for value in dist)) for dist in (q, p)]
        np.testing.assert_allclose(found, tfd.kl_divergence(*terms), rtol=1e-4, atol=1e-5)
        found = tf.reduce_sum(found, axis=-1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    frame = [type(dist)(*(value[:, 1] for value in dist)) for dist in (q, p)]
    again = families.kl(q_family, frame[0], p_family, frame[1], z[:, 1])
    np.testing.assert_allclose(tf.reduce_sum(again, axis=-1), expected[:, 1].sum(axis=-1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in CASES if name not in FLOWS])
def test_the_divergence_from_itself_is_zero(name: str) -> None:
    family = CASES[name](6)
    q, _, z = drawn(family, 4, 3)
    np.testing.assert_allclose(families.kl(family, q, family, q, z), 0.0, atol=2e-6)


@pytest.mark.parametrize("p_name", ["gaussian", "triangular"])
@pytest.mark.parametrize("q_name", FLOWS)
def test_without_a_closed_form_it_is_the_log_ratio_at_the_sample(q_name: str, p_name: str) -> None:
    q_family, p_family = CASES[q_name](6), CASES[p_name](6)
    q, noise, z = drawn(q_family, 4, 3)
    p = p_family.standard(z)
    assert not families.has_closed_kl(q_family, p_family) and families.kl_groups(q_family, p_family) == 1
    normal = tfd.MultivariateNormalDiag(np.zeros(6, np.float32))
    expected = (q_family.log_prob(q, z, noise) - normal.log_prob(z))[..., None]
    for known in (noise, None):
        found = families.kl(q_family, q, p_family, p, z, known)
        assert found.shape == (4, 3, 1)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="no closed form: give a sample"):
        families.kl(q_family, q, p_family, p, None)


def test_no_dimensions_have_no_divergence() -> None:
    for family in (DiagonalGaussian(0), Categorical(0)):
        standard = family.standard(np.zeros((4, 3, 2), np.float32))
        assert families.kl(family, standard, family, standard, None).shape == (4, 3, 0)
        np.testing.assert_array_equal(family.log_prob(standard, family.sample(standard)), np.zeros((4, 3)))
        bare = family.standard(family.sample(standard))
        assert [value.shape for value in bare] == [value.shape for value in standard]


@pytest.mark.parametrize(
    ("q_family", "p_family"),
    [
        (DiagonalGaussian(6), DiagonalGaussian(3)),
        (DiagonalGaussian(6), Categorical(6, 3)),
        (Categorical(6, 3), Categorical(6, 2)),
    ],
)
def test_families_over_different_spaces_are_refused(q_family: Family, p_family: Family) -> None:
    q, p = (family.standard(np.zeros((2, 1), np.float32)) for family in (q_family, p_family))
    assert not families.has_closed_kl(q_family, p_family)
    with pytest.raises(ValueError, match="two families over one space"):
        families.kl_groups(q_family, p_family)
    with pytest.raises(ValueError, match="two families over one space"):
        families.kl(q_family, q, p_family, p, None)


def test_a_closed_form_can_be_added_for_a_family_of_ones_own() -> None:
    class Shifted(DiagonalGaussian):
        """A type of its own, which inherits no closed form."""

    mine, other = Shifted(2), DiagonalGaussian(2)
    assert not families.has_closed_kl(mine, other)

    @families.register_closed_kl(Shifted, DiagonalGaussian)
    def closed(q_family: Family, q: tuple, p_family: Family, p: tuple) -> tf.Tensor:
        return q.loc - p.loc

    dist = mine.standard(np.zeros((3, 1), np.float32))
    assert families.has_closed_kl(mine, other) and not families.has_closed_kl(other, mine)
    np.testing.assert_array_equal(families.kl(mine, dist, other, dist, None), np.zeros((3, 2)))
