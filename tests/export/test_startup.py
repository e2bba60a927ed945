"""Programs start without TensorFlow's and LiteRT's lines, and hide nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from export import startup
from tests.trainers.helpers import ROOT

CUDA = (
    "E0000 00:00:1795939069.006075 13779 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: Failed call "
)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    known = {name: value for name, value in os.environ.items() if name != startup.LEVEL}
    known |= {"PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=known, cwd=ROOT, timeout=300)


@pytest.mark.slow
def test_a_program_says_what_it_has_to_say_and_nothing_else(tmp_path: Path) -> None:
    """The line is that of the program, after TensorFlow was imported."""
    found = run("-m", "trainers.evaluate", "--workdir", str(tmp_path / "none"))
    assert found.returncode == 1 and found.stdout == ""
    lines = found.stderr.splitlines()
    assert len(lines) == 2 and lines[0].startswith("FileNotFoundError: There is no "), found.stderr


@pytest.mark.parametrize(
    ("line", "noise"),
    [
        ("WARNING: All log messages before absl::InitializeLog() is called are written to STDERR", True),
        ("I0000 00:00:1795939060.436294 13779 cudart_stub.cc:31] Could not find cuda drivers", True),
        ("2026-01-31 12:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.", True),
        (f"{CUDA}to cuInit: UNKNOWN ERROR (303)", True),
        (f"{CUDA}to cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: system has unsupported display driver", False),
        ("E0000 00:00:1796 30357 util.cc:131] oneDNN supports DT_BOOL only on platforms with AVX-512. Falling", True),
        ("E0000 00:00:1796 26147 meta_optimizer.cc:967] remapper failed: NOT_FOUND: Op type not registered ''", True),
        ("E0000 00:00:1796 26147 tfg_optimizer_hook.cc:135] tfg_optimizer{any(a,b{c=0})} failed: INVALID", False),
        (
            "E0000 00:00:1796 26147 tfg_optimizer_hook.cc:135] tfg_optimizer{any(a,b{c=0})} failed: INVALID_ARGUMENT: "
            "Node Relu has an empty op name",
            True,
        ),
        ("\twhen importing GraphDef to MLIR module in GrapplerHook", True),
        ("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.", True),
        ("INFO: [environment.cc:36] Creating LiteRT environment with options", True),
        ("WARNING: [npu_registry.cc:34] NPU accelerator could not be loaded and registered: kLiteRtStatus", True),
        ("└ Could not load shared library a/b/libLiteRtCompilerPlugin_IntelOpenvino.so: libopenvino.so", True),
        ("ERROR: [compiled_model.cc:1] something broke", False),
        ("└ Could not load shared library a/b/libmine.so: no such file", False),
        ("E0000 00:00:1795939060.436294 13779 port.cc:1] something broke", False),
        ("2026-01-31 12:00:00.123456: F tensorflow/core/platform/cpu_feature_guard.cc:1] compiled to use AVX2", False),
        ("WARNING: the columns a, b are taken for the model's features c, d.", False),
        ("ModuleNotFoundError: No module named 'tensorflow'", False),
    ],
)
def test_what_is_noise(line: str, noise: bool) -> None:
    assert startup.is_noise(line) == noise


def test_what_a_crash_says_is_shown() -> None:
    code = (
        "import os\nfrom export import startup\nwith startup.without_noise():\n"
        "    os.write(2, b'I0000 00:00:1 1 a.cc:1] calm\\nE0000 00:00:1 1 a.cc:1] broken\\n')\n    os.abort()"
    )
    found = run("-c", code)
    assert found.returncode < 0 and found.stderr == "E0000 00:00:1 1 a.cc:1] broken\n"
    code = "from export import startup\nwith startup.without_noise():\n    raise ValueError('broken')"
    assert run("-c", code).stderr.endswith("ValueError: broken\n")


def test_what_is_said_at_the_end_of_a_process_has_no_noise_either() -> None:
    code = (
        "import os, sys\nfrom export import startup\nstartup.no_noise_to_the_end()\n"
        "print('said', file=sys.stderr)\nos.write(2, b'INFO: [a.cc:1] DestroyAccelerator\\nERROR: [a.cc:1] broken\\n')"
    )
    found = run("-c", code)
    assert (found.returncode, found.stderr) == (0, "said\nERROR: [a.cc:1] broken\n")
    everything = run("-c", code, **{startup.LEVEL: "0"})
    assert everything.stderr == "said\nINFO: [a.cc:1] DestroyAccelerator\nERROR: [a.cc:1] broken\n"
