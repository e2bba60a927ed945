"""The cases are complete: a model, or a variant of one, cannot be added without joining the contract suite."""

import functools
import itertools
from types import SimpleNamespace

import pytest

import tfdvae
from tests import cases, turns


@functools.cache
def cell(name: str) -> tfdvae.StochasticCell:
    """The cell of a case, which need not be built to tell its options."""
    case = cases.CASES[name]
    return tfdvae.MODELS[case.model](**case.options).cell


def test_the_cases_are_those_of_the_registry() -> None:
    assert {case.model for case in cases.CASES.values()} == set(tfdvae.MODELS)
    assert set(cases.SIZES) == set(tfdvae.MODELS)


def test_every_public_model_is_registered() -> None:
    public = {getattr(tfdvae.models, name) for name in tfdvae.models.__all__ if name not in ("MODELS", "register")}
    whole = {c for c in public if issubclass(c, tfdvae.SequenceDVAE) and "infer_packed" in vars(c)}
    concrete = {c for c in public if issubclass(c, tfdvae.DVAE) and "cell_class" in vars(c)} | whole
    assert concrete == set(tfdvae.MODELS.values())


@pytest.mark.slow
def test_every_public_cell_has_a_case() -> None:
    public = {c for name in tfdvae.models.__all__ if name.endswith("Cell") for c in [getattr(tfdvae, name)]}
    assert public == {type(cell(name)) for name in cases.PRIMARY if cases.has_cell(name)}


def test_the_suite_runs_every_variant_and_every_model_with_and_without_inputs() -> None:
    assert set(cases.SUITE) <= set(cases.CASES)
    assert {cases.CASES[name].variant for name in cases.SUITE} == set(cases.VARIANTS)
    modes = {(cases.CASES[name].model, bool(cases.CASES[name].u_dim)) for name in cases.SUITE}
    assert modes == {(model, driven) for model in tfdvae.MODELS for driven in (False, True)}
    assert sorted(cases.CASES[name].model for name in cases.PRIMARY) == sorted(tfdvae.MODELS)
    assert set(cases.PRIMARY) <= set(cases.STREAMED) <= set(cases.SUITE)


def test_every_case_takes_its_turn_and_no_model_waits() -> None:
    assert set(cases.TURNS) == set(cases.SUITE)
    assert {turn % turns.SHARES for turn in cases.TURNS.values()} == set(range(turns.SHARES))
    assert waiting(cases.params()) == set(cases.SUITE) - set(cases.PRIMARY)


@pytest.mark.parametrize("parts", [2, 3])
def test_a_case_that_waits_with_one_part_of_the_tests_has_the_others(parts: int) -> None:
    left_out = [waiting(cases.part(number, parts=parts)) for number in range(parts)]
    for name in cases.SUITE:
        assert sum(name in names for names in left_out) == (parts - 1 if name in cases.PRIMARY else parts), name
    chosen = [p.values for p in cases.pairs(cases.PRIMARY, "ab") if not p.marks]
    assert sorted(name for name, _ in chosen) == sorted(cases.PRIMARY)
    assert {value for _, value in chosen} == {"a", "b"}


def waiting(found: list) -> set[str]:
    """Cases that run at their turn alone, all others every time."""
    marks = {p.values[0]: [m.kwargs for m in p.marks] for p in found}
    assert all(own in ([], [{"turn": cases.TURNS[name]}]) for name, own in marks.items())
    return {name for name, own in marks.items() if own}


@pytest.mark.parametrize(
    ("model", "option", "values"),
    [
        ("dkf", "inference", set(tfdvae.DKFCell.inferences)),
        ("dkf", "initial_prior", {"standard", "transition"}),
        ("dkf", "transition", {"gated", "linear"}),
        ("dkf", "parallel", {False, True}),
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
        ("switching_lds", "inference", {"smooth", "filter"}),
        ("dvbf", "initial", {"smooth", "filter"}),
        ("dvbf", "bayesian", {False, True}),
        ("vrae", "decoder", {"teacher_forced", "free_running"}),
        ("vrae", "reverse", {False, True}),
        ("rssm", "overshooting", {1, 3}),
    ],
)
def test_every_value_of_a_structural_option_has_a_case(model: str, option: str, values: set) -> None:
    names = [name for name in cases.SUITE if cases.CASES[name].model == model]
    assert {getattr(cell(name), option) for name in names} == values


