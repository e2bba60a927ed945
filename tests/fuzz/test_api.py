"""Random calls of the public API: finite results of the promised shape, or one clear ValueError or TypeError.

The short form runs with all the other tests, the same calls every time. The long form, with its own seed:

    make test PYTEST_ARGS="tests/fuzz --fuzz-calls 10000 --hypothesis-seed 1 -rP --exhaustive=all"

`-rP` shows how many calls of each verb succeeded and how many were refused.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

import tfdvae
from tests.fuzz import values
from tests.fuzz.calls import Tally, arguments, made, of_subject, told, verdict_of
from tests.fuzz.values import C, D, Sizes, Subject, U

SMALL = {"units": 3, "phi_x": (3,), "phi_z": (3,), "prior_units": (3,), "posterior_units": (3,), "decoder_units": (3,)}
SERIES = {"x": values.X, "mask": values.MASK, "u": values.U_SERIES, "observed": values.OBSERVED}
SERIES |= {"context": values.CONTEXT}
PATHS = {"num_samples": values.COUNT, "seed": values.SEED}

VERBS: dict[str, Mapping[str, Any]] = {
    "encode": SERIES,
    "log_prob": {**SERIES, **PATHS, "chunk": values.COUNT},
    "particle_log_prob": {**SERIES, **PATHS},
    "reconstruct": {**SERIES, "mode": values.MODE, "sample": values.SWITCH, "seed": values.SEED},
    "forecast": {**SERIES, **PATHS, "horizon": values.COUNT},
    "impute": {**SERIES, **PATHS, "num_sweeps": values.COUNT},
    "generate": {"length": values.COUNT, "batch_size": values.COUNT, "sample": values.SWITCH, "seed": values.SEED},
    "adapt": SERIES,
    "predict_on_batch": {"x": values.X},
    "test_on_batch": {"x": values.X, "sample_weight": values.WEIGHTS},
}
STREAMING: dict[str, Mapping[str, Any]] = {
    "initial_state": {"batch_size": values.COUNT, "context": values.CONTEXT},
    "step": {"state": values.STATE, "x": values.FRAME, "u": values.U_FRAME, "noise": values.NOISE},
    "generate_step": {"state": values.STATE, "u": values.U_FRAME, "noise": values.NOISE},
}


@pytest.fixture(scope="module")
def subjects() -> Iterator[list[Subject]]:
    """Models that stand for every kind, of a millisecond per call; verbs as graphs are the business of other tests."""
    tf.config.run_functions_eagerly(True)
    vae = {"encoder_units": (3,), "decoder_units": (3,)}
    found = [
        Subject(tfdvae.VAE(2, **vae)),
        Subject(tfdvae.VAE(2, **vae, observation="bernoulli", missing="nan", indicator=True), binary=True),
        Subject(tfdvae.VRNN(2, **SMALL), driven=True, context=True),
        Subject(tfdvae.VRNN(2, **SMALL, fill="last", standardize="sequence", given_frames=1)),
        Subject(tfdvae.DSAE(2, global_dim=2, units=3, prior_units=(3,), posterior_units=(3,), decoder_units=(3,))),
        Subject(tfdvae.KVAE(2, units=3, **vae)),
    ]
    for subject in found:
        subject.model.compile(run_eagerly=True)
        subject.model.build_for(D, U * subject.driven, C * subject.context)
    yield found
    tf.config.run_functions_eagerly(False)


def expected_shapes(verb: str, s: Sizes, given: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of the results, by name; "" for the result itself."""
    whole, k = (s.batch, s.length, D), given.get("num_samples")
    return {
        "log_prob": {"": (s.batch,)},
        "particle_log_prob": {"": (s.batch,)},
        "reconstruct": {"": whole},
        "predict_on_batch": {"": whole},
        "forecast": {"mean": (s.batch, given.get("horizon"), D), "samples": (k, s.batch, given.get("horizon"), D)},
        "impute": {"mean": whole, "samples": (k, *whole)},
        "generate": {"x": (given.get("batch_size"), given.get("length"), D)},
    }.get(verb, {})


