"""One-hot groups: what the tests of all observations cannot know of variables that have several features."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tfdvae.observations import Categorical
from tfdvae.validation import check_dataset

NOT_ONE_HOT = ([1, 1, 0, 0, 1], [0, 1, 0, 0, 0], [0, 1, 0.5, 0.5, 0], [0, 1, -1, 1, 1])


@pytest.fixture
def groups(make):
    return make("categorical")


@pytest.fixture
def frames(cases):
    return cases["categorical"].data(np.random.default_rng(0), 12).reshape(3, 4, 5).astype(np.float32)


@pytest.mark.parametrize("bad", NOT_ONE_HOT)
def test_a_group_that_is_not_one_hot_is_refused_on_arrays_and_in_graphs(groups, frames, bad):
    frames[1, 2] = bad
    with pytest.raises(ValueError, match=r"Categorical expects groups of \(2, 3\) features to be one-hot, a single 1"):
        groups.validate(frames)
    supported = groups.supported(frames)
    np.testing.assert_array_equal(groups.supported(tf.constant(frames)), supported)
    assert not supported[1, 2].all() and supported.sum() >= supported.size - 5
    mask = np.ones((3, 4), bool)
    mask[1, 2] = False
    groups.validate(frames[mask])


def test_a_group_is_observed_as_a_whole_or_not_at_all(groups, frames):
    observed = np.ones(frames.shape, bool)
    observed[0, 0, :2] = observed[2, 3] = False
    frames[0, 0, :2] = frames[2, 3] = np.nan
    groups.validate(frames, observed)
    observed[1, 1, 3] = False
    with pytest.raises(ValueError, match="each observed as a whole or not at all"):
        groups.validate(frames, observed)


def small_model():
    return tfdvae.VAE(2, encoder_units=(4,), decoder_units=(4,), observation=Categorical((2, 3)), missing="nan")


@pytest.mark.parametrize("bad", [None, *NOT_ONE_HOT, [np.nan, 1, 0, 1, 0]])
def test_datasets_are_checked_while_they_run(frames, bad):
    frames[0, 1, :2] = np.nan
    frames[1, 2] = frames[1, 2] if bad is None else bad
    model = small_model()
    model.build_for(5)
    checked = check_dataset(tf.data.Dataset.from_tensors(frames), None, "nan", model.frames)
    if bad is None:
        assert len(list(checked)) == 1
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match="to be one-hot"):
            list(checked)


def test_impute_completes_groups_and_keeps_what_was_observed(frames):
    model = small_model()
    observed = np.random.default_rng(1).random((3, 4, 2)) < 0.5
    observed = np.repeat(observed, (2, 3), axis=-1)
    found = model.impute(np.where(observed, frames, np.nan), observed=observed, num_samples=2, seed=0)
    model.observation.validate(found.samples.numpy())
    np.testing.assert_array_equal(found.samples.numpy()[:, observed], [frames[observed]] * 2)
    np.testing.assert_allclose(found.mean.numpy()[..., 2:].sum(-1), 1.0, rtol=1e-5)


def test_mode_is_the_most_probable_class_of_each_group(groups, features_for):
    params = groups(features_for(3, 4)).numpy()
    mode = groups.mode(params).numpy()
    groups.validate(mode)
    np.testing.assert_array_equal(mode[..., :2].argmax(-1), params[..., :2].argmax(-1))
    np.testing.assert_array_equal(mode[..., 2:].argmax(-1), params[..., 2:].argmax(-1))
    np.testing.assert_array_equal(tf.function(groups.mode, jit_compile=True)(params), mode)


def test_deviations_are_those_of_bits(groups, features_for):
    params = groups(features_for(3))
    mean = groups.mean(params).numpy()
    np.testing.assert_allclose(groups.distribution(params).stddev(), np.sqrt(mean * (1 - mean)), rtol=1e-4)


@pytest.mark.parametrize(("given", "sizes"), [(None, (6,)), (2, (2, 2, 2)), (np.int64(3), (3, 3)), ([4, 2], (4, 2))])
def test_groups_are_named_in_three_ways(given, sizes):
    observation = Categorical(given)
    observation.build((None, 4), (None, 6))
    assert observation.sizes == sizes and observation.noise_dim == len(sizes)
    one_hot = np.concatenate([np.eye(size)[0] for size in sizes])
    observation.validate(one_hot[None])
    again = Categorical.from_config(observation.get_config())
    assert again.group_sizes == observation.group_sizes
    params = observation(np.zeros((1, 4), np.float32))
    np.testing.assert_allclose(observation.log_prob(params, one_hot), [-np.log(sizes).sum()], rtol=1e-5)


@pytest.mark.parametrize(("sizes", "x_dim"), [(4, 6), ((2, 3), 6), (None, 1)])
def test_groups_must_make_the_frame(sizes, x_dim):
    with pytest.raises(ValueError, match=f"cannot explain frames of {x_dim} features"):
        Categorical(sizes).build((None, 4), (None, x_dim))


@pytest.mark.slow
def test_a_saved_model_tells_it_from_the_family_of_the_same_name(frames, tmp_path):
    family = {"class_name": "categorical", "config": {"classes": 2}}
    model = tfdvae.VAE(4, encoder_units=(4,), observation=Categorical((2, 3)), family=family)
    expected = model(frames)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.observation.group_sizes == (2, 3) and loaded.latents[0].p.classes == 2
    np.testing.assert_array_equal(loaded(frames), expected)
