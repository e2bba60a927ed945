"""The counter of multiply-adds against counts by hand."""

import pytest
import tensorflow as tf

from trainers._benchmark_count import count_graph, train_step_multiply_adds
from trainers.sizes import SIZES, build_model


def graph_of(function, *shapes):
    specs = [tf.TensorSpec(s, tf.float32) for s in shapes]
    return tf.function(function, autograph=False).get_concrete_function(*specs).graph


@pytest.mark.slow
def test_vrnn_train_step():
    size = SIZES["tiny"]
    model = build_model("vrnn", size)
    d, z, h = size.x_dim, size.common["latent_dim"], size.common["units"]
    (phi_x,), (phi_z,) = size.options["vrnn"]["phi_x"], size.options["vrnn"]["phi_z"]
    features = d * phi_x
    lstm = (phi_x + phi_z + h) * 4 * h
    posterior, prior, observation = (phi_x + h) * 2 * z, h * 2 * z, (phi_z + h) * d
    forward = features + z * phi_z + lstm + posterior + prior + observation
    # The gradient takes two products per kernel, but the data need no gradient.
    per_frame = 3 * forward - features
    counted = train_step_multiply_adds(model, size.batch_size, size.length)
    assert counted == per_frame * size.batch_size * size.length


@pytest.mark.slow
def test_vae_train_step():
    size = SIZES["tiny"]._replace(options={"vae": {"encoder_units": (11,), "decoder_units": (9,)}})
    model = build_model("vae", size)
    d, z = size.x_dim, size.common["latent_dim"]
    per_frame = 3 * (d * 11 + 11 * 2 * z + z * 9 + 9 * d) - d * 11
    assert train_step_multiply_adds(model, 2, 3) == per_frame * 2 * 3


@pytest.mark.slow
def test_storn_train_step_with_the_loops_of_keras():
    options = {"phi_x": (11,), "phi_z": (9,), "encoder_phi_x": (8,), "encoder_units": (), "decoder_units": ()}
    size = SIZES["tiny"]._replace(options={"storn": options})
    model = build_model("storn", size)
    d, z, h = size.x_dim, size.common["latent_dim"], size.common["units"]
    first = d * 11 + d * 8
    forward = first + z * 9 + (11 + 9 + h) * 4 * h + (8 + h) * 4 * h + h * 2 * z + h * d
    assert train_step_multiply_adds(model, 2, 3) == (3 * forward - first) * 2 * 3


def test_products_and_their_transposes():
    def products(a, b):
        return tf.matmul(a, b), tf.matmul(a, a, transpose_a=True), tf.matmul(tf.stack([a, a]), tf.stack([b, b]))

    assert count_graph(graph_of(products, (3, 5), (5, 7))) == 3 * 5 * 7 + 5 * 3 * 5 + 2 * 3 * 5 * 7


@pytest.mark.parametrize("steps", [1, 4])
def test_loops_count_as_often_as_they_run(steps):
    def loops(a):
        def body(i, y):
            inner = tf.while_loop(
                lambda j, _: j < 3, lambda j, v: (j + 1, tf.matmul(v, a)), (tf.constant(0), y), maximum_iterations=3
            )
            return i + 1, inner[1]

        return tf.while_loop(lambda i, _: i < steps, body, (tf.constant(0), a), maximum_iterations=steps)[1]

    assert count_graph(graph_of(loops, (2, 2))) == steps * 3 * 8


def test_gradient_of_a_loop():
    def gradient(a):
        with tf.GradientTape() as tape:
            tape.watch(a)
            y = tf.while_loop(
                lambda i, _: i < 5, lambda i, v: (i + 1, tf.matmul(v, a)), (tf.constant(0), a), maximum_iterations=5
            )[1]
        return tape.gradient(y, a)

    assert count_graph(graph_of(gradient, (2, 2))) == 5 * 3 * 8


def test_branches_count_once():
    def branches(a):
        return tf.cond(tf.reduce_sum(a) > 0, lambda: tf.matmul(tf.matmul(a, a), a), lambda: tf.matmul(a, a))

    assert count_graph(graph_of(branches, (2, 2))) == 2 * 8


def test_what_cannot_be_counted():
    with pytest.raises(ValueError, match="not static"):
        count_graph(graph_of(lambda a: tf.matmul(a, a, transpose_b=True), (None, 4)))
    with pytest.raises(ValueError, match="iterations is not static"):
        count_graph(
            graph_of(lambda a: tf.while_loop(lambda v: tf.reduce_sum(v) > 0, lambda v: (tf.matmul(v, v),), [a]), (2, 2))
        )
    with pytest.raises(ValueError, match="Conv2D"):
        count_graph(graph_of(lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"), (1, 4, 4, 2), (3, 3, 2, 2)))
