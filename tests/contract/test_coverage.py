"""The cases are complete: a model, or a variant of one, cannot be added without joining the contract suite."""

import pytest

import tfdvae
from tests import cases


def test_the_cases_are_those_of_the_registry() -> None:
    assert {case.model for case in cases.CASES.values()} == set(tfdvae.MODELS)
    assert set(cases.SIZES) == set(tfdvae.MODELS)


def test_every_public_model_is_registered() -> None:
    public = {getattr(tfdvae.models, name) for name in tfdvae.models.__all__ if name not in ("MODELS", "register")}
    concrete = {c for c in public if issubclass(c, tfdvae.DVAE) and "cell_class" in vars(c) or c is tfdvae.KVAE}
    assert concrete == set(tfdvae.MODELS.values())


def test_every_public_cell_has_a_case() -> None:
    public = {c for name in tfdvae.models.__all__ if name.endswith("Cell") for c in [getattr(tfdvae, name)]}
    assert public == {type(cases.make(name).cell) for name in cases.PRIMARY if cases.has_cell(name)}


def test_the_suite_runs_every_variant_and_every_model_with_and_without_inputs() -> None:
    assert set(cases.SUITE) <= set(cases.CASES)
    assert {cases.CASES[name].variant for name in cases.SUITE} == set(cases.VARIANTS)
    modes = {(cases.CASES[name].model, bool(cases.CASES[name].u_dim)) for name in cases.SUITE}
    assert modes == {(model, driven) for model in tfdvae.MODELS for driven in (False, True)}
    assert sorted(cases.CASES[name].model for name in cases.PRIMARY) == sorted(tfdvae.MODELS)
    assert set(cases.PRIMARY) <= set(cases.EVERYDAY) <= set(cases.SUITE)


def test_every_variant_takes_its_turn_and_no_model_waits() -> None:
    assert set(cases.TURNS) | set(cases.PRIMARY) == set(cases.SUITE)
    assert not set(cases.TURNS) & set(cases.PRIMARY)
    assert {turn % 3 for turn in cases.TURNS.values()} == {0, 1, 2}
    waiting = {p.values[0]: [m.kwargs for m in p.marks] for p in cases.params()}
    assert all(not marks for name, marks in waiting.items() if name in cases.EVERYDAY)
    assert {name: marks for name, marks in waiting.items() if marks} == {
        name: [{"turn": turn}] for name, turn in cases.TURNS.items() if name not in cases.EVERYDAY
    }


@pytest.mark.parametrize(
    ("model", "option", "values"),
    [
        ("dkf", "inference", set(tfdvae.DKFCell.inferences)),
        ("dkf", "initial_prior", {"standard", "transition"}),
        ("srnn", "inference", {"smooth", "filter"}),
        ("srnn", "residual_posterior", {False, True}),
        ("srnn", "first_features", {"zeros", "phi_x"}),
        ("storn", "first_features", {"zeros", "phi_x"}),
        ("vrnn", "conditional_prior", {False, True}),
        ("lvrnn", "conditional_prior", {False, True}),
        ("svg", "learned_prior", {False, True}),
        ("sv2p", "level", {"sequence", "frame"}),
        ("svg", "predictor_layers", {1, 2}),
        ("dsae", "inference", {"full", "factorized"}),
        ("dsae", "posterior_cell", {None, "rnn"}),
        ("latent_lds", "inference", {"smooth", "filter"}),
        ("latent_lds", "parallel", {False, True}),
        ("dvbf", "initial", {"smooth", "filter"}),
        ("dvbf", "bayesian", {False, True}),
        ("vrae", "decoder", {"teacher_forced", "free_running"}),
        ("vrae", "reverse", {False, True}),
        ("rssm", "overshooting", {1, 3}),
    ],
)
def test_every_value_of_a_structural_option_has_a_case(model: str, option: str, values: set) -> None:
    names = [name for name in cases.SUITE if cases.CASES[name].model == model]
    assert {getattr(cases.make(name).cell, option) for name in names} == values


def test_cells_of_both_kinds_stacks_and_both_scales_are_met() -> None:
    cells = [cases.make(name).cell for name in cases.SUITE if cases.has_cell(name)]
    assert {c.cell for c in cells} == {"lstm", "gru", "rnn"}
    assert {c.num_layers for c in cells} == {1, 2}
    assert {c.scale for c in cells} == {"softplus", "exp"}
