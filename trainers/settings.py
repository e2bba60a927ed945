"""Configs: checked, written to the folder of a run, read from it, and read from the command line."""

import inspect
import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import absl.logging
from absl import app, flags
from ml_collections import ConfigDict

from configs import defaults
from tfdvae.bounds import BOUNDS
from tfdvae.data import DATASETS, Splits
from tfdvae.data.files import named_damage, read_json
from tfdvae.observations import OBSERVATIONS
from trainers.writing import write_json

__all__ = [
    "DATA_KEYS",
    "as_json",
    "check",
    "FITTED",
    "check_split",
    "split_suffix",
    "claim",
    "load",
    "loader_options",
    "numbers",
    "override",
    "run_app",
]

FILE = "config.json"
NO_CONFIG = "is no config of a run"
DATA_KEYS = {*defaults.base().data, "set", "steps_per_quarter"}
"""Keys of the section `data` that mean something to the programs, whatever the loader takes."""


def check(config: ConfigDict) -> None:
    """Raises one ValueError for a missing section, an unknown key, model or data set; it lists what exists."""
    expected = defaults.base()
    _compare("the config", config.keys(), expected.keys())
    for section in ("optimizer", "training", "evaluation"):
        _compare(f"config.{section}", config[section].keys(), expected[section].keys())
    known = [*expected.model, *defaults.model_options(config.model.name)]
    _compare("config.model", config.model.keys(), known, required=expected.model.keys())
    if config.model.observation not in OBSERVATIONS:
        raise ValueError(f"Unknown observation {config.model.observation!r}: expected one of {sorted(OBSERVATIONS)}.")
    known = _arguments(OBSERVATIONS[config.model.observation])
    _compare("config.model.observation_options", config.model.observation_options.keys(), known, required=())
    if config.training.bound in BOUNDS:
        known = _arguments(BOUNDS[config.training.bound])
        _compare("config.training.bound_options", config.training.bound_options.keys(), known, required=())
    if config.data.name not in DATASETS:
        raise ValueError(f"Unknown data set {config.data.name!r}: expected one of {sorted(DATASETS)}.")
    known = [*DATA_KEYS, *loader_options(config.data.name)]
    _compare("config.data", config.data.keys(), known, required=expected.data.keys())


def loader_options(name: str) -> list[str]:
    """Arguments of the loader of a data set."""
    return [key for key in _arguments(DATASETS[name]) if key != "verbose"]


def as_json(config: ConfigDict) -> dict[str, Any]:
    """Plain values, as they come back from a file."""
    return json.loads(json.dumps(config.to_dict()))


def claim(workdir: Path, config: ConfigDict) -> None:
    """Makes `workdir` the folder of this config's run; keys that a run was begun without had their default values.

    Raises:
        ValueError: it is that of another config, or its config cannot be read. Nothing has been written then.
    """
    path = workdir / FILE
    if not path.exists():
        write_json(path, as_json(config))
        return
    here, there = _flat(as_json(config)), _flat(read_json(path, NO_CONFIG))
    usual = defaults.base().to_dict()
    usual["model"] |= defaults.model_options(config.model.name)
    left_out = {key: value for key, value in _flat(usual).items() if key in here.keys() - there.keys()}
    there |= json.loads(json.dumps(left_out))
    different = [
        f"{key} is {there.get(key)!r} there, {here.get(key)!r} here"
        for key in sorted(here.keys() | there.keys())
        if here.get(key) != there.get(key)
    ]
    if different:
        more = f"; and {len(different) - 5} more" if len(different) > 5 else ""
        raise ValueError(
            f"{workdir} holds a run with another config: {'; '.join(different[:5])}{more}. Choose another --workdir, "
            "or give the config that it began with."
        )


def load(workdir: Path) -> ConfigDict:
    """The config of the run in `workdir`; keys that it was begun without have their default values.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read, or has unknown keys.
    """
    path = workdir / FILE
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}: --workdir must be the folder of a run of trainers.train.")
    found = read_json(path, NO_CONFIG)
    for section, values in defaults.base().items():
        if section in ("data", "optimizer", "training", "evaluation") and isinstance(found.get(section), dict):
            found[section] |= {key: value for key, value in values.to_dict().items() if key not in found[section]}
    with named_damage(path, NO_CONFIG):
        config = ConfigDict(found)
        check(config)
    return config


