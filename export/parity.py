"""Compares an exported model with the Keras model that it came from."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from export.running import Arrays, Artefact
from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.models import DVAE
from tfdvae.serving import Signature, declare
from tfdvae.serving.saved_model import about
from tfdvae.serving.states import StateLayout
from tfdvae.testing.streaming import MIXTURE, following
from tfdvae.types import Batch, LatentPath

__all__ = ["FLOOR", "Difference", "call", "compare", "examples", "mixture", "noise", "sequences", "stream"]

BATCH, TIME, HORIZON, COUNT = 3, 7, 4, 2

FLOOR = 1e-6
"""Differences that are rounding whatever the size of an output: a KL of 7e-4 nats is a difference of numbers near one,
whose last digit in float32 is 1e-7."""


class Difference(NamedTuple):
    """How far an output is from that of Keras.

    Attributes:
        signature, output: which.
        largest: largest absolute difference.
        relative: the same, divided by the largest absolute value that Keras computed.
    """

    signature: str
    output: str
    largest: float
    relative: float

    def within(self, tolerance: float, floor: float = FLOOR) -> bool:
        """Whether it is at most `tolerance`, relatively, or at most `floor`, absolutely."""
        return self.relative <= tolerance or self.largest <= floor


def compare(model: DVAE, artefact: Artefact, seed: int = 0) -> list[Difference]:
    """Every output of every signature; frame-by-frame streaming against the whole sequence ("step x T"); frames that
    are drawn and given in turns against the same frames given ("mixtures").

    The reference is the Keras model, run eagerly; inputs and noise are the same.

    Raises:
        ValueError: the model has other signatures, sizes or latents than the artefact; before anything runs.
    """
    declared = declare(model, artefact.target)
    absent = [name for name in artefact.functions if name not in declared]
    if absent:
        raise ValueError(f"The model has no {absent[0]!r}: {artefact.path} comes from another one.")
    for what, own in json.loads(json.dumps(about(model))).items():
        if artefact.description[what] != own:
            raise ValueError(
                f"The model has {own!r} as its {what!r}, {artefact.path} has {artefact.description[what]!r}: it comes "
                "from another one."
            )
    found = []
    for name, run in artefact.functions.items():
        given = examples(model, declared[name], declared, seed)
        expected = {key: np.asarray(value) for key, value in call(declared[name], given).items()}
        found += _differences(name, run(given), expected)
    if {"reset", "step"} <= set(artefact.functions):
        batch = artefact.target.batch or BATCH
        given = sequences(model, batch, TIME, seed)
        if model.partly_observed:
            seen = np.random.default_rng(seed).uniform(size=given.x.shape) < 0.7
            given = given._replace(observed=seen)
        own = noise(model, batch, TIME, seed)
        found += _differences("step x T", *stream(model, artefact, given, own))
        if "generate_step" in artefact.functions:
            found += _differences("mixtures", *mixture(model, artefact, declared, given, own, seed))
    return found


def call(signature: Signature, given: Arrays) -> dict[str, tf.Tensor]:
    """A declared function, eagerly."""
    return signature.function({name: tf.convert_to_tensor(value) for name, value in given.items()})


def examples(
    model: DVAE,
    signature: Signature,
    declared: Mapping[str, Signature],
    seed: int = 0,
    batch: int = BATCH,
    length: int = TIME,
) -> Arrays:
    """Inputs for a signature: frames that the model drew, so that every observation accepts them; masks with gaps."""
    rng = np.random.default_rng(seed)
    sizes = {"batch": batch, "time": length, "horizon": HORIZON, "given": max(model.given_frames, 1)}
    given: Arrays = {}
    for field in signature.inputs:
        shape = tuple(sizes.get(n, n) for n in field.shape)
        if field.name.startswith("state_"):
            continue
        if field.name == "x":
            frames = shape[1] if len(shape) == 2 + len(model.frame_shape) else 1
            value = np.reshape(sequences(model, shape[0], frames, seed).x, shape)
        elif field.name == "mask":
            value = np.arange(shape[1]) < rng.integers(min(3, shape[1]), shape[1] + 1, shape[0])[:, None]
            value[:, 1:2] = False
        elif field.name == "seed":
            value = 2**40 + 17 + _rows(shape)
        elif field.dtype == tf.bool:
            value = rng.uniform(size=shape) < 0.7
        elif field.name == "length" and {"x", "u"} & set(given):
            value = np.maximum(given.get("x", given.get("u")).shape[1] - _rows(shape) % 3, 1)
        elif field.name == "given_length":
            value = np.maximum(sizes["given"] - _rows(shape), 1)
        elif field.dtype == tf.int32:
            value = COUNT + (len(field.name) + _rows(shape)) % 3
        elif field.random == "uniform":
            value = rng.uniform(0.01, 0.99, shape)
        else:
            value = rng.normal(size=shape)
        given[field.name] = np.asarray(value, field.dtype.as_numpy_dtype)
    if any(field.name.startswith("state_") for field in signature.inputs):
        given = {**_state(declared, sizes["batch"], rng), **given}
    return given


def _rows(shape: tuple[int, ...]) -> np.ndarray | int:
    """Something else for each row, where there are rows."""
    return np.arange(*shape) if shape else 0


def _state(declared: Mapping[str, Signature], batch: int, rng: np.random.Generator) -> Arrays:
    """A state that two drawn frames lie behind."""
    step = declared["generate_step"]

    def random_inputs(signature: Signature) -> dict[str, tf.Tensor]:
        given = {}
        for field in signature.inputs:
            shape = [batch if isinstance(n, str) else n for n in field.shape]
            if not field.name.startswith("state_"):
                value = np.ones(shape) if field.dtype == tf.int32 else rng.uniform(0.1, 0.9, shape)
                given[field.name] = tf.cast(value if shape else batch, field.dtype)
        return given

    state = states_of(declared["reset"].function(random_inputs(declared["reset"])))
    for _ in range(2):
        out = step.function({**state, **random_inputs(step)})
        state = {name: out[name] for name in state}
    return {name: np.asarray(value) for name, value in state.items()}


def states_of(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """What of the outputs goes from one call of a stream to the next."""
    return {name: value for name, value in outputs.items() if name.startswith("state_")}


def stream(model: DVAE, artefact: Artefact, given: Batch, noise: Arrays) -> tuple[Arrays, Arrays]:
    """T calls of `step` of the artefact, and one call of Keras on the whole sequences with the same noise.

    Args:
        given: arrays of sequences whose frames all exist.
        noise: of every latent by name, as `model.draw_noise` makes it.

    Returns:
        Latents, log p(x_t | .) and KL of all frames, `[B, T, ...]`, from both.
    """
    state, outputs = states_of(artefact.functions["reset"](_first(model, artefact, given, noise))), []
    for t in range(given.x.shape[1]):
        outputs.append(artefact.functions["step"]({**state, **_frame(artefact, "step", given, noise, t)}))
        state = {name: outputs[-1][name] for name in state}
    tensors = model.tensors(given)
    path = model.infer(*tensors, {name: tf.constant(value) for name, value in noise.items()})
    terms = model.terms(path, tensors)
    expected = _inferred(model, path.latents, terms.log_px, terms.kl)
    streamed = {name: np.stack([out[name] for out in outputs], axis=1) for name in expected}
    return streamed, {name: np.asarray(value) for name, value in expected.items()}


def mixture(
    model: DVAE, artefact: Artefact, declared: dict[str, Signature], given: Batch, noise: Arrays, seed: int = 0
) -> tuple[Arrays, Arrays]:
    """`generate_step` and `step` of the artefact in turns, and Keras, which is given all of these frames one by one,
    those that the artefact drew as well, and follows the latents of the artefact.

    Args:
        declared: the signatures of the model, for the target of the artefact.
        given, noise: as in `stream`.
        seed: of the numbers that draw frames.

    Returns:
        E[x_t | .] of the n frames that were drawn, latents, log p(x_t | .) and KL of the n that were given, each
        `[B, n, ...]`, and the state after the last one, from both.
    """
    rng, first = np.random.default_rng(seed), _first(model, artefact, given, noise)
    x, observed = given.x.copy(), np.ones(given.x.shape, bool) if given.observed is None else given.observed.copy()
    draws = list(itertools.islice(itertools.cycle(MIXTURE), x.shape[1]))
    state, outputs = states_of(artefact.functions["reset"](first)), []
    for t, drawn in enumerate(draws):
        name = "generate_step" if drawn else "step"
        uniform = rng.uniform(0.01, 0.99, (len(x), model.observation.noise_dim)).astype("float32")
        outputs.append(artefact.functions[name]({**state, **_frame(artefact, name, given, noise, t, uniform)}))
        state = {name: outputs[-1][name] for name in state}
        if drawn:
            x[:, t], observed[:, t] = outputs[-1]["x"], True

    tensors, layout = model.tensors(given._replace(x=x, observed=observed)), StateLayout(model, artefact.target.batch)
    found: dict[str, list] = {}
    expected: dict[str, list] = {}
    own = layout.nest(call(declared["reset"], first))
    for t, (drawn, out) in enumerate(zip(draws, outputs, strict=True)):
        frame = (None if y is None else y[:, t] for y in (tensors.x, tensors.u, tensors.observed))
        latents = {latent.name: tf.constant(out[latent.name]) for latent in model.frame_latents}
        taken = model.take_frame_with(following(latents), own, *frame)
        own = taken.state
        values = {"x_mean": restore_frames(model.frames.mean(taken.x), model.frame_shape)}
        values = values if drawn else _inferred(model, taken.latents, taken.log_px, taken.kl)
        for name, value in values.items():
            found.setdefault(name, []).append(out[name])
            expected.setdefault(name, []).append(np.asarray(value))
    last = {name: np.asarray(value) for name, value in layout.flat(own).items()}
    return tuple(
        {**{name: np.stack(values, axis=1) for name, values in frames.items()}, **after}
        for frames, after in ((found, state), (expected, last))
    )


def _first(model: DVAE, artefact: Artefact, given: Batch, noise: Arrays) -> Arrays:
    """Inputs of `reset` for streams along these sequences."""
    observed = np.ones(given.x.shape, bool) if given.observed is None else given.observed
    known = {"batch_size": np.asarray(len(given.x), np.int32), "context": given.context}
    known |= {"given": given.x[:, : model.given_frames], "given_observed": observed[:, : model.given_frames]}
    known |= {
        "row": np.zeros(len(given.x), np.int32),
        "given_length": np.full(len(given.x), model.given_frames, np.int32),
    }
    known |= {f"noise_{name}": value for name, value in noise.items()}
    return {field["name"]: known[field["name"]] for field in artefact.description["signatures"]["reset"]["inputs"]}


def _frame(
    artefact: Artefact, name: str, given: Batch, noise: Arrays, t: int, uniform: np.ndarray | None = None
) -> Arrays:
    """Inputs of a signature for frame t, beside the state; `uniform` draws it."""
    known = {"x": given.x[:, t], "uniform": uniform, **{f"noise_{name}": value[:, t] for name, value in noise.items()}}
    if given.observed is not None:
        known["observed"] = given.observed[:, t]
    if given.u is not None:
        known |= {"u": given.u[:, t], "next_u": given.u[:, min(t + 1, given.u.shape[1] - 1)]}
    fields = [field["name"] for field in artefact.description["signatures"][name]["inputs"]]
    return {name: known[name] for name in fields if not name.startswith("state_")}


def _inferred(model: DVAE, latents: Mapping[str, LatentPath], log_px: tf.Tensor, kl: tf.Tensor) -> dict[str, tf.Tensor]:
    """Latents of frames and terms as `step` returns them."""
    found = {"log_px": log_px, "kl": kl}
    for latent in model.frame_latents:
        name, own = latent.name, latents[latent.name]
        found |= {name: own.z, f"{name}_mean": latent.q.mean(own.q), f"{name}_scale": latent.q.scale(own.q)}
    return found


def sequences(model: DVAE, batch: int, length: int, seed: int = 0) -> Batch:
    """Sequences that the model drew, in the shape of its frames, and the random inputs and context behind them."""
    rng = np.random.default_rng(seed)
    u = context = None
    if model.u_dim:
        u = rng.normal(size=(batch, length, model.u_dim)).astype("float32")
    if model.context_dim:
        context = rng.normal(size=(batch, model.context_dim)).astype("float32")
    drawn = model.generate(length, batch, u=u, context=context, seed=seed)
    return Batch(np.asarray(drawn.x), u=u, context=context)


def noise(model: DVAE, batch: int, length: int, seed: int = 0) -> Arrays:
    """Noise of every latent by name, `[B, T, n]`, or `[B, n]` where it exists once per sequence."""
    rng = np.random.default_rng(seed)
    kinds = {"normal": rng.normal, "uniform": lambda size: rng.uniform(0.01, 0.99, size)}
    return {
        latent.name: kinds[latent.q.noise_kind](size=latent.noise_shape(batch, length)).astype("float32")
        for latent in model.latents
    }


def _differences(signature: str, found: Arrays, expected: Arrays) -> Iterator[Difference]:
    if set(found) != set(expected):
        raise ValueError(f"{signature!r} of the artefact returns {sorted(found)}, the model {sorted(expected)}.")
    for name, reference in expected.items():
        got = found[name]
        if got.shape != reference.shape:
            raise ValueError(f"{signature!r} returns {name!r} of shape {got.shape}, Keras {reference.shape}.")
        largest = float(np.max(np.abs(got.astype("float64") - reference), initial=0.0))
        scale = float(np.max(np.abs(reference), initial=0.0))
        yield Difference(signature, name, largest, largest / scale if scale > 0.0 else largest)
