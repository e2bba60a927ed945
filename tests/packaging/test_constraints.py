"""constraints.txt pins, exactly, everything that the project can install."""

import re
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
INSTALLED_BY_MAKE = re.search(r"^EXTRAS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split(",")


def pins() -> dict[str, Version]:
    pairs = (line.split("==") for line in LINES)
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def closure(requirements: Iterable[str]) -> set[str]:
    """Names of all that the requirements pull in here; a package that is not installed is a leaf."""
    names: set[str] = set()
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(text), "") for text in requirements]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        names.add(name)
        for wanted in {"", *requirement.extras}:
            if (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            try:
                inner = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            todo += [(Requirement(text), wanted) for text in inner]
    return names


def test_every_line_is_a_name_and_a_version() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[0-9][\w.]*", line)] == []
    assert len(pins()) == len(LINES), "a package is pinned twice"
    assert LINES == sorted(LINES, key=str.lower)


def test_all_that_make_installs_is_pinned() -> None:
    direct = [
        *PROJECT["dependencies"],
        *(text for extra in INSTALLED_BY_MAKE for text in EXTRAS[extra]),
        "pip",
    ]
    assert closure(direct) - set(pins()) == set()


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_the_pins_lie_within_the_bounds_of_pyproject(extra: str) -> None:
    for text in EXTRAS[extra] if extra else PROJECT["dependencies"]:
        requirement = Requirement(text)
        assert requirement.specifier, f"{text} has no bounds"
        assert pins()[canonicalize_name(requirement.name)] in requirement.specifier, text


@pytest.mark.slow
def test_what_builds_the_wheel_is_pinned() -> None:
    system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    for text in system["requires"]:
        requirement = Requirement(text)
        assert pins()[canonicalize_name(requirement.name)] in requirement.specifier, text
