"""The example that compresses chorales, on a few made-up ones."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from tfdvae.data import Splits, from_arrays, save_pianoroll

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "compress_chorales.py"


@pytest.mark.slow
def test_it_compresses_and_reads_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rng = np.random.default_rng(0)
    rolls = [from_arrays([(rng.random([9, 88]) < 0.04).astype(np.float32) for _ in range(3)]) for _ in range(3)]
    save_pianoroll(tmp_path / "rolls.npz", Splits(*rolls))
    main = runpy.run_path(str(EXAMPLE))["main"]
    out = tmp_path / "rolls.dvae"
    found = main(["--data", str(tmp_path / "rolls.npz"), "--epochs", "1", "--units", "4", "--out", str(out)])
    # The coder's last word, 32 bits, is shared by 27 frames.
    assert found["bits of the coder"] == pytest.approx(found["-log2 p(x)"], rel=0.01, abs=32 / 27)
    assert found[str(out)] == 8.0 * out.stat().st_size / 27
    assert "bits per frame  xz of the packed bits" in capsys.readouterr().out
