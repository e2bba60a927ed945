"""What a signature is: a function of named plain tensors, and words about each of them."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfdvae.observations.values import ROUNDING, Values

__all__ = ["FORMAT", "Field", "Limits", "Signature", "Target", "VERSION", "describe", "parse"]

FORMAT, VERSION = "tfdvae.signatures", 2


class Target(NamedTuple):
    """What the place to which a model is exported can do.

    Attributes:
        batch: number of sequences, where it has to be fixed; None: any.
        masked: whether sequences come padded, with a mask beside them; otherwise all their frames exist.
        seeded: whether it can draw random numbers. Otherwise noise is an input, and there is nothing that draws
            sequences; one draws them frame by frame.
        num_samples: K of the importance-sampled likelihood, where noise is an input.
        time: number of frames of sequences, where it has to be fixed; None: any.
        merged: whether calls of several callers may come as one, as a batching server merges them. Every input and
            output then has one row per sequence, and what is in a row follows from that row alone.
    """

    batch: int | None = None
    masked: bool = True
    seeded: bool = True
    num_samples: int = 8
    time: int | None = None
    merged: bool = False


class Limits(NamedTuple):
    """Which values frames may have, for callers to check: another one has no density.

    Attributes:
        values: of all entries of a frame, or of each.
        frame_shape: of a frame.
        text: the same in words, and what to do about others.
    """

    values: tuple[Values, ...]
    frame_shape: tuple[int, ...]
    text: str

    def description(self) -> dict[str, Any]:
        """As JSON: bounds (null for none) and whether only whole numbers within `rounding` count, in a shape that
        broadcasts to a frame."""
        shape = self.frame_shape if len(self.values) > 1 else (1,) * len(self.frame_shape)
        low, high, whole = (np.array(column, object) for column in zip(*self.values, strict=True))
        bounds = {"low": np.where(low == -np.inf, None, low), "high": np.where(high == np.inf, None, high)}
        found = {name: column.reshape(shape).tolist() for name, column in {**bounds, "whole": whole}.items()}
        return {**found, "rounding": ROUNDING, "text": self.text}


class Field(NamedTuple):
    """A tensor that goes in or comes out.

    Attributes:
        name: what callers know it by.
        shape: a size, or a word for an axis of any size; the same word is the same size in a whole signature.
        dtype: of its entries.
        unit: of its values; "1" where they have none.
        text: what it is.
        random: for noise, which callers draw or leave at zeros: "normal" or "uniform"; empty for all else.
        values: for frames that may not have any value: which ones.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: tf.DType
    unit: str
    text: str
    random: str = ""
    values: Limits | None = None

    def spec(self) -> tf.TensorSpec:
        """For tracing: axes of any size are None."""
        return tf.TensorSpec([None if isinstance(n, str) else n for n in self.shape], self.dtype, self.name)

    def description(self) -> dict[str, Any]:
        """As JSON: -1 for an axis of any size; "random" stands in it for noise alone, "values" for limited frames."""
        found = {
            "name": self.name,
            "dtype": self.dtype.name,
            "shape": [-1 if isinstance(n, str) else n for n in self.shape],
            "axes": [n if isinstance(n, str) else str(n) for n in self.shape],
            "unit": self.unit,
            "description": self.text,
        }
        found |= {"random": self.random} if self.random else {}
        return found if self.values is None else {**found, "values": self.values.description()}


class Signature(NamedTuple):
    """A function that a model offers where there is no Keras: named plain tensors in, named plain tensors out.

    Attributes:
        name: what callers know it by.
        text: one sentence.
        inputs, outputs: its tensors, in order.
        function: takes and returns a dict of tensors by name.
    """

    name: str
    text: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    function: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]

    def trace(self) -> tf.types.experimental.ConcreteFunction:
        """The function as a graph of exactly the declared inputs and outputs.

        Raises:
            TypeError: it returns something else than it declares.
        """
        declared = {field.name: field for field in self.outputs}

        def run(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            found = self.function(tensors)
            if set(found) != set(declared):
                raise TypeError(f"{self.name!r} declares the outputs {sorted(declared)} and returned {sorted(found)}.")
            return {name: _conform(found[name], field, self.name) for name, field in declared.items()}

        specs = {field.name: field.spec() for field in self.inputs}
        return tf.function(run, autograph=False).get_concrete_function(**specs)

    def description(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "description": self.text,
            "inputs": [field.description() for field in self.inputs],
            "outputs": [field.description() for field in self.outputs],
        }


def _conform(value: Any, field: Field, signature: str) -> tf.Tensor:
    """The value, with the declared shape as its static shape."""
    expected = field.spec()
    if not tf.is_tensor(value) or value.dtype != expected.dtype or not value.shape.is_compatible_with(expected.shape):
        raise TypeError(
            f"{signature!r} declares {field.name!r} as {expected.dtype.name}{expected.shape}, got {value!r}."
        )
    value = tf.identity(value)
    value.set_shape(expected.shape)
    return value


def describe(signatures: Mapping[str, Signature], **about: Any) -> str:
    """JSON text that says everything about the signatures; `about` joins its top level."""
    content = {name: signature.description() for name, signature in signatures.items()}
    return json.dumps({"format": FORMAT, "version": VERSION, **about, "signatures": content}, indent=2) + "\n"


def parse(text: str | bytes, path: Any) -> dict[str, Any]:
    """What `describe` wrote.

    Raises:
        ValueError: it is something else, or of another version; names `path`.
    """
    try:
        content = json.loads(text)
        found = content["format"], content["version"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} holds no description of signatures: {error}") from error
    if found != (FORMAT, VERSION):
        raise ValueError(
            f"{path} was written as {found[0]} version {found[1]}, this package reads {FORMAT} version {VERSION}: "
            "export the model again."
        )
    return content
