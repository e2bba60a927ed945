"""What maps single frames to features and back: every kind of spec, leading axes, saving, XLA, LiteRT, errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from tests.layers.support import (
    SHAPE,
    WIDTH,
    RowMeans,
    built_decoder,
    built_encoder,
    close,
    data,
    functional,
    normalised,
    upsampling,
)
from tfdvae.layers import MLP, ConvDecoder, ConvEncoder, FrameEncoder, frame_decoder, frame_encoder
from tfdvae.layers.frame_networks import as_spec, spec_config

ENCODERS: dict[str, tuple[Callable[[], Any], int]] = {
    "widths": (lambda: (7, 6), 6),
    "conv": (lambda: {"class_name": "conv", "config": {"filters": (2, 3), "activation": "tanh"}}, 6),
    "conv by name": (lambda: "conv", 32),
    "custom": (RowMeans, 12),
    "config": (lambda: keras.saving.serialize_keras_object(RowMeans(2)), 8),
    "sequential": (normalised, 6),
    "functional": (functional, 12),
    "flat network": (lambda: MLP((4,)), 4),
}
DECODERS: dict[str, tuple[Callable[[], Any], int, bool]] = {
    "widths": (lambda: [6, 7], 7, True),
    "conv": (lambda: {"class_name": "conv", "config": {"filters": (3, 2), "kernel_size": 2}}, 2 * WIDTH, False),
    "conv by name": (lambda: "conv", 2 * WIDTH, False),
    "sequential": (upsampling, 2 * WIDTH, True),
    "flat network": (lambda: ConvDecoder(SHAPE, (3,), maps=2), 2 * WIDTH, False),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_takes_any_leading_axes(kind: str) -> None:
    make, width = ENCODERS[kind]
    encoder = built_encoder(make())
    assert encoder.output_dim(WIDTH) == width
    x = data(2, 3, WIDTH)
    features = encoder(x)
    assert features.shape == (2, 3, width)
    for t in range(3):
        close(encoder(x[:, t]), features[:, t])
    close(encoder(x[None])[0], features)
    traced = tf.function(encoder.call).get_concrete_function(tf.TensorSpec([None, 3, WIDTH]))
    assert traced.structured_outputs.shape.as_list() == [None, 3, width]
    assert encoder(keras.Input((None, WIDTH))).shape == (None, None, width)


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_takes_any_leading_axes(kind: str) -> None:
    make, width, projection = DECODERS[kind]
    decoder = built_decoder(make())
    assert decoder.output_dim(3) == width and decoder.projection is projection
    h = data(2, 3, 3)
    found = decoder(h)
    assert found.shape == (2, 3, width)
    for t in range(3):
        close(decoder(h[:, t]), found[:, t])
    unknown = tf.function(decoder.call).get_concrete_function(tf.TensorSpec([None, None, 3]))
    assert unknown.structured_outputs.shape.as_list() == [None, None, width]
    close(unknown(h), found)


@pytest.mark.parametrize("make", [RowMeans, normalised, functional])
def test_a_layer_sees_each_frame_in_its_own_shape(make: Callable[[], keras.layers.Layer]) -> None:
    layer = make()
    encoder = built_encoder(layer)
    x = data(2, 3, WIDTH)
    for b in range(2):
        for t in range(3):
            direct = layer(tf.reshape(x[b, t], [1, *SHAPE]))
            close(encoder(x)[b, t], tf.reshape(direct, [-1]))


def test_vectors_need_no_shape() -> None:
    dense = keras.layers.Dense(4)
    x = data(2, 3, 5)
    close(built_encoder(dense, None, 5)(x), dense(x))
    close(built_encoder(dense, (5,), 5)(x), dense(x))
    close(built_decoder(keras.layers.Dense(4))(data(2, 3)).shape, (2, 4))


def test_specs_name_the_networks_of_this_library() -> None:
    x = data(3, WIDTH)
    for spec, expected in [
        ((7, 6), MLP((7, 6), "relu")),
        ({"class_name": "conv", "config": {"filters": (2, 3)}}, ConvEncoder(SHAPE, (2, 3), activation="relu")),
    ]:
        encoder = built_encoder(spec)
        expected.build((None, WIDTH))
        expected.set_weights(encoder.get_weights())
        close(encoder(x), expected(x))
    assert frame_encoder(None, SHAPE) is None and frame_decoder(None, SHAPE) is None
    config = {"class_name": "conv", "config": {"activation": "tanh", "kernel_size": 2}}
    conv = frame_decoder(config, SHAPE, maps=3, dropout=0.25).network
    assert (conv.activation, conv.kernel_size, conv.maps, conv.dropout) == ("tanh", 2, 3, 0.25)
    mlp = frame_encoder((3,), SHAPE, activation="elu", dropout=0.5, dtype="mixed_bfloat16").network
    assert (mlp.activation, mlp.dropout, mlp.compute_dtype) == ("elu", 0.5, "bfloat16")


def test_a_picture_of_maps_times_channels_is_read_map_by_map() -> None:
    layer = upsampling()
    h = data(2, 3)
    found = built_decoder(layer)(h)
    pictures = layer(h).numpy()
    for m in range(2):
        close(found[:, m * WIDTH : (m + 1) * WIDTH], pictures[..., 2 * m : 2 * m + 2].reshape(2, WIDTH))
    other = frame_decoder(layer, (4, 5, 2), maps=2)
    other.build((None, 3))
    close(other(h), pictures.reshape(2, -1))


def test_a_layer_keeps_its_own_dtype() -> None:
    encoder = built_encoder(keras.layers.Dense(4, dtype="float32"), None, 5, dtype="mixed_bfloat16")
    assert encoder(data(2, 3, 5)).dtype == tf.bfloat16
    decoder = built_decoder(keras.layers.Dense(4, dtype="mixed_bfloat16"))
    assert decoder(data(2, 3)).dtype == tf.float32 and decoder.network.kernel.dtype == "float32"


@pytest.mark.parametrize("kind", ENCODERS)
def test_saving_keeps_spec_and_weights(kind: str, tmp_path: Path) -> None:
    """Encoder and decoder inside of a model of Keras, through a file."""
    inputs = keras.Input((None, WIDTH))
    features = frame_encoder(ENCODERS[kind][0](), SHAPE, activation="elu")(inputs)
    make = DECODERS.get(kind, DECODERS["sequential"])[0]
    model = keras.Model(inputs, frame_decoder(make(), SHAPE, maps=2)(features))
    for i, v in enumerate(model.weights):
        v.assign(tf.abs(data(*v.shape, seed=i)) * 0.3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = data(2, 3, WIDTH)
    close(loaded(x), model(x))
    configs = [
        [json.loads(json.dumps(layer.get_config()["spec"])) for layer in one.layers[1:]] for one in (loaded, model)
    ]
    assert configs[0] == configs[1]


def test_a_class_that_is_not_registered_is_found_among_custom_objects(tmp_path: Path) -> None:
    class Double(keras.layers.Layer):
        def build(self, input_shape: tuple) -> None:
            self.factor = self.add_weight(shape=(), initializer="ones")

        def call(self, x: tf.Tensor) -> tf.Tensor:
            return self.factor * x

    inputs = keras.Input((5,))
    model = keras.Model(inputs, frame_encoder(Double(), None)(inputs))
    model.layers[-1].network.factor.assign(2.0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", custom_objects={"Double": Double})
    x = data(2, 5)
    close(loaded(x), 2.0 * x)
    config = spec_config(Double())
    with pytest.raises(ValueError, match="Keras cannot make a layer of this config of 'Double'"):
        as_spec(config)


@pytest.mark.parametrize("spec", [None, (3, 2), "conv", {"class_name": "conv", "config": {"filters": (2,)}}])
def test_specs_and_their_configs_are_two_forms_of_the_same(spec: Any) -> None:
    assert as_spec(as_spec(spec)) == as_spec(spec) == as_spec(spec_config(spec))
    assert spec_config(spec_config(spec)) == spec_config(spec)


def test_the_spec_of_a_layer_is_its_config() -> None:
    layer = normalised()
    config = spec_config(layer)
    assert as_spec(layer) is layer and spec_config(config) == config
    assert [type(one) for one in as_spec(config).layers] == [type(one) for one in layer.layers]


@pytest.mark.parametrize("kind", ["widths", "conv", "custom", "functional"])
def test_xla_computes_the_same(kind: str) -> None:
    encoder = built_encoder(ENCODERS[kind][0]())
    decoder = built_decoder(DECODERS.get(kind, DECODERS["sequential"])[0]())
    x, h = data(2, 3, WIDTH), data(2, 3, 3)
    for network, given in ((encoder, x), (decoder, h)):
        close(tf.function(network.call, jit_compile=True)(given), network(given), 1e-5)


def test_a_network_can_be_built_while_a_function_is_traced() -> None:
    encoder = frame_encoder(RowMeans(), SHAPE)
    x = data(2, 3, WIDTH)
    found = tf.function(lambda x: encoder(x))(x)
    close(encoder(x), found)


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.slow
def test_convolutions_convert_to_litert(length: int) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    spec = {"class_name": "conv", "config": {"filters": (2, 3)}}
    encoder, decoder = built_encoder(spec), built_decoder(spec)
    networks = {"encode": (encoder, WIDTH), "decode": (decoder, 3)}
    module = tf.Module()
    for name, (network, width) in networks.items():
        signature = [tf.TensorSpec([1, length, width], tf.float32, "x")]
        setattr(module, name, tf.function(lambda x, network=network: {"y": network(x)}, input_signature=signature))
    module.networks = [encoder, decoder]
    functions = [getattr(module, name).get_concrete_function() for name in networks]
    for name, function in zip(networks, functions, strict=True):
        width = networks[name][1]
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
        loaded = interpreter.Interpreter(model_content=converter.convert())
        x = data(1, length, width)
        names = {operation["op_name"] for operation in loaded._get_ops_details()}
        assert names and not any(one.startswith("Flex") or one == "CUSTOM" for one in names)
        loaded.allocate_tensors()
        loaded.set_tensor(loaded.get_input_details()[0]["index"], x.numpy())
        loaded.invoke()
        close(loaded.get_tensor(loaded.get_output_details()[0]["index"]), networks[name][0](x), 1e-5)


@pytest.mark.parametrize(
    "spec", ["mlp", 256, (3, 0), (3.0,), (True,), {"filters": (2,)}, lambda x: x, keras.layers.Dense, b"conv"]
)
def test_specs_of_no_kind(spec: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected None, widths of layers such as \(256, 128\), 'conv'"):
        frame_encoder(spec, SHAPE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: frame_encoder(keras.layers.Dense, None), r"Pass an object of the class"),
        (lambda: as_spec({"class_name": "conv", "config": {"units": 3}}), "may name filters, .*, got units"),
        (lambda: as_spec(keras.saving.serialize_keras_object(keras.optimizers.SGD())), "or a layer of Keras"),
        (lambda: frame_encoder("conv", (40,)), r"Convolutions need frames .*, got `frame_shape` \(40,\)"),
        (lambda: frame_decoder("conv", None), "Convolutions need frames .*, got `frame_shape` None"),
        (lambda: frame_encoder((3,), (0, 4)), r"`frame_shape` must be None or sizes"),
        (lambda: frame_encoder((3,), 40), r"`frame_shape` must be None or sizes"),
        (lambda: frame_encoder((3,), SHAPE, dropout=1.0), r"`dropout` must be in \[0, 1\), got 1.0"),
        (lambda: frame_decoder((3,), SHAPE, maps=0), "`maps` must be at least 1, got 0"),
        (lambda: FrameEncoder(None), "A FrameEncoder needs a network"),
        (lambda: built_encoder((3,), SHAPE, 41), r"`frame_shape` \(5, 4, 2\) makes frames of 40 features, got 41"),
        (lambda: built_encoder("conv", SHAPE, 41), "makes frames of 40 features, got 41"),
        (lambda: built_encoder(RowMeans(), SHAPE, 41), "makes frames of 40 features, got 41"),
    ],
)
def test_arguments_that_cannot_be(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: keras.ops.mean(x, axis=0), "must return one output per frame, a first axis of N"),
        (lambda x: keras.ops.sum(x), "must return one output per frame"),
        (lambda x: tf.reshape(x, [-1, 4]), r"first axis of 3 for 3 frames; got outputs of shape \[30, 4\]"),
        (lambda x: [x, x], "must return one tensor, got list"),
        (lambda x: tf.reshape(x, [3, -1, tf.cast(tf.reduce_max(x), tf.int32)]), "one output per frame"),
    ],
)
def test_layers_whose_outputs_are_not_one_tensor_per_frame(function: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built_encoder(keras.layers.Lambda(function))


def test_layers_whose_outputs_have_no_known_size() -> None:
    unknown = keras.layers.Lambda(lambda x: tf.boolean_mask(x, tf.reduce_any(x > 0.0, axis=(0, 2, 3)), axis=1))
    with pytest.raises(ValueError, match=r"must return outputs of known size, got shape \[None, None, 4, 2\]"):
        built_encoder(unknown)
