"""The graphical model of each paper, machine-checked.

For every case, which x_s, z_s and u_s reach q(z_t | .), p(z_t | .) and p(x_t | .), all z held fixed, must be exactly
the parents that the paper draws. z is held fixed by giving it: `drive` below takes the half-steps of a cell frame by
frame with z from outside, which also makes it a loop independent of the library's own.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.layers.cell import split_noise
from tfdvae.types import Batch

LENGTH = 5
POINTS = 24
SPREAD = 3.0
"""Of the latents that are given: wide enough that no ReLU of a transition is off at every point."""

Reaches = Callable[[int, int], bool]
"""Whether frame s of a series is a parent at frame t."""


def nothing(t: int, s: int) -> bool:
    return False


def earlier(t: int, s: int) -> bool:
    return s < t


def up_to_now(t: int, s: int) -> bool:
    return s <= t


def now(t: int, s: int) -> bool:
    return s == t


def previous(t: int, s: int) -> bool:
    return s == t - 1


def from_now_on(t: int, s: int) -> bool:
    return s >= t


def neighbours(t: int, s: int) -> bool:
    return abs(t - s) <= 1


def everything(t: int, s: int) -> bool:
    return True


def now_but_at_the_start(t: int, s: int) -> bool:
    return s == t > 0


class Parents(NamedTuple):
    """Of one distribution at each t: which frames of x, of z, of the inputs u in driven mode, and of latents w that
    enter like inputs."""

    x: Reaches = nothing
    z: Reaches = nothing
    u: Reaches = nothing
    w: Reaches = nothing


class Graph(NamedTuple):
    """The parents of p(z_t | .), p(x_t | .) and q(z_t | .), and of q(w_t | .) where there is a w."""

    p: Parents
    x: Parents
    q: Parents
    w: Parents = Parents()


VRNN = Graph(
    p=Parents(x=earlier, z=earlier, u=up_to_now),
    x=Parents(x=earlier, z=up_to_now, u=up_to_now),
    q=Parents(x=up_to_now, z=earlier, u=up_to_now),
)
STORN = Graph(
    p=Parents(),
    x=Parents(x=earlier, z=up_to_now, u=up_to_now),
    q=Parents(x=up_to_now, u=up_to_now),
)
SRNN_SMOOTH = Graph(
    p=Parents(x=earlier, z=previous, u=up_to_now),
    x=Parents(x=earlier, z=now, u=up_to_now),
    q=Parents(x=everything, z=previous, u=everything),
)
RNN = Graph(p=Parents(), x=Parents(x=earlier, u=up_to_now), q=Parents())
RVAE = Graph(p=Parents(), x=Parents(z=up_to_now, u=up_to_now), q=Parents(x=from_now_on, z=earlier, u=from_now_on))
RVAE_NON_CAUSAL = Graph(
    p=Parents(), x=Parents(z=everything, u=everything), q=Parents(x=everything, z=earlier, u=everything)
)
DSAE_FULL = Graph(p=Parents(z=earlier, u=up_to_now), x=Parents(z=now), q=Parents(x=everything, u=everything))


def dkf(sees: Reaches, z: Reaches) -> Graph:
    """(5.9): inputs move z, and reach x_t through z_t alone; p(z_1) = N(0, I)."""
    return Graph(p=Parents(z=previous, u=now_but_at_the_start), x=Parents(z=now), q=Parents(x=sees, z=z, u=sees))


ZFORCING = VRNN._replace(q=Parents(x=everything, z=earlier, u=everything))

# a_t sees [x, d] from t on, and d_s sees w and u (in undriven mode x before s) up to s.
VSSN = Graph(
    p=Parents(x=earlier, z=previous, w=up_to_now),
    x=Parents(x=earlier, z=now, w=up_to_now),
    q=Parents(x=everything, z=previous, w=everything),
    w=Parents(x=everything),
)
VSSN_DRIVEN = Graph(
    p=Parents(z=previous, u=up_to_now, w=up_to_now),
    x=Parents(z=now, u=up_to_now, w=up_to_now),
    q=Parents(x=from_now_on, z=previous, u=everything, w=everything),
    w=Parents(x=everything, u=everything),
)

TABLE: dict[str, Graph] = {
    "rnn": RNN,
    "rnn-gru2": RNN,
    "vae": Graph(p=Parents(), x=Parents(z=now, u=now), q=Parents(x=now, u=now)),
    "vrnn": VRNN,
    "vrnn-independent": VRNN._replace(p=Parents()),
    "vrnn-gru2": VRNN,
    "storn": STORN,
    "storn-gru2": STORN,
    "srnn-smooth": SRNN_SMOOTH,
    "srnn-filter": SRNN_SMOOTH._replace(q=Parents(x=up_to_now, z=previous, u=up_to_now)),
    "srnn-residual": SRNN_SMOOTH,
    "srnn-gru2": SRNN_SMOOTH,
    "dkf-st_r": dkf(from_now_on, previous),
    "dkf-st_l": dkf(up_to_now, previous),
    "dkf-st_lr": dkf(everything, previous),
    "dkf-mf_l": dkf(up_to_now, nothing),
    "dkf-mf_lr": dkf(everything, nothing),
    "dkf-local": dkf(neighbours, nothing),
    "dkf-frame": dkf(now, nothing),
    "rvae": RVAE,
    "rvae-gru2": RVAE,
    "rvae_noncausal": RVAE_NON_CAUSAL,
    "rvae_noncausal-gru2": RVAE_NON_CAUSAL,
    "dsae-full": DSAE_FULL,
    "dsae-factorized": DSAE_FULL._replace(q=Parents(x=now, u=now)),
    "dsae-gru2": DSAE_FULL,
    "vrae": RNN,
    "vrae-reverse": RNN,
    "vrae-free_running": Graph(p=Parents(), x=Parents(u=up_to_now), q=Parents()),
    "vssn": VSSN,
    "vssn-lstm": VSSN,
    "zforcing_vrnn": ZFORCING,
    "zforcing_vrnn-backward": ZFORCING,
}

DRIVEN: dict[str, Graph] = {"vssn": VSSN_DRIVEN, "vssn-lstm": VSSN_DRIVEN}
"""Graphs that inputs do more to than join: of models whose inputs stand in for x_{t-1}."""

SEE_THE_WHOLE_SEQUENCE = ("dsae", "vrae")
"""Models whose latents of the sequence are inferred from it, each from every frame."""


class Series(NamedTuple):
    """What is given: frames, latents, inputs (none in undriven mode), latents that enter like inputs (where there are
    any), `[B, T, .]` each."""

    x: tf.Tensor
    z: tf.Tensor
    u: tf.Tensor | None
    w: tf.Tensor | None = None


def drive(model: tfdvae.DVAE, given: Series, latents: Mapping[str, tf.Tensor] | None = None) -> dict[str, tf.Tensor]:
    """Parameters of q, p and p(x_t | .) at each frame with z given: loc and scale side by side, `[B, T, 2 Z]`, and
    `[B, T, P]`. Those of q(w_t | .) likewise, where there is a w: the networks see the given one then.
    Latents of the sequence are held fixed, at `latents` or at constants. What is not stepwise is decoded as a whole.
    """
    cell = model.cell
    hoisted = cell.hoist(given.x, None, given.u, None)
    e, c, g, state = hoisted.e, hoisted.c, hoisted.g, hoisted.state
    if model.global_dims and not latents:
        row = {k: tf.linspace(-0.5, 0.7, width)[None] for k, width in model.global_dims.items()}
        latents = {k: tf.repeat(v, given.x.shape[0], axis=0) for k, v in row.items()}
    if latents:
        state = cell.absorb_globals(cell.initial_state(given.x.shape[0]), latents)
    if given.w is not None:
        c = cell.join_inputs(cell.embed_u(given.u), given.w)
    if latents or given.w is not None:
        g = cell.encode(given.x, c, e, None, state)
    found: dict[str, list[tf.Tensor]] = {"q": [], "p": [], "x": []}
    for t in range(given.x.shape[1]):
        e_t, c_t, g_t = (None if y is None else tf.nest.map_structure(lambda v, t=t: v[:, t], y) for y in (e, c, g))
        state = cell.absorb_u(state, c_t)
        found["q"].append(tf.concat(cell.posterior(state, g_t), axis=-1))
        found["p"].append(tf.concat(cell.prior(state), axis=-1))
        state = cell.absorb_z(state, given.z[:, t])
        if model.stepwise:
            found["x"].append(model.observation(cell.observe(state)))
        state = cell.absorb_x(state, e_t)
    if not model.stepwise:
        found["x"] = tf.unstack(model.decode(given.z, None, given.u), axis=1)
    parameters = {name: tf.stack(frames, axis=1) for name, frames in found.items()}
    return parameters if hoisted.w is None else {**parameters, "w": tf.concat(hoisted.w[1], axis=-1)}


def series(name: str, model: tfdvae.DVAE, batch: int) -> Series:
    frames = cases.frames(name, batch, LENGTH)
    per_frame, _ = split_noise(cases.noise(model, batch, LENGTH))
    w, z = model.cell.split_frame_noise(SPREAD * per_frame)
    return Series(frames.x, z, frames.u, w)


def jacobian(model: tfdvae.DVAE, given: Series, target: str) -> dict[str, np.ndarray]:
    """d target_t / d source_s at each of the given points, `[points, outputs, T, T, features]` for each source.

    Rows of a batch do not see each other, so a batch that repeats the points holds one output at one frame per row,
    and a single backward pass gives the whole matrix.
    """
    points = given.x.shape[0]
    widths = {"x": model.observation.params_dim, "w": 2 * model.cell.input_latent_dim}
    outputs = widths.get(target, 2 * model.cell.loop_latent_dim)
    repeats = outputs * LENGTH
    tiled = Series(*(None if y is None else tf.repeat(y, repeats, axis=0) for y in given))
    selected = tf.tile(tf.reshape(tf.eye(repeats), [repeats, outputs, LENGTH]), [points, 1, 1])
    sources = {k: v for k, v in tiled._asdict().items() if v is not None}
    with tf.GradientTape() as tape:
        tape.watch(sources)
        chosen = tf.reduce_sum(drive(model, tiled)[target] * tf.transpose(selected, [0, 2, 1]))
    found = tape.gradient(chosen, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return {k: v.numpy().reshape(points, outputs, LENGTH, LENGTH, v.shape[-1]) for k, v in found.items()}


def poisoned(model: tfdvae.DVAE, given: Series) -> dict[str, dict[str, np.ndarray]]:
    """Whether NaN in source_s turns any parameter of target_t into NaN, `[T, T]` for each target and source. It finds
    what a stopped gradient would hide."""
    sources = [k for k, v in given._asdict().items() if v is not None and v.shape[-1]]
    rows = [(k, s) for k in sources for s in range(LENGTH)]
    tiled = {k: np.repeat(v, len(rows), axis=0) for k, v in given._asdict().items() if v is not None}
    for row, (source, s) in enumerate(rows):
        tiled[source][row, s] = np.nan
    found = drive(model, Series(*(tf.constant(tiled[k]) if k in tiled else None for k in Series._fields)))
    hit = {target: np.isnan(values).any(axis=-1) for target, values in found.items()}
    return {
        target: {k: values[[r for r, (source, _) in enumerate(rows) if source == k]].T for k in sources}
        for target, values in hit.items()
    }


def matrix(reaches: Reaches) -> np.ndarray:
    return np.array([[reaches(t, s) for s in range(LENGTH)] for t in range(LENGTH)])


@pytest.fixture(scope="module", params=filter(cases.has_cell, cases.CASES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> tfdvae.DVAE:
    """The case's model. A ReLU that is off at every point would hide a link: those of the gated transition, on whose
    nonlinear mean its variance hangs by one, start open."""
    model = cases.make(name)
    for variable in model.trainable_variables:
        if "/transition/nonlinear" in variable.path and variable.path.endswith("bias"):
            variable.assign_add(tf.ones_like(variable))
    return model


@pytest.fixture
def graph(name: str) -> Graph:
    case = cases.CASES[name]
    return DRIVEN.get(case.variant, TABLE[case.variant]) if case.u_dim else TABLE[case.variant]


def test_every_variant_has_its_graph() -> None:
    """KVAE, which has no cell, is checked in tests/oracles/test_kvae.py."""
    assert set(TABLE) == {cases.CASES[name].variant for name in cases.CASES if cases.has_cell(name)}


@pytest.mark.parametrize("target", Graph._fields)
def test_the_jacobians_have_the_zeros_of_the_graph_and_no_others(
    model: tfdvae.DVAE, name: str, graph: Graph, target: str
) -> None:
    has_w = model.cell.input_latent_dim > 0
    if target == "w" and not has_w:
        assert graph.w == Parents()
        return
    if target in ("p", "q") and model.cell.loop_latent_dim == 0:
        assert getattr(graph, target) == Parents()
        return
    found = jacobian(model, series(name, model, POINTS), target)
    assert set(found) == {"x", "z"} | ({"u"} if model.u_dim else set()) | ({"w"} if has_w else set())
    for source, values in found.items():
        if 0 in values.shape:
            assert source == "z" and model.cell.loop_latent_dim == 0
            continue
        assert np.isfinite(values).all()
        expected = matrix(getattr(getattr(graph, target), source))
        where = f"of {target}_t (rows) with respect to {source}_s (columns)"
        np.testing.assert_array_equal((values != 0.0).any(axis=(0, 1, 4)), expected, err_msg=f"Non-zeros {where}")
        every_output = (np.abs(values) > 1e-8).any(axis=(0, 4)).all(axis=0)
        np.testing.assert_array_equal(every_output, expected, err_msg=f"Outputs that all vary {where}")


def test_a_value_reaches_what_the_graph_says_and_nothing_else(model: tfdvae.DVAE, name: str, graph: Graph) -> None:
    for target, sources in poisoned(model, series(name, model, 1)).items():
        for source, found in sources.items():
            if model.cell.loop_latent_dim == 0 and target != "x":
                continue
            expected = matrix(getattr(getattr(graph, target), source))
            np.testing.assert_array_equal(found, expected, err_msg=f"NaN in {source}_s (columns), {target}_t (rows)")


def test_the_driver_and_the_model_are_the_same_function(model: tfdvae.DVAE, name: str) -> None:
    batch = cases.frames(name, cases.BATCH, LENGTH)
    noise = cases.noise(model, cases.BATCH, LENGTH)
    path = model.infer(*Batch(batch.x, None, batch.u), noise)
    w, z = model.cell.split_frame_noise(path.z)
    found = drive(model, Series(batch.x, z, batch.u, w), {k: v.z for k, v in path.global_latents.items()})
    (q_w, q), (p_w, p) = (zip(*map(model.cell.split_frame_noise, dist), strict=True) for dist in (path.q, path.p))
    for target, expected in (("q", tf.concat(q, -1)), ("p", tf.concat(p, -1)), ("x", path.x)):
        np.testing.assert_allclose(found[target], expected, rtol=1e-5, atol=1e-5, err_msg=target)
    if w is not None:
        np.testing.assert_allclose(found["w"], tf.concat(q_w, -1), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(tf.concat(p_w, -1)[0, 0], [0.0] * w.shape[-1] + [1.0] * w.shape[-1])


@pytest.mark.parametrize("name", [n for n in cases.CASES if cases.CASES[n].model in SEE_THE_WHOLE_SEQUENCE])
def test_a_latent_of_the_sequence_is_inferred_from_all_of_it(name: str) -> None:
    model, given = cases.make(name), cases.frames(name, 2, LENGTH)
    sources = [y for y in (given.x, given.u) if y is not None]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(sources)
        path = model.infer(*given)
        assert set(path.global_latents) == set(model.global_dims)
        found = tf.concat([tf.concat(latent.q, axis=-1) for latent in path.global_latents.values()], axis=-1)
        columns = tf.unstack(tf.reduce_sum(found, axis=0))
    slopes = [tape.gradient(column, sources) for column in columns]
    for slope in tf.nest.flatten(slopes):
        assert np.isfinite(slope).all() and (np.abs(slope) > 1e-8).any(axis=-1).all()


def test_the_first_latent_of_a_deep_kalman_filter_is_standard_normal() -> None:
    for inference in sorted(tfdvae.DKFCell.inferences):
        name = f"dkf-{inference}-u"
        model = cases.make(name)
        first = drive(model, series(name, model, 2))["p"][:, 0]
        np.testing.assert_array_equal(first, [[0.0] * model.latent_dim + [1.0] * model.latent_dim] * 2)
