"""Parts of a model held still for the first epochs, as KVAE's mixing network is (Fraccaro et al. 2017)."""

import operator
from collections.abc import Sequence

import keras

__all__ = ["FreezeLayers"]


class FreezeLayers(keras.callbacks.Callback):
    """Does not train the named layers before epoch `epochs`, counted from 0.

    What is held still follows from the number of the epoch alone, so a resumed run does what an uninterrupted one
    does. When training ends, each layer is as trainable as it was. The train step is traced anew at the two changes.

    Args:
        layers: an attribute of the model that is a layer, such as "mixing" or "cell.encoder", or several.
        epochs: number of epochs without them.

    Raises:
        ValueError: `epochs` below 1 or no layer at once; when training begins, a name that stands for no layer.
    """

    def __init__(self, layers: str | Sequence[str], epochs: int):
        super().__init__()
        if epochs < 1:
            raise ValueError(f"`epochs` must be at least 1, got {epochs}.")
        self.layers = (layers,) if isinstance(layers, str) else tuple(layers)
        if not self.layers:
            raise ValueError("`layers` must name at least one layer of the model, got none.")
        self.epochs = epochs
        self.found: dict[str, tuple[keras.layers.Layer, bool]] = {}

    def on_train_begin(self, logs: dict | None = None) -> None:
        for name in self.layers:
            try:
                layer = operator.attrgetter(name)(self.model)
            except AttributeError:
                layer = None
            if not isinstance(layer, keras.layers.Layer):
                raise ValueError(
                    f"`layers` must be attributes of {type(self.model).__name__} that are layers: {name!r}."
                )
            self.found[name] = (layer, layer.trainable)
        if not self.model.optimizer.built:
            # It refuses variables that it meets later.
            self.model.optimizer.build(self.model.trainable_variables)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._set(epoch < self.epochs)

    def on_train_end(self, logs: dict | None = None) -> None:
        self._set(False)

    def _set(self, frozen: bool) -> None:
        wanted = {name: trainable and not frozen for name, (_, trainable) in self.found.items()}
        if any(layer.trainable != wanted[name] for name, (layer, _) in self.found.items()):
            for name, (layer, _) in self.found.items():
                layer.trainable = wanted[name]
            self.model.make_train_function(force=True)
