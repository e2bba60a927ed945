"""Writes what a server needs beside the versions of a model: configuration, Compose and Kubernetes files.

python -m export.deployment --out served/balls --label stable=1 --label canary=2
python -m export.deployment --out served/balls --keep 2

`export.saved_model` writes the same files with a version. This changes which versions are served, and what they are
called, without a new one: a server that polls models.config follows within a minute. Below `--out` lies then

    deploy/models.config        for a container, where the folder is /models/NAME; the folder may be moved
           models.host.config   the same for a server on this machine, with the absolute path that it wants
           monitoring.config    metrics for Prometheus, whose own file is prometheus.yml
           batching.config      the threads that run merged requests, of all models of a server
           compose.yaml, kubernetes.yaml, kserve.yaml

Without policy the server serves the newest version. `--keep N` serves the newest N. With `--label` it serves the
versions that have a label, and those of `--versions`, at first the one that was the newest; labels that are not named
stay where they are. A label moves only
to a version that is served already, since the server refuses others: serve it first, with --versions or a label that
is new. The two files of models are written anew where a policy is asked for, the others once: edit them at will.
"""

import argparse
import importlib.metadata
import os
import re
import shlex
import string
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from export import program

__all__ = ["FOLDER", "Policy", "add_arguments", "commands", "models_config", "policy_of", "run", "write"]

TEMPLATES = Path(__file__).parent / "deploy"
FOLDER = "deploy"
"""Where it lies, beside the versions."""

ONCE = ("monitoring.config", "batching.config", "prometheus.yml", "compose.yaml", "kubernetes.yaml", "kserve.yaml")


class Policy(NamedTuple):
    """Which versions are served.

    Attributes:
        keep: the newest so many, where there are no labels.
        versions: others than those that have a label; only these and those are served then.
        labels: numbers of versions by what callers may call them.
    """

    keep: int = 1
    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = {}

    @property
    def served(self) -> tuple[int, ...]:
        """The versions that it names; none where it goes by age."""
        return tuple(sorted({*self.versions, *self.labels.values()}))


def policy_of(text: str) -> Policy:
    """The policy that the text of a models.config has."""
    keep = re.search(r"num_versions:\s*(\d+)", text)
    labels = re.findall(r"version_labels\s*{\s*key:\s*[\"']([^\"']+)[\"']\s*value:\s*(\d+)\s*}", text)
    named = {label: int(number) for label, number in labels}
    versions = {int(number) for number in re.findall(r"\bversions:\s*(\d+)", text)} - set(named.values())
    return Policy(int(keep[1]) if keep else 1, tuple(sorted(versions)), named)


def models_config(name: str, base_path: str | Path, policy: Policy) -> str:
    """Text of models.config for one model; the server wants an absolute path."""
    lines = [f'name: "{name}"', f'base_path: "{base_path}"', 'model_platform: "tensorflow"']
    if policy.served:
        numbers = " ".join(f"versions: {number}" for number in policy.served)
        lines.append(f"model_version_policy {{ specific {{ {numbers} }} }}")
    elif policy.keep > 1:
        lines.append(f"model_version_policy {{ latest {{ num_versions: {policy.keep} }} }}")
    lines += [f'version_labels {{ key: "{key}" value: {number} }}' for key, number in sorted(policy.labels.items())]
    return "model_config_list {\n  config {\n" + "".join(f"    {line}\n" for line in lines) + "  }\n}\n"


def changed(before: Policy, labels: Mapping[str, int], versions: Sequence[int], keep: int | None) -> Policy:
    """The policy with these labels set, and these versions served beside them.

    Raises:
        ValueError: a label would move to a version that is not served yet; `keep` where there are labels.
    """
    for label, number in labels.items():
        if before.labels.get(label, number) != number and number not in before.served:
            first = " ".join(map(str, sorted({*before.versions, number})))
            raise ValueError(
                f"The label {label!r} cannot move from version {before.labels[label]} to {number}, which is not served "
                f"yet, and no server would follow. Serve it first, with --versions {first}, or with a label that "
                "is new, and move the label when it is loaded."
            )
    after = Policy(keep or before.keep, tuple(versions), {**before.labels, **labels})
    if keep is not None and after.served:
        raise ValueError("--keep goes by age; versions that are named, or have labels, are served whatever their age.")
    return after


def flags(folder: str, config: str) -> list[str]:
    """What the server is told, by the place of the files where it runs."""
    found = [
        f"--model_config_file={folder}/{config}",
        "--model_config_file_poll_wait_seconds=60",
        "--allow_version_labels_for_unavailable_models=true",
    ]
    return found + shared_flags(folder)


def shared_flags(folder: str) -> list[str]:
    """Those of them that do not say what is served. Versions without a batching_params.pbtxt are not batched."""
    return [
        f"--monitoring_config_file={folder}/monitoring.config",
        "--enable_batching=true",
        "--enable_per_model_batching_parameters=true",
        f"--batching_parameters_file={folder}/batching.config",
    ]


