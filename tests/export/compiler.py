"""Tests that compile C++."""

import pytest

from export import native

__all__ = ["needs_compiler"]

needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="there is no C++ compiler on PATH")
