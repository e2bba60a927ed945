"""Asks a model on TensorFlow Serving, over REST or gRPC.

python -m export.client --rest http://localhost:8501 --model balls
python -m export.client --rest http://localhost:8501 --model balls --signature score --inputs in.npz --out out.npz
python -m export.client --grpc localhost:8500 --model balls --signature score --inputs in.npz --out out.npz --overwrite
python -m export.client --rest http://localhost:8501 --model bench --signature score --inputs in.npz --out out.npz \\
    --description served/bench/1/signatures.json --columns flow pressure --frame_period 0.5

The first prints the state of the model and its signatures. The others send the arrays of an .npz file by their names
and write the outputs to another. REST needs numpy alone, gRPC tensorflow-serving-api. With the description of the
export, frames far outside of the training data are warned of, and other columns, an order, a period or a rate that are
not those of training are an error.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export import program
from export.client_base import Client
from export.client_grpc import GrpcClient
from export.client_rest import RestClient
from export.client_stream import Stream
from export.client_types import (
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    ServingError,
    SignatureSpec,
    TensorSpec,
    UnavailableError,
    VersionStatus,
)
from export.edge.files import load_arrays

__all__ = [
    "Client",
    "DeadlineExceededError",
    "GrpcClient",
    "InvalidArgumentError",
    "NotFoundError",
    "RestClient",
    "ServingError",
    "SignatureSpec",
    "Stream",
    "TensorSpec",
    "UnavailableError",
    "VersionStatus",
    "listing",
    "run",
]


def listing(status: Sequence[VersionStatus], signatures: dict[str, SignatureSpec]) -> str:
    """One line per version and per signature."""

    def tensors(specs: dict[str, TensorSpec]) -> str:
        return ", ".join(
            f"{name} {one.dtype}[{', '.join('?' if n is None else str(n) for n in one.shape)}]"
            for name, one in sorted(specs.items())
        )

    lines = [f"version {one.version}: {one.state} {one.message}".rstrip() for one in status]
    lines += [f"{name}: {tensors(one.inputs)} -> {tensors(one.outputs)}" for name, one in sorted(signatures.items())]
    return "\n".join(lines)


def main(given: argparse.Namespace) -> int:
    """Asks, and writes what was answered."""
    if given.signature and not (given.inputs and given.out):
        raise ValueError("With --signature, --inputs and --out are needed: .npz files of its inputs and outputs.")
    if given.out:
        program.check_new(given.out, given.overwrite)
    kind, address = (RestClient, given.rest) if given.rest else (GrpcClient, given.grpc)
    told = {"features": given.columns, "frame_period": given.frame_period, "sampling_rate": given.sampling_rate}
    if given.description is None and any(one is not None for one in told.values()):
        raise ValueError("What --columns, --frame_period and --sampling_rate are compared with is in --description.")
    options = {"description": given.description, "label": given.label}
    with kind(address, given.model, given.version, given.timeout, **options) as client:
        for name, value in told.items():
            if value is not None and not getattr(client.known, name):
                option = "columns" if name == "features" else name
                raise ValueError(f"{given.description} has nothing that --{option} is compared with: leave it out.")
        client.known.check(**told)
        if not given.signature:
            print(listing(client.status(), client.signatures()))
            return 0
        outputs = client.predict(given.signature, load_arrays(given.inputs))
    with Path(given.out).open("wb") as file:
        np.savez(file, **outputs)
    print("\n".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in outputs.items()))
    print(f"Wrote {given.out}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.client", description=__doc__.partition("\n")[0])
    server = found.add_mutually_exclusive_group(required=True)
    server.add_argument("--rest", help="URL of the server, such as http://localhost:8501")
    server.add_argument("--grpc", help="host and port of the server, such as localhost:8500")
    found.add_argument("--model", required=True, help="its name on the server")
    found.add_argument("--version", type=int, help="its number (default: the newest)")
    found.add_argument("--label", help="of a version, such as stable")
    found.add_argument("--signature", help="its name (default: list them all)")
    found.add_argument("--inputs", help=".npz file with an array for each input")
    found.add_argument("--out", help=".npz file to write the outputs to")
    found.add_argument("--overwrite", action="store_true", help="replace --out where it exists")
    found.add_argument("--timeout", type=float, default=10.0, help="seconds for a call (default 10)")
    found.add_argument("--description", help="signatures.json of the export, to check inputs against")
    found.add_argument("--columns", nargs="+", help="names of the features in x, in their order")
    found.add_argument("--frame_period", type=float, help="time from one frame to the next")
    found.add_argument("--sampling_rate", type=float, help="of the signal that frames were cut from")
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
