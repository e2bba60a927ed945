"""The graphical model of each paper, machine-checked.

For every case, which frames of x, u and of each latent reach q(z_t | .), p(z_t | .) and p(x_t | .), all latents held
fixed, must be exactly the parents that the paper draws. `tfdvae.testing` measures it.
"""

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.dependencies.segments import fhvae
from tests.dependencies.switching import SWITCHING_LDS, SWITCHING_LDS_FILTER
from tfdvae import simulation
from tfdvae.models.sequence import SequenceDVAE
from tfdvae.testing import driver, jacobians
from tfdvae.testing.parents import Parents, Relation, Target, check_parents, relation_of, targets

LENGTH = 5

VRNN: Parents = {
    "z": {
        "prior": {"x": "earlier", "z": "earlier", "u": "up_to_now"},
        "posterior": {"x": "up_to_now", "z": "earlier", "u": "up_to_now"},
    },
    "x": {"x": "earlier", "z": "up_to_now", "u": "up_to_now"},
}
STORN: Parents = {
    "z": {"posterior": {"x": "up_to_now", "u": "up_to_now"}},
    "x": {"x": "earlier", "z": "up_to_now", "u": "up_to_now"},
}


def srnn(sees: str) -> Parents:
    """By what q(z_t | .) sees of x and u."""
    return {
        "z": {
            "prior": {"x": "earlier", "z": "previous", "u": "up_to_now"},
            "posterior": {"x": sees, "z": "previous", "u": sees},
        },
        "x": {"x": "earlier", "z": "now", "u": "up_to_now"},
    }


RNN: Parents = {"x": {"x": "earlier", "u": "up_to_now"}}
VAE: Parents = {"z": {"posterior": {"x": "now", "u": "now"}}, "x": {"z": "now", "u": "now"}}
RVAE: Parents = {
    "z": {"posterior": {"x": "from_now_on", "z": "earlier", "u": "from_now_on"}},
    "x": {"z": "up_to_now", "u": "up_to_now"},
}
RVAE_NON_CAUSAL: Parents = {
    "z": {"posterior": {"x": "everything", "z": "earlier", "u": "everything"}},
    "x": {"z": "everything", "u": "everything"},
}


def dsae(**sees: str) -> Parents:
    """By what q(z_t | .) sees."""
    return {
        "v": {"posterior": {"x": "everything", "u": "everything"}},
        "z": {"prior": {"z": "earlier", "u": "up_to_now"}, "posterior": sees},
        "x": {"z": "now", "v": "everything"},
    }


def vrae(**sees: str) -> Parents:
    """By what p(x_t | .) sees beside s."""
    return {"s": {"posterior": {"x": "everything", "u": "everything"}}, "x": {"s": "everything", **sees}}


def dkf(sees: str | Relation, z: str, moves: Relation = lambda t, s: s == t > 0) -> Parents:
    """(5.9): inputs move z, and reach x_t through z_t alone; p(z_1) = N(0, I) unless u `moves` z_1 as well."""
    return {
        "z": {
            "prior": {"z": "previous", "u": moves},
            "posterior": {"x": sees, "z": z, "u": sees},
        },
        "x": {"z": "now"},
    }


def latent_lds(sees: str) -> Parents:
    """By what q(z_t | .) sees of x, and of u through the dynamics; u moves the first z as well."""
    return {
        "z": {
            "prior": {"z": "previous", "u": "now"},
            "posterior": {"x": sees, "z": "previous", "u": sees},
        },
        "x": {"z": "now"},
    }


# v and u move z from the second frame on; p(z_1) = N(0, I). A latent of the sequence is asked for at s = 0.
DSSM: Parents = {
    "v": {"posterior": {"x": "everything", "u": "everything"}},
    "z": {
        "prior": {"z": "previous", "v": lambda t, s: t > 0, "u": lambda t, s: s == t > 0},
        "posterior": {"x": "now", "u": "now", "z": "previous", "v": "everything"},
    },
    "x": {"z": "now"},
}


def moves(t: int, s: int) -> bool:
    """Whether u_s has moved the state of frame t of a DVBF: u_1 leads to no state."""
    return 0 < s <= t


