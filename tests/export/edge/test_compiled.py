"""A .tflite file run by LiteRT's CompiledModel, the API of C++, Kotlin and the browser, has the numbers of Keras."""

import json
import zipfile
from pathlib import Path

import pytest

import tfdvae
from export import running, verify
from tests.export.edge.conftest import with_data


@pytest.mark.slow
def test_streams_and_mixtures_have_the_numbers_of_keras(
    vrnn: tuple[tfdvae.DVAE, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    vrnn[0].save(tmp_path / "model.keras")
    code = verify.run([str(vrnn[1]), "--model", str(tmp_path / "model.keras"), "--compiled"])
    first, _, *lines, last = capsys.readouterr().out.splitlines()
    assert code == 0 and "within 1e-05" in last, [first, *lines, last]
    assert "CompiledModel" in first
    # The others have axes of any size.
    found = {line[:14].strip() for line in lines}
    assert found == {"reset", "step", "generate_step", "step x T", "mixtures"}


@pytest.mark.slow
def test_files_that_it_cannot_run(vrnn: tuple[tfdvae.DVAE, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no .tflite file"):
        running.load_compiled(tmp_path)
    path = with_data(vrnn[1], tmp_path / "m.tflite")
    with zipfile.ZipFile(path) as attached:
        content = json.loads(attached.read("signatures.json"))
        size = min(one.header_offset for one in attached.infolist())
    content["signatures"] = {"encode": content["signatures"]["encode"]}
    path.write_bytes(path.read_bytes()[:size])
    with zipfile.ZipFile(path, "a") as attached:
        attached.writestr("signatures.json", json.dumps(content))
    with pytest.raises(ValueError, match="m.tflite has no function of fixed shapes, as CompiledModel needs"):
        running.load_compiled(path)
    with path.open("r+b") as file:
        file.write(bytes(64))
    with pytest.raises(ValueError, match="the model is not the one that was written"):
        running.load_compiled(path)
