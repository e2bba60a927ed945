"""Layers that rest for the first epochs."""

import keras
import numpy as np
import pytest

import tfdvae
from tfdvae.callbacks import FreezeLayers


def make(**options) -> tfdvae.DVAE:
    keras.utils.set_random_seed(0)
    model = tfdvae.VAE(2, encoder_units=(4,), decoder_units=(5,))
    model.compile(keras.optimizers.Adam(0.05), **options)
    return model


def data() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(8, 5, 3)).astype(np.float32)


class Watch(keras.callbacks.Callback):
    """The weights of the named layers after each epoch."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        self.seen: list[dict[str, list[np.ndarray]]] = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seen.append({n: getattr(self.model.cell, n).get_weights() for n in self.names})


def moved(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return any(not np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.slow
def test_a_frozen_layer_rests_and_then_trains_while_the_others_train(eager: bool) -> None:
    model, watch = make(run_eagerly=eager), Watch("encoder", "decoder")
    model.build_for(3)
    start = {n: getattr(model.cell, n).get_weights() for n in watch.names}
    model.fit(data(), epochs=4, verbose=0, callbacks=[FreezeLayers("cell.encoder", 2), watch])
    path = [start, *watch.seen]
    assert [moved(a["encoder"], b["encoder"]) for a, b in zip(path, path[1:], strict=False)] == [
        False,
        False,
        True,
        True,
    ]
    assert all(moved(a["decoder"], b["decoder"]) for a, b in zip(path, path[1:], strict=False))
    assert len(model.optimizer.variables) == 2 + 2 * len(model.trainable_variables)


@pytest.mark.slow
def test_a_model_that_is_built_by_fit_and_several_layers() -> None:
    model, watch = make(), Watch("encoder", "decoder")
    model.fit(data(), epochs=2, verbose=0, callbacks=[FreezeLayers(["cell.encoder", "cell.decoder"], 1), watch])
    assert moved(watch.seen[0]["encoder"], watch.seen[1]["encoder"])
    assert moved(watch.seen[0]["decoder"], watch.seen[1]["decoder"])


@pytest.mark.slow
def test_a_resumed_run_goes_on_where_the_epoch_is() -> None:
    model, watch = make(), Watch("encoder")
    model.build_for(3)
    start = model.cell.encoder.get_weights()
    model.fit(data(), epochs=4, initial_epoch=2, verbose=0, callbacks=[FreezeLayers("cell.encoder", 2), watch])
    assert moved(start, watch.seen[0]["encoder"])


@pytest.mark.slow
def test_layers_are_left_as_they_were() -> None:
    model = make()
    model.build_for(3)
    model.cell.decoder.trainable = False
    model.fit(data(), epochs=1, verbose=0, callbacks=[FreezeLayers(["cell.encoder", "cell.decoder"], 3)])
    assert model.cell.encoder.trainable and not model.cell.decoder.trainable
    before = model.cell.encoder.get_weights()
    model.fit(data(), epochs=1, verbose=0)
    assert moved(before, model.cell.encoder.get_weights())


@pytest.mark.slow
def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="`epochs` must be at least 1, got 0"):
        FreezeLayers("cell", 0)
    with pytest.raises(ValueError, match="`layers` must name at least one layer"):
        FreezeLayers([], 1)
    for name in ("encoder", "cell.latent_dim"):
        with pytest.raises(ValueError, match=f"`layers` must be attributes of VAE that are layers: '{name}'"):
            make().fit(data(), verbose=0, callbacks=[FreezeLayers(name, 1)])
