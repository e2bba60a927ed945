"""Models, and the files that they were exported to, once for all processes of a run."""

import contextlib
import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import tfdvae
from tests import cases

Exported = Callable[..., tuple[tfdvae.DVAE, Path]]
STREAMING = ("reset", "step", "generate_step")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """`exported(case, *signatures)`: the model of a case and its .tflite file, by default with all that streams."""
    pytest.importorskip("ai_edge_litert")
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "edge"
    folder.mkdir(exist_ok=True)

    def get(name: str, *signatures: str) -> tuple[tfdvae.DVAE, Path]:
        model = cases.make(name)
        path = folder / f"{'_'.join([name, *signatures])}.tflite"
        while not path.exists():
            with contextlib.suppress(FileExistsError):
                _export(model, path, signatures or STREAMING)
            time.sleep(0.1)
        return model, path

    return get


def with_data(source: Path, path: Path, data: dict | None = None, statistics: dict | None = None) -> Path:
    """A copy of a .tflite file that says this of the training data."""
    with zipfile.ZipFile(source) as attached:
        content = json.loads(attached.read("signatures.json"))
        size = min(one.header_offset for one in attached.infolist())
    content = {name: value for name, value in content.items() if name not in ("data", "statistics")}
    content |= {"data": data} if data else {}
    content |= {"statistics": statistics} if statistics else {}
    path.write_bytes(source.read_bytes()[:size])
    with zipfile.ZipFile(path, "a") as attached:
        attached.writestr("signatures.json", json.dumps(content))
    return path


def _export(model: tfdvae.DVAE, path: Path, signatures: tuple[str, ...]) -> None:
    """Unless another process is at it: its folder exists then."""
    claim = path.with_suffix(".claim")
    claim.mkdir()
    try:
        if not path.exists():
            model.export(path, format="litert", signatures=signatures)
    finally:
        claim.rmdir()


@pytest.fixture(scope="session")
def vrnn(exported: Exported) -> tuple[tfdvae.DVAE, Path]:
    """A VRNN, and a file of it that can do more than stream."""
    return exported("vrnn", "encode", "score", *STREAMING)
