"""Particle filters against paths run one by one, against evidence that is known, and against finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import filter_reference
from tests.oracles.linear import SCALAR, linear_dkf
from tests.oracles.support import Grid, assert_mean, frames, standard_error, tiny, widen_posterior
from tests.oracles.test_linear_gaussian import draw
from tfdvae import bounds, random
from tfdvae.types import Batch

BATCH, LENGTH, COUNT, X_DIM = 2, 4, 5, 2
LENGTHS = (4, 2)
RATIOS = {"ess": 0.7, "always": np.inf, "never": None}
VARIANTS = {
    "VRNN": ("VRNN", {"cell": "lstm"}),
    "STORN": ("STORN", {"cell": "gru"}),
    "SRNN filter": ("SRNN filter", {"cell": "gru"}),
    "DKF st_l": ("DKF st_l", {"cell": "lstm"}),
    "DKF mf_l": ("DKF mf_l", {"cell": "gru"}),
    "DKF frame": ("DKF frame", {}),
    "VAE": ("VAE", {}),
}
ROUNDING = 0.02
"""Of a difference between weights that are float32; the slopes below are of the order of 4 to 1000."""
EXHAUSTIVE = {"DKF mf_l", "DKF frame", "VAE"}
CASES = [pytest.param(v, marks=pytest.mark.exhaustive if v in EXHAUSTIVE else ()) for v in VARIANTS]


class Given:
    """A model, data of two lengths, and all the noise of a filter."""

    def __init__(self, variant: str, resampling: str) -> None:
        name, options = VARIANTS[variant]
        self.model = tiny(name, X_DIM, latent_dim=2, spread=0.8, **options)
        self.x = frames("gaussian", BATCH, LENGTH, X_DIM)
        self.mask = np.arange(LENGTH)[None] < np.array(LENGTHS)[:, None]
        rng = np.random.default_rng(3)
        self.noise = rng.normal(size=[BATCH * COUNT, LENGTH, 2]).astype(np.float32)
        width = bounds.resampling.noise_dim(resampling, COUNT)
        self.uniform = rng.uniform(size=[BATCH, LENGTH, width]).astype(np.float32)
        self.resampling = resampling

    def filter(self, criterion: str, fixed: bool = False) -> bounds.Filtered:
        packed, _ = self.model.pack(Batch(tf.constant(self.x), tf.constant(self.mask)))
        return bounds.particle_filter(
            self.model.particles(packed, COUNT),
            COUNT,
            {"z": tf.constant(self.noise)},
            tf.constant(self.uniform),
            packed.mask,
            resampling=self.resampling,
            criterion=criterion,
            ess_ratio=0.7,
            fixed=fixed,
        )

    def expected(self, criterion: str, known: list | None = None) -> list[list[filter_reference.Frame]]:
        found = []
        for b, length in enumerate(LENGTHS):
            noise = self.noise[b * COUNT : (b + 1) * COUNT].astype(np.float64)
            x, uniform = self.x[b, :length], self.uniform[b].astype(np.float64)
            replayed = None if known is None else known[b]
            found.append(filter_reference.run(self.model, x, noise, uniform, RATIOS[criterion], replayed))
        return found


@pytest.mark.parametrize(("resampling", "criterion"), [("systematic", "ess"), ("multinomial", "always")])
@pytest.mark.parametrize("variant", CASES)
def test_states_that_are_moved_are_those_of_the_ancestors_paths(variant: str, resampling: str, criterion: str) -> None:
    given = Given(variant, resampling)
    found, expected = given.filter(criterion), given.expected(criterion)
    for b, length in enumerate(LENGTHS):
        resampled = [frame.ancestors is not None for frame in expected[b]]
        np.testing.assert_array_equal(found.resampled[b, :length], resampled)
        own = np.arange(COUNT)
        ancestors = np.stack([own if frame.ancestors is None else frame.ancestors for frame in expected[b]])
        np.testing.assert_array_equal(found.ancestors[b, :length], ancestors)
        np.testing.assert_allclose(
            found.log_evidence[b, :length], [f.evidence for f in expected[b]], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(found.weights[b, :length], [f.weights for f in expected[b]], atol=1e-5)
        assert any(resampled[1:])
    np.testing.assert_array_equal(found.log_evidence[1, 2:], 0.0)
    np.testing.assert_array_equal(found.weights[1, 2:], np.repeat(found.weights[1, 1:2], 2, axis=0))
    assert not found.resampled[1, 2:].numpy().any()


def slope(model: Any, function: Callable[[], float], direction: list[np.ndarray], step: float = 1e-3) -> float:
    """The derivative of a function of the weights along a direction: central differences, extrapolated to no step."""
    start = [v.numpy() for v in model.trainable_variables]

    def at(distance: float) -> float:
        for variable, value, part in zip(model.trainable_variables, start, direction, strict=True):
            variable.assign(value + distance * part)
        return function()

    coarse, fine = ((at(h) - at(-h)) / (2.0 * h) for h in (step, 0.5 * step))
    at(0.0)
    return (4.0 * fine - coarse) / 3.0


def along(found: list[tf.Tensor], direction: list[np.ndarray]) -> float:
    return float(sum(np.sum(g.numpy() * d) for g, d in zip(found, direction, strict=True)))


def directions(model: Any) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(7)
    return [[rng.normal(size=v.shape).astype(np.float32) for v in model.trainable_variables] for _ in range(3)]


@pytest.mark.parametrize("variant", ["VRNN", pytest.param("DKF st_l", marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_the_gradient_of_fivo_is_that_for_the_ancestors_that_were_drawn(variant: str) -> None:
    given = Given(variant, "systematic")
    known = given.expected("ess")

    def value() -> float:
        return sum(frame.evidence for sequence in given.expected("ess", known) for frame in sequence)

    with tf.GradientTape() as tape:
        target = tf.reduce_sum(given.filter("ess").log_evidence)
    found = tape.gradient(target, given.model.trainable_variables)
    for direction in directions(given.model):
        assert along(found, direction) == pytest.approx(slope(given.model, value, direction), rel=2e-3, abs=ROUNDING)


class Replayed(bounds.NASMC):
    """NASMC whose filter is given, noise and all."""

    def __init__(self, given: Given) -> None:
        super().__init__(COUNT)
        self.given = given

    def filter(self, model: Any, batch: Any, seed: Any, weighing: Any, fixed: bool = False) -> bounds.Filtered:
        return self.given.filter("ess", fixed)


@pytest.mark.slow
def test_the_gradient_of_nasmc_is_the_weighted_sum_of_those_of_the_densities() -> None:
    given = Given("VRNN", "systematic")
    known = given.expected("ess")

    def value() -> float:
        pairs = zip(given.x, LENGTHS, known, strict=True)
        return sum(filter_reference.surrogate(given.model, x[:length], frames) for x, length, frames in pairs)

    bound = Replayed(given)
    with tf.GradientTape() as tape:
        objective = bound.estimate(given.model, Batch(tf.constant(given.x)), random.make_seed(0), bounds.Weighing())[0]
        target = tf.reduce_sum(objective)
    found = tape.gradient(target, given.model.trainable_variables)
    assert float(target) == pytest.approx(sum(frame.evidence for sequence in known for frame in sequence), rel=1e-5)
    for direction in directions(given.model):
        assert along(found, direction) == pytest.approx(slope(given.model, value, direction), rel=2e-3, abs=ROUNDING)


@pytest.mark.parametrize("resampling", ["systematic", "multinomial"])
@pytest.mark.parametrize("criterion", ["ess", "always"])
@pytest.mark.slow
def test_the_filter_is_unbiased_for_the_kalman_filters_evidence(resampling: str, criterion: str) -> None:
    length, repeats = 5, 4000
    model = linear_dkf(SCALAR, "frame")
    widen_posterior(model)
    x = draw(SCALAR, 1, length)
    exact = float(SCALAR.distribution(length).log_prob(x[0].astype(np.float64)))
    options = {"num_samples": 16, "resampling": resampling, "criterion": criterion, "seed": 5}
    estimates = np.asarray(model.particle_log_prob(np.repeat(x, repeats, axis=0), **options), np.float64)
    assert estimates.std() > 0.05
    assert_mean(np.exp(estimates - exact), 1.0)
    assert estimates.mean() < exact - 5.0 * estimates.std() / np.sqrt(repeats)


@pytest.mark.parametrize("variant", ["VRNN", "STORN", "SRNN filter"])
@pytest.mark.slow
def test_the_filter_is_unbiased_for_the_evidence_on_a_grid(variant: str) -> None:
    name, options = VARIANTS[variant]
    model = tiny(name, X_DIM, latent_dim=1, **options)
    widen_posterior(model)
    x, repeats = frames("gaussian", 1, 2, X_DIM), 8000
    evidence = Grid(model, x).evidence
    x = np.repeat(x, repeats, axis=0)
    estimates = model.particle_log_prob(x, num_samples=3, criterion="always", seed=6)
    assert_mean(np.exp(np.asarray(estimates, np.float64) - evidence), 1.0)


@pytest.mark.slow
def test_bounds_approach_the_evidence_from_below_and_resampling_helps_on_long_sequences() -> None:
    length, repeats = 40, 48
    model = linear_dkf(SCALAR, "frame")
    widen_posterior(model)
    x = draw(SCALAR, 1, length)
    exact = float(SCALAR.distribution(length).log_prob(x[0].astype(np.float64)))
    x = np.repeat(x, repeats, axis=0)
    slacks = {}
    for method in ("log_prob", "particle_log_prob"):
        estimates = [np.asarray(getattr(model, method)(x, num_samples=k, seed=2), np.float64) for k in (1, 8, 64)]
        errors = [standard_error(e) for e in estimates]
        means = [e.mean() for e in estimates]
        for i in (0, 1):
            assert means[i + 1] - means[i] > 5.0 * np.hypot(errors[i], errors[i + 1])
        assert means[2] < exact + 5.0 * errors[2]
        slacks[method] = exact - means[2]
    assert slacks["particle_log_prob"] < 0.05 * slacks["log_prob"]
