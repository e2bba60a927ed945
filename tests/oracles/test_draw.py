"""DRAW against its paper in float64: filter banks by their formula, the bound glimpse by glimpse, and drawings."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles.networks import Stack, affine, array, gaussian_head, join, sigmoid, softplus
from tests.oracles.support import assert_mean, randomise
from tfdvae.layers import glimpses
from tfdvae.types import Batch

pytestmark = pytest.mark.usefixtures("eagerly")

BATCH, LENGTH, Z, GLIMPSES = 2, 3, 2, 3


def filter_bank(g: float, stride: float, variance: float, size: int, length: int) -> np.ndarray:
    """(19), (20), (25), (26) as printed, with filters and pixels counted from 1: `[size, length]`."""
    bank = np.zeros([size, length])
    for i in range(1, size + 1):
        mean = g + (i - size / 2 - 0.5) * stride
        for a in range(1, length + 1):
            bank[i - 1, a - 1] = np.exp(-((a - mean) ** 2) / (2.0 * variance))
    return bank / bank.sum(axis=1, keepdims=True)


def banks(raw: np.ndarray, height: int, width: int, size: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(21)-(24): F_Y, F_X and gamma of one picture, from the five numbers."""
    gx, gy, log_variance, log_stride, log_gamma = raw
    stride = (max(width, height) - 1) / (size - 1) * np.exp(log_stride)
    fx = filter_bank((width + 1) / 2 * (gx + 1), stride, np.exp(log_variance), size, width)
    fy = filter_bank((height + 1) / 2 * (gy + 1), stride, np.exp(log_variance), size, height)
    return fy, fx, float(np.exp(log_gamma))


@pytest.mark.parametrize(("height", "width", "size"), [(28, 28, 5), (6, 9, 2), (1, 7, 3)])
def test_filters_are_those_of_the_formula(height: int, width: int, size: int) -> None:
    raw = np.random.default_rng(0).normal(0.0, 0.7, [4, 5])
    raw[0] = 0.0
    seen = glimpses.window(tf.constant(raw, tf.float32), height, width, size)
    pictures = np.random.default_rng(1).normal(size=[4, 2, height, width])
    patches = np.random.default_rng(2).normal(size=[4, 2, size, size])
    found = glimpses.read(tf.constant(pictures, tf.float32), seen, size)
    written = glimpses.write(tf.constant(patches, tf.float32), seen, height, width)
    for n in range(4):
        fy, fx, gamma = banks(raw[n], height, width, size)
        np.testing.assert_allclose(
            glimpses.filters(seen.column, seen.stride, seen.variance, size, width)[n], fx, atol=2e-6
        )
        for c in range(2):
            np.testing.assert_allclose(found[n, c], gamma * fy @ pictures[n, c] @ fx.T, atol=1e-4)
            np.testing.assert_allclose(written[n, c], fy.T @ patches[n, c] @ fx / gamma, atol=1e-4)
    # Zeros span the picture: the outermost filters stand on its outermost pixels along the longer side.
    row, column, side, deviation = seen.square(size)[0].numpy()
    assert (row, column, deviation) == pytest.approx(((height - 1) / 2, (width - 1) / 2, 1.0))
    assert side == pytest.approx((max(height, width) - 1) * size / (size - 1), rel=1e-5)


