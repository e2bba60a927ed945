"""What a fuzzer hands over as each argument: right values, wrong ones, and such as may be either."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import tfdvae

D, U, C = 4, 2, 3


class Subject(NamedTuple):
    """A built model, and what it was built for."""

    model: tfdvae.DVAE
    driven: bool = False
    context: bool = False
    binary: bool = False


class Sizes(NamedTuple):
    """Of one call: its sequences, their frames, and the seed of their numbers."""

    subject: Subject
    batch: int
    length: int
    seed: int

    def array(self, *shape: int) -> np.ndarray:
        found = np.random.default_rng(self.seed).normal(size=shape).astype("float32")
        return (found > 0.0).astype("float32") if self.subject.binary and shape[-1] == D else found


class Value(NamedTuple):
    """How a value is made, and whether a call with it succeeds, "good", is refused, "bad", or may do either."""

    make: Callable[[Sizes], Any]
    verdict: str


def _good(*made: Callable[[Sizes], Any]) -> list[Value]:
    return [Value(make, "good") for make in made]


def _bad(*made: Callable[[Sizes], Any]) -> list[Value]:
    return [Value(make, "bad") for make in made]


def _either(*made: Callable[[Sizes], Any]) -> list[Value]:
    return [Value(make, "either") for make in made]


def constants(good: list[Any] = (), bad: list[Any] = (), either: list[Any] = ()) -> list[Value]:
    """Values that no size enters."""
    makers = [[lambda _, value=value: value for value in values] for values in (good, bad, either)]
    return [*_good(*makers[0]), *_bad(*makers[1]), *_either(*makers[2])]


def spoiled(array: np.ndarray, value: float, kind: Any = np.float32) -> np.ndarray:
    """One entry is another value."""
    array = np.array(array, kind)
    array.flat[array.size // 2] = value
    return array


def _x(s: Sizes) -> np.ndarray:
    return s.array(s.batch, s.length, D)


def _u(s: Sizes) -> np.ndarray:
    return s.array(s.batch, s.length, U)


def _rows(s: Sizes, width: int = D) -> np.ndarray:
    return s.array(s.batch, width)


INFINITE = _bad(lambda s: spoiled(_x(s), np.inf), lambda s: spoiled(_x(s), 1e39, float))
"""Frames that a mask, or what was observed, may make right."""

X = [
    *_good(_x, _x, _x, lambda s: _x(s).astype("float64"), lambda s: tf.constant(_x(s)), lambda s: _x(s).tolist()),
    *_good(lambda s: np.zeros((s.batch, s.length, D), int), lambda s: _x(s).astype("float16"), lambda s: list(_x(s))),
    *_bad(lambda s: _x(s)[0], lambda s: _x(s)[..., :-1], lambda s: _x(s)[:, :0], lambda s: _x(s)[:0]),
    *_bad(lambda s: _x(s)[..., None, None]),
    *INFINITE,
    *_bad(lambda s: _x(s).astype("complex64"), lambda s: _x(s).astype(str), lambda s: None, lambda s: "frames"),
    *_bad(
        lambda s: 1.0, lambda s: [[[1.0]], [[1.0, 2.0]]], lambda s: {"frames": _x(s)}, lambda s: {}, lambda s: object()
    ),
    *_bad(lambda s: tf.sparse.from_dense(_x(s)), lambda s: np.full((s.batch, s.length, D), "1")),
    *_either(lambda s: spoiled(_x(s), np.nan), lambda s: spoiled(_x(s), 255.0), lambda s: spoiled(_x(s), -1.0)),
    *_either(
        lambda s: [_x(s)[0], *_x(s)[1:, :1]],
        lambda s: spoiled(_x(s), np.nan).astype(object),
        lambda s: spoiled(_x(s), 3e38),
    ),
]

MASK = [
    *constants(good=[None, None, None]),
    *_good(
        lambda s: np.arange(s.length) < np.full((s.batch, 1), max(1, s.length - 1)),
        lambda s: np.ones((s.batch, s.length)),
    ),
    *_bad(
        lambda s: np.zeros((s.batch, s.length)), lambda s: np.ones((s.batch, s.length + 1)), lambda s: np.ones(s.batch)
    ),
    *_bad(
        lambda s: np.full((s.batch, s.length), 0.5), lambda s: np.full((s.batch, s.length), np.nan), lambda s: "mask"
    ),
    *_bad(lambda s: np.full((s.batch, s.length), "yes"), lambda s: np.ones((s.batch, s.length), complex)),
]

OBSERVED = [
    *constants(good=[None, None, None]),
    *_good(
        lambda s: _x(s) > -1.0, lambda s: np.ones((s.batch, s.length), bool), lambda s: np.ones((s.batch, s.length, D))
    ),
    *_bad(
        lambda s: np.full((s.batch, s.length, D), 0.3), lambda s: np.ones((s.batch, s.length, D + 1)), lambda s: "all"
    ),
    *_bad(lambda s: np.ones((s.batch, s.length, D), complex), lambda s: np.ones(D)),
]

SEED = constants([None, 0, 1, np.int64(3), 2**40], [1.5, "a", np.nan, [1, 2], True], [-1, 2**70])
COUNT = constants([1, 2, np.int32(2), np.int64(1)], [0, -1, 1.5, "2", None, np.nan, True, [1], np.float32(1.0)])
SWITCH = constants([True, False, np.bool_(True)], ["no", None, 2, np.nan], [0, 1])
MODE = constants(["teacher_forced", "generation"], ["free", None, 3])

WEIGHTS = [
    *constants(good=[None, None]),
    *_good(lambda s: np.ones(s.batch), lambda s: np.zeros(s.batch), lambda s: [0.5] * s.batch),
    *_bad(
        lambda s: np.full(s.batch, np.nan),
        lambda s: -np.ones(s.batch),
        lambda s: np.ones((s.batch, s.length, 2)),
        lambda s: "a",
    ),
    *_bad(lambda s: np.ones(s.batch + 1), lambda s: np.ones(s.batch, complex), lambda s: np.full(s.batch, np.inf)),
]


def inputs(make: Callable[[Sizes], np.ndarray], width: int, wanted: Callable[[Subject], bool]) -> Callable:
    """Values of u or of a context, which a model either needs or has no use for."""
    needed = [
        *_good(make, make, make, lambda s: make(s).tolist(), lambda s: tf.constant(make(s))),
        *_bad(lambda s: None, lambda s: make(s)[..., :-1], lambda s: spoiled(make(s), np.nan), lambda s: "u"),
        *_bad(lambda s: spoiled(make(s), np.inf), lambda s: make(s).astype("complex64"), lambda s: make(s)[..., None]),
        *_bad(lambda s: np.concatenate([make(s)] * 2), lambda s: np.full(make(s).shape, "1")),
    ]
    unneeded = [*constants(good=[None] * 8), *_bad(make)]
    return lambda subject: needed if wanted(subject) else unneeded


U_SERIES = inputs(_u, U, lambda subject: subject.driven)
U_FRAME = inputs(lambda s: _rows(s, U), U, lambda subject: subject.driven)
CONTEXT = inputs(lambda s: _rows(s, C), C, lambda subject: subject.context)

FRAME = [
    *_good(_rows, _rows, lambda s: _rows(s).tolist(), lambda s: tf.constant(_rows(s))),
    *_bad(
        lambda s: _rows(s)[:, :-1],
        lambda s: spoiled(_rows(s), np.inf),
        lambda s: None,
        lambda s: "frame",
        lambda s: 1.0,
    ),
    *_bad(lambda s: _x(s)[..., None], lambda s: _rows(s).astype("complex64"), lambda s: np.concatenate([_rows(s)] * 2)),
    *_either(lambda s: spoiled(_rows(s), np.nan), lambda s: spoiled(_rows(s), 255.0)),
]


def _state(s: Sizes) -> Any:
    context = {"context": _rows(s, C)} if s.subject.context else {}
    return s.subject.model.initial_state(s.batch, **context)


def _altered(s: Sizes, change: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    state = dict(_state(s))
    name = sorted(state)[s.seed % len(state)]
    state[name] = tf.nest.map_structure(lambda y: change(np.array(y)), state[name])
    return state


STATE = [
    *_good(_state, _state, _state),
    *_bad(lambda s: {}, lambda s: None, lambda s: "state", lambda s: {"other": _rows(s)}, lambda s: [_rows(s)]),
    *_bad(lambda s: _altered(s, lambda y: y[..., None])),
    *_bad(lambda s: _altered(s, lambda y: "text"), lambda s: _altered(s, lambda y: y.astype(complex))),
    *_either(lambda s: _altered(s, lambda y: np.concatenate([y, y])), lambda s: _altered(s, lambda y: y * np.nan)),
]

NOISE = [
    *constants(good=[None, None, None], bad=["noise", 1.0], either=[{}]),
    *_bad(lambda s: {"q": _rows(s, 2)}, lambda s: {"z": _rows(s, 3)}, lambda s: {"z": np.full((s.batch, 2), np.nan)}),
]

COMPILE: Mapping[str, list[Value]] = {
    "optimizer": constants(["adam", "sgd"], [None, 3, "none such", []]),
    "loss": constants([None, None, None], ["mse", 3]),
    "bound": constants(["elbo", "elbo", "iwae", "fivo"], ["best", None, 3]),
    "beta": constants([1.0, 0.0, np.float32(0.5), 2], [np.nan, np.inf, -1.0, "1", None, [1.0]]),
    "free_bits": constants([0.0, 0.1], [-1.0, np.nan, "a", {"none": 1.0}, None]),
    "kl_balance": constants([None, 0.8], [-1.0, 2.0, np.nan, "a"]),
    "clip_norm": constants([None, 5.0, 1, np.float64(1.0)], [0.0, -1.0, np.inf, np.nan, "a", [1.0]]),
    "kl_per_dimension": constants([False, True], either=["no", None, 1]),
    "reconstruction_weight": constants([1.0, 0.5], [np.nan, -1.0, "a", None]),
    "hide": constants([0.0, 0.3], [1.0, -0.1, np.nan, "a"], [1]),
    "semi_amortized": constants([0, 0], [-1, 2.5, "a", None, np.nan], [1, 2]),
    "micro_batch": constants([None, None], [0, -1, 2.5, "a", True, np.nan], [1, np.int64(2)]),
    "stateful": constants([False, False], ["no", None, 1], [True]),
    "scheduled_sampling": constants([0.0], [-0.5, 1.5, np.nan, "a"], [0.5]),
    "metrics": constants([None, None, ["mse"]], ["mse", ["accuracy"], ["none such"], [3], {"x": "mse"}]),
}

CONSTRUCT: Mapping[str, list[Value]] = {
    "latent_dim": constants([1, 2, np.int64(2)], [2.5, -1, "2", True, np.nan], [0, None]),
    "units": constants([3, np.int32(4)], [2.5, "3", np.nan, True, -1, 0]),
    "num_layers": constants([1, 2], [1.5, 0, -1, "1"]),
    "cell": constants(["lstm", "gru", "rnn"], ["none such", 3, None]),
    "activation": constants(["tanh", "relu"], ["none such"], [3]),
    "dropout": constants([0.0, 0.2, np.float32(0.1)], [1.0, -0.1, np.nan, "a"], [0]),
    "scale": constants(["softplus", "exp"], ["linear", 3]),
    "min_scale": constants([1e-4, 1e-2], [-1.0, np.nan, np.inf, "a"], [0.0]),
    "scale_floor": constants(["sum", "clip"], ["max", 3, None]),
    "family": constants(["gaussian", "triangular"], ["none such", 3, []], ["categorical"]),
    "posterior_flow": constants([0, 1], [-1, 0.5, "a"]),
    "phi_x": constants([(3,), [4, 3], (), np.array([3])], [3, (0,), (2.5,), "a"]),
    "standardize": constants(["auto", "feature", "global", None], ["none such", 3]),
    "missing": constants([None, "nan"], ["zero", 3]),
    "fill": constants(["zero", "last"], ["none such", 3], ["line"]),
    "indicator": constants([False, True], ["no", 3]),
    "observation": constants(["gaussian", "gaussian_mixture"], ["none such", 3, []], ["pen"]),
    "seed": constants([0, np.int64(3)], [1.5, "a", np.nan, True, None], [-1]),
    "none_such": constants(bad=[1]),
}


def like_default(default: Any) -> list[Value]:
    """Of an argument of a constructor, by the kind of its default: some that may fit, and such as cannot."""
    if isinstance(default, bool):
        return constants(either=[True, False], bad=["no", None, 2, np.nan])
    if isinstance(default, int):
        return constants(either=[1, 2, np.int64(3), -1, 0, None], bad=[2.5, "3", np.nan, True, [1]])
    if isinstance(default, float):
        return constants(either=[0.5, 1, np.float32(0.25), -1.0, 0.0], bad=[np.nan, np.inf, "a", None, [0.5]])
    if isinstance(default, tuple) and all(isinstance(item, int) for item in default):
        return constants(either=[(3,), [4, 3], np.array([3])], bad=[3, (0,), (2.5,), "a", None, (np.nan,)])
    if isinstance(default, str):
        return constants(bad=["none such", 3, ("a",)])
    return constants(
        either=[None, 1, 0.5, "mean", "gaussian", (3,), {"class_name": "none such", "config": {}}, object()]
    )
