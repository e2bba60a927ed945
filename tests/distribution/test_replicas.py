"""A training on two replicas is one in one process with the same global batches.

Models compute in float32 (frames, noise and densities are cast to it), so "the same" is within its rounding: sums over
replicas come in another order.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.distribution import runs
from tests.distribution.child import Child
from tfdvae import random
from tfdvae.bounds import FIVO, IWAE

ROUNDING = 2e-6
"""Of weights and frames of order 1, after sums of order 10."""


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    process = Child(2)
    yield process
    process.close()


def assert_same(one: runs.Found, two: runs.Found, tolerance: float = ROUNDING) -> None:
    moved = max(np.abs(a - b).max() for a, b in zip(one.before, one.weights, strict=True))
    assert moved > 100 * tolerance
    for a, b in zip(one.before, two.before, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance)
    for mine, theirs in ((one.logs, two.logs), (one.evaluated, two.evaluated)):
        assert set(mine) == set(theirs)
        for name, value in mine.items():
            np.testing.assert_allclose(theirs[name], value, rtol=10 * tolerance, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(two.predicted, one.predicted, rtol=0, atol=10 * tolerance)
    assert one.scale == two.scale


def both(child: Child, name: str, **options: Any) -> tuple[runs.Found, runs.Found]:
    return child(runs.trained, name, 0, **options), child(runs.trained, name, 2, **options)


MODELS = ["vae", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("rnn", "dsae-factorized", "vrnn", "kvae-u"))]


@pytest.mark.parametrize("name", MODELS)
def test_two_replicas_make_the_update_of_one_process(child: Child, name: str) -> None:
    """In a graph, as users train; with noise, dropout, masks, and a last batch that leaves a replica without rows."""
    assert_same(*both(child, name))


SETTINGS = {
    "free bits of the mean KL of a batch, clipping by the optimizer": (
        "vae",
        {"free_bits": 0.3, "clip_norm": None, "optimizer": runs.clipped},
    ),
    "IWAE in chunks, loss scaling": ("vae", {"bound": IWAE(4, chunk=2), "optimizer": runs.scaled}),
    "weights of sequences, hidden entries, clipping, decay of weights, metrics of Keras": (
        "vae",
        {"metrics": ["mae"], "weighed": True, "hide": 0.4, "clip_norm": 0.5, "optimizer": runs.decayed},
    ),
    "IWAE": ("vae", {"bound": IWAE(4)}),
    "FIVO": ("vrnn", {"bound": FIVO(3)}),
    "own output": ("vrnn", {"scheduled_sampling": 0.5, "callbacks": (runs.sampling,)}),
    "latents of the prior": ("vrnn", {"callbacks": (runs.by_prior,)}),
    "latents of a data set": ("vssn-u", {}),
    "posteriors moved by gradient steps": ("vae", {"semi_amortized": 2, "bound": IWAE(2)}),
    "a table of sequences": ("fhvae", {"table": True, "penalty_weight": 3.0}),
}
EVERYDAY = list(SETTINGS)[:3]


@pytest.mark.parametrize(
    "what", [pytest.param(k, marks=() if k in EVERYDAY else pytest.mark.exhaustive) for k in SETTINGS]
)
def test_whatever_is_trained(child: Child, what: str) -> None:
    """Eagerly, since tracing is what costs: the settings are functions of the same tensors."""
    name, options = SETTINGS[what]
    assert_same(*both(child, name, run_eagerly=True, **options))


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vae", {"bound": IWAE(4, chunk=2)}),
        ("vrnn", {"bound": FIVO(3)}),
        ("vae", {"free_bits": 0.3}),
        ("vae", {"optimizer": runs.scaled}),
    ],
)
def test_in_a_graph_too(child: Child, name: str, options: dict) -> None:
    assert_same(*both(child, name, **options))


@pytest.mark.exhaustive
def test_three_replicas() -> None:
    """Three parts of a sum that are no exact thirds, and a replica without rows in each batch."""
    child = Child(3)
    assert_same(child(runs.trained, "vae", 0, count=7), child(runs.trained, "vae", 3, count=7))
    child.close()


def test_verbs_that_take_one_batch_deal_its_rows(child: Child) -> None:
    (one, logs, tested, predicted), two = child(runs.by_batch, 0), child(runs.by_batch, 2)
    for a, b in zip(one, two[0], strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=ROUNDING)
    assert two[1] == pytest.approx(logs, rel=1e-5, abs=1e-6)
    assert two[2] == pytest.approx(tested, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(two[3], predicted, atol=10 * ROUNDING)


@pytest.mark.parametrize("optimizer", [runs.sgd, runs.scaled])
def test_a_gradient_that_is_not_finite_on_one_replica_skips_the_batch_on_all(child: Child, optimizer: Any) -> None:
    one, two = child(runs.overflow, 0, optimizer), child(runs.overflow, 2, optimizer)
    assert two.logs["skipped_batches"] == [1.0]
    assert two.logs["iterations"] == [1]
    assert_same(one._replace(predicted=np.zeros(0)), two._replace(predicted=np.zeros(0)))


@pytest.mark.exhaustive
def test_half_precision_is_that_of_one_process_within_its_rounding(child: Child) -> None:
    assert_same(child(runs.mixed_precision, 0), child(runs.mixed_precision, 2), 2e-4)


def test_an_interrupted_run_on_replicas_ends_with_the_same_bits(child: Child, tmp_path: Path) -> None:
    whole = child(runs.interrupted, tmp_path / "whole", 2, False)
    assert child(runs.interrupted, tmp_path / "parts", 2, True) == ([], {})
    assert (tmp_path / "parts" / "checkpoints" / "epoch-00001.npz").is_file()
    parts = child(runs.interrupted, tmp_path / "parts", 2, False)
    assert parts[1] == whole[1]
    assert len(set(whole[1]["kl_weight"])) == len(whole[1]["loss"]) == 2
    for a, b in zip(whole[0], parts[0], strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_replicas_cannot_do_is_said_at_compile(child: Child) -> None:
    assert "one device" in child(runs.compile_error, 2, jit_compile=True)
    assert "`gradient_accumulation_steps`" in child(runs.compile_error, 2, inner={"gradient_accumulation_steps": 2})
    assert "leave `steps_per_execution` at 1, got 2" in child(runs.compile_error, 2, steps_per_execution=2)
    assert child(runs.compile_error, 0, steps_per_execution=2) == ""
    ema = {"use_ema": True, "ema_overwrite_frequency": 2}
    assert "`ema_overwrite_frequency`" in child(runs.compile_error, 2, inner=ema)
    assert child(runs.compile_error, 0, inner={"gradient_accumulation_steps": 2}) == ""
    found = child(runs.scope_errors)
    assert set(found) == {"fit", "compile", "optimizer", "central storage", "keras"}
    assert "This model was made outside" in found["fit"]
    assert "This model was made outside" in found["compile"]
    assert "The optimizer SGD was made outside" in found["optimizer"]
    assert "MirroredStrategy" in found["keras"]
    assert "got CentralStorageStrategy" in found["central storage"]


@pytest.mark.exhaustive
def test_a_parameter_server_is_refused() -> None:
    child = Child(1)
    assert "got ParameterServerStrategy" in child(runs.parameter_server_error)
    child.close()


@pytest.mark.slow
def test_noise_is_that_of_the_rows_in_the_global_batch() -> None:
    """Two paths of each of four sequences, of which a replica has the second and third."""
    seed = random.make_seed(3)
    with random.rows_scope(tf.constant(2), tf.constant(1), tf.constant(4)):
        uniform, once = random.uniform(seed, [4, 5, 3]), random.uniform(seed, [2, 7])
        normal = random.normal(seed, [4, 5, 3])
    np.testing.assert_array_equal(uniform, random.uniform(seed, [8, 5, 3])[2:6])
    np.testing.assert_array_equal(once, random.uniform(seed, [4, 7])[1:3])
    # Vectorised kernels round the inverse of erf by where a number stands.
    np.testing.assert_allclose(normal, random.normal(seed, [8, 5, 3])[2:6], rtol=1e-6)
