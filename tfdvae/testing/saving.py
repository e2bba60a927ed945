"""A model comes back as it was from its config, a `.keras` file, and its weights; training goes on from there."""

import inspect
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdvae.testing.comparing import assert_equal, drawn, require
from tfdvae.testing.sequences import frames, training_data

__all__ = ["check_arguments", "check_cell_config", "check_config", "check_saved"]

OPTIONS = {"beta": 0.5, "free_bits": 0.05, "clip_norm": 1.5, "kl_per_dimension": True, "run_eagerly": True}
"""Of `compile`; all of them must survive."""


def check_arguments(thing: Any) -> None:
    """Every argument of `__init__`, of the class and of those it inherits from, is an attribute and in the config.

    What the attribute holds must be what the config says, and come back from it.
    """
    config = json.loads(json.dumps(thing.get_config()))
    again = type(thing).from_config(config)
    for owner, name in _arguments(type(thing)):
        what = f"the argument `{name}` of {owner.__name__}"
        require(name in config, f"{what} is missing in `get_config`: a saved model would come back without it")
        require(hasattr(thing, name), f"{what} is no attribute, `self.{name}`")
        value, returned = getattr(thing, name), getattr(again, name, None)
        if _is_plain(value):
            require(returned == value, f"{what} is {value!r}, and {returned!r} once it came back from `get_config`")


def _arguments(cls: type) -> Iterator[tuple[type, str]]:
    """Named arguments of every `__init__` of this library's kind, each with the class that introduces it."""
    for owner in cls.__mro__:
        if owner.__module__.partition(".")[0] in ("keras", "tensorflow", "builtins") or "__init__" not in vars(owner):
            continue
        for parameter in list(inspect.signature(owner.__init__).parameters.values())[1:]:
            # `frame_networks` is how models hand options of their cell on; it is no option itself.
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                if parameter.name != "frame_networks":
                    yield owner, parameter.name


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def check_config(model: Any) -> None:
    """The config is JSON and makes the same model."""
    config = json.loads(json.dumps(model.get_config()))
    again = type(model).from_config(config)
    require(json.loads(json.dumps(again.get_config())) == config, "the config of the model that came back is another")
    require(not again.built, "a model from its config is built before it has seen the sizes of frames")
    again.build_for(model.frame_shape, model.u_dim, model.context_dim)
    again.set_weights(model.get_weights())
    batch = frames(model)
    found, expected = again.infer(*batch), model.infer(*batch)
    numbers = [[drawn(path), path.x, path.penalties] for path in (found, expected)]
    assert_equal(*numbers, what="the model that came back from its config")


def check_cell_config(model: Any) -> None:
    """The cell comes back from Keras' serialization as it was."""
    config = keras.saving.serialize_keras_object(model.cell)
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    require(type(again) is type(model.cell), f"a {type(model.cell).__name__} came back as a {type(again).__name__}")
    found, expected = (json.dumps(cell.get_config(), sort_keys=True) for cell in (again, model.cell))
    require(found == expected, f"the cell's config was {expected}, and came back as {found}")


def check_saved(make: Callable[[], Any], data: Mapping[str, np.ndarray] | None = None) -> None:
    """A saved model gives the same numbers, and trains on as if it had never stopped.

    Args:
        make: a new built model, the same every time.
        data: to train on; `training_data` unless given.
    """
    model = make()
    data = training_data(model, length=5) if data is None else data
    model.compile(keras.optimizers.Adam(0.01), **OPTIONS)
    model.fit(data, batch_size=8, shuffle=False, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        again = keras.saving.load_model(path)

    require(type(again) is type(model), f"a {type(model).__name__} came back as a {type(again).__name__}")
    assert_equal(again.get_weights(), model.get_weights(), what="weights of the file")
    assert_equal(again(data), model(data), what="the call of the model from the file")
    options = {k: getattr(again, k) for k in OPTIONS}
    require(options == OPTIONS, f"options of `compile` were {OPTIONS}, and came back as {options}")
    require(type(again.bound) is type(model.bound), f"the bound came back as a {type(again.bound).__name__}")
    found, expected = ([v.numpy() for v in one.optimizer.variables] for one in (again, model))
    require(len(found) == len(expected), "the optimizer came back with other variables")
    assert_equal(found, expected, what="variables of the optimizer")
    steps = -(-len(data["x"]) // 8)
    require(int(again.optimizer.iterations) == steps, f"the optimizer came back at another step than {steps}")
    for resumed in (model, again):
        resumed.fit(data, batch_size=8, shuffle=False, verbose=0)
    assert_equal(again.get_weights(), model.get_weights(), what="weights after training on")