def override(section: ConfigDict, assignments: Sequence[str]) -> None:
    """Sets keys of a section of a config from "key=value".

    Raises:
        ValueError: something else than key=value, or no such key.
    """
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or key not in section:
            raise ValueError(f"Expected key=value with a key of {', '.join(sorted(section))}; got {assignment!r}.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        with section.ignore_type():
            section[key] = value


FITTED = {"test": "valid", "valid": "train"}
"""The split that what scores need is fitted on, by the split that they are of."""


def split_suffix(split: str) -> str:
    """What names of files that a program writes of a split end with: nothing for the test split."""
    return "" if split == "test" else f"_{split}"


def check_split(split: str, known: Iterable[str] = Splits._fields) -> None:
    """Raises ValueError for the name of another split."""
    if split not in known:
        raise ValueError(f"Unknown split {split!r}: expected one of {', '.join(known)}.")


def numbers(flag: str, texts: Sequence[str], example: str) -> list[float]:
    """The values of a flag that takes a list of numbers; ValueError, with an example, where one is none."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        raise ValueError(f"--{flag} must be numbers such as {example}; got {','.join(texts)}.") from None


def run_app(main: Callable[[], Any]) -> None:
    """Runs a program: flags are parsed, and what a user can put right ends it with one line instead of a traceback."""
    flags.DEFINE_bool("traceback", False, "Show where an error came from.")

    def guarded(argv: Sequence[str]) -> int:
        if len(argv) > 1:
            raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
        if not flags.FLAGS["verbosity"].present:
            # Both report on each file of an export.
            absl.logging.set_verbosity(absl.logging.WARNING)
            logging.getLogger("tensorflow").setLevel(logging.WARNING)
        try:
            main()
        except (ValueError, OSError, ImportError) as error:
            if flags.FLAGS.traceback:
                raise
            print(f"{type(error).__name__}: {error}\n(--traceback shows where.)", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nInterrupted. The same command goes on from the last epoch that was finished.", file=sys.stderr)
            return 130
        return 0

    app.run(guarded, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    # An override of a key that does not exist raises AttributeError or KeyError.
    except (flags.Error, AttributeError, KeyError, TypeError) as error:
        message = str(error).strip()
        if "Traceback" in message:
            message = message.splitlines()[-1]
        print(f"{_unknown_key(argv) or message}\nPass --help to see the flags.", file=sys.stderr)
        sys.exit(2)


def _unknown_key(argv: Sequence[str]) -> str | None:
    """Which override names a key that does not exist, and which keys do."""
    if "config" not in flags.FLAGS:
        return None
    following = dict(zip(argv, [*argv[1:], ""], strict=True)).get("--config")
    path = next((a.removeprefix("--config=") for a in argv if a.startswith("--config=")), following)
    try:
        config = flags.FLAGS["config"].parser.parse(path or flags.FLAGS["config"].default)
    except (TypeError, ValueError):
        return None
    for argument in argv:
        if not argument.startswith("--config.") or not isinstance(config, ConfigDict):
            continue
        section, keys = config, argument.removeprefix("--config.").partition("=")[0].split(".")
        for depth, key in enumerate(keys):
            if not isinstance(section, ConfigDict) or key not in section:
                where = ".".join(["config", *keys[:depth]])
                known = ", ".join(sorted(section)) if isinstance(section, ConfigDict) else "no keys"
                return f"There is no {'.'.join(['config', *keys])}: {where} has {known}."
            section = section[key]
    return None


def _compare(what: str, got: Iterable[str], known: Iterable[str], required: Iterable[str] | None = None) -> None:
    unknown, missing = sorted(set(got) - set(known)), sorted(set(known if required is None else required) - set(got))
    if unknown or missing:
        problem = f"has no key {unknown[0]!r}" if unknown else f"lacks the key {missing[0]!r}"
        raise ValueError(f"{what} {problem}; its keys are {', '.join(sorted(known))}.")


def _arguments(function: Callable) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}.{key}".lstrip(".")).items()}
