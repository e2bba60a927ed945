"""The graphical model of each paper, machine-checked.

For every case, which x_s, z_s and u_s reach q(z_t | .), p(z_t | .) and p(x_t | .), all z held fixed, must be exactly
the parents that the paper draws. z is held fixed by giving it: `drive` below takes the half-steps of a cell frame by
frame with z from outside, which also makes it a loop independent of the library's own.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
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
    """Of one distribution at each t: which frames of x, of z, and of the inputs u in driven mode."""

    x: Reaches = nothing
    z: Reaches = nothing
    u: Reaches = nothing


class Graph(NamedTuple):
    """The parents of p(z_t | .), p(x_t | .) and q(z_t | .)."""

    p: Parents
    x: Parents
    q: Parents


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


def dkf(sees: Reaches, z: Reaches) -> Graph:
    """(5.9): inputs move z, and reach x_t through z_t alone; p(z_1) = N(0, I)."""
    return Graph(p=Parents(z=previous, u=now_but_at_the_start), x=Parents(z=now), q=Parents(x=sees, z=z, u=sees))


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
}


class Series(NamedTuple):
    """What is given: frames, latents, and inputs (none in undriven mode), `[B, T, .]` each."""

    x: tf.Tensor
    z: tf.Tensor
    u: tf.Tensor | None


def drive(model: tfdvae.DVAE, given: Series) -> dict[str, tf.Tensor]:
    """Parameters of q, p and p(x_t | .) at each frame with z given: loc and scale side by side, `[B, T, 2 Z]`, and
    `[B, T, P]`.
    """
    cell = model.cell
    e, c = cell.embed(given.x), cell.embed_u(given.u)
    g = cell.encode(given.x, c, e, None)
    state = cell.initial_state(given.x.shape[0])
    found: dict[str, list[tf.Tensor]] = {"q": [], "p": [], "x": []}
    for t in range(given.x.shape[1]):
        e_t, c_t, g_t = (None if y is None else tf.nest.map_structure(lambda v, t=t: v[:, t], y) for y in (e, c, g))
        state = cell.absorb_u(state, c_t)
        found["q"].append(tf.concat(cell.posterior(state, g_t), axis=-1))
        found["p"].append(tf.concat(cell.prior(state), axis=-1))
        state = cell.absorb_z(state, given.z[:, t])
        found["x"].append(model.observation(cell.observe(state)))
        state = cell.absorb_x(state, e_t)
    return {name: tf.stack(frames, axis=1) for name, frames in found.items()}


def series(name: str, model: tfdvae.DVAE, batch: int) -> Series:
    frames = cases.frames(name, batch, LENGTH)
    return Series(frames.x, SPREAD * cases.noise(model, batch, LENGTH), frames.u)


def jacobian(model: tfdvae.DVAE, given: Series, target: str) -> dict[str, np.ndarray]:
    """d target_t / d source_s at each of the given points, `[points, outputs, T, T, features]` for each source.

    Rows of a batch do not see each other, so a batch that repeats the points holds one output at one frame per row,
    and a single backward pass gives the whole matrix.
    """
    points = given.x.shape[0]
    outputs = model.observation.params_dim if target == "x" else 2 * model.latent_dim
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


@pytest.fixture(scope="module", params=cases.CASES)
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
    return TABLE[cases.CASES[name].variant]


def test_every_variant_has_its_graph() -> None:
    assert set(TABLE) == set(cases.VARIANTS)


@pytest.mark.parametrize("target", Graph._fields)
def test_the_jacobians_have_the_zeros_of_the_graph_and_no_others(
    model: tfdvae.DVAE, name: str, graph: Graph, target: str
) -> None:
    found = jacobian(model, series(name, model, POINTS), target)
    assert set(found) == {"x", "z"} | ({"u"} if model.u_dim else set())
    for source, values in found.items():
        if 0 in values.shape:
            assert model.latent_dim == 0
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
            if model.latent_dim == 0 and target != "x":
                continue
            expected = matrix(getattr(getattr(graph, target), source))
            np.testing.assert_array_equal(found, expected, err_msg=f"NaN in {source}_s (columns), {target}_t (rows)")


def test_the_driver_and_the_model_are_the_same_function(model: tfdvae.DVAE, name: str) -> None:
    batch = cases.frames(name, cases.BATCH, LENGTH)
    path = model.infer(*Batch(batch.x, None, batch.u), cases.noise(model, cases.BATCH, LENGTH))
    found = drive(model, Series(batch.x, path.z, batch.u))
    for target, expected in (("q", tf.concat(path.q, -1)), ("p", tf.concat(path.p, -1)), ("x", path.x)):
        np.testing.assert_allclose(found[target], expected, rtol=1e-5, atol=1e-5, err_msg=target)


def test_the_first_latent_of_a_deep_kalman_filter_is_standard_normal() -> None:
    for inference in sorted(tfdvae.DKFCell.inferences):
        name = f"dkf-{inference}-u"
        model = cases.make(name)
        first = drive(model, series(name, model, 2))["p"][:, 0]
        np.testing.assert_array_equal(first, [[0.0] * model.latent_dim + [1.0] * model.latent_dim] * 2)
