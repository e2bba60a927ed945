"""Initial weights that follow from a model's seed, made by one thread at a time."""

import contextlib
import random
import threading
from collections.abc import Iterator

import keras

__all__ = ["BUILDING", "initial_weights_from"]

BUILDING = threading.RLock()
"""Held while a model is being built: first calls may come from several threads, and one of them builds."""


@contextlib.contextmanager
def initial_weights_from(layer: keras.layers.Layer, seed: int) -> Iterator[None]:
    """Within it the weights of a layer, and of all layers inside of it, are drawn from `seed` alone.

    An initializer without a seed of its own takes one from Python's global generator when it is made. Those that the
    layers hold already get another one here, those that are made within find the generator seeded. Afterwards it goes
    on from where it was.
    """
    with BUILDING:
        before = random.getstate()
        random.seed(seed)
        try:
            for one in layer._flatten_layers():
                for value in vars(one).values():
                    # The config tells the seed that a user gave, None where there was none.
                    if isinstance(value, keras.initializers.Initializer) and value.get_config().get("seed", 0) is None:
                        value.seed = random.randint(1, 10**9)
            yield
        finally:
            random.setstate(before)
