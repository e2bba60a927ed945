"""Signatures for a server that merges calls: what a row gets is its own, whatever rows it was merged with."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from export import parity
from tests import cases
from tests.export.merging import merged, parted
from tfdvae import serving
from tfdvae.serving import Signature, Target

EVERYDAY = ("rvae_noncausal-u",)
"""Its frames hang on how many there are. A VRNN is what tests/export/test_batching.py merges."""

Arrays = dict[str, np.ndarray]


class Merging(NamedTuple):
    model: tfdvae.DVAE
    declared: dict[str, Signature]


pytestmark = pytest.mark.usefixtures("eagerly")
"""Each call has other shapes, so that tracing is what a test would cost."""


def merging(model: tfdvae.DVAE) -> Merging:
    return Merging(model, serving.declare(model, Target(merged=True)))


def called(signature: Signature, given: Arrays) -> Arrays:
    return {name: value.numpy() for name, value in parity.call(signature, given).items()}


def row(given: Arrays, b: int) -> Arrays:
    return {name: value[b : b + 1] for name, value in given.items()}


def check_rows(one: Merging, name: str) -> None:
    """Three callers with sequences, counts and seeds of their own, alone and merged as the server merges them."""
    signature = one.declared[name]
    whole = parity.examples(one.model, signature, one.declared)
    callers = [row(whole, b) for b in range(parity.BATCH)]
    for b, given in enumerate(callers):
        if "x" in given and "time" in {axis for field in signature.inputs for axis in field.shape}:
            # Shorter than the others: the server pads it with its first value.
            given |= {
                key: given[key][:, : given["length"][0]] for key in ("x", "mask", "u", "observed") if key in given
            }
            assert b == 0 or given["x"].shape[1] < parity.TIME
    outputs = called(signature, merged(callers))
    together = parted(outputs, [1] * len(callers))
    # The last is the shortest, and between the two others counts differ.
    for given, got in list(zip(callers, together, strict=True))[1:]:
        alone = called(signature, given)
        assert alone.keys() == got.keys() and alone["valid"].all() and got["valid"].all()
        for key, value in alone.items():
            own = got[key][tuple(slice(n) for n in value.shape)]
            scale = 1e-6 + float(np.max(np.abs(outputs[key])))
            np.testing.assert_allclose(own, value, rtol=0, atol=1e-5 * scale, err_msg=f"{name} {key}")
            rest = got[key].astype("float64").copy()
            rest[tuple(slice(n) for n in value.shape)] = 0.0
            assert not rest.any(), f"{name}: numbers beyond the end of {key}"


@pytest.mark.parametrize("name", cases.params(cases.PRIMARY, always=EVERYDAY))
@pytest.mark.slow
def test_every_row_is_its_own(name: str) -> None:
    one = merging(cases.make(name))
    assert set(one.declared) == set(serving.declare(one.model))
    for key, signature in one.declared.items():
        fields = (*signature.inputs, *signature.outputs)
        assert signature.inputs and all(field.shape[:1] == ("batch",) for field in fields), key
        check_rows(one, key)


def test_frames_without_a_density_are_told_by_row() -> None:
    tf.keras.utils.set_random_seed(0)
    model = tfdvae.VAE(2, observation="gamma")
    model.build_for(3)
    one = merging(model)
    given = parity.examples(model, one.declared["reconstruct"], one.declared)
    given = {name: value.copy() for name, value in given.items()}
    given["x"][2, 0, 0] = -1.0
    assert called(one.declared["reconstruct"], given)["valid"].tolist() == [True, True, False]
    # Padding may hold anything.
    given["x"][2, 0, 0], given["length"][2] = 1.0, 3
    given["x"][2, 3:] = -1.0
    assert called(one.declared["reconstruct"], given)["valid"].all()


@pytest.mark.slow
def test_units_come_from_given_frames_alone() -> None:
    """Padding of `given` does not move the units of a stream."""
    tf.keras.utils.set_random_seed(0)
    model = tfdvae.VRNN(2, standardize="sequence", given_frames=3)
    model.build_for(2)
    one = merging(model)
    frames = np.random.default_rng(0).normal(size=(2, 3, 2)).astype("float32")
    whole = {"given": frames, "given_length": np.int32([3, 2])}
    spoilt = {**whole, "given": frames.copy()}
    spoilt["given"][1, 2] = np.nan
    first, second = (called(one.declared["reset"], given) for given in (whole, spoilt))
    short = called(one.declared["reset"], {"given": frames[1:, :2], "given_length": np.int32([2])})
    assert first["valid"].all() and second["valid"].all()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])
        np.testing.assert_allclose(value[1:], short[key], rtol=1e-6)
    assert any((value[0] != value[1]).any() for value in first.values())
