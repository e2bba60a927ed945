"""Latents as features: within pipelines, cross-validation and searches, and numbers that are those of `encode`."""

import keras
import numpy as np
import pytest

import tfdvae
from tfdvae import representations
from tfdvae.representations import LatentFeatures

base = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed: the extra `sklearn`")

SMALL = {"latent_dim": 2, "units": 8, "phi_x": (8,), "phi_z": (8,)}


def waves(count: int = 24) -> tuple[list[np.ndarray], np.ndarray]:
    """Two kinds of sequences of several lengths, slow and fast."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    x = []
    for label in labels:
        time = np.arange(rng.integers(6, 10)) + rng.uniform(0, 6)
        x.append(np.stack([np.sin(time * (0.3, 2.0)[label]), 2.0 * label + 0.1 * rng.normal(size=len(time))], axis=-1))
    return x, labels


@pytest.fixture(scope="module")
def trained() -> tfdvae.DVAE:
    model = tfdvae.VRNN(**SMALL)
    model.build_for(2)
    return model


@pytest.mark.parametrize("pool", ["mean", "last", "mean_std"])
@pytest.mark.slow
def test_features_are_pooled_means_of_posteriors(pool: str, trained: tfdvae.DVAE) -> None:
    x, _ = waves(5)
    features = LatentFeatures(trained, pool=pool, batch_size=2).fit(x)
    assert features.model_ is trained
    expected = []
    for sequence in x:
        z = trained.encode(sequence[None])["z"].loc.numpy()[0]
        rows = {"mean": [z.mean(0)], "last": [z[-1]], "mean_std": [z.mean(0), z.std(0)]}[pool]
        expected.append(np.concatenate(rows))
    np.testing.assert_allclose(features.transform(x), expected, rtol=1e-4, atol=1e-5)
    names = {"mean": ["z0_mean", "z1_mean"], "last": ["z0_last", "z1_last"]}
    both = ["z0_mean", "z1_mean", "z0_deviation", "z1_deviation"]
    assert features.get_feature_names_out().tolist() == names.get(pool, both)


def test_the_score_is_the_likelihood_per_frame(trained: tfdvae.DVAE) -> None:
    x, _ = waves(5)
    features = LatentFeatures(trained, num_samples=2, batch_size=8).fit(x)
    batch = tfdvae.data.pad(tfdvae.data.from_arrays(x))
    expected = trained.log_prob(**batch, num_samples=2, seed=0).numpy().sum() / sum(map(len, x))
    assert features.score(x) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_latents_of_sequences_need_no_pool_and_can_be_chosen() -> None:
    model = tfdvae.DSAE(2, global_dim=3, units=4)
    model.build_for(2)
    x, _ = waves(3)
    features = LatentFeatures(model, pool="last").fit(x)
    assert features.get_feature_names_out().tolist() == ["v0", "v1", "v2", "z0_last", "z1_last"]
    alone = LatentFeatures(model, latents=["v"]).fit(x)
    np.testing.assert_array_equal(alone.transform(x), features.transform(x)[:, :3])
    with pytest.raises(ValueError, match=r"The latents of DSAE are \['v', 'z'\], asked for \['w'\]"):
        LatentFeatures(model, latents=["w"]).fit(x)
    with pytest.raises(ValueError, match="The latents of RNN are none"):
        LatentFeatures("rnn", {"units": 4}, epochs=1).fit(x)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_numbered_sequences_train_a_model_that_learns_something_of_each() -> None:
    x = tfdvae.data.numbered(tfdvae.data.from_arrays(waves(3)[0]))
    sizes = {"latent_dim": 2, "global_dim": 2, "segment_length": 4, "units": 3, "num_sequences": 3}
    features = LatentFeatures("fhvae", sizes, latents=["mu2"], epochs=1).fit(x)
    assert np.any(features.model_.sequence_means)
    np.testing.assert_allclose(features.transform(x), features.model_.encode(x)["mu2"].loc, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_same_seed_trains_the_same_features() -> None:
    def features(seed: int, of_process: int) -> np.ndarray:
        keras.utils.set_random_seed(of_process)
        made = LatentFeatures("vae", {"latent_dim": 2}, epochs=2, batch_size=5, learning_rate=0.01, seed=seed)
        return made.fit_transform(waves()[0])

    first = features(3, of_process=0)
    np.testing.assert_array_equal(features(3, of_process=1), first)
    assert np.abs(features(4, of_process=0) - first).max() > 1e-3


@pytest.mark.slow
def test_it_stands_in_pipelines_and_searches(trained: tfdvae.DVAE) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, labels = waves()
    features = LatentFeatures("vrnn", SMALL, epochs=3, learning_rate=0.01, pool="mean_std", num_samples=2)
    train, test, train_labels, test_labels = train_test_split(x, labels, random_state=0)
    pipeline = make_pipeline(features, StandardScaler(), LogisticRegression())
    assert pipeline.fit(train, train_labels).score(test, test_labels) > 0.8
    again = base.clone(pipeline[0])
    assert again.get_params() == features.get_params() and not hasattr(again, "model_")
    assert pipeline[0].score(test) > LatentFeatures(trained).fit(train).score(test) + 0.2
    models = [trained, pipeline[0].model_]
    search = GridSearchCV(LatentFeatures(num_samples=2), {"model": models}, cv=2).fit(x)
    assert search.best_params_["model"] is models[1] and search.transform(x).shape == (24, 2)


def test_a_clone_shares_a_trained_model(trained: tfdvae.DVAE) -> None:
    assert base.clone(LatentFeatures(trained)).model is trained


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "max"}, "`pool` must be one of mean, last, mean_std, got 'max'"),
        ({"model": "lstm"}, "`model` must be a model, or one of dkf, .*got 'lstm'"),
    ],
)
def test_what_it_cannot_do_is_said_by_fit(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatentFeatures(**options).fit(waves(3)[0])


def test_features_need_a_fit_and_a_trained_model_no_options(trained: tfdvae.DVAE) -> None:
    with pytest.raises(ValueError, match="Call `fit` first"):
        LatentFeatures(trained).transform(waves(3)[0])
    with pytest.raises(ValueError, match="this one is made already"):
        LatentFeatures(trained, {"units": 3}).fit(waves(3)[0])


@pytest.mark.slow
def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(representations, "TransformerMixin", None)
    with pytest.raises(ImportError, match=r'needs scikit-learn: pip install "tfdvae\[sklearn\]"'):
        LatentFeatures()
