"""What all tests share: small thread pools, seeds, and the data folder.

TensorFlow reads the variables below when it is first imported, so they are set here, and nothing here
imports it: the process that only hands out tests to the workers stays small.
"""

import gc
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import turns, warm

THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"

for name, value in {
    "KERAS_BACKEND": "tensorflow",
    "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": THREADS,
    "OPENBLAS_NUM_THREADS": THREADS,
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "TF_NUM_INTEROP_THREADS": THREADS,
    "TF_NUM_INTRAOP_THREADS": THREADS,
}.items():
    os.environ.setdefault(name, value)


def data_folder() -> Path | None:
    named = os.environ.get("TFDVAE_DATA")
    return Path(named) if named else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive",
        nargs="?",
        const="share",
        choices=("share", "all"),
        help="run the tests marked exhaustive as well: a share of them, which the commit chooses, or all, and then all "
        "slow ones of the whole suite too",
    )
    parser.addoption(
        "--fuzz-calls", type=int, default=300, help="how many random calls tests/fuzz makes; 10000 is its long form"
    )
    parser.addoption(
        "--stream-steps", type=int, default=10000, help="how many frames go through a stream; 1000000 is the long form"
    )
    parser.addoption(
        "--soak-blows", type=int, default=2, help="how often runs are killed or disturbed; 200 is the long form"
    )
    parser.addoption("--soak-seed", type=int, default=186, help="of what strikes where")


def pytest_report_header(config: pytest.Config) -> list[str]:
    option = config.getoption("--exhaustive")
    if turns.commit() is None or option == "all":
        return []
    kinds = {"exhaustive": turns.SHARES} if option == "share" else {}
    if turns.is_whole(config):
        kinds["slow"] = turns.SLOW_SHARES
    return [
        f"{kind}: tests of turn {turns.chosen_share(shares)} of 0..{shares - 1}, by commit {turns.commit()}; "
        "--exhaustive=all runs them all"
        for kind, shares in kinds.items()
    ]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    option = config.getoption("--exhaustive")
    slow = turns.slow_turns(items) if turns.is_whole(config) else None
    chosen: dict[bool, list[pytest.Item]] = {True: [], False: []}
    for item in items:
        chosen[turns.is_chosen(item, option, slow)].append(item)
    items[:] = chosen[True]
    if chosen[False]:
        config.hook.pytest_deselected(items=chosen[False])
    for item in items:
        if "tfdvae_data" in getattr(item, "fixturenames", ()):
            item.add_marker("data")
        if item.get_closest_marker("data") and data_folder() is None:
            item.add_marker(pytest.mark.skip(reason="TFDVAE_DATA does not name a data folder"))


@pytest.fixture(scope="session")
def tfdvae_data() -> Path:
    """The data folder that TFDVAE_DATA names; tests that ask for it are skipped where it names none."""
    folder = data_folder()
    if folder is None:
        pytest.skip("TFDVAE_DATA does not name a data folder")
    if not folder.is_dir():
        pytest.fail(f"TFDVAE_DATA names {folder}, which is not a folder")
    return folder


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same seeds, whatever ran before it in the same process."""
    random.seed(0)
    np.random.seed(0)
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session", autouse=True)
def settled_imports() -> None:
    """What was imported stays: the garbage collector need not look at a million objects of TensorFlow's every time, nor
    as often as Python's 700 new objects come: tracing makes them by the hundred thousand, and keeps most."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def warm_converter() -> Iterator[None]:
    """Conversions to LiteRT are forks of one process, which the first of them starts."""
    process = warm.Warm()
    subprocess.run = process.run
    yield
    subprocess.run = warm.in_own_process
    process.close()


@pytest.fixture(scope="module", autouse=True)
def release_memory() -> Iterator[None]:
    """Graphs and compiled functions of one test module do not pile up on those of the next."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session()
    gc.collect()


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Verbs run eagerly: as graphs they are the business of other tests, and tracing is what costs."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def mostly_eager(name: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Verbs of the case `name` run eagerly, since tracing is what costs, but where `cases.runs_as_graphs`."""
    import tensorflow as tf

    from tests import cases

    tf.config.run_functions_eagerly(not cases.runs_as_graphs(name, request.config.getoption("--exhaustive")))
    yield
    tf.config.run_functions_eagerly(False)
