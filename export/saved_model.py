"""Writes a trained model as a version directory that TensorFlow Serving loads.

python -m export.saved_model --model runs/bach_vrnn/model.keras --out served/bach_vrnn
python -m export.saved_model --model model.keras --out served/vrnn --version 7 --batching --max_batch_size 64

Below the folder `--out` this makes

    VERSION/                     the SavedModel with all signatures, complete or not at all; the next free number
      signatures.json            names, types, shapes, units and meaning of all inputs and outputs
      batching_params.pbtxt      with --batching
      assets.extra/tf_serving_warmup_requests    one request per signature, where tensorflow-serving-api is installed
    models.config                for tensorflow_model_server --model_config_file; names the folder by its absolute path
    compose.yaml                 for docker compose; mounts the folder it lies in

and prints the commands that serve it, which find later versions by themselves. The two files are written once: edit
them at will. With --batching the server may merge requests, for which all inputs of a signature must have the same
leading axis. Signatures with a seed or a count among their inputs are left out then, and requests must be padded to one
length.
"""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export import program

if TYPE_CHECKING:
    from tfdvae.models import DVAE
    from tfdvae.serving import Signature

__all__ = ["batching_params", "commands", "compose", "models_config", "run", "write_version", "write_warmup"]

WARMUP = "tf_serving_warmup_requests"
BATCHING = ("--enable_batching=true", "--enable_per_model_batching_parameters=true")
"""Flags that make the server merge requests as the batching_params.pbtxt of each version says."""


def write_version(
    model: "DVAE",
    out: str | Path,
    version: int | None = None,
    name: str | None = None,
    max_batch_size: int | None = None,
) -> tuple[Path, list[str]]:
    """Writes one version.

    Args:
        model: a built model.
        out: folder of all versions.
        version: its number; by default the one after the largest that is there, when all has been written: of two
            exports at once, the second takes the next number.
        name: of the model on the server; by default that of the folder.
        max_batch_size: sequences that the server may merge; None: requests are not merged.

    Returns:
        The version's folder, and remarks for the user.

    Raises:
        ValueError: the model was never built, or there is no such version number, or no server takes the name.
        FileExistsError: the version exists.
        OSError: the folder cannot be written.
    """
    from tfdvae import serving

    out = Path(out)
    name = name or out.resolve().name
    if version is not None and version < 1:
        raise ValueError(f"A version is a number from 1, got {version}.")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ValueError(
            f"A model's name on a server has letters, digits, '_', '-' and '.', got {name!r}: give another."
        )
    remarks, declared = [], serving.declare(model)
    names = list(declared)
    if max_batch_size is not None:
        names = [n for n, one in declared.items() if one.inputs and all(f.shape[:1] == ("batch",) for f in one.inputs)]
        left_out = [n for n in declared if n not in names]
        remarks.append(f"Without the signatures {', '.join(left_out)}, whose requests cannot be merged.")
    path = _next_version(out) if version is None else out / str(version)

    def otherwise() -> Path:
        nonlocal path
        path = _next_version(out)
        return path

    try:
        with serving.new_folder(path, otherwise if version is None else None) as folder:
            # An exporter makes its folder itself.
            folder.rmdir()
            serving.export_saved_model(model, folder, names)
            if max_batch_size is not None:
                (folder / "batching_params.pbtxt").write_text(batching_params(max_batch_size), encoding="utf-8")
            try:
                write_warmup(model, {n: declared[n] for n in names}, folder, name)
            except ImportError:
                remarks.append('Without warm-up requests: pip install "tfdvae[serving]" to have them written.')
    except OSError as error:
        if str(path) in str(error):
            raise
        # It speaks of the temporary folder.
        raise OSError(f"{path} could not be written: {error}") from error
    for file, text in (
        ("models.config", models_config(name, out)),
        ("compose.yaml", compose(name, max_batch_size is not None)),
    ):
        remarks += _write_once(out / file, text)
    return path, remarks


def _next_version(out: Path) -> Path:
    """The folder of the number after the largest that is there."""
    return out / str(max((int(p.name) for p in out.glob("*") if p.name.isdecimal()), default=0) + 1)


def _write_once(path: Path, text: str) -> list[str]:
    """Writes a file, complete or not at all, unless it exists. Returns a remark where it exists and says else."""
    from tfdvae.data.files import atomic_write

    if path.exists():
        same = path.read_bytes() == text.encode()
        return [] if same else [f"{path} was kept; remove it to have it written anew, for this version."]
    with atomic_write(path) as file:
        file.write(text.encode())
    return []


