"""The wheel is the library and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_LIBRARY = ("trainers", "export", "configs", "tests")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("build") is None, reason="the package build is not installed (extra dev)"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    # A copy: setuptools leaves build/ behind, and would ship what an earlier build left there.
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "tfdvae", tree / "tfdvae", ignore=shutil.ignore_patterns("__pycache__"))
    for name in NOT_LIBRARY:
        (tree / name).mkdir()
        (tree / name / "__init__.py").touch()
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tree / "dist"),
        str(tree),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = (tree / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.mark.slow
def test_it_holds_every_module_of_the_library_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tfdvae").rglob("*.py")}
    assert {PurePosixPath(name).parts[0] for name in shipped} == {"tfdvae"}
    assert {name for name in shipped if name.endswith(".py")} == modules


@pytest.mark.slow
def test_its_metadata_state_licence_python_and_extras(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = HeaderParser().parsestr(wheel.read(name).decode())
    assert metadata["Name"] == "tfdvae"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    extras = {"programs", "music", "speech", "pesq", "plots", "serving", "sklearn", "anomalies", "enhancement"}
    extras |= {"codec", "edge", "io", "cuda", "dev", "forecasting", "gluonts"}
    assert set(metadata.get_all("Provides-Extra")) == extras
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())
