"""The checks behind `make lint` find what they are there to find."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("check_tree.py")


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("README.md", "cd /" + "home/someone"),
        (".ci/run", "curl https://pypi" + ".org/simple"),
        ("tfdvae/a.py", "np.load(f, allow_pickle" + "=True)"),
        ("tests/a.py", "x = 1  # no" + "qa"),
        ("trainers/a.py", "import pick" + "le"),
        ("tfdvae/long.py", "x = 1\n" * 401),
    ],
)
def test_a_breach_is_found_and_named(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    result = check(tmp_path)
    assert result.returncode == 1
    assert result.stdout.startswith(name)


@pytest.mark.slow
def test_an_ordinary_tree_passes(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n" * 400)
    (tmp_path / "Makefile").write_text("test: ; ./opt" + "/run ~/work" + "/x https://example.org/tmp" + "/y\n")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "b.py").write_text("x = 1\n" * 401)
    result = check(tmp_path)
    assert result.returncode == 0, result.stdout
