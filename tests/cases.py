"""One tiny case per model and per variant of a model; `tests/contract` and `tests/dependencies` run over this table."""

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import turns
from tests.variants import SIZES, VARIANTS
from tfdvae.testing import sequences
from tfdvae.testing.sequences import BATCH, LENGTH
from tfdvae.types import Batch

X_DIM, U_DIM = 4, 2


class Case(NamedTuple):
    """A model with its options, in driven mode where `u_dim` is not 0."""

    model: str
    variant: str
    options: dict[str, Any]
    u_dim: int


def common(model: str) -> dict[str, Any]:
    """Sizes that most models share."""
    unused = tfdvae.MODELS[model].without_use()
    return {name: value for name, value in {"units": 5, "dropout": 0.2}.items() if name not in unused}


def used(model: str, sizes: dict[str, Any]) -> dict[str, Any]:
    """Those of the sizes of a model that the other options leave a use."""
    return {name: value for name, value in sizes.items() if name not in tfdvae.MODELS[model].without_use(sizes)}


CASES: dict[str, Case] = {
    variant + suffix: Case(model, variant, used(model, {**common(model), **SIZES[model], **options}), u_dim)
    for variant, (model, options) in VARIANTS.items()
    for suffix, u_dim in (("", 0), ("-u", U_DIM))
}

SUITE = (
    "rnn",
    "rnn-gru2-u",
    "vae",
    "vae-u",
    "vrnn",
    "vrnn-independent",
    "vrnn-gru2-u",
    "storn",
    "storn-gru2-u",
    "srnn-smooth-u",
    "srnn-filter-u",
    "srnn-residual",
    "srnn-gru2",
    "dkf-st_r",
    "dkf-st_l-u",
    "dkf-st_lr-u",
    "dkf-mf_l",
    "dkf-mf_lr-u",
    "dkf-local-u",
    "dkf-frame",
    "dkf-linear",
    "dkf-tridiagonal-u",
    "dkf-tridiagonal_parallel",
    "rvae",
    "rvae-gru2-u",
    "rvae_noncausal-u",
    "rvae_noncausal-gru2",
    "dsae-full-u",
    "dsae-factorized",
    "dsae-gru2",
    "dssm-u",
    "dssm-gru2",
    "dvbf",
    "dvbf-filter-u",
    "fhvae-u",
    "fhvae-gru2",
    "fvae-u",
    "fvae-exp",
    "vrae",
    "vrae-reverse-u",
    "vrae-free_running-u",
    "kvae-u",
    "kvae-gru",
    "latent_lds-u",
    "latent_lds-filter",
    "latent_lds-parallel-u",
    "switching_lds-u",
    "switching_lds-filter",
    "gpvae",
    "gpvae-recurrent-u",
    "gpvae-times-u",
    "draw",
    "draw-whole-u",
    "vssn",
    "vssn-u",
    "vssn-lstm",
    "zforcing_vrnn",
    "zforcing_vrnn-backward-u",
    "rssm",
    "rssm-u",
    "rssm-overshooting-u",
    "rssm-categorical-u",
    "lvrnn",
    "lvrnn-independent-u",
    "svg",
    "svg-fixed-u",
    "sv2p-u",
    "sv2p-frame",
    "tcn-u",
    "tcn-three_levels",
    "transformer-u",
    "transformer-two_layers",
)
"""Every variant once, every model with inputs and without: what the contract suite runs."""

PRIMARY = (
    "rnn-gru2-u",
    "vae-u",
    "vrnn",
    "storn",
    "srnn-smooth-u",
    "dkf-st_r",
    "rvae",
    "rvae_noncausal-u",
    "dsae-full-u",
    "dssm-u",
    "dvbf-filter-u",
    "fhvae-u",
    "fvae-u",
    "vrae",
    "kvae-u",
    "latent_lds-u",
    "switching_lds-u",
    "gpvae",
    "draw",
    "vssn-u",
    "zforcing_vrnn",
    "rssm-u",
    "lvrnn",
    "svg",
    "sv2p-u",
    "tcn-u",
    "transformer-u",
)
"""Every model once, in both kinds of cell: what suites run unless they are asked for all of SUITE by --exhaustive, and
what costs a compilation."""

