"""Sequences without loss: they come back, and they take as many bits as the bound says."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.codec.subjects import SMALL, built, equal, of_kind, trained, waves
from tfdvae import codec
from tfdvae.codec import lossless, subjects
from tfdvae.data import Sequences, from_arrays, load_pianoroll

TEST = waves(40, seed=1)
LN2 = np.log(2.0)


@pytest.fixture(scope="module")
def rnn() -> tfdvae.RNN:
    return trained(tfdvae.RNN(observation="bernoulli", **SMALL), epochs=3)


@pytest.fixture(scope="module")
def vrnn() -> tfdvae.VRNN:
    return trained(tfdvae.VRNN(2, phi_x=(8,), phi_z=(8,), observation="bernoulli", **SMALL), epochs=12)


def bits_of_the_bound(model: tfdvae.DVAE, sequences: Sequences, num_samples: int = 16) -> float:
    """-ELBO / ln 2 per frame, or the exact value without latents."""
    batch = {name: tf.constant(value) for name, value in tfdvae.data.pad(sequences).items()}
    seed = tfdvae.random.make_seed(3)
    paths = num_samples if model.has_latents else 1
    terms = model.sample_terms(tfdvae.Batch(**batch), seed, paths)
    return -float(tf.reduce_sum(tfdvae.bounds.ELBO().per_sequence(terms))) / (LN2 * sequences.num_frames * paths)


@pytest.mark.slow
def test_without_latents_the_rate_is_the_likelihood(rnn: tfdvae.RNN) -> None:
    coded = codec.compress(rnn, TEST)
    assert coded.initial_bits == 0
    assert coded.bits_per_frame == pytest.approx(bits_of_the_bound(rnn, TEST), rel=0.01)
    assert equal(codec.decompress(rnn, coded), TEST)


@pytest.mark.slow
def test_with_latents_the_rate_is_the_bound(vrnn: tfdvae.VRNN, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 1% of the ELBO, which one path per sequence estimates; and much nearer to what the model itself says of
    the path that was drawn."""
    paths = watch_latents(monkeypatch)
    coded = codec.compress(vrnn, TEST)
    assert coded.bits_per_frame == pytest.approx(bits_of_the_bound(vrnn, TEST), rel=0.01)
    assert coded.bits_per_frame == pytest.approx(bits_along(vrnn, paths), rel=0.003)
    assert 0 < coded.initial_bits < 0.2 * coded.bits
    monkeypatch.undo()
    assert equal(codec.decompress(vrnn, coded), TEST)


def watch_latents(monkeypatch: pytest.MonkeyPatch) -> list[list[np.ndarray]]:
    """The latents of the sequences that will be written, `[1, Z]` for each frame, the shortest sequence first; those of
    the probe come after them."""
    paths: list[list[np.ndarray]] = []
    walk = lossless.HalfSteps.walk

    def watched(self: Any, length: int, latent: Any, frame: Any) -> None:
        paths.append([])

        def kept(*arguments: Any) -> np.ndarray:
            paths[-1].append(latent(*arguments))
            return paths[-1][-1]

        walk(self, length, kept, frame)

    monkeypatch.setattr(lossless.HalfSteps, "walk", watched)
    return paths


def bits_along(model: tfdvae.DVAE, paths: list[list[np.ndarray]]) -> float:
    """log2 q(z | x) - log2 p(x, z) per frame, by `step` and the families' own densities."""
    latent = model.latents[0]

    @tf.function(autograph=False)
    def step(state: dict, x: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, dict]:
        out = model.take_frame_with(lambda *_: (z, None), state, x, None, None)
        own = out.latents["z"]
        return latent.q.log_prob(own.q, z) - latent.p.log_prob(own.p, z) - out.log_px, out.state

    nats = 0.0
    for x, path in zip(sorted(TEST.x, key=len), paths, strict=False):
        state = model.initial_state(1)
        for x_t, z in zip(x, path, strict=True):
            found, state = step(state, tf.constant(x_t[None]), tf.constant(z))
            nats += float(found[0])
    return nats / (LN2 * TEST.num_frames)