def call_verb(data: st.DataObject, subjects: list[Subject], verbs: Mapping[str, Any], tally: Tally) -> None:
    subject = subjects[data.draw(st.integers(0, len(subjects) - 1))]
    verb = data.draw(st.sampled_from(sorted(verbs)))
    sizes = Sizes(subject, *(data.draw(st.integers(1, n)) for n in (3, 4, 1000)))
    offered = of_subject(verbs[verb], subject)
    if verb == "generate" and subject.driven:
        offered |= of_subject({"u": values.U_SERIES, "context": values.CONTEXT}, subject)
    if verb == "forecast" and subject.driven:
        offered |= of_subject({"future_u": values.U_SERIES}, subject)
    chosen = data.draw(arguments(offered))
    given, verdict = made(chosen, sizes), verdict_of(chosen)
    # What holds of a pair of arguments, or of a model, and of no value alone.
    if verb in ("generate", "forecast") and subject.driven:
        key = {"generate": "length", "forecast": "horizon"}[verb]
        given[key] = sizes.length if chosen[key].verdict == "good" else given[key]
        given |= {"batch_size": sizes.batch} if verb == "generate" and chosen["batch_size"].verdict == "good" else {}
    if verb.endswith("_on_batch") and subject.driven:
        verdict = "either"
    if verb == "initial_state" and subject.context and chosen["batch_size"].verdict == "good":
        given["batch_size"] = sizes.batch
    if verb == "impute" and given["observed"] is None and subject.model.missing is None:
        verdict = "bad"
    if chosen.get("x") in values.INFINITE and (given.get("mask") is not None or given.get("observed") is not None):
        verdict = "either"
    series = isinstance(given.get("observed"), np.ndarray) or given.get("mask") is not None
    stepwise = verb not in STREAMING or subject.model.causal
    free = verb in ("encode", "adapt") or (verb != "particle_log_prob" and not series)
    verdict = verdict if verdict == "bad" or (stepwise and (free or verb == "impute")) else "either"
    text = told(f"{type(subject.model).__name__}.{verb}", given)
    found = tally(verb, lambda: getattr(subject.model, verb)(**given), verdict, text)
    if found is not None and verdict == "good":
        for name, shape in expected_shapes(verb, sizes, given).items():
            assert tuple((getattr(found, name) if name else found).shape) == shape, text


@pytest.mark.slow
def test_verbs(subjects: list[Subject], fuzzed: Callable) -> None:
    tally = Tally()
    fuzzed("verbs", st.data(), lambda data: call_verb(data, subjects, VERBS, tally))
    print(tally)


@pytest.mark.slow
def test_streaming(subjects: list[Subject], fuzzed: Callable) -> None:
    tally = Tally()
    fuzzed("streaming", st.data(), lambda data: call_verb(data, subjects, STREAMING, tally))
    print(tally)


@pytest.mark.slow
def test_training(subjects: list[Subject], fuzzed: Callable) -> None:
    tally = Tally()
    model = tfdvae.VAE(2, encoder_units=(3,), decoder_units=(3,))
    model.build_for(D)
    subject, weights = Subject(model), model.get_weights()
    batch = {"x": values.X, "sample_weight": values.WEIGHTS}

    def check(data: st.DataObject) -> None:
        model.set_weights(weights)  # Frames of 3e38 without clipping leave none that are of use.
        chosen = data.draw(arguments(values.COMPILE, most=4))
        given, verdict = made(chosen, None), verdict_of(chosen)
        # Not every bound has what the other arguments weigh.
        verdict = "either" if verdict == "good" and given.get("bound", "elbo") != "elbo" else verdict
        tally("compile", lambda: model.compile(**given, run_eagerly=True), verdict, told("compile", given))
        if verdict != "good":
            model.compile(run_eagerly=True)
        sizes = Sizes(subject, *(data.draw(st.integers(1, n)) for n in (3, 4, 1000)))
        chosen = data.draw(arguments(batch))
        data_given = made(chosen, sizes)
        text = told(f"train_on_batch after {given}", data_given)
        tally("train_on_batch", lambda: model.train_on_batch(**data_given), verdict_of(chosen), text)

    fuzzed("training", st.data(), check)
    print(tally)


@pytest.mark.slow
def test_constructors(fuzzed: Callable) -> None:
    tally = Tally()

    def check(data: st.DataObject) -> None:
        chosen = data.draw(arguments(values.CONSTRUCT, most=5))
        given, verdict = made(chosen, None), verdict_of(chosen)
        small = {name: size for name, size in SMALL.items() if name not in given}

        def call() -> Any:
            model = tfdvae.VRNN(**{"latent_dim": 2, **small, **given})
            return model(np.ones((1, 2, D), "float32"))

        # What does not go together has tests of its own.
        verdict = "either" if verdict == "good" and len(given) > 1 else verdict
        tally("constructor", call, verdict, told("VRNN", given))

    fuzzed("constructors", st.data(), check)
    print(tally)
