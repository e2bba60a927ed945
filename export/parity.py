"""Compares an exported model with the Keras model that it came from."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from export.running import Arrays, Artefact
from tfdvae.models import DVAE
from tfdvae.serving import Signature, declare
from tfdvae.types import Batch

__all__ = ["Difference", "call", "compare", "examples", "noise", "sequences", "stream"]

BATCH, TIME, HORIZON, COUNT = 3, 7, 4, 2


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


def compare(model: DVAE, artefact: Artefact, seed: int = 0) -> list[Difference]:
    """Every output of every signature, and frame-by-frame streaming against the whole sequence.

    The reference is the Keras model, run eagerly; inputs and noise are the same.

    Raises:
        ValueError: the model has other signatures than the artefact.
    """
    declared = declare(model, artefact.target)
    absent = [name for name in artefact.functions if name not in declared]
    if absent:
        raise ValueError(f"The model has no {absent[0]!r}: {artefact.path} comes from another one.")
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
        found += _differences("step x T", *stream(model, artefact, given, noise(model, batch, TIME, seed)))
    return found


def call(signature: Signature, given: Arrays) -> dict[str, tf.Tensor]:
    """A declared function, eagerly."""
    return signature.function({name: tf.convert_to_tensor(value) for name, value in given.items()})


def examples(model: DVAE, signature: Signature, declared: dict[str, Signature], seed: int = 0) -> Arrays:
    """Inputs for a signature: frames that the model drew, so that every observation accepts them; masks with gaps."""
    rng = np.random.default_rng(seed)
    sizes = {"batch": BATCH, "time": TIME, "horizon": HORIZON, "given": max(model.given_frames, 1)}
    given: Arrays = {}
    for field in signature.inputs:
        shape = tuple(sizes.get(n, n) for n in field.shape)
        if field.name.startswith("state_"):
            continue
        if field.name == "x":
            length = shape[1] if "time" in field.shape else 1
            value = np.reshape(sequences(model, shape[0], length, seed).x, shape)
        elif field.name == "mask":
            value = np.arange(shape[1]) < rng.integers(3, shape[1] + 1, shape[0])[:, None]
            value[:, 1] = False
        elif field.name == "seed":
            value = 2**40 + 17
        elif field.dtype == tf.bool:
            value = rng.uniform(size=shape) < 0.7
        elif field.dtype == tf.int32:
            value = COUNT + len(field.name) % 3
        elif field.random == "uniform":
            value = rng.uniform(0.01, 0.99, shape)
        else:
            value = rng.normal(size=shape)
        given[field.name] = np.asarray(value, field.dtype.as_numpy_dtype)
    if any(field.name.startswith("state_") for field in signature.inputs):
        given = {**_state(declared, sizes["batch"], rng), **given}
    return given


def _state(declared: dict[str, Signature], batch: int, rng: np.random.Generator) -> Arrays:
    """A state that two drawn frames lie behind."""
    step = declared["generate_step"]

    def random_inputs(signature: Signature) -> dict[str, tf.Tensor]:
        given = {}
        for field in signature.inputs:
            shape = [batch if isinstance(n, str) else n for n in field.shape]
            if not field.name.startswith("state_"):
                given[field.name] = tf.cast(rng.uniform(0.1, 0.9, shape) if shape else batch, field.dtype)
        return given

    state = declared["reset"].function(random_inputs(declared["reset"]))
    for _ in range(2):
        out = step.function({**state, **random_inputs(step)})
        state = {name: out[name] for name in state}
    return {name: np.asarray(value) for name, value in state.items()}


def stream(model: DVAE, artefact: Artefact, given: Batch, noise: Arrays) -> tuple[Arrays, Arrays]:
    """T calls of `step` of the artefact, and one call of Keras on the whole sequences with the same noise.

    Args:
        given: arrays of sequences whose frames all exist.
        noise: of every latent by name, as `model.draw_noise` makes it.

    Returns:
        Latents, log p(x_t | .) and KL of all frames, `[B, T, ...]`, from both.
    """
    batch, length = given.x.shape[:2]
    described = artefact.description["signatures"]
    states = {field["name"] for field in described["reset"]["outputs"]}
    known = {"batch_size": np.asarray(batch, np.int32), "context": given.context}
    observed = np.ones(given.x.shape, bool) if given.observed is None else given.observed
    known |= {"given": given.x[:, : model.given_frames], "given_observed": observed[:, : model.given_frames]}
    known |= {f"noise_{name}": value for name, value in noise.items()}
    first = {field["name"]: known[field["name"]] for field in described["reset"]["inputs"]}
    state, outputs = artefact.functions["reset"](first), []
    for t in range(length):
        frame = {"x": given.x[:, t]}
        frame |= {f"noise_{latent.name}": noise[latent.name][:, t] for latent in model.frame_latents}
        if given.observed is not None:
            frame["observed"] = given.observed[:, t]
        if given.u is not None:
            frame |= {"u": given.u[:, t], "next_u": given.u[:, min(t + 1, length - 1)]}
        outputs.append(artefact.functions["step"]({**state, **frame}))
        state = {name: outputs[-1][name] for name in states}
    tensors = model.tensors(given)
    path = model.infer(*tensors, {name: tf.constant(value) for name, value in noise.items()})
    terms = model.terms(path, tensors)
    expected = {"log_px": terms.log_px, "kl": terms.kl}
    for latent in model.frame_latents:
        name, own = latent.name, path.latents[latent.name]
        expected |= {name: own.z, f"{name}_mean": latent.q.mean(own.q), f"{name}_scale": latent.q.scale(own.q)}
    streamed = {name: np.stack([out[name] for out in outputs], axis=1) for name in expected}
    return streamed, {name: np.asarray(value) for name, value in expected.items()}


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
