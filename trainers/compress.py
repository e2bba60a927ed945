"""Compresses sequences by a trained model, and reads them again (extra `codec`).

    python -m trainers.compress --workdir runs/pianoroll_rnn --split test --out chorales.dvae
    python -m trainers.compress --workdir runs/pianoroll_rnn --decompress chorales.dvae --out chorales.npz
    python -m trainers.compress --workdir runs/pianoroll_rnn --table
    python -m trainers.compress --workdir runs/motion_vrnn --step 1 --out walks.dvae
    python -m trainers.compress --workdir runs/motion_vrnn --curve 0.25,0.5,1,2,4

Another file than that of the run is `--data path=FILE`. Without --step nothing is lost, and every file is read again
before the program says that it is done. --table puts the size beside what compresses without a model: xz, bzip2, zlib
and zstd of the frames as whole numbers (bits packed, where all are 0 or 1), and of piano-rolls MIDI files behind each
other in xz; in the working folder are then `compression_<split>.json` and `.md`. --curve compresses with loss at each
of these steps, and leaves `rate_distortion_<split>.json` and `.png`.
"""

import bz2
import lzma
import math
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from tfdvae import codec
from tfdvae.data import Sequences, Splits, write_midi
from tfdvae.data.files import atomic_write, import_extra
from tfdvae.data.pianoroll import KEYS
from tfdvae.markdown import markdown_table
from tfdvae.models import DVAE
from tfdvae.plots import plot_rate_distortion
from trainers import building, loading, scoring, settings
from trainers.generate import save_figure
from trainers.writing import write_json, write_text

__all__ = ["Row", "curve", "decompress", "dispatch", "require_packages", "run", "table"]


class Row(NamedTuple):
    """A way to compress, bytes of its file, and bits per frame."""

    method: str
    size: float
    bits_per_frame: float


def run(
    workdir: Path,
    out: Path,
    split: str = "test",
    data: Sequence[str] = (),
    step: float | None = None,
    max_sequences: int | None = None,
) -> codec.Coded:
    """Compresses a split into the file `out`, reads it again, and returns what is in it.

    Args:
        workdir: folder of a finished run.
        split: train, valid or test.
        data: "key=value", overrides of the section `data` of its config.
        step: of the latents, see `tfdvae.codec.compress_lossy`; None loses nothing.
        max_sequences: at most so many sequences of the split; all by default.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: an unknown split or key, or a model or data that cannot be compressed.
        ImportError: without the extra `codec`.
    """
    require_packages()
    model, sequences, _ = _subject(workdir, split, data, max_sequences)
    if step is None:
        coded = codec.compress(model, sequences)
    else:
        coded, _ = codec.compress_lossy(model, sequences, step)
    size = codec.write_coded(out, coded)
    codec.read_file(out, model, max_values=coded.header.num_values)
    print(
        f"{out}: {coded.header.num_frames} frames of {coded.header.x_dim} numbers, {coded.header.kind}, {size} bytes; "
        f"{coded.bits_per_frame:.4f} bits per frame, {coded.initial_bits} initial bits beside them. Read again: "
        "the same frames.",
        flush=True,
    )
    return coded


def decompress(workdir: Path, path: Path, out: Path, max_values: int = codec.MAX_VALUES) -> Sequences:
    """Reads a file by the model of `workdir`, and writes an `.npz`: `frames` `[F, D]` of all sequences below each
    other, and the length of each sequence `len` `[N]`.

    Args:
        workdir: folder of a finished run.
        path, max_values: see `tfdvae.codec.read_file`.
        out: the file to write.

    Raises:
        FileNotFoundError: no finished run there, or no such file.
        ValueError: another suffix of `out`, or a file that is damaged or of another model.
    """
    if out.suffix.lower() != ".npz":
        raise ValueError(f"Decompressed frames are written to a file with the suffix .npz; got {out}.")
    sequences = codec.read_file(path, building.load_model(workdir), max_values=max_values)
    with atomic_write(out) as file:
        np.savez_compressed(file, frames=np.concatenate(sequences.x), len=sequences.lengths.astype(np.int32))
    print(f"{out}: {sequences.num_sequences} sequences, {sequences.num_frames} frames.", flush=True)
    return sequences


