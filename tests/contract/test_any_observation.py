"""Any observation goes with any model, by name, by config, or as an object."""

import keras
import numpy as np
import pytest

import tfdvae
from tests import cases, turns
from tfdvae.observations import OBSERVATIONS, Observation
from tfdvae.testing import assert_equal

EVERYWHERE = ("pen", "autoregressive_bernoulli")
"""The two that are least like the others meet every model, without --exhaustive each every fifth one; every other one
meets the VRNN."""
PAIRS = [
    *(
        pytest.param(model, observation, marks=() if i % 5 == j else pytest.mark.exhaustive)
        for i, model in enumerate(sorted(tfdvae.MODELS))
        for j, observation in enumerate(EVERYWHERE)
    ),
    *(("vrnn", name) for name in sorted(OBSERVATIONS) if name not in EVERYWHERE),
]


def data(observation: str) -> dict[str, np.ndarray]:
    """Eight short sequences in the support of the observation, three features each: eager loops cost by the frame."""
    rng = np.random.default_rng(3)
    shape = (8, 4, 3)
    real, bits = rng.normal(size=shape), rng.random(shape) < 0.15
    x = {
        "bernoulli": bits,
        "autoregressive_bernoulli": bits,
        "gamma": rng.exponential(size=shape),
        "poisson": rng.poisson(2.0, shape),
        "negative_binomial": rng.poisson(2.0, shape),
        "categorical": np.eye(3)[rng.integers(0, 3, shape[:2])],
        "pen": np.concatenate([real[..., :2], bits[..., 2:]], axis=-1),
    }.get(observation, real)
    mask = np.arange(4)[None] < rng.integers(1, 5, 8)[:, None]
    return {"x": np.where(mask[..., None], x, np.nan).astype("float32"), "mask": mask}


def make(model: str, observation: str | dict | Observation, **options) -> tfdvae.DVAE:
    keras.utils.set_random_seed(0)
    sizes = {**cases.common(model), "dropout": 0.0, **cases.SIZES[model], **options}
    return tfdvae.MODELS[model](**cases.used(model, sizes), observation=observation)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(("model", "observation"), PAIRS)
@pytest.mark.slow
def test_the_pair_trains_and_draws_frames_within_the_support(model: str, observation: str) -> None:
    pair, frames = make(model, observation), data(observation)
    pair.build_for(3)
    pair.compile(keras.optimizers.Adam(0.03), run_eagerly=True)
    before = pair.evaluate(frames, verbose=0, return_dict=True)["loss"]
    history = pair.fit(frames, epochs=6, batch_size=8, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert pair.evaluate(frames, verbose=0, return_dict=True)["loss"] < before
    assert history["skipped_batches"] == [0.0] * 6
    if pair.stepwise:
        frame, _ = pair.generate_step(
            pair.initial_state(50),
            noise={latent.name: cases.noise(pair, 50, 1)[latent.name][:, 0] for latent in pair.frame_latents},
            uniform=np.random.default_rng(1).uniform(0.01, 0.99, (50, pair.observation.noise_dim)).astype("float32"),
        )
        drawn = frame.x
    else:
        drawn = pair.generate(1, 50, seed=1).x[:, 0]
    assert tuple(drawn.shape) == (50, 3)
    pair.observation.validate(drawn.numpy())
    assert np.isfinite(pair.predict(frames, verbose=0)).all()
    assert np.isfinite(pair.log_prob(**frames, num_samples=2)).all()


@pytest.mark.parametrize("observation", turns.params(sorted(OBSERVATIONS), always=EVERYWHERE))
@pytest.mark.slow
def test_a_name_a_config_and_an_object_are_the_same_observation(observation: str) -> None:
    instance = OBSERVATIONS[observation]()
    given = [
        observation,
        {"class_name": observation, "config": {}},
        keras.saving.serialize_keras_object(OBSERVATIONS[observation]()),
        instance,
    ]
    frames = data(observation)
    models = [make("vrnn", g) for g in given]
    assert models[-1].observation is instance
    assert {type(m.observation) for m in models} == {OBSERVATIONS[observation]}
    expected = models[0](frames)
    for other in models[1:]:
        other.build_for(3)
        other.set_weights(models[0].get_weights())
        assert_equal(other(frames), expected)


@pytest.mark.slow
def test_arguments_of_an_observation_survive_the_config_of_the_model() -> None:
    model = make("vrnn", tfdvae.observations.GaussianMixture(num_components=7))
    again = type(model).from_config(model.get_config())
    assert again.observation.num_components == 7
    assert again.observation is not model.observation