def test_windows_far_away_or_without_width_stay_finite() -> None:
    raw = tf.constant([[1e4, -1e4, 1e4, 1e4, 1e4], [50.0, 0.0, -1e4, -1e4, -1e4], [0.0, 0.0, -1e4, 1e4, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(raw)
        seen = glimpses.window(raw, 5, 6, 3)
        total = tf.reduce_sum(glimpses.read(tf.ones([3, 1, 5, 6]), seen, 3), axis=[1, 2, 3]) / seen.intensity
        drawn = glimpses.write(tf.ones([3, 1, 3, 3]), seen, 5, 6) * seen.intensity[:, None, None, None]
    np.testing.assert_allclose(total, [9.0] * 3, rtol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(drawn, axis=[1, 2, 3]), [9.0] * 3, rtol=1e-5)
    assert np.isfinite(tape.gradient(total, raw)).all()


@pytest.mark.parametrize(("height", "width", "size"), [(28, 28, 2), (28, 28, 5), (4, 9, 3), (6, 6, 1), (1, 1, 1)])
def test_windows_tile_the_longer_axis_at_first(height: int, width: int, size: int) -> None:
    seen = glimpses.window(tf.constant(glimpses.tiling(height, width, size)), height, width, size)
    longer = max(height, width)
    if longer > 1:
        np.testing.assert_allclose(seen.stride, longer / size, rtol=1e-6)
    np.testing.assert_allclose(seen.variance, (longer / size / 2) ** 2, rtol=1e-6)
    np.testing.assert_allclose([seen.row, seen.column, seen.intensity], [(height - 1) / 2, (width - 1) / 2, 1.0])


def test_a_new_model_sees_the_middle_of_a_picture_and_writes_all_over_it() -> None:
    """A digit has black corners, which is where the two by two filters of a window from zeros stand."""
    model = tfdvae.DRAW(4, num_glimpses=2, read_size=2, write_size=5, units=8, observation="bernoulli")
    digit = np.zeros([1, 1, 28, 28], np.float32)
    digit[..., 6:22, 6:22] = 1.0
    found = model.drawing(digit.reshape(1, 1, 784))
    np.testing.assert_allclose(found.read[0, 0, 0], [13.5, 13.5, 28.0, 7.0], rtol=1e-5)
    np.testing.assert_allclose(found.write[0, 0, 0], [13.5, 13.5, 28.0, 2.8], rtol=0.2)
    seen = glimpses.window(model.read_head(tf.zeros([1, 8])), 28, 28, 2)
    assert np.min(glimpses.read(digit, seen, 2)) > 0.4
    assert np.max(glimpses.read(digit, glimpses.window(tf.zeros([1, 5]), 28, 28, 2), 2)) < 1e-3


class Drawn(NamedTuple):
    """What the equations say of N pictures: canvases `[N, G, M D]`, and q of every glimpse `[N, G, Z]`."""

    canvas: np.ndarray
    z: np.ndarray
    loc: np.ndarray
    scale: np.ndarray


def start(recurrent: Any, first: tf.Variable, count: int) -> Stack:
    """A stack in its learned first state: the top output, then what else is remembered, the lowest layer first."""
    stack, rows = Stack(recurrent, count), [np.tile(row, [count, 1]) for row in array(first)]
    flat = [*rows[1:], rows[0]]
    per_layer = 2 if recurrent.cell == "lstm" else 1
    for i in range(recurrent.num_layers):
        own = flat[i * per_layer : (i + 1) * per_layer]
        stack.state[i] = (own[-1], own[0])
    return stack


def planes(model: tfdvae.DRAW, flat: np.ndarray) -> list[np.ndarray]:
    """The colours of one frame, or of each frame on a canvas, as pictures."""
    of = model.canvas
    pictures = flat.reshape(-1, of.height, of.columns, of.channels)
    return [picture[..., c] for picture in pictures for c in range(of.channels)]


def read(model: tfdvae.DRAW, pictures: list[np.ndarray], h: np.ndarray) -> np.ndarray:
    """(17), or (27)."""
    if not model.attention:
        return np.concatenate(pictures, axis=-1)
    raw, size = affine(model.read_head, h), model.read_size
    rows = []
    for n in range(len(h)):
        fy, fx, gamma = banks(raw[n], model.canvas.height, model.canvas.columns, size)
        rows.append(np.concatenate([(gamma * fy @ p @ fx.T).ravel() for y in pictures for p in planes(model, y[n])]))
    return np.stack(rows)


def write(model: tfdvae.DRAW, h: np.ndarray) -> np.ndarray:
    """(18), or (28) and (29)."""
    w = affine(model.write_layer, h)
    if not model.attention:
        return w
    raw, of, size = affine(model.write_head, h), model.canvas, model.write_size
    rows = []
    for n in range(len(h)):
        fy, fx, gamma = banks(raw[n], of.height, of.columns, size)
        found = [fy.T @ patch @ fx / gamma for patch in w[n].reshape(-1, size, size)]
        frames = np.reshape(found, [of.maps, of.channels, of.height, of.columns])
        rows.append(np.transpose(frames, [0, 2, 3, 1]).ravel())
    return np.stack(rows)


def draw(
    model: tfdvae.DRAW, x: np.ndarray, noise: np.ndarray, known: np.ndarray | None, u: np.ndarray | None, first: Any
) -> Drawn:
    """(3)-(8) of N pictures in standardised units, from noise `[N, G, Z]`; `first` is what stands on the canvas."""
    encoder = start(model.encoder, model.first_encoder, len(x))
    decoder = start(model.decoder, model.first_decoder, len(x))
    canvas, found = np.zeros([len(x), model.canvas.width]), []
    for g in range(model.num_glimpses):
        said = (canvas + first)[:, : x.shape[1]]
        error = x - (sigmoid(said) if isinstance(model.observation, tfdvae.observations.Bernoulli) else said)
        error = error if known is None else known * error
        pictures = [y for y in (x, known, error) if y is not None]
        encoder.step(join(decoder.h, read(model, pictures, decoder.h), u))
        loc, scale = gaussian_head(model.posterior_head, encoder.h)
        z = loc + scale * noise[:, g]
        decoder.step(join(z, u))
        canvas = canvas + write(model, decoder.h)
        found.append((canvas + first, z, loc, scale))
    return Drawn(*(np.stack(y, axis=1) for y in zip(*found, strict=True)))


class Form(NamedTuple):
    shape: tuple[int, ...]
    options: dict[str, Any]
    u_dim: int = 0
    context_dim: int = 0


FORMS = {
    "colours": Form((3, 4, 2), {"observation": "bernoulli"}, 2, 1),
    "indicator": Form((4,), {"indicator": True, "scale": "exp"}),
    "colours with an indicator": Form((2, 3, 2), {"indicator": True, "observation": "identity_gaussian"}),
    "whole": Form((5,), {"attention": False, "cell": "gru", "num_layers": 2}, 2),
    "grey": Form((3, 2), {"observation": "bernoulli", "num_layers": 2}),
}


def make(form: Form, **options: Any) -> tfdvae.DRAW:
    windows = {"read_size": 2, "write_size": 3} if form.options.get("attention", True) else {}
    sizes = {"num_glimpses": GLIMPSES, "units": 4, **windows, **form.options}
    model = tfdvae.DRAW(Z, **{**sizes, **options})
    model.build_for(form.shape, form.u_dim, form.context_dim)
    randomise(model, 0.4, 0)
    if model.frames.mode is not None:
        model.frames.shift.assign(0.3 * np.ones(model.x_dim))
        model.frames.scale.assign(1.5 * np.ones(model.x_dim))
    return model


def data(form: Form, observed: bool = False) -> Batch:
    rng = np.random.default_rng(5)
    x = rng.normal(size=[BATCH, LENGTH, *form.shape])
    x = (x > 0.0) + 0.0 if form.options.get("observation") == "bernoulli" else x
    u = rng.normal(size=[BATCH, LENGTH, form.u_dim]) if form.u_dim else None
    context = rng.normal(size=[BATCH, form.context_dim]) if form.context_dim else None
    seen = rng.random(x.shape) < 0.6 if observed else None
    values = (x, np.arange(LENGTH) < [[3], [2]], u, seen, context)
    return Batch(
        *(None if y is None else tf.constant(y.astype(y.dtype if y.dtype == bool else "float32")) for y in values)
    )


@pytest.mark.parametrize("name", FORMS)
def test_the_bound_is_that_of_the_paper(name: str) -> None:
    form = FORMS[name]
    model, batch = make(form), data(form, observed="indicator" in name)
    noise = model.draw_noise(tf.constant([1, 2]), BATCH, LENGTH)
    path = model.infer(*batch, noise)
    terms = model.terms(path, batch)
    shift, scale = (0.3, 1.5) if model.frames.mode is not None else (0.0, 1.0)
    for b in range(BATCH):
        length = int(batch.mask[b].numpy().sum())
        x = (array(batch.x[b])[:length].reshape(length, -1) - shift) / scale
        seen = np.ones_like(x) if batch.observed is None else array(batch.observed[b])[:length].reshape(length, -1)
        shown, own = np.where(seen > 0.0, x, 0.0), array(noise["z"][b])[:length].reshape(length, GLIMPSES, Z)
        u, first = None if batch.u is None else array(batch.u[b])[:length], array(model.observation.bias)
        if batch.context is not None:
            context = np.tile(array(batch.context[b]), [length, 1])
            u = join(u, context)
            first = first + context @ array(model.frames.decoder.network.first.kernel)
        found = draw(model, shown, own, seen if model.indicator else None, u, first)
        params = found.canvas[:, -1]
        np.testing.assert_allclose(path.x[b, :length], params, atol=1e-4)
        np.testing.assert_allclose(path.latents["z"].z[b, :length], found.z.reshape(length, -1), atol=1e-5)
        kind = form.options.get("observation", "gaussian")
        if kind == "bernoulli":
            log_px = x * params - softplus(params)
        else:
            loc, raw = params[:, : x.shape[1]], params[:, x.shape[1] :]
            own_scale = softplus(raw) + 1e-3 if kind == "gaussian" else np.ones_like(loc)
            log_px = -0.5 * ((x - loc) / own_scale) ** 2 - np.log(own_scale * scale) - 0.5 * np.log(2.0 * np.pi)
        np.testing.assert_allclose(terms.log_px[b, :length], (seen * log_px).sum(axis=-1), rtol=1e-4)
        # (11), and the densities of z_1, ..., z_G together.
        kl = 0.5 * (found.loc**2 + found.scale**2 - 1.0) - np.log(found.scale)
        np.testing.assert_allclose(terms.kl[b, :length], kl.sum(axis=(1, 2)), rtol=1e-4)
        log_q = -0.5 * own**2 - np.log(found.scale) - 0.5 * np.log(2.0 * np.pi)
        log_p = -0.5 * found.z**2 - 0.5 * np.log(2.0 * np.pi)
        np.testing.assert_allclose(terms.latents["z"].log_q[b, :length], log_q.sum(axis=(1, 2)), rtol=1e-4)
        np.testing.assert_allclose(terms.latents["z"].log_p[b, :length], log_p.sum(axis=(1, 2)), rtol=1e-4)
        assert not np.any(terms.kl[b, length:]) and not np.any(terms.log_px[b, length:])


@pytest.mark.parametrize("name", ["colours", "whole"])
@pytest.mark.slow
def test_each_glimpse_sees_those_before_it_and_no_frame_sees_another(name: str) -> None:
    """The parents of the paper, as Jacobians: of x, u and the noise of glimpses on z of glimpses and on p(x_t | .)."""
    form = FORMS[name]
    model, batch = make(form), data(form)._replace(mask=None)
    noise = model.draw_noise(tf.constant([1, 2]), BATCH, LENGTH)["z"]
    sources = [y for y in (batch.x, noise, batch.u) if y is not None]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(sources)
        path = model.infer(*batch, {"z": noise})
        parts = [tf.reshape(y, [BATCH, LENGTH, GLIMPSES, Z]) for y in path.latents["z"].q]
        loc = [tf.reduce_sum(tf.sin(parts[0][0, 1, g] + parts[1][0, 1, g])) for g in range(GLIMPSES)]
        shown = tf.reduce_sum(tf.sin(path.x[0, 1]))
    for g, target in enumerate([*loc, shown]):
        slopes = tape.gradient(target, sources)
        for slope in slopes:
            by_frame = np.abs(slope).reshape(BATCH, LENGTH, -1).max(axis=-1)
            expected = np.zeros([BATCH, LENGTH], bool)
            expected[0, 1] = not (g == 0 and slope.shape == noise.shape)
            np.testing.assert_array_equal(by_frame > 1e-9, expected)
        by_glimpse = np.abs(slopes[1][0, 1]).reshape(GLIMPSES, Z).max(axis=-1)
        np.testing.assert_array_equal(by_glimpse > 1e-9, np.arange(GLIMPSES) < (g if g < GLIMPSES else GLIMPSES))


def test_the_prior_knows_nothing_and_frames_come_from_z_alone() -> None:
    form = FORMS["colours"]
    model, batch = make(form), data(form)
    noise = model.draw_noise(tf.constant([1, 2]), BATCH, LENGTH)
    path = model.infer(*batch, noise)
    np.testing.assert_array_equal(path.latents["z"].p.loc[batch.mask], 0.0)
    packed, _ = model.pack(batch)
    again = model.decoded(packed, path.latents["z"].z)
    np.testing.assert_allclose(again[batch.mask], path.x[batch.mask], atol=1e-6)


def test_importance_weights_are_unbiased() -> None:
    """E_q p(x, z) / q(z | x) = p(x) = E_p p(x | z), of two glimpses of one pixel."""
    model = tfdvae.DRAW(1, num_glimpses=2, attention=False, units=3, observation="bernoulli")
    model.build_for(2)
    randomise(model, 0.5, 1)
    x = np.array([[[1.0, 0.0]]], np.float32)
    count = 4000
    packed, _ = model.pack(model.check(np.tile(x, [count, 1, 1])))
    prior = model.draw_noise(tf.constant([3, 4]), count, 1)
    params = model.decoded(packed, prior["z"])
    expected = np.exp(np.float64(model.frames.log_prob(params, packed.x)))
    terms = model.terms(model.infer_packed(packed, model.draw_noise(tf.constant([5, 6]), count, 1)), Batch(packed.x))
    weights = np.exp(np.float64(terms.log_px + terms.log_ratio))
    spread = np.var(weights) + np.var(expected)
    assert_mean(weights, expected.mean(), variance=spread)


@pytest.mark.slow
def test_a_drawing_ends_in_what_is_reconstructed() -> None:
    form = FORMS["colours"]
    model, batch = make(form), data(form)
    found = model.drawing(*batch)
    assert found.frames.shape == (BATCH, LENGTH, GLIMPSES, *form.shape)
    np.testing.assert_allclose(found.frames[:, :, -1], model.reconstruct(*batch), atol=1e-6)
    x, u = array(batch.x[0]).reshape(LENGTH, -1), array(batch.u[0])
    context = np.tile(array(batch.context[0]), [LENGTH, 1])
    first = array(model.observation.bias) + context @ array(model.frames.decoder.network.first.kernel)
    expected = draw(model, x, np.zeros([LENGTH, GLIMPSES, Z]), None, join(u, context), first)
    np.testing.assert_allclose(
        found.frames[0], sigmoid(expected.canvas).reshape(LENGTH, GLIMPSES, *form.shape), atol=1e-4
    )
    assert found.read.shape == found.write.shape == (BATCH, LENGTH, GLIMPSES, 4)
    assert not np.any(found.frames[1, 2]) and not np.any(found.write[1, 2])
    # The first glimpse reads where the first state of the decoder says.
    raw = affine(model.read_head, array(model.first_decoder)[0])
    centre = [(n + 1) / 2 * (raw[i] + 1) - 1 for n, i in ((3, 1), (4, 0))]
    np.testing.assert_allclose(found.read[0, 0, 0], [*centre, 2 * 3 * np.exp(raw[3]), np.exp(0.5 * raw[2])], rtol=1e-4)
    one, two = (model.drawing(*batch, sample=True, seed=seed).frames for seed in (1, 2))
    assert np.abs(one - two).max() > 1e-4


def test_a_picture_is_no_stream_and_errors_say_so() -> None:
    model, x = make(FORMS["grey"]), np.zeros([1, 1, 3, 2], np.float32)
    for ask in (lambda: model.step({}, x[:, 0]), lambda: model.refine(x, by="frame")):
        with pytest.raises(ValueError, match="DRAW as configured draws every frame as a picture by itself"):
            ask()


@pytest.mark.slow
def test_made_up_drawings_are_those_of_generate() -> None:
    form = FORMS["colours"]
    model, batch = make(form), data(form)
    given = {"u": batch.u[:, :1], "context": batch.context, "seed": 3}
    found, made = model.generated_drawing(**given), model.generate(1, **given)
    expected = tf.reshape(model.frames.mean(made.params), [BATCH, 1, *form.shape])
    np.testing.assert_allclose(found.frames[:, :, -1], expected, atol=1e-6)
    assert found.read is None and found.write.shape == (BATCH, 1, GLIMPSES, 4)
    whole = make(FORMS["whole"])
    assert whole.generated_drawing(u=np.zeros([2, 1, 2], np.float32), sample=False).write is None


def test_pixels_that_the_canvas_holds_start_at_their_frequency() -> None:
    model = make(FORMS["grey"])
    x = (np.random.default_rng(0).random([50, 1, 3, 2]) < 0.2).astype("float32")
    model.adapt(x)
    for layer in (model.write_layer, model.write_head):
        for weight in layer.trainable_variables:
            weight.assign(tf.zeros_like(weight))
    drawn = model.reconstruct(x[:1]).numpy()[0, 0]
    np.testing.assert_allclose(drawn, (x.sum(axis=(0, 1)) + 0.5) / 51.0, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"frame_encoder": "conv"}, (4,), "no use for `frame_encoder`, since it reads and writes pixels"),
        ({"frame_networks": {"dropout": 0.5}}, (4,), "no use for `frame_networks`, since it reads and writes pixels"),
        ({"num_glimpses": 0}, (4,), "`num_glimpses` must be at least 1"),
        ({"dropout": 1.0}, (4,), r"`dropout` must be in \[0, 1\), got 1.0"),
        ({"picture": (2, 3)}, (4,), r"`picture` must be height and width of frames of shape \(4,\), got \(2, 3\)"),
        ({"picture": (2, 2, 1)}, (4,), r"`picture` must be height and width .* got \(2, 2, 1\)"),
        ({"picture": 2}, (4,), r"`picture` must be a sequence of whole numbers such as \(8,\), got 2"),
        ({}, (4, 1), r"got frames of shape \(4, 1\), of one column: still pictures need an axis of time, x\[:, None\]"),
        ({}, (2, 2, 1, 3), r"Expected frames that are pictures, .* got frames of shape \(2, 2, 1, 3\)"),
    ],
)
def test_what_is_no_picture_is_refused(options: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.DRAW(2, units=3, **options).build_for(shape)


@pytest.mark.slow
def test_vectors_are_squares_or_rows_or_as_told() -> None:
    for width, picture, expected in ((9, None, (3, 3)), (6, None, (1, 6)), (6, (3, 2), (3, 2)), (4, (1, 4), (1, 4))):
        model = tfdvae.DRAW(2, num_glimpses=1, units=3, picture=picture)
        model.build_for(width)
        assert (model.canvas.height, model.canvas.columns) == expected
    model = tfdvae.DRAW(2, num_glimpses=1, units=3, picture=np.array([4, 1]))
    model.build_for((4, 1))
    assert (model.canvas.height, model.canvas.columns) == (4, 1) and model.get_config()["picture"] == (4, 1)
