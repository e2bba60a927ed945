"""The same numbers in Keras, SavedModel and LiteRT: every model, every signature, and step by step."""

from pathlib import Path

import pytest

import tfdvae
from export import parity, running
from tests import cases
from tests.serving.outputs import check_outputs
from tfdvae import serving

TOLERANCE = 1e-5
FORMATS = {"tf_saved_model": "model", "litert": "model.tflite"}
PAIRS = [
    pytest.param(*p.values, form, marks=p.marks)
    for p in cases.params(cases.PRIMARY, always=["vrnn"])
    for form in FORMATS
]
OTHERS = tuple(name for name in cases.SUITE if name not in cases.PRIMARY)


def check(model: tfdvae.DVAE, path: Path, form: str, signatures: list[str] | None = None) -> list[parity.Difference]:
    if form == "litert":
        pytest.importorskip("ai_edge_litert")
    model.export(path, format=form, signatures=signatures)
    if form == "litert":
        check_outputs(path)
    found = parity.compare(model, running.load(path))
    for one in found:
        assert one.relative <= TOLERANCE, one
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_every_signature_of_every_model(name: str, form: str, tmp_path: Path) -> None:
    model = cases.make(name)
    found = {one.signature for one in check(model, tmp_path / FORMATS[form], form)}
    target = serving.LITERT if form == "litert" else serving.Target()
    assert found == set(serving.declare(model, target)) | ({"step x T", "mixtures"} if model.causal else set())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in cases.PRIMARY if name != "vrnn"])
def test_every_model_on_a_device(name: str, tmp_path: Path) -> None:
    """What streams; where no frame is taken by itself "score", which infers and explains frames as those left out do.

    A LiteRT file comes from a SavedModel of the same functions, and takes what LiteRT has built in.
    """
    model = cases.make(name)
    left_out = {"encode", "reconstruct", *(["score"] if model.causal else [])}
    wanted = [n for n in serving.declare(model, serving.LITERT) if n not in left_out]
    found = {one.signature for one in check(model, tmp_path / FORMATS["litert"], "litert", wanted)}
    assert found == {*wanted, *(("step x T", "mixtures") if model.causal else ())}


@pytest.mark.parametrize("name", cases.params(OTHERS, always=()))
def test_every_variant(name: str, tmp_path: Path) -> None:
    model = cases.make(name)
    wanted = [n for n in serving.declare(model) if n in ("encode", "score", "reset", "step", "generate_step")]
    check(model, tmp_path / "model", "tf_saved_model", wanted)


@pytest.mark.slow
def test_another_model_is_told_apart(tmp_path: Path) -> None:
    model = cases.make("vrnn")
    model.export(tmp_path / "model", signatures=["encode"])
    cases.jitter(model.trainable_variables, 1, 1e-3)
    found = parity.compare(model, running.load(tmp_path / "model"))
    assert min(one.relative for one in found) > TOLERANCE


@pytest.mark.slow
def test_a_model_of_another_kind_is_told_apart(tmp_path: Path) -> None:
    cases.make("vrnn").export(tmp_path / "model", signatures=["step", "reset"])
    with pytest.raises(ValueError, match="The model has no 'step'"):
        parity.compare(cases.make("srnn-smooth-u"), running.load(tmp_path / "model"))


@pytest.mark.slow
def test_models_of_other_sizes_are_told_apart_before_anything_runs(tmp_path: Path) -> None:
    cases.make("vrnn").export(tmp_path / "model", signatures=["encode"])
    artefact = running.load(tmp_path / "model")._replace(functions={"encode": lambda given: pytest.fail("it ran")})
    wider = tfdvae.VRNN(**cases.SIZES["vrnn"], units=5)
    wider.build_for(cases.X_DIM + 1)
    with pytest.raises(ValueError, match="The model has 5 as its 'features', .*/model has 4: it comes from another"):
        parity.compare(wider, artefact)
    folded = tfdvae.VRNN(**cases.SIZES["vrnn"], units=5)
    folded.build_for((2, 2))
    with pytest.raises(ValueError, match=r"The model has \[2, 2\] as its 'frame_shape', .*/model has \[4\]"):
        parity.compare(folded, artefact)


def test_a_difference_counts_where_it_is_larger_than_the_tolerance_and_than_rounding() -> None:
    small = parity.Difference("step", "kl", 3e-7, 3e-7 / 7e-4)
    assert small.within(1e-5) and not small.within(1e-5, floor=1e-7) and small.within(1e-3, floor=0.0)
    assert not parity.Difference("step", "kl", 3e-6, 3e-6 / 7e-4).within(1e-5)
    assert parity.Difference("step", "x", 3e-3, 3e-6).within(1e-5)


@pytest.mark.slow
def test_inputs_have_gaps_and_padding_and_states_have_a_past() -> None:
    model = cases.make("vrnn")
    declared = serving.declare(model)
    mask = parity.examples(model, declared["encode"], declared)["mask"]
    assert (mask[:, 0] & ~mask[:, 1] & mask[:, 2]).all() and not mask[:, -1].all()
    given = parity.examples(model, declared["step"], declared)
    assert all(given[field.name].any() for field in declared["step"].inputs)
