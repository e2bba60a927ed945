"""`import tfdvae` is quiet, has no side effects, and needs none of the optional packages."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = (
    "ai_edge_litert",
    "constriction",
    "holidays",
    "matplotlib",
    "ml_collections",
    "music21",
    "noisereduce",
    "pandas",
    "pesq",
    "pystoi",
    "scipy",
    "sklearn",
    "soundfile",
    "soxr",
    "stumpy",
    "tensorboard",
    "tensorflow_io",
    "tensorflow_serving",
    "zstandard",
)
OWN = ("trainers", "export", "configs", "examples", "tests")
MARK = "-- from here on it is tfdvae that prints --"
TENSORFLOW_LOG = re.compile(r"^(\d{4}-\d\d-\d\d .*: [IWEF] |[IWEF]\d{4} |WARNING: All log messages before)")

PROBE = """
import json, sys
import keras, numpy, tensorflow, tensorflow_probability
from absl import flags
modules, names = set(sys.modules), set(flags.FLAGS)
print({mark!r}, flush=True)
print({mark!r}, file=sys.stderr, flush=True)
import tfdvae
new = sorted(set(sys.modules) - modules)
with open(sys.argv[1], "w") as file:
    json.dump({{"modules": new, "flags": sorted(set(flags.FLAGS) - names)}}, file)
"""

WITHOUT_OPTIONAL = """
import importlib, pkgutil, sys
import keras, numpy, tensorflow, tensorflow_probability
absent = {absent!r}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in [name for name in sys.modules if name.partition(".")[0] in absent]:
    del sys.modules[name]
sys.meta_path.insert(0, Absent())
import tfdvae
for module in pkgutil.walk_packages(tfdvae.__path__, "tfdvae."):
    importlib.import_module(module.name)
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one fresh interpreter saw while it imported tfdvae after the packages that tfdvae depends on."""
    path = tmp_path_factory.mktemp("probe") / "seen.json"
    result = run(PROBE.format(mark=MARK), str(path))
    assert result.returncode == 0, result.stderr
    printed = [text.partition(MARK)[2].splitlines() for text in (result.stdout, result.stderr)]
    ours = [line for lines in printed for line in lines if line and not TENSORFLOW_LOG.match(line)]
    return {**json.loads(path.read_text()), "printed": ours}


@pytest.mark.slow
def test_it_prints_nothing(probe: dict[str, Any]) -> None:
    assert probe["printed"] == []


def test_it_imports_no_optional_package_and_none_of_the_programs(probe: dict[str, Any]) -> None:
    assert "tfdvae" in probe["modules"]
    tops = {name.partition(".")[0] for name in probe["modules"]}
    assert tops & {*OPTIONAL, *OWN} == set()


def test_it_defines_no_command_line_flag(probe: dict[str, Any]) -> None:
    assert probe["flags"] == []


@pytest.mark.slow
def test_every_module_can_be_imported_without_the_optional_packages() -> None:
    result = run(WITHOUT_OPTIONAL.format(absent=OPTIONAL))
    assert result.returncode == 0, result.stderr
