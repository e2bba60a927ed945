"""Configs as the command line gives them, and programs as the shell runs them."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from tfdvae.data import ICU_VARIABLES

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = sorted((path.parent.name, path.stem) for path in (ROOT / "configs").glob("*/*.py"))
"""Every config as (data set, model)."""


def load(dataset: str, model: str, arg: str = "") -> ConfigDict:
    """`configs/<dataset>/<model>.py:<arg>`."""
    spec = importlib.util.spec_from_file_location("experiment", ROOT / "configs" / dataset / f"{model}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arg)


def smoke(dataset: str, model: str, path: Path | None = None, /, **sections: Mapping[str, Any]) -> ConfigDict:
    """The smoke variant, on the rolls in `path`, with other values in some sections."""
    config = load(dataset, model, "smoke")
    if path is not None:
        config.data.path = str(path)
    for section, values in sections.items():
        config[section].update(values)
    return config


def write_stays(path: Path, minute: np.ndarray, param: np.ndarray, value: np.ndarray, **more: np.ndarray) -> Path:
    """An archive in the layout of the challenge of intensive care, without deaths: events `[N, E]` of N stays, N even,
    and covariates of which height is missing in every second one; `more` arrays beside or in place of these."""
    stays, events = minute.shape
    arrays = {
        "len": np.full(stays, events),
        "minute": minute.ravel().astype(np.uint16),
        "param": param.ravel().astype(np.uint8),
        "value": value.ravel().astype(np.float32),
        "params": np.array([*ICU_VARIABLES, "MechVent", "Weight"]),
        "static_names": np.array(["Age", "Gender", "Height", "ICUType", "Weight"]),
        "static": np.tile(np.float32([[50, 0, 170, 1, 80], [60, 1, np.nan, 2, 90]]), (stays // 2, 1)),
        "record": np.arange(stays),
    }
    np.savez(path, **{**arrays, **more})
    return path


def program(name: str, *arguments: Any, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`python -m trainers.<name> ...` from the folder of the repository."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"trainers.{name}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
