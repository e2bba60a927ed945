"""The shares of the calls that `--fuzz-calls` counts."""

from collections.abc import Callable
from typing import Any

import hypothesis
import pytest

SHARES = {"verbs": 0.5, "streaming": 0.15, "training": 0.1, "constructors": 0.05, "models": 0.1, "further": 0.1}
"""Of the calls, by what is called."""


@pytest.fixture
def fuzzed(request: pytest.FixtureRequest) -> Callable[[str, Callable, Callable], None]:
    """Runs a share of the calls."""

    def run(share: str, strategy: Any, check: Callable[..., None]) -> None:
        count = max(1, int(SHARES[share] * request.config.getoption("--fuzz-calls")))
        seeded = request.config.getoption("--hypothesis-seed") is not None
        settings = hypothesis.settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=not seeded,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        settings(hypothesis.given(strategy)(check))()

    return run