def batching_params(max_batch_size: int) -> str:
    """Text of batching_params.pbtxt: sizes are powers of two, the last one the maximum.

    The server must not pad requests: it would repeat values, those of the mask too.
    """
    if max_batch_size < 1:
        raise ValueError(f"`max_batch_size` must be at least 1, got {max_batch_size}.")
    sizes = [2**i for i in range(max_batch_size.bit_length()) if 2**i < max_batch_size] + [max_batch_size]
    settings = {
        "max_batch_size": max_batch_size,
        "batch_timeout_micros": 2000,
        "max_enqueued_batches": 100,
        "num_batch_threads": os.cpu_count() or 1,
    }
    lines = [f"{key} {{ value: {value} }}" for key, value in settings.items()]
    return "\n".join([*lines, *(f"allowed_batch_sizes: {size}" for size in sizes)]) + "\n"


def models_config(name: str, base_path: str | Path) -> str:
    """Text of models.config for one model; the server wants an absolute path."""
    path = Path(base_path).resolve()
    return f"""model_config_list {{
  config {{
    name: "{name}"
    base_path: "{path}"
    model_platform: "tensorflow"
  }}
}}
"""


def compose(name: str, batching: bool) -> str:
    """Text of compose.yaml, for a folder of versions that it lies in.

    The image's entry point serves the model MODEL_NAME from /models/MODEL_NAME, on the ports 8500 and 8501; so the
    absolute path in models.config, which is none of the container's, is not needed there.
    """
    command = "".join(f"\n      - {flag}" for flag in BATCHING)
    return f"""# gRPC on port 8500, REST on port 8501. TF_SERVING_TAG names a release of the server: it must not be
# older than the TensorFlow that wrote the model.
services:
  serving:
    image: tensorflow/serving:${{TF_SERVING_TAG:-latest}}
    environment:
      MODEL_NAME: "{name}"
    volumes:
      - type: bind
        source: .
        target: /models/{name}
        read_only: true
    ports:
      - "8500:8500"
      - "8501:8501"
""" + (f"    command:{command}\n" if batching else "")


def commands(out: str | Path, batching: bool) -> list[str]:
    """What serves the versions below a folder: the server itself, and a container of it."""
    path = Path(out).resolve()
    flags = ["--port=8500", "--rest_api_port=8501", f"--model_config_file={path / 'models.config'}"]
    return [
        shlex.join(["tensorflow_model_server", *flags, *(BATCHING if batching else ())]),
        shlex.join(["docker", "compose", "--file", str(path / "compose.yaml"), "up"]),
    ]


def write_warmup(model: "DVAE", signatures: Mapping[str, "Signature"], folder: Path, name: str) -> Path:
    """One request per signature, which the server replays when it loads the version.

    Raises:
        ImportError: tensorflow-serving-api is not installed.
    """
    import tensorflow as tf
    from tensorflow_serving.apis.model_pb2 import ModelSpec
    from tensorflow_serving.apis.predict_pb2 import PredictRequest
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

    from export.parity import examples
    from tfdvae import serving

    declared = serving.declare(model)
    path = folder / "assets.extra" / WARMUP
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for key, signature in signatures.items():
            given = examples(model, signature, declared)
            tensors = {n: tf.make_tensor_proto(value) for n, value in given.items()}
            request = PredictRequest(model_spec=ModelSpec(name=name, signature_name=key), inputs=tensors)
            writer.write(PredictionLog(predict_log=PredictLog(request=request)).SerializeToString(deterministic=True))
    return path


def main(given: argparse.Namespace) -> int:
    """Writes a version and says where."""
    model = program.load_model(given.model)
    program.take_data_options(model, given)
    size = given.max_batch_size if given.batching else None
    path, remarks = write_version(model, given.out, given.version, given.name, size)
    print("\n".join([*remarks, f"Wrote {path}", "Serve it by one of", *commands(given.out, given.batching)]))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.saved_model", description=__doc__.partition("\n")[0])
    found.add_argument("--model", required=True, help="a .keras file")
    found.add_argument("--out", required=True, help="folder of all versions of the model")
    found.add_argument("--version", type=int, help="number of this version (default: the next one)")
    found.add_argument("--name", help="of the model on the server (default: that of the folder)")
    found.add_argument("--batching", action="store_true", help="let the server merge requests")
    found.add_argument("--max_batch_size", type=int, default=32, help="sequences in a merged request (default 32)")
    program.add_data_options(found)
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
