"""The table of models by formats and runtimes."""

from pathlib import Path

import pytest

from export import matrix, parity
from tests import cases
from tests.export.compiler import needs_compiler


def difference(signature: str, largest: float, relative: float) -> parity.Difference:
    return parity.Difference(signature, "x", largest, relative)


def test_a_cell_is_the_largest_difference_and_that_of_mixtures() -> None:
    found = [difference("step", 1e-3, 2e-6), difference("encode", 1e-4, 3e-6), difference("mixtures", 1e-4, 4e-6)]
    assert matrix.cell(found, 1e-5, 1e-6) == "3.0e-06, 4.0e-06"
    assert matrix.cell(found[:2], 1e-5, 1e-6) == "3.0e-06, -" and matrix.cell([], 1e-5, 1e-6) == "-"
    assert matrix.cell([*found, difference("score", 1e-3, 2e-5)], 1e-5, 1e-6) == "2.0e-05!, 4.0e-06"
    # What is rounding counts as none.
    assert matrix.cell([difference("step", 1e-7, 1e-2)], 1e-5, 1e-6) == "< 1e-06, -"


@pytest.mark.slow
def test_formats_that_a_model_has_nothing_for_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = cases.make("rvae_noncausal-u")
    assert not model.causal
    monkeypatch.setattr(type(model), "export", lambda *_, **__: pytest.fail("it was exported"))
    assert matrix.compared(model, signatures=["step"]) == dict.fromkeys(matrix.RUNTIMES, [])


@pytest.mark.exhaustive
@pytest.mark.slow
@needs_compiler
def test_the_table_of_two_models(tmp_path: Path, capsys) -> None:
    pytest.importorskip("ai_edge_litert")
    for name in ("vrnn", "vrae"):
        cases.make(name).save(tmp_path / f"{name}.keras")
    wanted = ["--signatures", "score", "reset", "step", "generate_step"]
    files = [str(tmp_path / "vrnn.keras"), str(tmp_path / "vrae.keras"), "--out", str(tmp_path / "table.md")]
    assert matrix.run([*files, *wanted]) == 0
    printed, (_, _, vrnn, vrae) = capsys.readouterr().out, (tmp_path / "table.md").read_text().splitlines()
    assert vrnn in printed and printed.endswith("2 models, differences above 1e-06 are within 1e-05\n")
    streams, *cells = vrnn.removeprefix("| vrnn | ").removesuffix(" |").split(" | ")
    assert streams == "yes" and len(cells) == 4 and not any("-," in one or ", -" in one for one in cells)
    streams, *cells = vrae.removeprefix("| vrae | ").removesuffix(" |").split(" | ")
    assert streams == "no" and all(", -" in one for one in cells[:3])
    assert matrix.run([*files, *wanted]) == 1 and "table.md exists" in capsys.readouterr().err