@pytest.mark.parametrize("kind", ["autoregressive_bernoulli", "categorical", "pen", "gaussian", "identity_gaussian"])
def test_every_kind_of_frame_comes_back(kind: str, eagerly: None) -> None:
    observation, sequences = of_kind(kind)
    options = {"resolution": 10.0} if "gaussian" in kind else {}
    model = built(tfdvae.RNN(observation=observation, **SMALL), sequences)
    coded = codec.compress(model, sequences, **options)
    assert equal(codec.decompress(model, coded), sequences)
    volume = np.log2(10.0) * 3 if options else 0.0
    bound = bits_of_the_bound(model, sequences) + volume
    assert coded.bits == pytest.approx(bound * sequences.num_frames, rel=0.05, abs=32)


REFUSED = ("draw", "dsae", "dssm", "dvbf", "fhvae", "fvae", "gpvae", "kvae", "latent_lds", "rvae_noncausal", "sv2p")
REFUSED += ("switching_lds", "vrae", "vssn")
"""Models with latents of whole sequences, or that draw them or decode them for all frames together."""
EVERYDAY = ("srnn-smooth-u", "rssm-u", "kvae-u")
"""A posterior that sees all of x, latents of classes are beside it, and a model that decodes sequences as a whole."""


@pytest.mark.parametrize(
    "name", [n if n in EVERYDAY else pytest.param(n, marks=cases.by_turns(n)) for n in cases.PRIMARY]
)
def test_every_model_comes_back_or_says_why_not(name: str, eagerly: None) -> None:
    case = cases.CASES[name.removesuffix("-u")]
    model = tfdvae.MODELS[case.model](**{**case.options, "observation": "bernoulli"})
    sequences = waves(2, 4, 3, 6)
    model.build_for(4)
    cases.jitter(model.trainable_variables, 5)
    if case.model in REFUSED:
        with pytest.raises(ValueError, match="Choose a model without latents"):
            codec.compress(model, sequences)
        return
    assert equal(codec.decompress(model, codec.compress(model, sequences)), sequences)


@pytest.mark.slow
def test_latents_of_classes_and_posteriors_out_of_reach(eagerly: None) -> None:
    groups = {"class_name": "categorical", "config": {"classes": 4}}
    sequences = waves(3, 4, 3, 7)
    rssm = built(tfdvae.RSSM(8, family=groups, observation="bernoulli", **SMALL), sequences)
    coded = codec.compress(rssm, sequences)
    assert coded.header.grid_bits == {} and equal(codec.decompress(rssm, coded), sequences)
    vae = built(tfdvae.VAE(2, observation="bernoulli"), sequences)
    for weight in vae.cell.trainable_variables:
        weight.assign(40.0 * weight)
    coded = codec.compress(vae, sequences)
    assert equal(codec.decompress(vae, coded), sequences)


@pytest.mark.slow
def test_the_seed_changes_the_bits_and_nothing_else(vrnn: tfdvae.VRNN) -> None:
    few = TEST.take(range(3))
    one, other = (codec.compress(vrnn, few, seed=seed) for seed in (0, 1))
    assert not np.array_equal(one.words, other.words) and one.header.content == other.header.content
    assert np.array_equal(one.words, codec.compress(vrnn, few).words)
    assert equal(codec.decompress(vrnn, other), few)


def test_real_numbers_know_their_grid_by_the_description(eagerly: None) -> None:
    observation, sequences = of_kind("pen")
    scale = np.float32([2.5, 2.5, 1.0])
    divided = from_arrays([x / scale for x in sequences.x])._replace(
        description=tfdvae.DataDescription(scale=tuple(scale.tolist()))
    )
    model = built(tfdvae.RNN(observation=observation, standardize="feature", **SMALL), divided)
    coded = codec.compress(model, divided)
    assert coded.header.per_unit == (2.5, 2.5, 1.0), "and the pen bit stays as it is"
    assert coded.header == codec.compress(model, divided, resolution=2.5).header
    assert equal(codec.decompress(model, coded), divided)
    bound = bits_of_the_bound(model, divided) + 2.0 * np.log2(2.5)
    assert coded.bits == pytest.approx(bound * divided.num_frames, rel=0.05, abs=32)
    with pytest.raises(ValueError, match="not on a grid of this resolution"):
        codec.compress(model, divided, resolution=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": [1.0, 2.0]}, "one positive number, or one for each of 3 features"),
        ({"resolution": -1.0}, "one positive number"),
        ({"resolution": 1e4}, "8191 are the most"),
    ],
)
def test_resolutions_that_cannot_be(options: dict, message: str, eagerly: None) -> None:
    observation, sequences = of_kind("gaussian")
    model = built(tfdvae.RNN(observation=observation, **SMALL), sequences)
    with pytest.raises(ValueError, match=message):
        codec.compress(model, sequences, **options)