def commands(out: str | Path) -> list[str]:
    """What serves the versions below a folder: the server itself, and a container of it."""
    folder = Path(out).resolve() / FOLDER
    ports = ["--port=8500", "--rest_api_port=8501"]
    return [
        shlex.join(["tensorflow_model_server", *ports, *flags(str(folder), "models.host.config")]),
        shlex.join(["docker", "compose", "--file", str(folder / "compose.yaml"), "up", "--detach"]),
    ]


def write(out: str | Path, name: str, policy: Policy | None = None) -> list[str]:
    """Writes the files.

    Args:
        out: folder of all versions.
        name: of the model on the server.
        policy: which versions are served; None: as the files that are there say, else the newest.

    Returns:
        Remarks for the user.
    """
    folder = Path(out).resolve() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    inside, label = f"/models/{name}/{FOLDER}", re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"
    values = {"name": name, "label": label, "tag": tag(), "cpus": os.cpu_count() or 1}
    models = {"models.config": f"/models/{name}", "models.host.config": folder.parent}
    remarks = []
    for file, base_path in models.items():
        path = folder / file
        found = policy or (policy_of(path.read_text(encoding="utf-8")) if path.is_file() else Policy())
        remarks += _write(path, models_config(name, base_path, found), policy is not None)
    for file in ONCE:
        said = {
            "compose.yaml": (6, flags(inside, "models.config")),
            "kubernetes.yaml": (12, flags(inside, "models.config")),
            "kserve.yaml": (8, shared_flags(f"/mnt/models/{FOLDER}")),
        }
        indent, listed = said.get(file, (0, []))
        lines = "\n".join(f"{' ' * indent}- {flag}" for flag in listed)
        text = string.Template((TEMPLATES / file).read_text(encoding="utf-8"))
        remarks += _write(folder / file, text.substitute(values, flags=lines), False)
    return remarks


def tag() -> str:
    """The release of the server that goes with the installed client, or with TensorFlow."""
    try:
        return importlib.metadata.version("tensorflow-serving-api")
    except importlib.metadata.PackageNotFoundError:
        major, minor = importlib.metadata.version("tensorflow").split(".")[:2]
        return f"{major}.{minor}.0"


def _write(path: Path, text: str, anew: bool) -> list[str]:
    """Writes a file, complete or not at all, unless it exists. Returns a remark where it exists and says else."""
    from tfdvae.data.files import atomic_write

    if path.exists() and not anew:
        same = path.read_bytes() == text.encode()
        return [] if same else [f"{path} was kept; remove it to have it written anew."]
    with atomic_write(path) as file:
        file.write(text.encode())
    return []


def asked(given: argparse.Namespace, out: Path, new: int | None = None) -> Policy | None:
    """The policy that the command line asks for, `new` being the version that was just written; None for none.

    Raises:
        ValueError: there is no such version, or the policy makes no sense.
    """
    if not (given.label or given.versions or given.keep):
        return None
    labels = {}
    for text in given.label or ():
        label, _, number = text.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", label) or not (number.isdecimal() or (not number and new)):
            raise ValueError(f"--label takes a name and the number of a version, as stable=1; got {text!r}.")
        labels[label] = int(number) if number else new
    there = {int(path.name) for path in out.glob("*") if path.name.isdecimal()} | ({new} if new else set())
    absent = sorted({*labels.values(), *(given.versions or ())} - there)
    if absent:
        raise ValueError(f"{out} has no version {absent[0]}, only {', '.join(map(str, sorted(there))) or 'none'}.")
    if given.keep is not None and given.keep < 1:
        raise ValueError(f"--keep counts from 1, got {given.keep}.")
    file = out / FOLDER / "models.config"
    before = policy_of(file.read_text(encoding="utf-8")) if file.is_file() else Policy()
    if labels and not before.served:
        # The first label takes no version away that callers use now, the newest.
        before = before._replace(versions=(max(there - {new}, default=new),))
    return changed(before, labels, given.versions or before.versions, given.keep)


def add_arguments(parser: argparse.ArgumentParser, new: str = "") -> None:
    """The options of a policy; `new` says what a label without a number means."""
    parser.add_argument("--label", action="append", help=f"NAME=VERSION, such as stable=1{new}; may be repeated")
    parser.add_argument("--versions", type=int, nargs="+", help="serve these too, and no others without a label")
    parser.add_argument("--keep", type=int, help="serve the newest so many (default 1)")


def main(given: argparse.Namespace) -> int:
    """Writes the files and prints what is served."""
    out = Path(given.out)
    if not out.is_dir():
        raise FileNotFoundError(f"There is no folder {out} of versions: export.saved_model makes one.")
    name = given.name or out.resolve().name
    for remark in write(out, name, asked(given, out)):
        print(remark)
    print((out / FOLDER / "models.config").read_text(encoding="utf-8"), end="")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.deployment", description=__doc__.partition("\n")[0])
    found.add_argument("--out", required=True, help="folder of all versions of the model")
    found.add_argument("--name", help="of the model on the server (default: that of the folder)")
    add_arguments(found)
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