STREAMED = (*PRIMARY, "srnn-filter-u", "dkf-st_l-u")
"""Those, and causal forms of models that have others, for what speaks of frames one by one."""


def kind(name: str) -> type[tfdvae.DVAE]:
    """The class of the case's model."""
    return tfdvae.MODELS[CASES[name].model]


def has_cell(name: str) -> bool:
    """Whether the case's model is built around a StochasticCell."""
    return hasattr(kind(name), "cell_class")


TURNS = {
    name: turn
    for names in (PRIMARY, [name for name in SUITE if name not in PRIMARY])
    for turn, name in enumerate(names)
}
"""When a case takes its turn, see `tests/turns.py`; neighbours in SUITE, forms of a model, at different ones."""


def by_turns(name: str) -> pytest.MarkDecorator:
    """Of a test that waits for its turn with --exhaustive; all tests of a case have the same."""
    return pytest.mark.exhaustive(turn=TURNS.get(name, name))


def is_turn(name: str, option: str | None) -> bool:
    """Whether it is the case's turn under this --exhaustive."""
    return turns.is_turn(TURNS.get(name, name), option)


def params(names: Iterable[str] = SUITE, always: Iterable[str] = PRIMARY) -> list:
    """Cases to run a test on, those beside `always` with --exhaustive alone and by turns."""
    return [pytest.param(name, marks=() if name in always else by_turns(name)) for name in names]


def part(number: int, names: Iterable[str] = SUITE, parts: int = 2) -> list:
    """Cases to run a test on, of which one in `parts` need not wait for its turn.

    For tests that ask much the same of a model as others do: those with another number wait for other cases, so that
    no case goes without.
    """
    return params(names, PRIMARY[number::parts])


def some(number: int, names: Iterable[str] = SUITE) -> pytest.MarkDecorator:
    """Of a test that asks for the fixture `name`: it runs on `part` of the cases."""
    return pytest.mark.parametrize("name", part(number, names), indirect=True, scope="module")


def pairs(names: Iterable[str], values: Iterable[Any]) -> list:
    """Cases with values to run a test on: each case with one of the values, which alternate; the others by turns."""
    names, values = list(names), list(values)
    return [
        pytest.param(name, value, marks=p.marks)
        for number, value in enumerate(values)
        for name, p in zip(names, part(number, names, len(values)), strict=True)
    ]


AS_GRAPHS = ("vrnn",)
"""Whose verbs run as graphs every time."""


def runs_as_graphs(name: str, option: str | None) -> bool:
    """Whether verbs of a case run as graphs under this --exhaustive: always, or when it is its turn.

    Exports make graphs of all verbs.
    """
    return name in AS_GRAPHS or (name in PRIMARY and is_turn(name, option))


WITH_CELL = params(filter(has_cell, SUITE))
"""For what speaks of cells."""


def make(name: str, *, seed: int = 0, randomise: bool = True, **overrides: Any) -> tfdvae.DVAE:
    """The built model of a case. Weights that start at zero would hide what depends on them, so all are moved a
    little."""
    case = CASES[name]
    tf.keras.utils.set_random_seed(zlib.crc32(name.encode()) & 0xFFFF)
    model = tfdvae.MODELS[case.model](**{**case.options, "seed": seed, **overrides})
    model.build_for(X_DIM, case.u_dim)
    if randomise:
        sequences.jitter(model.trainable_variables, zlib.crc32(name.encode()))
    return model


jitter, noise, each, given = sequences.jitter, sequences.noise, sequences.each, sequences.given


class Built(NamedTuple):
    """What a case's model is built for: as much of a model as random data for it need."""

    frame_shape: tuple[int, ...]
    x_dim: int
    u_dim: int
    context_dim: int = 0


def built(name: str) -> Built:
    return Built((X_DIM,), X_DIM, CASES[name].u_dim)


def frames(name: str, batch: int = BATCH, length: int = LENGTH, seed: int = 1) -> Batch:
    """Frames, and inputs in driven mode, without a mask."""
    return sequences.frames(built(name), batch, length, seed)


def training_data(name: str, count: int = 16, length: int = 8) -> dict[str, np.ndarray]:
    """Smooth sequences of different lengths, NaN where no frame exists, and inputs that drive them."""
    return sequences.training_data(built(name), count, length)
