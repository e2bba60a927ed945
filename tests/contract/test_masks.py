"""Frames that do not exist reach neither values nor gradients, wherever they stand and whatever they hold."""

import pytest

import tfdvae
from tests import cases
from tfdvae.testing import masking

SOME, OTHERS = (cases.some(number) for number in range(2))


@SOME
@pytest.mark.slow
def test_values_and_gradients_are_those_of_the_sequences_without_masked_frames(model: tfdvae.DVAE) -> None:
    masking.check_masked(model)


@OTHERS
def test_the_terms_of_training_stay_finite_and_are_zero_at_masked_frames(model: tfdvae.DVAE) -> None:
    masking.check_masked_terms(model)


@OTHERS
@pytest.mark.usefixtures("mostly_eager")
def test_call_and_encode_take_masks(model: tfdvae.DVAE) -> None:
    masking.check_masked_verbs(model)
