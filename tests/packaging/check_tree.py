"""Rules of the tree that ruff has no rule for: `python tests/packaging/check_tree.py [FOLDER]`.

Prints one line per breach and exits with 1 if there is any. In a git checkout it reads what git tracks or
would track, elsewhere all files but hidden and generated ones.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_LINES = 400
GENERATED = {"build", "demo", "dist", "runs", "__pycache__"}

EVERYWHERE = {
    "a path of one machine": re.compile(r"(?<![\w.~-])/(?:work|opt|root|tmp|home|Users)/\w"),
    "the host of a package registry": re.compile(r"pypi\.org|pythonhosted\.org|npmjs\.org|deb\.debian\.org"),
}
PYTHON = {
    "unpickling of arrays": re.compile(r"allow_pickle\s*=\s*True"),
    "a suppressed check or an unfinished note": re.compile(r"#\s*(?:noqa|type:\s*ignore|TODO|FIXME)"),
}
PYTHON_BUT_TESTS = {
    "pickle": re.compile(r"^\s*(?:import|from)\s+(?:cloudpickle|dill|pickle)\b"),
}


def files(root: Path) -> Iterator[Path]:
    if (root / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
        yield from (root / name for name in names.split("\0") if name and (root / name).is_file())
        return
    for path in sorted(root.rglob("*")):
        if path.is_file() and not any(map(is_left_out, path.relative_to(root).parts[:-1])):
            yield path


def is_left_out(folder: str) -> bool:
    return folder in GENERATED or folder.endswith(".egg-info") or (folder.startswith(".") and folder != ".ci")


def breaches(root: Path) -> Iterator[str]:
    for path in files(root):
        name = path.relative_to(root)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        rules = dict(EVERYWHERE)
        if path.suffix == ".py":
            rules |= PYTHON
            if name.parts[0] != "tests":
                rules |= PYTHON_BUT_TESTS
            if len(lines) > MAX_LINES:
                yield f"{name}: {len(lines)} lines, at most {MAX_LINES} are allowed: split the module"
        for number, line in enumerate(lines, 1):
            for what, pattern in rules.items():
                if found := pattern.search(line):
                    yield f"{name}:{number}: {what}: {found.group()!r}"


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    found = list(breaches(root))
    print("\n".join(found) if found else "The rules of the tree hold.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
