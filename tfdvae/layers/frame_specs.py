"""Specs: what names the network that a model puts between frames and its cell.

Models hold frames flattened, `[..., D]` with D = prod(S) for frames of shape S. A spec is one of these:

- None: no network;
- widths such as `(256, 128)`: an `MLP` on the flattened frame;
- "conv", or `{"class_name": "conv", "config": {"filters": (16, 32)}}`: a `ConvEncoder` or `ConvDecoder`, for pictures
  of S = (height, width, channels). The config may name `filters`, `kernel_size`, `activation` and `dropout`. The
  filters of an encoder go from fine to coarse, those of a decoder from coarse to fine;
- a layer or model of Keras, stock or custom, or what `keras.saving.serialize_keras_object` makes of one. As an encoder
  it is called on frames in their own shape, `[N, *S]`, as a decoder on features `[N, H]`, where N counts the frames
  of all sequences. What it returns, `[N, ...]`, is flattened. It computes in its own dtype, and its weights may be
  pretrained. Layers that take flattened frames anyway (`MLP`, `ConvEncoder`, `ConvDecoder`) get them so.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras

__all__ = ["Spec", "as_spec", "spec_config", "unbuilt_config"]

Spec = None | str | Sequence[int] | Mapping[str, Any] | keras.layers.Layer
"""What names a network, see above."""

CONV_OPTIONS = ("filters", "kernel_size", "activation", "dropout")


def as_spec(spec: Spec) -> None | tuple[int, ...] | dict[str, Any] | keras.layers.Layer:
    """The spec itself, in one form for each kind: None, a tuple of widths, the dict of "conv", or a layer of Keras.

    Takes what `spec_config` returns, and what it returns itself. A custom class must be registered with
    `keras.saving.register_keras_serializable`, or named in a `keras.saving.custom_object_scope`.

    Raises:
        ValueError: there is no such network.
    """
    if spec is None or isinstance(spec, keras.layers.Layer):
        return spec
    if isinstance(spec, str) and spec == "conv":
        return {"class_name": "conv", "config": {}}
    if isinstance(spec, Mapping) and spec.get("class_name") == "conv" and "module" not in spec:
        return {"class_name": "conv", "config": _checked_conv(spec.get("config") or {})}
    if isinstance(spec, Mapping) and "class_name" in spec:
        try:
            layer = keras.saving.deserialize_keras_object(dict(spec))
        except (TypeError, ValueError) as error:
            raise ValueError(f"Keras cannot make a layer of this config of {spec['class_name']!r}: {error}") from error
        if isinstance(layer, keras.layers.Layer):
            return layer
    elif isinstance(spec, Sequence) and not isinstance(spec, str | bytes) and all(map(_is_width, spec)):
        return tuple(map(int, spec))
    hint = " Pass an object of the class: Layer(...)." if inspect.isclass(spec) else ""
    raise ValueError(
        "Expected None, widths of layers such as (256, 128), 'conv' or a dict of it, or a layer of Keras or its "
        f"config, got {spec!r}.{hint}"
    )


def _is_width(n: Any) -> bool:
    return hasattr(n, "__index__") and not isinstance(n, bool) and n > 0


def _checked_conv(config: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(config) - set(CONV_OPTIONS))
    if unknown:
        raise ValueError(f"The config of 'conv' may name {', '.join(CONV_OPTIONS)}, got {', '.join(unknown)}.")
    return {key: tuple(value) if key == "filters" else value for key, value in config.items()}


def unbuilt_config(layer: keras.layers.Layer) -> dict[str, Any]:
    """What makes the layer again, not built: who holds it builds it, with weights that follow from the model's seed.

    Keras would also mark a layer without a `build` of its own as built, and warn.
    """
    config = _unshared(keras.saving.serialize_keras_object(layer))
    return {key: value for key, value in config.items() if key != "build_config"}


def spec_config(spec: Spec) -> None | list[int] | dict[str, Any]:
    """The spec as JSON can hold it, for `get_config`; `as_spec` makes a spec of it again, a layer without its weights.

    Raises:
        ValueError: there is no such network.
    """
    spec = as_spec(spec)
    if isinstance(spec, keras.layers.Layer):
        return unbuilt_config(spec)
    if isinstance(spec, tuple):
        return list(spec)
    if spec is None:
        return None
    return {
        "class_name": "conv",
        "config": {key: list(value) if key == "filters" else value for key, value in spec["config"].items()},
    }


def _unshared(config: Any) -> Any:
    """A config without the identities of objects that Keras notes while it reads a file: they differ between runs."""
    if isinstance(config, Mapping):
        return {key: _unshared(value) for key, value in config.items() if key != "shared_object_id"}
    return [_unshared(value) for value in config] if isinstance(config, list) else config
