"""Arrays out of MATLAB files, by scipy in a process of its own: a damaged file can crash its reader, not us."""

import io
import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from tfdvae.data.files import import_music

__all__ = ["read_cells"]

_READ = """
import io, sys
import numpy as np
from scipy.io import loadmat
path, *names = sys.argv[1:]
found = loadmat(path, variable_names=names)
if missing := [name for name in names if name not in found]:
    sys.exit(f"It has no {', '.join(missing)}.")
arrays = {f"{n}/{i}": np.asarray(one) for n, name in enumerate(names) for i, one in enumerate(found[name].ravel())}
if any(one.dtype.kind not in "biuf" for one in arrays.values()):
    sys.exit("Its cells hold something else than real numbers.")
stream = io.BytesIO()
np.savez(stream, **arrays)
sys.stdout.buffer.write(stream.getvalue())
"""


def read_cells(path: str | os.PathLike, names: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """The arrays in the cells of variables, by the names of these.

    Raises:
        ValueError: the file is damaged, lacks a variable, or has cells of something else than real numbers.
        ImportError: scipy is not installed.
    """
    import_music("scipy.io", "Reading a .mat file")
    # -P: no module of the working folder stands in for numpy or scipy.
    command = [sys.executable, "-P", "-c", _READ, os.fspath(path), *names]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(said[-1] if done.returncode > 0 and said else "scipy crashed while it read it.")
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as archive:
        found: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for key in archive.files:
            found[names[int(key.partition("/")[0])]].append(archive[key])
    return found
