"""Scores of pictures by their definitions, and the sample that is nearest to the truth."""

import numpy as np
import pytest

from tfdvae.metrics import best_of_samples, video_scores


def pictures(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(*shape, 12, 13, 1)).astype("float32")


def test_scores_of_frames_are_those_of_their_definitions() -> None:
    x, y = pictures(2, 3), pictures(2, 3, seed=1)
    found = video_scores(x, y)
    assert found.ssim.shape == found.psnr.shape == (2, 3)
    error = np.square(x.astype(float) - y).mean((-3, -2, -1))
    np.testing.assert_allclose(found.psnr, -10.0 * np.log10(error), rtol=1e-5)
    # One window of 11 pixels with a Gaussian of width 1.5, at the six places where it fits.
    weight = np.exp(-np.square(np.arange(11) - 5.0) / 4.5)
    weight = np.outer(weight, weight) / np.outer(weight, weight).sum()
    places = []
    for row in range(2):
        for column in range(3):
            a, b = (p[0, 0, row : row + 11, column : column + 11, 0].astype(float) for p in (x, y))
            ma, mb = (weight * a).sum(), (weight * b).sum()
            va, vb, vab = (weight * a * a).sum(), (weight * b * b).sum(), (weight * a * b).sum()
            va, vb, vab = va - ma * ma, vb - mb * mb, vab - ma * mb
            places.append((2 * ma * mb + 1e-4) * (2 * vab + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4)))
    assert found.ssim[0, 0] == pytest.approx(np.mean(places), abs=1e-4)


def test_a_frame_is_most_like_itself_and_brightness_ends_at_one() -> None:
    x = pictures(2)
    x[..., 0, 0] = 1.0
    beyond = np.where(x == 1.0, 1.7, x)
    found = video_scores(beyond, x)
    np.testing.assert_allclose(found.ssim, 1.0, atol=1e-6)
    assert np.isinf(found.psnr).all()


def test_the_best_sample_is_that_of_the_whole_sequence_by_each_measure() -> None:
    x = np.tile(pictures(2, 1), (1, 3, 1, 1, 1))
    samples = np.clip(np.stack([x + 0.3, x + 0.05, x - 0.3]), 0.0, 1.0)
    samples[2, :, 0] = x[:, 0] + 0.02  # the best frame, of a bad sample
    samples[0, 1] = x[1] + 1e-4
    best = best_of_samples(samples, x)
    for measure, values in enumerate(best):
        for sequence, sample in enumerate((1, 0)):
            np.testing.assert_array_equal(values[sequence], video_scores(samples[sample], x)[measure][sequence])


def test_pictures_of_other_shapes_are_refused() -> None:
    for wrong in (pictures(2, 2), pictures(2)[:, :10], np.ones([12, 13])):
        with pytest.raises(ValueError, match="at least 11 pixels per side"):
            video_scores(wrong, pictures(2) if wrong.ndim > 2 else wrong)
    small = np.ones([2, 10, 12, 1])
    with pytest.raises(ValueError, match="at least 11 pixels per side"):
        video_scores(small, small)
