"""The graphical model of each paper, machine-checked.

For every case, which frames of x, u and of each latent reach q(z_t | .), p(z_t | .) and p(x_t | .), all latents held
fixed, must be exactly the parents that the paper draws. `tfdvae.testing` measures it.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.dependencies.table import DRIVEN, TABLE
from tfdvae import simulation
from tfdvae.models.sequence import SequenceDVAE
from tfdvae.testing import driver, jacobians
from tfdvae.testing.parents import Parents, Target, check_parents, relation_of, targets

LENGTH = 5

STEPWISE = [variant for variant in TABLE if not issubclass(cases.kind(variant), SequenceDVAE)]

SEE_THE_WHOLE_SEQUENCE = ("dsae", "dssm", "sv2p", "vrae")
"""Models whose latents of the sequence, where a variant has any, are inferred from it, each from every frame."""


LINEAR: dict[str, set[Target]] = {
    "latent_lds": {("z", "prior"), ("z", "posterior")},
    "switching_lds": {("z", "prior"), ("z", "posterior")},
    "fhvae": {("mu2", "posterior"), ("z2", "prior")},
    "fvae": {("individual", "posterior"), ("z", "prior")},
    "dkf-linear": {("z", "prior")},
    "dkf-tridiagonal": {("z", "posterior")},
    "dkf-tridiagonal_parallel": {("z", "prior"), ("z", "posterior")},
}
"""Distributions that are linear-Gaussian in some parents, by variant or by model: those move the mean alone."""

SEEING_ALL = [
    name
    for name, case in cases.CASES.items()
    if case.model in SEE_THE_WHOLE_SEQUENCE and case.options.get("level") != "frame"
]


@functools.lru_cache(maxsize=1)
def make(name: str) -> tfdvae.DVAE:
    """The case's model. A ReLU that is off at every point would hide a link: those of the gated transition, on whose
    nonlinear mean its variance hangs by one, start open."""
    model = cases.make(name)
    for variable in model.trainable_variables:
        if "/transition/nonlinear" in variable.path and variable.path.endswith("bias"):
            variable.assign_add(tf.ones_like(variable))
    return model


@functools.lru_cache(maxsize=1)
def measured(name: str) -> dict[Target, dict[str, np.ndarray]]:
    """The Jacobians of the case's model, of all its distributions at once."""
    model = make(name)
    return jacobians.jacobians(model, driver.draw_given(model, jacobians.POINTS, LENGTH))


WITH_CELL = tuple(filter(cases.has_cell, cases.CASES))
ONE_OF_EACH = pytest.mark.parametrize("name", cases.params(WITH_CELL), indirect=True, scope="module")
"""Every model; its further forms by turns, since the Jacobians of each of them are measured every time."""


@pytest.fixture(scope="module", params=cases.params(WITH_CELL, always=cases.SUITE))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str) -> tfdvae.DVAE:
    return make(name)


@pytest.fixture
def parents(name: str) -> Parents:
    case = cases.CASES[name]
    return DRIVEN.get(case.variant, TABLE[case.variant]) if case.u_dim else TABLE[case.variant]


def test_every_variant_has_its_graph() -> None:
    """KVAE, GPVAE and DRAW, which have no cell, are checked in tests/oracles."""
    assert set(TABLE) == {cases.CASES[name].variant for name in cases.CASES if cases.has_cell(name)}


def test_the_jacobians_have_the_zeros_of_the_graph_and_no_others(
    model: tfdvae.DVAE, name: str, parents: Parents
) -> None:
    found = measured(name)
    assert set(found) == set(targets(model.latents))
    sources = {"x", *(latent.name for latent in model.latents)} | ({"u"} if model.u_dim else set())
    assert all(set(values) == sources for values in found.values())
    case = cases.CASES[name]
    jacobians.check_jacobians(model, parents, found, LINEAR.get(case.variant, LINEAR.get(case.model, ())))


@ONE_OF_EACH
def test_a_value_reaches_what_the_graph_says_and_nothing_else(model: tfdvae.DVAE, name: str, parents: Parents) -> None:
    jacobians.check_reach(model, parents)


@ONE_OF_EACH
def test_the_half_steps_and_the_model_are_the_same_function(model: tfdvae.DVAE, name: str) -> None:
    driver.check_driver(model, LENGTH)


@pytest.mark.parametrize("name", [*STEPWISE, "rssm-u", "vssn-u"])
def test_generation_hears_frames_where_one_is_a_parent_of_a_later_one(name: str, parents: Parents) -> None:
    """Elsewhere frames are not made in the loop."""
    model = cases.make(name)
    generative = [(latent.name, "prior") for latent in model.latents] + [("x", "observation")]
    edges = [relation_of(parents, target, "x") for target in generative]
    expected = any(edge(t, s) for edge in edges for t in range(LENGTH) for s in range(t))
    mine, beside = model.parted(model.initial_state(2))
    c = model.cell.embed_u(tf.zeros([2, LENGTH, model.u_dim])) if model.u_dim else None
    assert simulation.hears(model.cell, model.io_beside(beside), simulation.Frames(c=c), mine) == expected


@pytest.mark.parametrize("name", SEEING_ALL)
def test_a_latent_of_the_sequence_is_inferred_from_all_of_it(name: str) -> None:
    model, given = cases.make(name), cases.frames(name, 2, LENGTH)
    sources = [y for y in (given.x, given.u) if y is not None]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(sources)
        path = model.infer(*given)
        own = [path.latents[latent.name] for latent in model.sequence_latents]
        assert own
        found = tf.concat([tf.concat(latent.q, axis=-1) for latent in own], axis=-1)
        columns = tf.unstack(tf.reduce_sum(found, axis=0))
    slopes = [tape.gradient(column, sources) for column in columns]
    for slope in tf.nest.flatten(slopes):
        assert np.isfinite(slope).all() and (np.abs(slope) > 1e-8).any(axis=-1).all()


@pytest.mark.slow
def test_the_first_latent_of_a_deep_kalman_filter_is_standard_normal() -> None:
    for inference in sorted(tfdvae.DKFCell.inferences):
        model = cases.make(f"dkf-{inference}-u", initial_prior="standard")
        first = driver.drive(model, driver.draw_given(model, 2, LENGTH))["z", "prior"][:, 0]
        np.testing.assert_array_equal(first, [[0.0] * model.latent_dim + [1.0] * model.latent_dim] * 2)


def test_the_prior_of_a_latent_that_is_drawn_ahead_is_standard_normal() -> None:
    model = cases.make("vssn-u")
    first = driver.drive(model, driver.draw_given(model, 2, LENGTH))["w", "prior"]
    expected = [0.0] * model.cell.noise_dim + [1.0] * model.cell.noise_dim
    np.testing.assert_array_equal(first, np.broadcast_to(expected, first.shape))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"x": {}}, "must have the entries x, z, got x"),
        ({"z": {"q": {}}, "x": {}}, "has the entries 'prior' and 'posterior', got \\['q'\\]"),
        ({"z": {}, "x": {"y": "now"}}, "'y', among the parents of 'x', is none of u, x, z"),
        ({"z": {"prior": {"x": "before"}}, "x": {}}, "'before', among the parents of 'z', is no function and none of"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(table: Parents, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_parents(table, cases.make("vrnn"))
