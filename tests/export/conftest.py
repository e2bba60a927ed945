"""What several modules here ask a server for."""

from pathlib import Path

import pytest

from export import saved_model
from tests import cases


@pytest.fixture(scope="session")
def vrnn_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with version 3 of the case "vrnn"."""
    out = tmp_path_factory.mktemp("served") / "vrnn"
    saved_model.write_version(cases.make("vrnn"), out, version=3, lengths=(2,), batch_sizes=(1,))
    return out
