"""IAM-OnDB (Liwicki and Bunke 2005), read from a user's own copy: lineStrokes/a01/a01-000/a01-000u-01.xml and so on."""

import hashlib
import json
import os
import warnings
from pathlib import Path
from xml.parsers import expat

import keras
import numpy as np

from tfdvae.data.archives import read_flat, sequences_of
from tfdvae.data.files import (
    atomic_write,
    cache_folder,
    finite_float32,
    named_damage,
    require_file,
    require_folder,
)

__all__ = ["points_to_offsets", "read_iam", "read_line_strokes"]

_FORMAT = 2


def read_line_strokes(path: str | os.PathLike) -> list[np.ndarray]:
    """Strokes of one lineStrokes XML file, each an array of points float32 [n, 2] in the units of the whiteboard, y
    growing downwards.

    The file holds <WhiteboardCaptureSession> with one <StrokeSet> of <Stroke> of <Point x y time>. Document types, and
    with them entities, are refused.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, has a document type, no stroke, an empty stroke, or coordinates that are no finite
            numbers in float32. Names the file.
    """
    path = require_file(path)
    strokes: list[list[tuple[float, float]]] = []
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "Stroke":
            strokes.append([])
        elif name == "Point":
            if not strokes:
                raise ValueError("a point is outside of a stroke")
            try:
                strokes[-1].append((float(attributes["x"]), float(attributes["y"])))
            except KeyError as error:
                raise ValueError(f"a point has no {error}") from error

    def refuse(*_: object) -> None:
        raise ValueError("document types and entities are not read")

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    with named_damage(path, "is no lineStrokes file of IAM-OnDB, or it is damaged"):
        parser.Parse(path.read_bytes(), True)
        if not strokes or not all(strokes):
            raise ValueError("it has no stroke" if not strokes else "a stroke has no point")
        return [finite_float32(np.array(stroke), "a coordinate is no finite number: it") for stroke in strokes]


def read_iam(
    folder: str | os.PathLike, cache_dir: str | os.PathLike | None = None, verbose: int = 1
) -> tuple[list[str], list[np.ndarray]]:
    """Names and frames (dx, dy, pen), float32 [T, 3], of all lines below a folder, in the order of their names.

    They are kept in `cache_dir`, which holds for the same files with the same sizes and times.

    Raises:
        FileNotFoundError: no such folder, or no XML file in it.
        ValueError: a damaged file, which is named.
    """
    folder = require_folder(folder)
    inner = [path for path in folder.rglob("lineStrokes*") if path.is_dir()]
    paths = sorted(path for root in inner or [folder] for path in root.rglob("*.xml") if not path.name.startswith("."))
    if not paths:
        raise FileNotFoundError(
            f"There is no data in {folder}: expected one .npz file of pen strokes, or the XML files of lineStrokes of "
            "IAM-OnDB."
        )
    stamps = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    key = hashlib.sha256(json.dumps([_FORMAT, stamps]).encode()).hexdigest()
    cache = cache_folder(cache_dir) / f"iam-ondb-v{_FORMAT}-{key[:16]}.npz"
    names = [path.stem for path in paths]
    if cache.exists():
        try:
            return names, _cached(cache, key, len(names))
        except ValueError as error:
            warnings.warn(f"The strokes are read again: their cache is damaged. {error}", stacklevel=3)
    bar = keras.utils.Progbar(len(paths), unit_name="line", verbose=verbose)
    lines = []
    for i, path in enumerate(paths):
        with named_damage(path, "is damaged"):
            lines.append(points_to_offsets(read_line_strokes(path)))
        bar.update(i + 1, finalize=i + 1 == len(paths))
    try:
        with atomic_write(cache) as file:
            lengths = np.array([len(line) for line in lines])
            np.savez_compressed(file, line_frames=np.concatenate(lines), line_len=lengths, key=np.array(key))
    except OSError as error:
        warnings.warn(f"The strokes are not cached and will be read again: {error}", stacklevel=3)
    return names, lines


def _cached(cache: Path, key: str, count: int) -> list[np.ndarray]:
    """The frames of `count` lines from the cache.

    Raises:
        ValueError: it is damaged, or holds other lines.
    """
    arrays = read_flat(cache, "frames and lengths of lines")
    lines = sequences_of(arrays, cache, "line", "frames", [(3,)])
    if str(arrays.get("key")) != key or len(lines) != count:
        raise ValueError(f"{cache} holds something else.")
    return lines


def points_to_offsets(strokes: list[np.ndarray]) -> np.ndarray:
    """Frames float32 [T, 3] of strokes, each an array of points [n, 2] with n of at least 1; the first point is the
    origin.

    Raises:
        ValueError: offsets that are not finite in float32, such as between points at 3e38 and at -3e38.
    """
    points = np.concatenate(strokes).astype(np.float64)
    pen = np.zeros(len(points))
    pen[np.cumsum([len(stroke) for stroke in strokes]) - 1] = 1.0
    frames = np.column_stack([np.diff(points, axis=0, prepend=points[:1]), pen])
    return finite_float32(frames, "the way from a point to the next")
