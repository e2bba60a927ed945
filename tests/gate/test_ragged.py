"""Sequences of unequal lengths, as lists and as ragged tensors, are the padded and masked ones."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.gate import support
from tfdvae.testing import assert_equal

LENGTHS = (4, 2, 3)


def rows(width: int, kind: Any = np.float32) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.normal(size=(n, width)).astype(kind) for n in LENGTHS]


def whole(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    mask = np.arange(max(LENGTHS))[None] < np.array(LENGTHS)[:, None]
    x = np.full((len(parts), max(LENGTHS), parts[0].shape[-1]), 7.0, np.float32)
    for place, part in zip(x, parts, strict=True):
        place[: len(part)] = part
    return x, mask


@pytest.fixture(scope="module")
def model() -> tfdvae.DVAE:
    model = support.vrnn()
    model.build_for(3, 2)
    return model


@pytest.mark.parametrize("form", [list, tuple, tf.ragged.stack])
@pytest.mark.slow
def test_verbs_take_sequences_of_their_own_lengths(model: tfdvae.DVAE, form: Any) -> None:
    x, mask = whole(rows(3))
    u = whole(rows(2))[0]
    given = {"x": form(rows(3)), "u": form(rows(2))}
    assert_equal(model.encode(given), model.encode(x, mask, u))
    options = {"num_samples": 2, "seed": 1}
    assert_equal(model.log_prob(given["x"], u=given["u"], **options), model.log_prob(x, mask, u, **options))
    seen = [np.arange(n) != 1 for n in LENGTHS]
    observed = np.arange(max(LENGTHS))[None] != np.ones((3, 1))
    filled = model.impute({**given, "observed": form(seen)}, num_samples=1, num_sweeps=1, seed=2).mean
    assert_equal(filled, model.impute(x, mask, u, observed, num_samples=1, num_sweeps=1, seed=2).mean)


@pytest.mark.slow
def test_training_takes_them_too() -> None:
    x, mask = whole(rows(3))
    weights = []
    for data in ({"x": rows(3)}, rows(3), tf.ragged.stack(rows(3)), {"x": x, "mask": mask}):
        model = support.compiled(support.vrnn())
        model.fit(data, batch_size=3, epochs=1, shuffle=False, verbose=0)
        weights.append(model.get_weights())
        assert model.evaluate(data, verbose=0) == model.evaluate({"x": x, "mask": mask}, verbose=0)
    for other in weights[1:]:
        assert_equal(other, weights[0])


def test_a_mask_of_such_sequences_leaves_out_further_frames(model: tfdvae.DVAE) -> None:
    x, mask = whole(rows(3))
    u = whole(rows(2))[0]
    gaps = [np.arange(n) != 1 for n in LENGTHS]
    found = model.encode({"x": rows(3), "u": rows(2), "mask": gaps})
    assert_equal(found, model.encode(x, mask & (np.arange(max(LENGTHS)) != 1), u))


def test_ragged_tensors_may_have_equal_lengths(model: tfdvae.DVAE) -> None:
    x, u = (np.stack([row[:2] for row in rows(width)]) for width in (3, 2))
    ragged = {"x": tf.RaggedTensor.from_tensor(x), "u": tf.RaggedTensor.from_tensor(u)}
    assert_equal(model.encode(ragged), model.encode(x, u=u))
    assert_equal(model.encode(ragged["x"], u=u), model.encode(x, u=u))
    with pytest.raises(ValueError, match=r"Expected `u` of the lengths of the sequences in x, \[2, 2, 2\]; got \[4, 2"):
        model.encode(ragged["x"], u=tf.ragged.stack(rows(2)))


def test_what_does_not_belong_together_is_refused(model: tfdvae.DVAE) -> None:
    with pytest.raises(ValueError, match=r"Expected `u` of the lengths of the sequences in x, \[4, 2, 3\]; got \[4, 4"):
        model.encode(rows(3), u=[np.ones((4, 2))] * 3)
    with pytest.raises(ValueError, match=r"Expected frames of one shape in every sequence; `x` has \(2,\), \(3,\)"):
        model.encode([np.ones((4, 3)), np.ones((2, 2))], u=[np.ones((4, 2)), np.ones((2, 2))])
    with pytest.raises(ValueError, match="built for inputs `u` with 2 features, got none"):
        model.encode(rows(3))


@pytest.mark.parametrize("lengths", [(2, 2), (2, 3)])
def test_frames_of_several_widths_are_refused_in_our_words(model: tfdvae.DVAE, lengths: tuple[int, int]) -> None:
    uneven = [[[1.0, 2.0, 3.0], *[[1.0, 2.0]] * (n - 1)] for n in lengths]
    even, own = ([np.ones((n, width)) for n in lengths] for width in (3, 2))
    for x, u in ((uneven, own), (even, uneven)):
        with pytest.raises(ValueError, match="Expected (arrays of numbers with equal|frames of one shape)") as found:
            model.encode(x, u=u)
        assert "inhomogeneous" not in str(found.value)
