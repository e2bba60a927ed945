"""The file format of compressed sequences.

    bytes       8  "TFDVAE" and 26, 10: a transfer as text breaks it
                2  version of the format, 1
                4  length of the header, n
                n  header: JSON, deflated
                4  CRC-32 of the header
              4 w  payload: w words of the coder's stack, the top last; w stands in the header
                4  CRC-32 of the payload

Whole numbers are unsigned and little-endian. Nothing follows. The header says how long the sequences are and what a
frame is, which model wrote them (its class, the first half of the SHA-256 of its weights, and the CRC-32 of what it
computes in a few frames), how, and the CRC-32 of the frames that come out.
"""

import json
import os
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np

from tfdvae.data.files import atomic_write, named_damage, require_file

__all__ = [
    "EXPECTED",
    "KINDS",
    "MAX_GRID_BITS",
    "MAX_SEED",
    "MAX_SPARE",
    "Coded",
    "Header",
    "read_coded",
    "spare_words",
    "write_coded",
]

MAGIC = b"TFDVAE\x1a\n"
VERSION = 1
KINDS = ("lossless", "lossy")
EXPECTED = "cannot be read: expected sequences that tfdvae.codec compressed"
_START = struct.Struct("<8sHI")
_CRC = struct.Struct("<I")
MAX_HEADER = 1 << 20
MAX_JSON = 1 << 24
MAX_ROWS = 1024
MAX_GRID_BITS = 16
MAX_SPARE = 1 << 22
MAX_SEED = 1 << 63
_DIGEST = 32


class Header(NamedTuple):
    """What a file says of the sequences in it.

    Attributes:
        kind: one of `KINDS`.
        model: class of the model.
        weights: the first 32 hexadecimal digits of the digest of its weights (`model.identity`).
        observation: class of p(x_t | .).
        frame_shape: of a frame as the model takes it.
        lengths: frames of each sequence, in the order in which they come out.
        rows: sequences that were coded at a time.
        grid_bits: of each Gaussian latent, `[Z]` by name: without loss the fineness of its grid
            (`tfdvae.codec.latents.Grid`), with loss the binary logarithm of how many steps it may be from its prior.
        steps: of each Gaussian latent, by name, `[Z]`; of what was coded with loss.
        per_unit, most: of the `Resolution` of real numbers without loss, `[D]`; empty for others.
        seed: of the words that lay on the stack at first.
        spare: the first and the last of them, exclusive, that the file holds.
        probe: CRC-32 of what the model computes in a few frames.
        content: CRC-32 of all frames as they come out, float32, one sequence after the other.
        versions: of the library and of TensorFlow that wrote it.
    """

    kind: str
    model: str
    weights: str
    observation: str
    frame_shape: tuple[int, ...]
    lengths: tuple[int, ...]
    rows: int
    grid_bits: dict[str, list[int]]
    steps: dict[str, list[float]]
    per_unit: tuple[float, ...]
    most: tuple[int, ...]
    seed: int
    spare: tuple[int, int]
    probe: int
    content: int
    versions: dict[str, str]

    @property
    def x_dim(self) -> int:
        """D, how many numbers a frame has."""
        return int(np.prod(self.frame_shape))

    @property
    def num_frames(self) -> int:
        """Frames of all sequences together."""
        return sum(self.lengths)

    @property
    def num_values(self) -> int:
        """How many numbers a reader holds; a block has as many as if its sequences were all as long as the longest."""
        return max(self.num_frames, self.rows * max(self.lengths)) * self.x_dim


class Coded(NamedTuple):
    """Compressed sequences, as a file holds them.

    Attributes:
        header: what they are.
        words: of the coder's stack, uint32 `[w]`.
    """

    header: Header
    words: np.ndarray

    @property
    def initial_bits(self) -> int:
        """How many of the bits are not about the sequences: those that bits back began with, which come out again when
        they are read."""
        first, last = self.header.spare
        return _valid_bits(spare_words(self.header.seed, last)[first:])

    @property
    def bits(self) -> int:
        """All bits on the stack, those that it began with included, without header and checksums."""
        return _valid_bits(self.words)

    @property
    def bits_per_frame(self) -> float:
        """What the sequences themselves take: the bits on the stack but those that it began with, per frame."""
        return (self.bits - self.initial_bits) / self.header.num_frames


def _valid_bits(words: np.ndarray) -> int:
    """Bits up to the highest one that is set."""
    return 32 * (len(words) - 1) + int(words[-1]).bit_length() if len(words) else 0


def write_coded(path: str | os.PathLike, coded: Coded) -> int:
    """Writes a file, which appears complete or not at all; returns its size in bytes.

    Raises:
        ValueError: so many sequences that no reader would take the header.
    """
    text = json.dumps({**coded.header._asdict(), "words": len(coded.words)}, separators=(",", ":"))
    header, payload = zlib.compress(text.encode(), 9), coded.words.astype("<u4").tobytes()
    if len(text) > MAX_JSON or len(header) > MAX_HEADER:
        raise ValueError(
            f"The lengths of {len(coded.header.lengths)} sequences do not fit into the header of a file: write them "
            "into several files."
        )
    parts = (_START.pack(MAGIC, VERSION, len(header)), header, _checked(header), payload, _checked(payload))
    with atomic_write(path) as file:
        file.writelines(parts)
    return sum(map(len, parts))


