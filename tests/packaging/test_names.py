"""Every public name exists, is listed, and is explained; and imports only point towards tfdvae."""

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "tfdvae").rglob("*.py")
)
PUBLIC = [name for name in MODULES if not any(part.startswith("_") for part in name.split("."))]
PACKAGES = [name for name in PUBLIC if (ROOT / name.replace(".", "/") / "__init__.py").is_file()]


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_module_lists_its_names_once_and_they_exist(name: str) -> None:
    module = load(name)
    assert isinstance(getattr(module, "__all__", None), list | tuple), f"{name} has no __all__"
    assert len(set(module.__all__)) == len(module.__all__)
    assert [item for item in module.__all__ if not hasattr(module, item)] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_the_names_of_a_package_are_sorted(name: str) -> None:
    names = list(load(name).__all__)
    assert names in (sorted(names), sorted(names, key=str.lower))


@pytest.mark.parametrize("name", PUBLIC)
def test_public_classes_and_functions_have_docstrings_of_their_own(name: str) -> None:
    module = load(name)
    bare = []
    for item in getattr(module, "__all__", ()):
        thing = getattr(module, item)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            text = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
            # The text that NamedTuple and dataclass make up by themselves explains nothing.
            if not text or text.startswith(f"{thing.__name__}("):
                bare.append(item)
    assert bare == []


@pytest.mark.parametrize("name", MODULES)
def test_the_library_knows_nothing_of_its_programs(name: str) -> None:
    stem = ROOT / name.replace(".", "/")
    path = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            imported.add(node.module.partition(".")[0])
    assert imported & {"trainers", "export", "configs", "tests"} == set()
