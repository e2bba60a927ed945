"""Files of models whose weights have other names now are loaded by programs."""

import io
import zipfile
from pathlib import Path

import h5py
import numpy as np

from tests import cases
from tfdvae import model_files


def test_a_dkf_of_before_its_transition_could_be_linear(tmp_path: Path) -> None:
    model = cases.make("dkf-st_r")
    model.save(tmp_path / "new.keras")
    old, new = model_files.RENAMED["DKF"]
    with zipfile.ZipFile(tmp_path / "new.keras") as archive, zipfile.ZipFile(tmp_path / "old.keras", "w") as written:
        for name in archive.namelist():
            content = io.BytesIO(archive.read(name))
            if name == model_files.WEIGHTS:
                with h5py.File(content, "r+") as weights:
                    weights.move(new, old)
            written.writestr(name, content.getvalue())
    found = model_files.load_model(tmp_path / "old.keras", compile=False)
    for one, other in zip(found.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
