"""Writes a trained model as a version directory that TensorFlow Serving loads.

python -m export.saved_model --model runs/bach_vrnn/model.keras --out served/bach_vrnn
python -m export.saved_model --model model.keras --out served/vrnn --version 7 --batching --max_batch_size 64
python -m export.saved_model --model model.keras --out served/vrnn --label canary

Below the folder `--out` this makes

    VERSION/                     the SavedModel with all signatures, complete or not at all; the next free number
      signatures.json            names, types, shapes, units and meaning of all inputs and outputs
      batching_params.pbtxt      with --batching
      assets.extra/tf_serving_warmup_requests    requests of every signature, where tensorflow-serving-api is installed
    deploy/                      configuration, Compose and Kubernetes files, see `export.deployment`

and prints the commands that serve it, which find later versions by themselves.

With --batching the server merges requests, also of unequal lengths and counts. Every signature then has a row per
sequence in all of its inputs, as signatures.json says: a seed, counts and `length` for each; and in its outputs, which
are cut at the lengths that a caller asked for. What a row gets does not depend on the rows that it was merged with, and
one that cannot be answered has false in `valid`, where another server would refuse the request.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export import deployment, program

if TYPE_CHECKING:
    from tfdvae.models import DVAE
    from tfdvae.serving import Signature

__all__ = ["batching_params", "run", "warmup_requests", "write_version", "write_warmup"]

WARMUP = "tf_serving_warmup_requests"
WARMUP_LENGTHS, MOST_WARMUPS = (1, 7, 64), 1000
"""Frames of the sequences in warm-up requests; how many requests a server replays at most."""


def write_version(
    model: "DVAE",
    out: str | Path,
    version: int | None = None,
    name: str | None = None,
    max_batch_size: int | None = None,
    lengths: Sequence[int] = WARMUP_LENGTHS,
    batch_sizes: Sequence[int] | None = None,
) -> tuple[Path, list[str]]:
    """Writes one version.

    Args:
        model: a built model.
        out: folder of all versions.
        version: its number; by default the one after the largest that is there, when all has been written: of two
            exports at once, the second takes the next number.
        name: of the model on the server; by default that of the folder.
        max_batch_size: sequences that the server may merge; None: requests are not merged.
        lengths, batch_sizes: of warm-up requests; by default batches of one sequence, and of as many as are merged.

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
    remarks, merged = [], max_batch_size is not None
    declared = serving.declare(model, serving.Target(merged=merged))
    batch_sizes = batch_sizes or ((1, max_batch_size) if merged else (1, 3))
    path = _next_version(out) if version is None else out / str(version)

    def otherwise() -> Path:
        nonlocal path
        path = _next_version(out)
        return path

    try:
        with serving.new_folder(path, otherwise if version is None else None) as folder:
            # An exporter makes its folder itself.
            folder.rmdir()
            serving.export_saved_model(model, folder, merged=merged)
            if merged:
                (folder / "batching_params.pbtxt").write_text(batching_params(max_batch_size), encoding="utf-8")
            try:
                write_warmup(model, declared, folder, name, lengths, batch_sizes)
            except ImportError:
                remarks.append('Without warm-up requests: pip install "tfdvae[serving]" to have them written.')
    except OSError as error:
        if str(path) in str(error):
            raise
        # It speaks of the temporary folder.
        raise OSError(f"{path} could not be written: {error}") from error
    return path, remarks


def _next_version(out: Path) -> Path:
    """The folder of the number after the largest that is there."""
    return out / str(max((int(p.name) for p in out.glob("*") if p.name.isdecimal()), default=0) + 1)


def batching_params(max_batch_size: int) -> str:
    """Text of batching_params.pbtxt: sizes are powers of two, the last one the maximum.

    The server pads what is shorter than the rest with the first value of its tensor; `length` tells what is a sequence.
    How many threads run batches it does not read here (see `export.deployment`).
    """
    if max_batch_size < 1:
        raise ValueError(f"`max_batch_size` must be at least 1, got {max_batch_size}.")
    sizes = [2**i for i in range(max_batch_size.bit_length()) if 2**i < max_batch_size] + [max_batch_size]
    settings = {
        "max_batch_size": max_batch_size,
        "batch_timeout_micros": 2000,
        "max_enqueued_batches": 100,
    }
    lines = [f"{key} {{ value: {value} }}" for key, value in settings.items()]
    sizes = [f"allowed_batch_sizes: {size}" for size in sizes]
    return "\n".join([*lines, "pad_variable_length_inputs: true", *sizes]) + "\n"