# z_t, which is no latent, follows from w_<=t and u_2:t; q(w_t | .) sees it from the second frame on. There the matrices
# move it first, so that their v reaches q from the third frame on.
DVBF: Parents = {
    "w": {
        "posterior": {
            "x": lambda t, s: s == t or t == 0,
            "u": lambda t, s: moves(t, s) or t == 0,
            "w": "earlier",
        },
    },
    "x": {"w": "up_to_now", "u": moves},
}
DVBF_FILTER: Parents = {
    "v": {},
    "w": {
        "posterior": {
            "x": "now",
            "u": lambda t, s: moves(t, s) or s == t,
            "w": "earlier",
            "v": lambda t, s: t > 1,
        },
    },
    "x": {"w": "up_to_now", "u": moves, "v": lambda t, s: t > 0},
}

ZFORCING: Parents = {
    **VRNN,
    "z": {**VRNN["z"], "posterior": {"x": "everything", "z": "earlier", "u": "everything"}},
}

RSSM: Parents = {
    "z": {
        "prior": {"z": "earlier", "u": "up_to_now"},
        "posterior": {"x": "now", "z": "earlier", "u": "up_to_now"},
    },
    "x": {"z": "up_to_now", "u": "up_to_now"},
}
LVRNN: Parents = {**VRNN, "z": {**VRNN["z"], "prior": {"z": "earlier", "u": "up_to_now"}}}

SVG: Parents = {**STORN, "z": {**STORN["z"], "prior": {"x": "earlier", "u": "up_to_now"}}}

# a_t sees [x, d] from t on, and d_s sees v, w and u (in undriven mode x before s) up to s.
VSSN: Parents = {
    "v": {},
    "w": {"posterior": {"x": "everything"}},
    "z": {
        "prior": {"x": "earlier", "z": "previous", "w": "up_to_now", "v": "everything"},
        "posterior": {"x": "everything", "z": "previous", "w": "everything", "v": "everything"},
    },
    "x": {"x": "earlier", "z": "now", "w": "up_to_now", "v": "everything"},
}
VSSN_DRIVEN: Parents = {
    "v": {},
    "w": {"posterior": {"x": "everything", "u": "everything"}},
    "z": {
        "prior": {"z": "previous", "u": "up_to_now", "w": "up_to_now", "v": "everything"},
        "posterior": {
            "x": "from_now_on",
            "z": "previous",
            "u": "everything",
            "w": "everything",
            "v": "everything",
        },
    },
    "x": {"z": "now", "u": "up_to_now", "w": "up_to_now", "v": "everything"},
}


def tcn(levels: int, dense: bool) -> Parents:
    """By the number of latents of a frame, and whether all of them lead to x_t or the lowest alone."""
    found: dict[str, dict[str, Any]] = {}
    for level in range(1, levels + 1):
        above = {f"z{level + 1}": "now"} if level < levels else {}
        prior = {"x": "earlier", "u": "up_to_now", **above}
        found[f"z{level}"] = {"prior": prior, "posterior": {**prior, "x": "up_to_now"}}
    shown = range(1, levels + 1 if dense else 2)
    return {**found, "x": {**{f"z{level}": "up_to_now" for level in shown}, "u": "up_to_now"}}


TRANSFORMER: Parents = {
    "z": {"prior": {"x": "earlier", "u": "up_to_now"}, "posterior": {"x": "up_to_now", "u": "up_to_now"}},
    "x": {"x": "earlier", "z": "up_to_now", "u": "up_to_now"},
}