def table(
    workdir: Path,
    split: str = "test",
    data: Sequence[str] = (),
    max_sequences: int | None = None,
    num_samples: int = 16,
) -> list[Row]:
    """Prints and returns sizes by method, without loss; writes `compression_<split>.json` and `.md`.

    Args:
        num_samples: paths over which the bound is averaged.
        workdir, split, data, max_sequences: as for `run`, which raises the same.
    """
    require_packages(with_table=True)
    model, sequences, config = _subject(workdir, split, data, max_sequences)
    coded = codec.compress(model, sequences)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coded.dvae"
        size = codec.write_coded(path, coded)
        codec.read_file(path, model, max_values=coded.header.num_values)
    frames, (elbo, _, _) = sequences.num_frames, scoring.score(model, sequences, num_samples=num_samples)
    bound = -elbo.nats_per_frame / math.log(2.0) + float(np.sum(np.log2(coded.header.per_unit)))
    name = config.model.name
    rows = [Row(f"{name}, {'-ELBO' if model.has_latents else '-log p'} / ln 2", bound * frames / 8.0, bound)]
    rows.append(Row(f"{name}, bits on the stack", coded.bits_per_frame * frames / 8.0, coded.bits_per_frame))
    sizes = {f"{name}, the file": size, **others(model, sequences, coded)}
    rows += [Row(method, count, 8.0 * count / frames) for method, count in sizes.items()]
    cells = [(row.method, f"{row.size:,.0f}", f"{row.bits_per_frame:.3f}") for row in rows]
    text = markdown_table(("", "bytes", "bits per frame"), cells)
    found = {"model": name, "data": config.data.name, "split": split, "sequences": sequences.num_sequences}
    found |= {"frames": frames, "initial_bits": coded.initial_bits, "rows": [row._asdict() for row in rows]}
    write_json(workdir / f"compression_{split}.json", found)
    write_text(workdir / f"compression_{split}.md", text)
    print(
        f"{frames} frames of {sequences.num_sequences} sequences; {coded.initial_bits} initial bits\n{text}", flush=True
    )
    return rows


def others(model: DVAE, sequences: Sequences, coded: codec.Coded) -> dict[str, int]:
    """Bytes of the same frames by compressors that know no model, by method; each of the layout that suits it best."""
    zstandard = import_extra("zstandard", "Comparing with zstd", "codec")
    packers: dict[str, Callable[[bytes], bytes]] = {
        "xz -9e": lambda raw: lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME),
        "bzip2 -9": lambda raw: bz2.compress(raw, 9),
        "zlib -9": lambda raw: zlib.compress(raw, 9),
        "zstd -22": zstandard.ZstdCompressor(level=22).compress,
    }
    per_unit = np.float64(coded.header.per_unit or 1.0)
    numbers = np.concatenate([np.rint(x * per_unit) for x in sequences.x])
    lengths, binary = sequences.lengths.astype("<u4").tobytes(), bool(np.isin(numbers, (0, 1)).all())
    kind = next(k for k in ("<i1", "<i2", "<i4") if np.abs(numbers).max() <= np.iinfo(k).max)
    layouts = [numbers.astype(kind).tobytes(), np.ascontiguousarray(numbers.T.astype(kind)).tobytes()]
    if binary:
        layouts += [np.packbits(part.astype(np.uint8), axis=1).tobytes() for part in (numbers, numbers.T)]
    found = {name: min(len(pack(lengths + raw)) for raw in layouts) for name, pack in packers.items()}
    if binary and sequences.features == KEYS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "roll.mid"
            raw = b""
            for x in sequences.x:
                write_midi(path, x)
                raw += path.read_bytes()
        found["MIDI, then xz -9e"] = len(packers["xz -9e"](raw))
    return found


