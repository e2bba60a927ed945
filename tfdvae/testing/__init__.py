"""Tests for models that are written outside of this package: `check_model`, and the checks that it is made of.

Nothing here is imported by `import tfdvae`, and nothing here needs pytest.
"""

from tfdvae.testing import (
    comparing,
    driver,
    execution,
    jacobians,
    masking,
    missing,
    parents,
    paths,
    saving,
    sequences,
    streaming,
    suite,
    trajectories,
)
from tfdvae.testing.comparing import assert_close, assert_equal, differs, drawn, evaluate, gradients, of_frames
from tfdvae.testing.parents import RELATIONS, Parents
from tfdvae.testing.suite import CHECKS, check_model

__all__ = [
    "CHECKS",
    "Parents",
    "RELATIONS",
    "assert_close",
    "assert_equal",
    "check_model",
    "comparing",
    "differs",
    "drawn",
    "driver",
    "evaluate",
    "execution",
    "gradients",
    "jacobians",
    "masking",
    "missing",
    "of_frames",
    "parents",
    "paths",
    "saving",
    "sequences",
    "streaming",
    "suite",
    "trajectories",
]