TABLE: dict[str, Parents] = {
    "rnn": RNN,
    "rnn-gru2": RNN,
    "vae": VAE,
    "vrnn": VRNN,
    "vrnn-independent": {**VRNN, "z": {"posterior": VRNN["z"]["posterior"]}},
    "vrnn-gru2": VRNN,
    "storn": STORN,
    "storn-gru2": STORN,
    "srnn-smooth": srnn("everything"),
    "srnn-filter": srnn("up_to_now"),
    "srnn-residual": srnn("everything"),
    "srnn-gru2": srnn("everything"),
    "dkf-st_r": dkf("from_now_on", "previous"),
    "dkf-st_l": dkf("up_to_now", "previous"),
    "dkf-st_lr": dkf("everything", "previous"),
    "dkf-mf_l": dkf("up_to_now", "nothing"),
    "dkf-mf_lr": dkf("everything", "nothing", "now"),
    "dkf-local": dkf("neighbours", "nothing"),
    "dkf-frame": dkf("now", "nothing"),
    "dkf-linear": dkf("from_now_on", "previous"),
    "dkf-tridiagonal": dkf(lambda t, s: s >= t - 1, "previous"),
    "dkf-tridiagonal_parallel": dkf(lambda t, s: s >= t - 1, "previous"),
    "rvae": RVAE,
    "rvae-gru2": RVAE,
    "rvae_noncausal": RVAE_NON_CAUSAL,
    "rvae_noncausal-gru2": RVAE_NON_CAUSAL,
    "dsae-full": dsae(x="everything", u="everything", v="everything"),
    "dsae-factorized": dsae(x="now", u="now"),
    "dsae-gru2": dsae(x="everything", u="everything", v="everything"),
    "dssm": DSSM,
    "dssm-gru2": DSSM,
    "dvbf": DVBF,
    "dvbf-filter": DVBF_FILTER,
    "fhvae": fhvae(2),
    "fhvae-gru2": fhvae(3),
    "vrae": vrae(x="earlier", u="up_to_now"),
    "vrae-reverse": vrae(x="earlier", u="up_to_now"),
    "vrae-free_running": vrae(u="up_to_now"),
    "vssn": VSSN,
    "vssn-lstm": VSSN,
    "zforcing_vrnn": ZFORCING,
    "zforcing_vrnn-backward": ZFORCING,
    "rssm": RSSM,
    "rssm-overshooting": RSSM,
    "rssm-categorical": RSSM,
    "lvrnn": LVRNN,
    "svg": SVG,
    "sv2p": {
        "v": {"posterior": {"x": "everything", "u": "everything"}},
        "x": {"x": "earlier", "v": "everything", "u": "up_to_now"},
    },
    "sv2p-frame": {
        "z": {"posterior": {"x": "everything", "u": "everything"}},
        "x": {"x": "earlier", "z": "now", "u": "up_to_now"},
    },
    "latent_lds": latent_lds("from_now_on"),
    "latent_lds-filter": latent_lds("now"),
    "latent_lds-parallel": latent_lds("from_now_on"),
    "switching_lds": SWITCHING_LDS,
    "switching_lds-filter": SWITCHING_LDS_FILTER,
    "svg-fixed": STORN,
    "lvrnn-independent": {**VRNN, "z": {"posterior": VRNN["z"]["posterior"]}},
    "tcn": tcn(2, dense=True),
    "tcn-three_levels": tcn(3, dense=False),
    "transformer": TRANSFORMER,
    "transformer-two_layers": TRANSFORMER,
}

STEPWISE = [variant for variant in TABLE if not issubclass(cases.kind(variant), SequenceDVAE)]

DRIVEN: dict[str, Parents] = {"vssn": VSSN_DRIVEN, "vssn-lstm": VSSN_DRIVEN}
"""Graphs that inputs do more to than to join: of models whose inputs stand in for x_{t-1}."""

SEE_THE_WHOLE_SEQUENCE = ("dsae", "dssm", "sv2p", "vrae")
"""Models whose latents of the sequence, where a variant has any, are inferred from it, each from every frame."""


LINEAR: dict[str, set[Target]] = {
    "latent_lds": {("z", "prior"), ("z", "posterior")},
    "switching_lds": {("z", "prior"), ("z", "posterior")},
    "fhvae": {("mu2", "posterior"), ("z2", "prior")},
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


@pytest.fixture(scope="module", params=cases.params(filter(cases.has_cell, cases.CASES), always=cases.SUITE))
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
    """KVAE, which has no cell, is checked in tests/oracles/test_kvae.py."""
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


def test_a_value_reaches_what_the_graph_says_and_nothing_else(model: tfdvae.DVAE, parents: Parents) -> None:
    jacobians.check_reach(model, parents)


def test_the_half_steps_and_the_model_are_the_same_function(model: tfdvae.DVAE) -> None:
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