@pytest.mark.slow
def test_cells_of_both_kinds_stacks_and_both_scales_are_met() -> None:
    cells = [cell(name) for name in cases.SUITE if cases.has_cell(name)]
    assert {c.cell for c in cells} == {"lstm", "gru", "rnn"}
    assert {c.num_layers for c in cells} == {1, 2}
    assert {c.scale for c in cells} == {"softplus", "exp"}


@pytest.mark.slow
def test_alternating_tests_meet_every_second_combination_and_the_others_in_one_turn_each(monkeypatch) -> None:
    def item(*indices: int) -> SimpleNamespace:
        return SimpleNamespace(
            nodeid=f"tests/one.py::test[{indices}]",
            callspec=SimpleNamespace(indices=dict(enumerate(indices))),
            iter_markers=lambda name: iter(()),
            get_closest_marker=lambda name: name == "alternating" or None,
        )

    combinations = list(itertools.product(range(3), range(2), range(2)))
    always = [one for one in combinations if turns.is_chosen(item(*one), None)]
    for axes in itertools.combinations(range(3), 2):
        pairs = {tuple(one[axis] for axis in axes) for one in combinations}
        assert {tuple(one[axis] for axis in axes) for one in always} == pairs
    assert len(always) == 6
    met = []
    for share in range(turns.SHARES):
        monkeypatch.setattr(turns, "chosen_share", lambda share=share: share)
        met += [one for one in combinations if one not in always and turns.is_chosen(item(*one), "share")]
    assert sorted(met) == sorted(set(combinations) - set(always))


def test_of_a_whole_run_slow_tests_take_turns_by_file_and_model(monkeypatch) -> None:
    def item(file: str, name: str, slow: bool = True) -> SimpleNamespace:
        return SimpleNamespace(
            nodeid=f"{file}::test[{name}]",
            callspec=SimpleNamespace(indices={"name": 1}, params={"name": name}),
            iter_markers=lambda name: iter(()),
            get_closest_marker=lambda name: (slow and name == "slow") or None,
        )

    tests = [item(file, name) for file in ("tests/a.py", "tests/b.py") for name in cases.PRIMARY]
    slow, met = turns.slow_turns(tests), []
    for share in range(turns.SLOW_SHARES):
        monkeypatch.setattr(turns, "chosen_share", lambda shares, share=share: share)
        chosen = [one.nodeid for one in tests if turns.is_chosen(one, None, slow)]
        assert chosen == [one.nodeid for one in tests if turns.is_chosen(one, "share", slow)]
        for file in ("tests/a.py", "tests/b.py"):
            assert abs(sum(file in one for one in chosen) - len(cases.PRIMARY) / turns.SLOW_SHARES) < 1
        met += chosen
        assert turns.is_chosen(item("tests/a.py", "vrnn", slow=False), None, slow)
        assert all(turns.is_chosen(one, None) for one in tests)
        assert all(turns.is_chosen(one, "all", slow) for one in tests)
    assert sorted(met) == sorted(one.nodeid for one in tests)


@pytest.mark.parametrize(
    ("arguments", "keyword", "whole"),
    [
        (["tests"], "", True),
        ([turns.__file__.removesuffix("turns.py")], "", True),
        (["tests"], "vrnn", False),
        (["tests/contract"], "", False),
        (["tests", "tests/contract/test_masks.py::test_one"], "", False),
    ],
)
def test_a_run_that_is_narrowed_is_not_of_the_whole_suite(
    arguments: list[str], keyword: str, whole: bool, pytestconfig: pytest.Config
) -> None:
    config = SimpleNamespace(
        args=arguments,
        rootpath=pytestconfig.rootpath,
        invocation_params=SimpleNamespace(dir=pytestconfig.rootpath),
        getoption={"keyword": keyword, "markexpr": ""}.get,
    )
    assert turns.is_whole(config) is whole
