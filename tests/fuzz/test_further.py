"""Random calls of what few models have, of constructors of all models, and of what is built around models: detectors,
denoisers, forecasters, the codec. All of that takes seconds to be made, so it waits for its turn; the long form is

    make test PYTEST_ARGS="tests/fuzz --fuzz-calls 10000 --hypothesis-seed 1 -rP --exhaustive=all"
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

import tfdvae
from configs.defaults import model_options
from tests.fuzz import values
from tests.fuzz.calls import Tally, arguments, made, of_subject, told, verdict_of
from tests.fuzz.values import COUNT, SEED, SWITCH, D, Sizes, Subject, U, Value, constants
from tfdvae.anomalies import Detector, Learning, fit_views
from tfdvae.data import regular_series
from tfdvae.enhancement import Denoiser

SERIES = {"x": values.X, "mask": values.MASK, "u": values.U_SERIES, "observed": values.OBSERVED}
FRAMED = {"x": values.X, "mask": values.MASK}
VAE = {"encoder_units": (3,), "decoder_units": (3,)}
TABLE = {"t": np.arange(12.0), "a": np.sin(np.arange(12.0)), "b": np.arange(12.0) ** 2 % 5.0}


class Target(NamedTuple):
    """What is called: a function of what is offered, for which subject, and whether good arguments always fit."""

    name: str
    call: Callable[..., Any]
    offered: Mapping[str, Any]
    subject: Subject
    certain: bool = True


def _value(verdict: str, make: Callable[[Sizes], Any]) -> Value:
    return Value(make, verdict)


INDEX = [
    *(_value("good", make) for make in (lambda s: np.arange(s.batch), lambda s: [0] * s.batch)),
    *(
        _value("bad", make)
        for make in (
            lambda s: None,
            lambda s: np.full(s.batch, 4),
            lambda s: np.full(s.batch, -1),
            lambda s: np.full(s.batch, 0.5),
            lambda s: np.full(s.batch, np.nan),
            lambda s: np.arange(s.batch + 1) % 4,
            lambda s: np.zeros([s.batch, 1, 1], int),
            lambda s: "first",
            lambda s: np.full(s.batch, 2**40),
        )
    ),
]
STEP = constants(good=[0.5, 1, np.float32(2.0)], bad=[0.0, -1.0, np.nan, np.inf, "a", None, [1.0], True])
RATE = constants(good=[0.1, np.float32(0.5)], bad=[0.0, -1.0, np.nan, "a", None, [0.1]])
BITS = [
    *(_value("good", make) for make in (lambda s: s.array(s.batch, s.length, D), lambda s: [s.array(3, D)])),
    *(_value("good", make) for make in (lambda s: {"x": s.array(s.batch, s.length, D)},)),
    *constants(bad=[None, "frames", 1.0, {}, [], [1.0], {"x": None}, {"frames": 1}, object()]),
    *(
        _value("bad", make)
        for make in (
            lambda s: s.array(s.batch, s.length, D) + 0.5,
            lambda s: s.array(s.batch, s.length, D)[..., :-1],
            lambda s: values.spoiled(s.array(s.batch, s.length, D), np.nan),
            lambda s: s.array(s.batch, s.length, D).astype(str),
            lambda s: s.array(s.batch, s.length, D).astype(complex),
            lambda s: s.array(s.batch, s.length, D)[:, :0],
            lambda s: {"x": s.array(s.batch, s.length, D), "u": s.array(s.batch, s.length, 2)},
            lambda s: {"x": s.array(s.batch, s.length, D), "none": 1},
        )
    ),
]
NAMES = constants(good=[(), ("a", "b")], bad=[("a", "a"), ("a",), "ab", 3, None, (1, 2), object()])
UNITS = constants(good=[(), ("a", "a"), ("a",)], bad=[("a", "b", "c"), "ab", 3, None, (1, 2), object()])
PERIOD = constants(good=[None, 0.1, 2], bad=[0.0, -1.0, np.nan, "a", [1.0], True])
SCALES = constants(good=[(), (2.0,), (1.0, 2), [1.0, 2.0]], bad=[(np.nan, 1.0), "a", None, (1.0, 2.0, 3.0), ("a", 1.0)])
TABLES = [
    *constants(good=[regular_series(TABLE, ["a", "b"], time="t")]),
    *constants(bad=[None, "series", 3, [], {}, ["a"], object(), np.zeros(3)]),
    *constants(bad=[regular_series({**TABLE, "c": TABLE["a"]}, ["a", "b", "c"], time="t")]),
]
STOP = constants(good=[None, 10, np.int64(8)], bad=[0, -1, 99, "a", np.nan, [3, 4], 2.5, True])
SOUND = np.random.default_rng(0).normal(size=40).astype("float32")
SOUNDS = constants(
    good=[[SOUND], [SOUND, SOUND[:20]], SOUND[None]],
    bad=[None, "a", [], SOUND, [None], ["a"], [SOUND[:3]], [SOUND * np.nan], [SOUND * 0.0], [SOUND[None]], 3, object()],
)
COMPLEX = constants(bad=[[SOUND.astype(complex)], [SOUND.astype(str)], {"a": SOUND}, [[1.0, [2.0]]]])


@pytest.fixture(scope="module")
def targets() -> Iterator[list[Target]]:
    """One of everything, tiny and eager."""
    tf.config.run_functions_eagerly(True)

    def subject(made: tfdvae.DVAE, driven: bool = False, binary: bool = False, width: int = D) -> Subject:
        made.compile(run_eagerly=True)
        made.build_for(width, U * driven)
        return Subject(made, driven=driven, binary=binary)

    gp = subject(tfdvae.GPVAE(2, times_in_u=True, **VAE), driven=True)
    dsae = subject(tfdvae.DSAE(2, global_dim=2, units=3, decoder_units=(3,)))
    fhvae = subject(
        tfdvae.FHVAE(2, global_dim=2, units=3, segment_length=2, num_sequences=4, posterior_units=(), decoder_units=())
    )
    lds = subject(tfdvae.SwitchingLDS(2, num_regimes=2, rounds=1, encoder_units=(), decoder_units=()))
    vae, bits = subject(tfdvae.VAE(2, **VAE)), subject(tfdvae.VAE(2, **VAE, observation="bernoulli"), binary=True)
    rnn = subject(tfdvae.RNN(units=3, phi_x=(), decoder_units=(), observation="bernoulli"), binary=True)
    small = {"units": 3, "phi_x": (), "decoder_units": (), "standardize": None}
    score = subject(tfdvae.RNN(**small), width=2).model
    series = regular_series(TABLE, ["a", "b"], time="t")
    learning = Learning(season=0, calendar=(), length=4, updates=1, batch_size=2)
    detector = Detector(score, learning, [fit_views(series, 10, season=0, calendar=())])
    power = subject(tfdvae.VAE(2, **VAE, observation="gamma"), width=5).model
    denoiser = Denoiser(power, rank=1, steps=1, settling=0, final_samples=1)
    forecaster = tfdvae.recipes.forecaster(2, 1, given=2, calendar=(), separate=False, latent_dim=2, units=3, dropout=0)
    forecaster.model.build_for(2)
    coded = tfdvae.codec.compress(rnn.model, [np.ones([2, D], np.float32)])

    def learned(x: Any, sequence_index: Any, sample_weight: Any = None) -> Any:
        data = {"x": x} if sequence_index is None else {"x": x, "sequence_index": sequence_index}
        return fhvae.model.train_on_batch(data, sample_weight=sample_weight, return_dict=True)

    def roundtrip(of: Subject) -> Callable[..., Any]:
        def run(sequences: Any, seed: Any) -> Any:
            written = tfdvae.codec.compress(of.model, sequences, seed=seed)
            found = tfdvae.codec.decompress(of.model, written)
            given = sequences["x"] if isinstance(sequences, dict) else sequences
            assert all(np.array_equal(a, b) for a, b in zip(found.x, given, strict=True))
            return found.x

        return run

    def described(**given: Any) -> Any:
        return tfdvae.DataDescription(**given).checked(2).as_json()

    def fitted(seed: Any, **given: Any) -> Any:
        return Detector(score, Learning(**{"calendar": (), **given})).fit(series, seed=seed).history

    def streamed(index: Any, values: Any, time: Any) -> Any:
        return detector.stream(index).push(values, time)

    refine = {**FRAMED, "steps": COUNT, "num_samples": COUNT, "learning_rate": RATE, "seed": SEED}
    swapped = {"sample": SWITCH, "seed": SEED}
    # A season of None is that of a day.
    season = [value for value in COUNT if value.make(None) is not None]
    detect = {"length": COUNT, "updates": COUNT, "batch_size": COUNT, "season": season, "seed": SEED}
    pushed = constants(good=[[0.0, 1.0], np.ones(2), [np.nan, np.nan]], bad=[[1.0], None, "a", [np.inf, 0.0], [[1, 2]]])
    coding = {"sequences": BITS, "seed": constants(good=[0, np.int64(3)], bad=[-1, 1.5, "a", None, 2**70, True])}
    yield [
        Target("GPVAE.smooth", gp.model.smooth, SERIES, gp, False),
        Target("GPVAE.encode", gp.model.encode, SERIES, gp, False),
        Target(
            "GPVAE.forecast", gp.model.forecast, {**SERIES, "horizon": COUNT, "future_u": values.U_SERIES}, gp, False
        ),
        Target("GPVAE.refine", gp.model.refine, {**refine, "u": values.U_SERIES}, gp, False),
        Target("VAE.refine", vae.model.refine, refine, vae, False),
        Target("DSAE.swap", dsae.model.swap, {"x_content": values.X, "x_dynamics": values.X, **swapped}, dsae, False),
        Target("FHVAE.swap", fhvae.model.swap, {"x": values.X, "x_other": values.X, **swapped}, fhvae, False),
        Target(
            "FHVAE.train",
            learned,
            {"x": values.X, "sequence_index": INDEX, "sample_weight": values.WEIGHTS},
            fhvae,
            False,
        ),
        Target("SwitchingLDS.segment", lds.model.segment, FRAMED, lds, False),
        Target("DataDescription", described, {"features": NAMES, "units": UNITS}, vae),
        Target("DataDescription", described, {"frame_period": PERIOD, "sampling_rate": PERIOD}, vae),
        Target("DataDescription", described, {"shift": SCALES, "origin": constants(["a", ""], [3, None])}, vae),
        Target("Detector", fitted, detect, vae, False),
        Target("Detector.score", detector.score, {"series": TABLES}, vae),
        Target("Detector.follow", detector.follow, {"series": TABLES, "stop": STOP}, vae),
        Target(
            "Detector.stream",
            streamed,
            {
                "index": constants([0, np.int64(0)], [1, -1, 0.5, "a", None, True]),
                "values": pushed,
                "time": [*constants([None])],
            },
            vae,
            False,
        ),
        Target(
            "Denoiser.denoise",
            denoiser.denoise,
            {
                "waveforms": SOUNDS + COMPLEX,
                "rate": constants([None, 16000], [8000, "a", -1]),
                "seed": SEED[1:],
                "batch_size": COUNT,
            },
            vae,
            False,
        ),
        Target(
            "Denoiser",
            lambda **k: Denoiser(power, **k).steps,
            {
                "rank": COUNT,
                "steps": COUNT,
                "learning_rate": RATE,
                "final_samples": COUNT,
                "gain": constants(["none", "frame"], ["a", 3, None]),
            },
            vae,
        ),
        Target(
            "Forecaster.forecast",
            forecaster.forecast,
            {"series": TABLES, "num_samples": COUNT, "seed": SEED[1:], "batch_size": COUNT},
            vae,
            False,
        ),
        Target("codec", roundtrip(rnn), coding, rnn),
        Target("codec, latents", roundtrip(bits), coding, bits),
        Target(
            "codec, lossy",
            tfdvae.codec.compress_lossy,
            {"model": constants([bits.model], [rnn.model, None]), "sequences": BITS, "step": STEP},
            bits,
        ),
        Target(
            "codec, decompress",
            tfdvae.codec.decompress,
            {"model": constants([rnn.model], [bits.model, None]), "coded": constants([coded], [None, "a", b"a"])},
            rnn,
        ),
    ]
    tf.config.run_functions_eagerly(False)


@pytest.mark.exhaustive
def test_what_few_models_have_and_what_is_built_around_models(targets: list[Target], fuzzed: Callable) -> None:
    tally = Tally()

    def check(data: st.DataObject) -> None:
        target = targets[data.draw(st.integers(0, len(targets) - 1))]
        sizes = Sizes(target.subject, *(data.draw(st.integers(1, n)) for n in (3, 4, 1000)))
        chosen = data.draw(arguments(of_subject(target.offered, target.subject)))
        given, verdict = made(chosen, sizes), verdict_of(chosen)
        verdict = verdict if target.certain or verdict == "bad" else "either"
        # What a mask or `observed` makes right.
        if chosen.get("x") in values.INFINITE and (given.get("mask") is not None or given.get("observed") is not None):
            verdict = "either"
        tally(target.name, lambda: target.call(**given), verdict, told(target.name, given))

    fuzzed("further", st.data(), check)
    print(tally)


@pytest.mark.slow
def test_constructors_of_all_models(fuzzed: Callable) -> None:
    tally = Tally()

    def check(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(tfdvae.MODELS)))
        options = model_options(name)
        chosen = data.draw(arguments({key: values.like_default(value) for key, value in options.items()}, most=4))
        given = made(chosen, None)
        tally(name, lambda: tfdvae.MODELS[name](**given).get_config() and None, verdict_of(chosen), told(name, given))

    fuzzed("models", st.data(), check)
    print(tally)
