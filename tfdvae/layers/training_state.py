"""State of Keras' layers that a call in training changes."""

import keras

__all__ = ["seed_states", "uses_training_state"]


def uses_training_state(layer: keras.layers.Layer | None) -> bool:
    """Whether a layer, or one inside of it, has state of Keras' that a call in training changes.

    Such state are the seed generators of dropout, noise and random augmentation, the moving statistics of a
    BatchNormalization that is not frozen, the vector of a SpectralNormalization, and the memory of a stateful
    recurrent layer. Who evaluates a layer more than once per training step would change it more than once.
    This library's own dropout has none. What a custom layer changes by itself cannot be seen here.
    """
    if layer is None:
        return False
    inside = layer._flatten_layers()
    # Recurrent layers have a generator whether or not they drop anything.
    idle = [one for one in inside if getattr(one, "dropout", None) == getattr(one, "recurrent_dropout", None) == 0.0]
    unused = {id(v) for one in idle for v in seed_states(one)}
    return any(id(v) not in unused for v in seed_states(layer)) or any(map(_moves, inside))


def _moves(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer.trainable
    return isinstance(layer, keras.layers.SpectralNormalization) or getattr(layer, "stateful", False) is True


def seed_states(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Variables of the seed generators in a layer, always in the same order."""
    others = {id(v) for v in (*layer.weights, *layer.metrics_variables)}
    return [v for v in layer.variables if id(v) not in others]
