"""Other versions of the runtime run the files as well: those that TFDVAE_LITERT names, folders of
`pip install --target FOLDER ai-edge-litert==VERSION`, with the separator of PATH between them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.helpers import ROOT

PROGRAM = """
import importlib.metadata, json, sys
sys.modules["tensorflow"] = None
import numpy as np
from export.edge.stream import Stream

stream = Stream(sys.argv[1])
frames = np.random.default_rng(0).normal(size=(5, stream.features))
scores = [stream.push(frame).score for frame in frames]
encoded = stream.run("encode", x=frames[None].astype("float32"))["z_mean"]
drawn = stream.generate(3)
found = {"scores": scores, "encoded": encoded.tolist(), "drawn": drawn.tolist()}
print(json.dumps(found | {"version": importlib.metadata.version("ai-edge-litert")}))
"""


def run(path: Path, *folders: str) -> dict:
    known = os.environ | {"PYTHONPATH": os.pathsep.join([*folders, str(ROOT)])}
    command = [sys.executable, "-c", PROGRAM, str(path)]
    found = subprocess.run(command, capture_output=True, text=True, env=known, cwd=ROOT, timeout=300)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.slow
def test_files_run_under_other_versions_of_the_runtime(vrnn) -> None:
    folders = [folder for folder in os.environ.get("TFDVAE_LITERT", "").split(os.pathsep) if folder]
    if not folders:
        pytest.skip("TFDVAE_LITERT names no folder with another version of ai-edge-litert")
    expected = run(vrnn[1])
    for folder in folders:
        found = run(vrnn[1], folder)
        assert found["version"] != expected["version"]
        for name in ("scores", "encoded", "drawn"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-4, err_msg=found["version"])
