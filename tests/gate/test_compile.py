"""Weights of `compile`, and batches that are skipped: nothing that is not finite reaches a weight."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import tfdvae
from tests.gate.support import B, D, compiled, frames, vae

REFUSED = [
    *({"clip_norm": value} for value in (float("inf"), float("nan"), -1.0, 0.0, "a")),
    *({name: value} for name in ("beta", "temperature", "penalty_weight") for value in (float("nan"), -1.0, np.inf)),
    *({"reconstruction_weight": value} for value in (float("nan"), -1.0, float("inf"))),
    *({"free_bits": value} for value in (float("nan"), float("inf"))),
    *({"kl_balance": value} for value in (float("nan"), 2.0)),
    {"scheduled_sampling": float("nan")},
    {"hide": float("nan")},
    *({"semi_amortized": value} for value in (-1, 2.5, True, "a")),
    {"steps_per_execution": 0},
    {"run_eagerly": "no"},
    {"optimizer": None},
]


@pytest.mark.parametrize("options", REFUSED, ids=str)
def test_weights_that_mean_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must"):
        tfdvae.VRNN(2).compile(**options)


def test_a_loss_and_weighted_metrics_of_keras() -> None:
    for options in ({"loss": "mse"}, {"weighted_metrics": ["mae"]}, {"loss_weights": [1.0]}):
        with pytest.raises(ValueError, match=f"loss is its bound .* takes no `{next(iter(options))}`"):
            vae().compile("adam", **options)
    with pytest.raises(ValueError, match="takes no `loss`; got 'mse'"):
        vae().compile("adam", "mse")
    with pytest.raises(TypeError, match="has no argument 'lose'"):
        vae().compile("adam", lose="mse")
    vae().compile("adam", loss=None, metrics=None)


def test_factors_that_callbacks_move_stay_finite() -> None:
    model = compiled(vae())
    for value in (float("nan"), -1.0):
        with pytest.raises(ValueError, match="`kl_weight` must be a finite number that is not negative"):
            model.kl_weight.assign(value)


def scaled() -> keras.optimizers.Optimizer:
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01))


@pytest.mark.parametrize("make", [scaled, lambda: keras.optimizers.Adam(0.01)], ids=["scaled", "plain"])
@pytest.mark.parametrize("clip_norm", [5.0, None])
@pytest.mark.parametrize("factor", [1e30, 1e12])
@pytest.mark.slow
def test_a_skipped_batch_moves_nothing(
    make: Callable[[], keras.optimizers.Optimizer], clip_norm: float | None, factor: float
) -> None:
    model = compiled(vae(standardize=None), make(), clip_norm=clip_norm)
    model.fit(frames(), verbose=0)
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)

    def state() -> list[np.ndarray]:
        return [*model.get_weights(), *map(keras.ops.convert_to_numpy, inner.variables)]

    before = state()
    with pytest.warns(UserWarning, match="All 1 batches of epoch 0 were skipped"):
        history = model.fit(frames() * np.float32(factor), verbose=0).history
    assert history["skipped_batches"] == [1.0]
    assert all(np.isnan(history[name]).all() for name in ("loss", "elbo_nats_per_frame"))
    assert all(np.array_equal(b, after) for b, after in zip(before, state(), strict=True))


def test_one_good_batch_makes_a_loss(tmp_path: Any) -> None:
    x = np.concatenate([frames(), frames() * 1e30]).astype("float32")
    model = compiled(vae(standardize=None))
    history = model.fit(x, batch_size=B, shuffle=False, verbose=0).history
    assert history["skipped_batches"] == [1.0]
    assert np.isfinite(history["loss"]).all()


@pytest.mark.slow
def test_a_checkpoint_of_the_best_loss_survives_skipped_epochs(tmp_path: Any) -> None:
    saving = keras.callbacks.ModelCheckpoint(tmp_path / "m.keras", monitor="loss", save_best_only=True)
    model = compiled(vae(standardize=None))
    best = model.fit(frames(), verbose=0, callbacks=[saving]).history["loss"][0]
    with pytest.warns(UserWarning, match="were skipped"):
        model.fit(frames() * np.float32(1e30), verbose=0, callbacks=[saving])
    assert saving.best == best


@pytest.mark.slow
def test_each_step_of_gradient_accumulation_has_noise_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[tuple[int, ...]] = []
    draw = tfdvae.VAE.draw_noise

    def spy(self: tfdvae.DVAE, seed: Any, *shape: Any) -> Any:
        seeds.append(tuple(seed.numpy()))
        return draw(self, seed, *shape)

    monkeypatch.setattr(tfdvae.VAE, "draw_noise", spy)
    model = compiled(vae(), keras.optimizers.Adam(0.01, gradient_accumulation_steps=2))
    model.build_for(D)
    model.fit(np.concatenate([frames()] * 4), batch_size=B, verbose=0)
    assert len(set(seeds)) == 4
    assert int(model.optimizer.iterations) == 2
