"""A step that holds a few sequences at a time makes the update of the whole batch."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.distribution import runs
from tests.distribution.child import Child
from tests.distribution.test_replicas import assert_same
from tfdvae.bounds import FIVO, IWAE

UNEVEN = {"count": 7, "batch_size": 5, "run_eagerly": True}
"""Batches of 5 and of 2 sequences, in parts of 2, 2 and 1, and of 2."""

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "clipping, weights of sequences, hidden entries, decay of weights": (
        "vae",
        {"weighed": True, "hide": 0.4, "clip_norm": 0.5, "optimizer": runs.decayed, "metrics": ["mae"]},
    ),
    "IWAE in chunks, loss scaling": ("vae", {"bound": IWAE(4, chunk=2), "optimizer": runs.scaled}),
    "free nats of each frame, a recurrent model": ("vrnn", {"free_bits": 0.3, "free_bits_per": "frame"}),
    "FIVO": ("vrnn", {"bound": FIVO(3)}),
    "own output": ("vrnn", {"scheduled_sampling": 0.5, "callbacks": (runs.sampling,)}),
    "latents of a data set": ("vssn-u", {}),
    "latents decoded as a whole": ("kvae-u", {}),
    "posteriors moved by gradient steps": ("vae", {"semi_amortized": 2, "bound": IWAE(2)}),
    "a table of sequences": ("fhvae", {"table": True, "penalty_weight": 3.0}),
}
EVERYDAY = list(SETTINGS)[:3]


@pytest.mark.parametrize(
    "what", [pytest.param(k, marks=() if k in EVERYDAY else pytest.mark.exhaustive) for k in SETTINGS]
)
@pytest.mark.slow
def test_parts_make_the_update_of_the_batch(what: str) -> None:
    name, options = SETTINGS[what]
    assert_same(runs.trained(name, 0, **UNEVEN, **options), runs.trained(name, 0, **UNEVEN, micro_batch=2, **options))


@pytest.mark.parametrize("name", ["vae", pytest.param("vrnn", marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_in_a_graph_too(name: str) -> None:
    graphs = UNEVEN | {"run_eagerly": False}
    assert_same(runs.trained(name, 0, **graphs), runs.trained(name, 0, **graphs, micro_batch=2))


@pytest.mark.exhaustive
def test_replicas_work_in_parts_too() -> None:
    child = Child(2)
    graphs = UNEVEN | {"run_eagerly": False}
    assert_same(child(runs.trained, "vae", 0, **graphs), child(runs.trained, "vae", 2, **graphs, micro_batch=2))
    child.close()


@pytest.mark.slow
def test_no_part_has_more_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    terms = tfdvae.VAE.sample_terms

    def spy(self: tfdvae.DVAE, batch: Any, *others: Any) -> Any:
        seen.append(int(tf.shape(batch.x)[0]))
        return terms(self, batch, *others)

    monkeypatch.setattr(tfdvae.VAE, "sample_terms", spy)
    model = runs.made("vae", 0, runs.sgd, micro_batch=2, run_eagerly=True)
    model.fit(runs.rows("vae", 5), batch_size=5, verbose=0)
    assert seen == [2, 2, 1]


@pytest.mark.slow
def test_losses_of_layers_count_once() -> None:
    """Those of weights as a whole, those of frames by their parts."""

    def loss(micro_batch: int | None) -> float:
        decoder = keras.layers.Dense(6, kernel_regularizer="l2", activity_regularizer="l1")
        model = tfdvae.VAE(2, encoder_units=(4,), decoder_units=(4,), frame_decoder=decoder, seed=3)
        model.compile(runs.sgd(), micro_batch=micro_batch, run_eagerly=True)
        x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
        return model.fit(x, batch_size=4, verbose=0).history["loss"][0]

    assert loss(2) == pytest.approx(loss(None), rel=1e-5)


REFUSED = [
    ({"micro_batch": 0}, "`micro_batch` must be"),
    ({"micro_batch": 2, "jit_compile": True}, "XLA needs parts of one size"),
    ({"micro_batch": 2, "free_bits": 0.3}, "free_bits_per='group' compares the mean over all sequences"),
]


@pytest.mark.parametrize(("options", "told"), REFUSED, ids=str)
def test_what_parts_cannot_do(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        tfdvae.VAE(2).compile(**options)


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.slow
def test_layers_with_state_of_their_own(built: bool) -> None:
    model = tfdvae.VAE(2, frame_encoder=keras.Sequential([keras.layers.Dense(3), keras.layers.BatchNormalization()]))
    if built:
        model.build_for(4)
    with pytest.raises(ValueError, match="would see parts of a batch"):
        model.compile(micro_batch=2)
    with pytest.raises(ValueError, match="runs every path twice"):
        model.compile(bound=IWAE(4, chunk=2))