def read_coded(path: str | os.PathLike) -> Coded:
    """Reads a file of `write_coded`, in memory of a few times its size and at most 16 MiB of header.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, of another version of the format, or something else; names the file.
    """
    path = require_file(path)
    with named_damage(path, EXPECTED), path.open("rb") as file:
        size = path.stat().st_size
        magic, version, length = _START.unpack(_exactly(file.read(_START.size), _START.size))
        if magic != MAGIC:
            raise ValueError("it does not begin as such files do")
        if version != VERSION:
            raise ValueError(f"it has version {version} of the format, and this is version {VERSION}")
        if length > min(MAX_HEADER, size):
            raise ValueError(f"it states a header of {length} bytes, and has {size} in all")
        header, words = _header(_intact(file.read(length + _CRC.size), length, "header"))
        rest = size - _START.size - length - 2 * _CRC.size
        if rest != 4 * words:
            raise ValueError(f"it states {4 * words} bytes of payload, and has {max(rest, 0)}")
        payload = np.frombuffer(_intact(file.read(4 * words + _CRC.size), 4 * words, "payload"), "<u4")
        if words and not payload[-1]:
            raise ValueError("its payload ends in an empty word, as no stack does")
    return Coded(header, payload.astype(np.uint32))


def spare_words(seed: int, count: int) -> np.ndarray:
    """The words that bits back begin with, uint32 `[count]`, none of them 0; the same for a seed wherever they are
    made, since numpy keeps the numbers of a bit generator."""
    return np.maximum(np.random.PCG64(seed).random_raw(count) >> np.uint64(32), 1).astype(np.uint32)


def _checked(part: bytes) -> bytes:
    return _CRC.pack(zlib.crc32(part))


def _exactly(part: bytes, size: int) -> bytes:
    if len(part) != size:
        raise ValueError("it ends too early")
    return part


def _intact(part: bytes, size: int, what: str) -> bytes:
    """The part without the checksum behind it."""
    found, checksum = _exactly(part, size + _CRC.size)[:size], part[size:]
    if _checked(found) != checksum:
        raise ValueError(f"the checksum of its {what} does not fit")
    return found


def _header(deflated: bytes) -> tuple[Header, int]:
    inflate = zlib.decompressobj()
    text = inflate.decompress(deflated, MAX_JSON)
    if not inflate.eof or inflate.unused_data:
        raise ValueError(f"its header is no deflated text of at most {MAX_JSON} bytes")
    found = json.loads(text)
    names = (*Header._fields, "words")
    if not isinstance(found, dict) or set(found) != set(names):
        raise ValueError(f"its header must have the keys {', '.join(names)}")
    return _checked_header(found)


def _checked_header(found: dict[str, Any]) -> tuple[Header, int]:
    """The header from its JSON; ValueError where a value is none that `write_coded` writes."""
    texts = ("kind", "model", "weights", "observation")
    _require(all(isinstance(found[name], str) for name in texts), f"{', '.join(texts)} must be text")
    _require(found["kind"] in KINDS, f"its kind must be one of {', '.join(KINDS)}, got {found['kind']!r}")
    _require(len(found["weights"]) == _DIGEST, f"the digest of the weights must have {_DIGEST} digits")
    bounds = {
        "frame_shape": (1, 1 << 31),
        "lengths": (1, 1 << 40),
        "most": (1, 1 << 20),
        "spare": (0, MAX_SPARE),
    }
    for name, (low, high) in bounds.items():
        _require(_are_whole(found[name], low, high), f"{name} must be whole numbers from {low} to {high}")
    bounds = {"rows": (1, MAX_ROWS), "seed": (0, MAX_SEED), "probe": (0, 2**32), "content": (0, 2**32)}
    for name, (low, high) in {**bounds, "words": (0, 1 << 40)}.items():
        _require(_are_whole([found[name]], low, high), f"{name} must be a whole number from {low} to {high}")
    _require(found["lengths"] and found["frame_shape"], "it must hold sequences, and frames a shape")
    size = int(np.prod([float(side) for side in found["frame_shape"]]))
    _require(size < 1 << 31, f"frames of {size} numbers are too large")
    continuous = (0, size) if found["kind"] == "lossless" else (0,)
    _require(len(found["most"]) == len(found["per_unit"]) in continuous, "its resolution must be that of each feature")
    spare = found["spare"]
    _require(len(spare) == 2 and spare[0] <= spare[1], "spare must be two whole numbers, the first one not greater")
    _require(_are_numbers(found["per_unit"]), "per_unit must be positive numbers")
    for name, fits in (("grid_bits", lambda y: _are_whole(y, 0, MAX_GRID_BITS)), ("steps", _are_numbers)):
        own = found[name]
        _require(isinstance(own, dict) and all(fits(y) for y in own.values()), f"its {name} must be lists of numbers")
    versions = found["versions"]
    _require(isinstance(versions, dict) and all(isinstance(v, str) for v in versions.values()), "versions must be text")
    lists = {name: tuple(found[name]) for name in ("frame_shape", "lengths", "per_unit", "most", "spare")}
    words = found.pop("words")
    return Header(**{**found, **lists}), words


def _require(holds: Any, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"in its header, {otherwise}")


def _are_whole(values: Any, low: int, high: int) -> bool:
    return isinstance(values, list) and all(type(v) is int and low <= v <= high for v in values)


def _are_numbers(values: Any) -> bool:
    """Whether this is a list of positive numbers of float32."""
    return isinstance(values, list) and all(type(v) in (int, float) and 1e-30 < v < 1e30 for v in values)