def test_what_cannot_be_compressed(rnn: tfdvae.RNN) -> None:
    with pytest.raises(ValueError, match="never built"):
        codec.compress(tfdvae.RNN(observation="bernoulli", **SMALL), TEST)
    with pytest.raises(ValueError, match="frames of 12 numbers, the sequences have 4"):
        codec.compress(rnn, waves(2, 4))
    with pytest.raises(ValueError, match="Bernoulli expects every feature to be 0 or 1"):
        codec.compress(rnn, [0.5 * np.ones([3, 12])])
    with pytest.raises(ValueError, match=r"`seed` must be at most 2\^63"):
        codec.compress(rnn, TEST, seed=2**64)
    with pytest.raises(ValueError, match="leave out `resolution`"):
        codec.compress(rnn, TEST, resolution=2.0)
    with pytest.raises(ValueError, match="wholly observed"):
        codec.compress(rnn, {"x": [TEST.x[0]], "observed": [np.zeros([len(TEST.x[0]), 12], bool)]})
    with pytest.raises(ValueError, match=r"got the keys \['frames'\]"):
        codec.compress(rnn, {"frames": TEST.x})
    with pytest.raises(ValueError, match="Padding must come last"):
        codec.compress(rnn, {"x": np.zeros([1, 3, 12]), "mask": [[True, False, True]]})
    gamma = tfdvae.RNN(observation="gamma", **SMALL)
    gamma.build_for(3)
    with pytest.raises(ValueError, match="Gamma cannot be compressed without loss.*AutoregressiveBernoulli"):
        codec.compress(gamma, [np.ones([3, 3])])
    driven = tfdvae.RNN(observation="bernoulli", **SMALL)
    driven.build_for(3, 2)
    with pytest.raises(ValueError, match="inputs or a context"):
        codec.compress(driven, [np.ones([3, 3])])


def test_frames_pass_the_gate_of_verbs(rnn: tfdvae.RNN) -> None:
    padded = tfdvae.data.pad(TEST.first(3))
    frames = [list(TEST.x[:3]), padded, tf.ragged.stack(list(TEST.x[:3])), TEST.first(3)]
    for given in frames:
        found = subjects.whole_sequences(rnn, given)
        assert found.lengths.tolist() == TEST.lengths[:3].tolist()
        assert all(np.array_equal(a, b) for a, b in zip(found.x, TEST.x[:3], strict=True))


def test_a_model_that_reads_nan_as_missing_takes_frames_without_any(eagerly: None) -> None:
    given = waves(2, 3, 2, 4)
    model = built(tfdvae.RNN(observation="bernoulli", missing="nan", **SMALL), given)
    batch = tfdvae.data.pad(given)
    batch["x"][~batch["mask"]] = np.nan
    assert equal(codec.decompress(model, codec.compress(model, batch)), given)
    batch["x"][0, 0, 1] = np.nan
    with pytest.raises(ValueError, match="wholly observed"):
        codec.compress(model, batch)


@pytest.mark.slow
@pytest.mark.parametrize("latents", [False, True])
def test_chorales_take_the_bits_of_the_bound(latents: bool, tfdvae_data) -> None:
    splits = load_pianoroll(tfdvae_data / "polyphonic" / "jsb_chorales.npz")
    options = {"observation": "bernoulli", "units": 32}
    model = tfdvae.VRNN(4, phi_x=(32,), phi_z=(8,), **options) if latents else tfdvae.RNN(**options)
    model.build_for(88)
    model.adapt(splits.train)
    model.compile("adam")
    model.optimizer.learning_rate = 1e-2
    model.fit(splits.train, epochs=3, batch_size=16, verbose=0)
    test = splits.test.take(range(16))
    coded = codec.compress(model, test)
    assert coded.bits_per_frame == pytest.approx(bits_of_the_bound(model, test), rel=0.01)
    assert equal(codec.decompress(model, coded), test)