def write_warmup(
    model: "DVAE",
    signatures: Mapping[str, "Signature"],
    folder: Path,
    name: str,
    lengths: Sequence[int] = WARMUP_LENGTHS,
    batch_sizes: Sequence[int] = (1,),
) -> Path:
    """Requests of every signature, which the server replays when it loads the version: each batch size with each
    length, where the signature has sequences.

    Raises:
        ValueError: a length or size below 1, or more requests than a server replays.
        ImportError: tensorflow-serving-api is not installed.
    """
    import tensorflow as tf
    from tensorflow_serving.apis.model_pb2 import ModelSpec
    from tensorflow_serving.apis.predict_pb2 import PredictRequest
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

    from export.parity import examples

    if any(n < 1 for n in (*lengths, *batch_sizes)):
        raise ValueError(f"Warm-up requests have lengths and batch sizes from 1, got {lengths} and {batch_sizes}.")
    if len(signatures) * len(lengths) * len(batch_sizes) > MOST_WARMUPS:
        raise ValueError(f"A server replays {MOST_WARMUPS} requests at most: give fewer lengths or batch sizes.")
    path = folder / "assets.extra" / WARMUP
    path.parent.mkdir()
    written: set[bytes] = set()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for (key, signature), size, length in itertools.product(signatures.items(), batch_sizes, lengths):
            given = examples(model, signature, signatures, batch=size, length=length)
            tensors = {n: tf.make_tensor_proto(value) for n, value in given.items()}
            request = PredictRequest(model_spec=ModelSpec(name=name, signature_name=key), inputs=tensors)
            record = PredictionLog(predict_log=PredictLog(request=request)).SerializeToString(deterministic=True)
            if record not in written:
                # What has no sequences is the same for all lengths.
                writer.write(record)
                written.add(record)
    return path


def warmup_requests(folder: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Signature and inputs of each request that `write_warmup` wrote to a version; none where there is no such file, or
    no tensorflow-serving-api to read it by.

    Raises:
        ValueError: the file is damaged; names it.
    """
    path = folder / "assets.extra" / WARMUP
    if not path.is_file():
        return
    try:
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
    except ImportError:
        return
    import tensorflow as tf

    from tfdvae.data.files import named_damage

    with named_damage(path, "cannot be read as warm-up requests"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = PredictionLog.FromString(record).predict_log.request
            yield request.model_spec.signature_name, {n: tf.make_ndarray(proto) for n, proto in request.inputs.items()}


def main(given: argparse.Namespace) -> int:
    """Writes a version and says where."""
    model = program.load_model(given.model)
    program.take_data_options(model, given)
    size, out = given.max_batch_size if given.batching else None, Path(given.out)
    # Labels that make no sense are told before the work is done.
    deployment.asked(given, out, given.version or int(_next_version(out).name))
    sizes = {"lengths": given.warmup_lengths, "batch_sizes": given.warmup_batch_sizes}
    path, remarks = write_version(model, given.out, given.version, given.name, size, **sizes)
    name, policy = given.name or out.resolve().name, deployment.asked(given, out, int(path.name))
    remarks += deployment.write(out, name, policy)
    commands = deployment.commands(out)
    print("\n".join([*remarks, f"Wrote {path}", "Serve it by one of", *commands]))
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
    found.add_argument("--warmup_lengths", type=int, nargs="+", default=WARMUP_LENGTHS, help="frames (default 1 7 64)")
    found.add_argument("--warmup_batch_sizes", type=int, nargs="+", help="sequences (default 1, and some more)")
    deployment.add_arguments(found, " (or NAME alone: this version)")
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
