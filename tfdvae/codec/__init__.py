"""Compression by trained models, with an entropy coder from the package `constriction` (extra `codec`).

    coded = tfdvae.codec.compress(model, splits.test)               # without loss
    coded.bits_per_frame                                            # -log p(x) / ln 2, or -ELBO / ln 2
    tfdvae.codec.write_coded("chorales.dvae", coded)
    tfdvae.codec.read_file("chorales.dvae", model)                  # the same frames

**Without loss** (`compress`): frames of 0 and 1, of categories, and real numbers that lie on a grid. A model without
latents gives each frame as many bits as -log2 p(x_t | x_<t); one with latents as many as -ELBO / ln 2, by bits back
(see `tfdvae.codec.lossless`). So the size of a file measures the bound.

**With loss** (`compress_lossy`, `rate_distortion`): latents in steps, coded under their prior, frames as their means.

**What is guaranteed.** The frames that come out equal those that went in (or, with loss, those that the writer saw come
out), or there is an error: never other frames. Their CRC-32 stands in the file, and is compared with what
was decoded. Decoding works where the model computes the same float32 numbers, bit for bit, as where the file was
written. The same program on the same machine does: both sides call the same graphs with tensors of the same shapes.
Another processor, another version of TensorFlow, or a GPU may add in another order, and then a file that was written
elsewhere cannot be read; a checksum of a few frames tells that at once, before anything is decoded. So this is a format
for what is read where it was written, and for measuring; who must read elsewhere has to run the same build on the same
kind of machine. From float32 parameters on, everything is fixed point (see `tfdvae.codec.laws`).
"""

import os

from tfdvae.codec.files import EXPECTED, Coded, Header, read_coded, write_coded
from tfdvae.codec.frames import LOSSLESS
from tfdvae.codec.lossless import compress, decompress_lossless
from tfdvae.codec.lossy import Lossy, RatePoint, compress_lossy, decompress_lossy, rate_distortion
from tfdvae.codec.subjects import content_of
from tfdvae.data.files import named_damage
from tfdvae.data.sequences import Sequences, from_arrays
from tfdvae.models import DVAE

__all__ = [
    "Coded",
    "Header",
    "LOSSLESS",
    "Lossy",
    "MAX_VALUES",
    "RatePoint",
    "compress",
    "compress_lossy",
    "decompress",
    "rate_distortion",
    "read_coded",
    "read_file",
    "write_coded",
]

MAX_VALUES = 1 << 26
"""How many numbers frames may have altogether by default, 256 MiB: a few bytes of a file can state billions."""


def decompress(model: DVAE, coded: Coded, *, max_values: int = MAX_VALUES) -> Sequences:
    """The sequences that were compressed, in their order.

    Args:
        model: the one that compressed them.
        max_values: how many numbers, frames times features, there may be.

    Raises:
        ValueError: another model, a model that computes other numbers here, more numbers than `max_values`, or frames
            other than were written.
        TypeError: no model, or something else than `Coded`.
        ImportError: the package `constriction` is not installed.
    """
    if not (isinstance(model, DVAE) and isinstance(coded, Coded)):
        raise TypeError(
            "Expected a model and what `compress` or `read_coded` returned, got "
            f"{type(model).__name__} and {type(coded).__name__}."
        )
    header = coded.header
    if header.num_values > max_values:
        raise ValueError(
            f"it states frames of {header.num_values} numbers, more than {max_values} numbers in all: give "
            "`max_values` if that is right"
        )
    frames = (decompress_lossless if header.kind == "lossless" else decompress_lossy)(model, coded)
    found = content_of(frames)
    if found != header.content:
        raise ValueError(
            f"other frames came out of it than were written (checksums {found:08x} and {header.content:08x}): it was "
            "damaged, or this machine computes other numbers than the one that wrote it"
        )
    return from_arrays(frames)


def read_file(path: str | os.PathLike, model: DVAE, *, max_values: int = MAX_VALUES) -> Sequences:
    """The sequences in a file of `write_coded`; see `decompress`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, or `decompress` refuses it; names the file.
        ImportError: the package `constriction` is not installed.
    """
    coded = read_coded(path)
    with named_damage(path, EXPECTED):
        return decompress(model, coded, max_values=max_values)
