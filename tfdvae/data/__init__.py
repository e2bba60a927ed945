"""Data: loaders, user arrays, windows, padding, and batches for `tf.data`.

`DATASETS` maps a name to its loader, which returns `Splits`.
"""

from tfdvae.data.bach import load_bach
from tfdvae.data.batching import batches, steps_per_epoch
from tfdvae.data.midi import read_midi, write_midi
from tfdvae.data.pianoroll import load_pianoroll, save_pianoroll, transpose, transposed
from tfdvae.data.sequences import Sequences, Splits, describe, from_arrays, pad, windows

__all__ = [
    "DATASETS",
    "Sequences",
    "Splits",
    "batches",
    "describe",
    "from_arrays",
    "load_bach",
    "load_pianoroll",
    "pad",
    "read_midi",
    "save_pianoroll",
    "steps_per_epoch",
    "transpose",
    "transposed",
    "windows",
    "write_midi",
]

DATASETS = {
    "bach": load_bach,
    "pianoroll": load_pianoroll,
}
