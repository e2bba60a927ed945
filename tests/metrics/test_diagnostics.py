"""Measures of what latents do, against numpy."""

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.metrics import ACTIVE_NATS, diagnose


def test_measures_count_existing_frames_alone() -> None:
    model, x = cases.make("vrnn"), np.array(cases.frames("vrnn").x)
    mask = np.array([[True] * 5, [True, False, True, True, False], [False, True, True, False, True]])
    given = np.where(mask[..., None], x, np.nan)
    ((name, found),) = diagnose(model, given, mask).items()
    assert name == "z"
    path = model.infer(tf.constant(np.where(mask[..., None], x, 0.0), tf.float32), tf.constant(mask))
    (q, s), (p, r) = ([np.asarray(y, np.float64) for y in dist] for dist in path.latents["z"][1:3])
    s, r = np.where(mask[..., None], s, 1.0), np.where(mask[..., None], r, 1.0)
    kl = np.log(r / s) + (s**2 + (q - p) ** 2) / (2 * r**2) - 0.5
    np.testing.assert_allclose(found.kl[mask], kl[mask], atol=1e-5)
    np.testing.assert_array_equal(found.kl[~mask], 0.0)
    np.testing.assert_allclose(found.kl_per_group, kl[mask].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.mean_variance, q[mask].var(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(found.active, kl[mask].mean(axis=0) > ACTIVE_NATS)
    np.testing.assert_array_equal(found.active_by_variance, q[mask].var(axis=0) > 0.01)
    change = np.zeros([3, 5])
    for sequence, t, before in ((0, 1, 0), (0, 2, 1), (0, 3, 2), (0, 4, 3), (1, 2, 0), (1, 3, 2), (2, 2, 1), (2, 4, 2)):
        change[sequence, t] = np.square(q[sequence, t] - q[sequence, before]).sum()
    np.testing.assert_allclose(found.change, change, atol=1e-6)


@pytest.mark.slow
def test_each_latent_of_frames_is_measured_by_its_name() -> None:
    """v of a VSSN exists once; w and z of its frames are measured apart, each along the posterior modes."""
    model, batch = cases.make("vssn-u"), cases.frames("vssn-u")
    found, path = diagnose(model, *batch), model.infer(*batch)
    assert list(found) == ["w", "z"]
    terms = model.terms(path, batch)
    for name, one in found.items():
        np.testing.assert_allclose(one.kl, terms.latents[name].kl, atol=1e-6)
        np.testing.assert_allclose(one.kl_per_group, np.mean(terms.latents[name].kl, axis=(0, 1)), atol=1e-6)
        np.testing.assert_allclose(one.mean_variance, np.var(path.latents[name].q.loc, axis=(0, 1)), rtol=1e-4)


def test_a_model_without_latents() -> None:
    with pytest.raises(ValueError, match="RNN has no latents"):
        diagnose(cases.make("rnn"), np.zeros([1, 3, cases.X_DIM]))


def warnings_of(logs: list[dict], **options) -> list[int]:
    """Epochs after which the callback warned."""
    callback = tfdvae.callbacks.CollapseWarning(**options)
    callback.set_model(cases.make("vrnn"))
    callback.on_train_begin()
    found = []
    for epoch, one in enumerate(logs):
        try:
            callback.on_epoch_end(epoch, one)
        except UserWarning as warning:
            assert "Posterior collapse: 0 of 2" in str(warning)
            found.append(epoch)
    return found


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.slow
def test_collapse_is_said_once_and_not_too_early() -> None:
    collapsed, fine = {"active_units": 0.0}, {"active_units": 2.0}
    assert warnings_of([collapsed] * 9) == [5]
    assert warnings_of([collapsed] * 9, patience=0) == [0]
    assert warnings_of([fine] * 4 + [collapsed] * 9, patience=2) == [4]
    assert warnings_of([fine] * 9) == []
    assert warnings_of([{**collapsed, "val_active_units": 1.0}] * 9) == []
    assert warnings_of([{**fine, "val_active_units": 0.0}] * 9, least=2) == [5]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="got 0 and 5"):
        tfdvae.callbacks.CollapseWarning(least=0)