def curve(
    workdir: Path,
    steps: Sequence[float],
    split: str = "test",
    data: Sequence[str] = (),
    max_sequences: int | None = None,
) -> list[codec.RatePoint]:
    """Prints and returns rate and error at each of these steps; writes `rate_distortion_<split>.json` and `.png`.

    Args:
        steps: of the latents, see `tfdvae.codec.compress_lossy`.
        workdir, split, data, max_sequences: as for `run`, which raises the same.
    """
    require_packages(with_curve=True)
    model, sequences, config = _subject(workdir, split, data, max_sequences)
    points = codec.rate_distortion(model, sequences, steps)
    for point in points:
        print(
            f"step {point.step:g}: {point.bits_per_frame:.3f} bits per frame, squared error of a feature "
            f"{point.squared_error:.6g}",
            flush=True,
        )
    found = {"model": config.model.name, "data": config.data.name, "split": split}
    found |= {"sequences": sequences.num_sequences, "points": [point._asdict() for point in points]}
    write_json(workdir / f"rate_distortion_{split}.json", found)
    save_figure(plot_rate_distortion({config.model.name: points}), workdir / f"rate_distortion_{split}.png")
    return points


def require_packages(with_table: bool = False, with_curve: bool = False) -> None:
    """Raises ImportError where a package is not installed that a file, a table or a curve needs, before any work is
    done that would be lost."""
    import_extra("constriction", "Compressing sequences", "codec")
    if with_table:
        import_extra("zstandard", "Comparing with zstd", "codec")
    if with_curve:
        import_extra("matplotlib", "Drawing a curve", "plots")


def _subject(
    workdir: Path, split: str, data: Sequence[str], max_sequences: int | None
) -> tuple[DVAE, Sequences, ConfigDict]:
    """The model of a run, a split of its data, and its config."""
    settings.check_split(split)
    config = settings.load(workdir)
    settings.override(config.data, data)
    model = building.load_model(workdir)
    return model, getattr(loading.load_splits(config.data), split).first(max_sequences), config


def dispatch(
    workdir: Path,
    out: Path | None = None,
    decompressed: Path | None = None,
    step: float | None = None,
    with_table: bool = False,
    curve_steps: Sequence[str] = (),
    max_values: int = codec.MAX_VALUES,
    **subject: Any,
) -> None:
    """Does what the flags ask for; `subject` are split, data and max_sequences.

    Raises:
        ValueError: they ask for nothing, or for what would be left undone, or steps are no numbers; and what is asked
            for raises the same.
        ImportError: without the extra `codec`, or `plots` for --curve.
    """
    if out is None and (decompressed is not None or not (with_table or curve_steps)):
        raise ValueError("Give --out, the file to write; or --table, or --curve.")
    if decompressed is not None and (step is not None or with_table or curve_steps):
        raise ValueError("--decompress reads a file as it is: leave out --step, --table and --curve.")
    if step is not None and out is None:
        raise ValueError("--step is that of the file to write: give --out, or the steps of --curve.")
    steps = settings.numbers("curve", curve_steps, "0.5,1,2")
    require_packages(with_table, bool(steps))
    if decompressed is not None:
        decompress(workdir, decompressed, out, max_values)
        return
    if out is not None:
        run(workdir, out, step=step, **subject)
    if with_table:
        table(workdir, **subject)
    if steps:
        curve(workdir, steps, **subject)


def main() -> None:
    values = flags.FLAGS
    dispatch(
        Path(values.workdir),
        None if values.out is None else Path(values.out),
        None if values.decompress is None else Path(values.decompress),
        values.step,
        values.table,
        values.curve or (),
        values.max_values,
        split=values.split,
        data=values.data,
        max_sequences=values.max_sequences,
    )


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of a finished run of trainers.train.")
    flags.DEFINE_string("out", None, "The file to write: .dvae by convention; .npz with --decompress.")
    flags.DEFINE_enum("split", "test", Splits._fields, "What to compress.")
    flags.DEFINE_multi_string("data", [], "key=value, another value in the config's section data, such as path=FILE.")
    flags.DEFINE_float("step", None, "Step of the latents in deviations of their posteriors; loses nothing without.")
    flags.DEFINE_string("decompress", None, "A file that this program has written.")
    flags.DEFINE_integer("max_values", codec.MAX_VALUES, "How many numbers a file to read may state.", lower_bound=1)
    flags.DEFINE_bool("table", False, "Compare sizes with what needs no model.")
    flags.DEFINE_list("curve", None, "Steps at which to measure rate and distortion.")
    flags.DEFINE_integer("max_sequences", None, "At most so many sequences; all by default.", lower_bound=1)
    flags.mark_flag_as_required("workdir")
    settings.run_app(main)
