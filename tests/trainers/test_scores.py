"""The numbers of the final table, against slower ways to the same numbers."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from configs import defaults
from tfdvae import random
from tfdvae.data import from_arrays, pad
from tfdvae.types import Batch
from trainers import scoring
from trainers.scoring import Score, Scores


def sequences() -> tfdvae.data.Sequences:
    rng = np.random.default_rng(0)
    return from_arrays([(rng.random((length, 5)) < 0.4).astype(np.float32) for length in (2, 9, 4, 7, 3)])


@pytest.mark.slow
def test_an_exact_likelihood_in_all_units() -> None:
    model = tfdvae.RNN(units=4, phi_x=(4,), observation="bernoulli")
    model.build_for(5)
    elbo, iwae, num_samples = scoring.score(model, sequences(), num_samples=7, batch_size=2)
    log_p, lengths = [], sequences().lengths
    for x in sequences().x:
        logits = model.infer(x[None]).x
        log_p.append(-tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(x[None], logits)).numpy())
    log_p = np.array(log_p)
    expected = (log_p.sum() / lengths.sum(), (log_p / lengths).mean(), log_p.mean())
    np.testing.assert_allclose(elbo, expected, rtol=1e-5)
    np.testing.assert_allclose(iwae, expected, rtol=1e-5)
    assert num_samples == 1


@pytest.mark.slow
def test_bounds_agree_with_the_models_own_estimates() -> None:
    """K paths in chunks of a batch, against all paths at once with other seeds, within five standard errors."""
    model = tfdvae.VRNN(2, units=4, phi_x=(4,), phi_z=(4,), observation="bernoulli")
    model.build_for(5)
    paths = 192
    elbo, iwae, _ = scoring.score(model, sequences(), num_samples=paths, chunk=80, batch_size=2)
    batch = pad(sequences())
    log_probs = [np.mean(model.log_prob(**batch, num_samples=paths, chunk=paths, seed=seed)) for seed in range(1, 9)]
    assert abs(iwae.nats_per_sequence - np.mean(log_probs)) < 5.0 * np.std(log_probs, ddof=1)
    terms = model.sample_terms(Batch(**{k: tf.constant(v) for k, v in batch.items()}), random.make_seed(9), 400)
    elbos = np.sum(terms.log_px - terms.kl, axis=1).reshape(-1, 400).mean(axis=0)
    error = np.std(elbos, ddof=1) * np.sqrt(1 / 400 + 1 / paths)
    assert abs(elbo.nats_per_sequence - elbos.mean()) < 5.0 * error
    assert iwae.nats_per_frame > elbo.nats_per_frame


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_more_samples_tighten_the_bound() -> None:
    """In expectation; the mean over seeds has a standard error, and the difference is many of them."""
    model = tfdvae.VAE(3, encoder_units=(8,), decoder_units=(8,), observation="bernoulli")
    model.build_for(5)
    for variable in model.trainable_variables:
        variable.assign(3.0 * variable)
    bounds = {
        k: [scoring.score(model, sequences(), num_samples=k, seed=seed)[1].nats_per_frame for seed in range(24)]
        for k in (1, 8)
    }
    error = np.sqrt(sum(np.var(values, ddof=1) / len(values) for values in bounds.values()))
    assert np.mean(bounds[8]) - np.mean(bounds[1]) > 5.0 * error


@pytest.mark.slow
def test_long_batches_have_fewer_paths_at_a_time_and_the_shortest_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tfdvae.VAE(3, encoder_units=(8,), decoder_units=(8,), observation="bernoulli")
    model.build_for(5)
    drawn = []
    sample_terms = model.sample_terms

    def spy(batch: Batch, noise: tf.Tensor, count: int) -> Any:
        tf.py_function(lambda shape: drawn.append((*shape.numpy(), count)), [tf.shape(batch.mask)], [])
        return sample_terms(batch, noise, count)

    monkeypatch.setattr(model, "sample_terms", spy)
    monkeypatch.setattr(scoring, "MAX_FRAMES", 24)
    scoring.score(model, sequences(), num_samples=8, chunk=8, batch_size=2)
    assert drawn == [(2, 3, 4)] * 2 + [(2, 7, 1)] * 8 + [(1, 9, 2)] * 4


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers() -> None:
    model = tfdvae.VAE(3, encoder_units=(8,), decoder_units=(8,), observation="bernoulli")
    model.build_for(5)
    a, b, c = (scoring.score(model, sequences(), num_samples=4, seed=seed) for seed in (1, 1, 2))
    assert a == b
    assert a != c


def test_wrong_numbers_of_samples() -> None:
    model = tfdvae.VAE(3)
    with pytest.raises(ValueError, match="num_samples and chunk must be at least 1"):
        scoring.score(model, sequences(), num_samples=0)


SCORES = Scores("vrnn", "bach", "test", 2, 30, 40, Score(-6.5, -6.25, -97.5), Score(-6.0, -5.75, -90.0))


def test_tables_hold_every_number_with_its_unit() -> None:
    text, markdown = scoring.as_text(SCORES).splitlines(), scoring.as_markdown(SCORES).splitlines()
    assert text[0] == markdown[0]
    assert text[0].startswith("vrnn on bach, split test: 2 sequences, 30 frames.")
    assert text[1].split() == ["nats_per_frame", "nats_per_frame_seqmean", "nats_per_sequence"]
    assert text[2].split() == ["ELBO", "-6.5000", "-6.2500", "-97.5000"]
    assert text[3].split("  ")[-1].strip() == "-90.0000"
    assert markdown[-1] == "| IWAE (K = 40) | -6.0000 | -5.7500 | -90.0000 |"
    assert scoring.as_json(SCORES)["iwae"]["nats_per_frame_seqmean"] == -5.75


@pytest.mark.slow
def test_a_particle_filter_is_scored_where_it_is_asked_for() -> None:
    model = tfdvae.VRNN(2, units=4, phi_x=(4,), phi_z=(4,), observation="bernoulli")
    model.build_for(5)
    config = defaults.experiment("pianoroll", "vrnn", evaluation__bounds=("fivo", "iwae"), evaluation__num_samples=48)
    scores = scoring.score_split(config, model, sequences(), "test")
    assert scores.elbo is None
    expected = [np.mean(model.particle_log_prob(**pad(sequences()), num_samples=48, seed=s)) for s in range(1, 9)]
    assert abs(scores.fivo.nats_per_sequence - np.mean(expected)) < 6.0 * np.std(expected, ddof=1)
    assert scores.fivo.nats_per_sequence == pytest.approx(scores.iwae.nats_per_sequence, abs=0.5)
    assert [line.split()[0] for line in scoring.as_text(scores).splitlines()[2:]] == ["IWAE", "FIVO"]
    assert set(scoring.as_json(scores)) == {*Scores._fields[:6], "iwae", "fivo"}
    config.evaluation.bounds = ("fivos",)
    with pytest.raises(ValueError, match="evaluation.bounds must be some of elbo, iwae, fivo; got fivos"):
        scoring.score_split(config, model, sequences(), "test")
    smoother = tfdvae.DKF(2)
    with pytest.raises(ValueError, match="FIVO weighs particles frame by frame, and DKF"):
        scoring.score_fivo(smoother, sequences())
