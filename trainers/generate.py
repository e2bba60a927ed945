"""Draws music from a trained model, as MIDI files and pictures.

python -m trainers.generate --workdir runs/bach_vrnn --length 64 --num 3 --seed 1
python -m trainers.generate --workdir runs/bach_vrnn --length 64 --prefix song.mid --prefix_frames 16
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from tfdvae.data import load_pianoroll, read_midi, write_midi
from tfdvae.data.files import atomic_write
from tfdvae.models import DVAE
from tfdvae.plots import plot_rolls
from trainers import building, settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "run", "save_figure"]


def run(
    workdir: Path,
    length: int,
    num: int = 1,
    prefix: Path | None = None,
    prefix_frames: int | None = None,
    seed: int = 0,
    output: Path | None = None,
) -> list[Path]:
    """Writes `sample_000.mid`, `sample_000.png`, ... and returns their paths.

    Args:
        workdir: folder of a finished run.
        length: frames to draw, after the prefix.
        num: number of samples.
        prefix: music to continue, .mid, or the first test sequence of an .npz or .mat of piano-rolls. It is part of
            the files that are written.
        prefix_frames: how much of it to take; all by default.
        output: where to write; the folder `samples` of `workdir` by default.

    Raises:
        FileNotFoundError: no finished run, or no prefix, there.
        ValueError: a model of something else than piano-rolls, or a prefix that cannot be read.
    """
    config = settings.load(workdir)
    steps = config.data.get("steps_per_quarter", 1)
    model = building.load_model(workdir)
    start = None if prefix is None else read_prefix(prefix, steps, prefix_frames)
    rolls = draw(model, length, num, start, seed)
    output = workdir / "samples" if output is None else output
    paths = []
    for i, roll in enumerate(rolls):
        title = f"sample {i}" if start is None else f"sample {i} after {len(start)} given frames"
        paths += [output / f"sample_{i:03d}.mid", output / f"sample_{i:03d}.png"]
        write_midi(paths[-2], roll, steps)
        save_figure(plot_rolls({title: roll}), paths[-1])
    print("\n".join(map(str, paths)), flush=True)
    return paths


def draw(model: DVAE, length: int, num: int = 1, prefix: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """Piano-rolls `[num, T, 88]` of 0 and 1: the prefix, where there is one, and `length` frames drawn from the model.

    Raises:
        ValueError: the model's frames are no piano-roll.
    """
    if num < 1:
        raise ValueError(f"`num` must be at least 1, got {num}.")
    given = None if prefix is None else np.repeat(np.asarray(prefix, np.float32)[None], num, axis=0)
    frames = np.asarray(model.generate(length, num, prefix=given, seed=seed).x)
    if frames.shape[-1] != 88 or not np.isin(frames, (0, 1)).all():
        raise ValueError(
            f"MIDI needs frames of 88 keys, 0 or 1; this model's {type(model.observation).__name__} draws "
            f"{frames.shape[-1]} features. Use model.generate() for other data."
        )
    frames = frames if given is None else np.concatenate([given, frames], axis=1)
    return frames.astype(np.uint8)


def read_prefix(path: Path, steps_per_quarter: int, frames: int | None) -> np.ndarray:
    """A piano-roll `[T, 88]` from a MIDI file, or the first test sequence of a file of piano-rolls."""
    midi = path.suffix.lower() in (".mid", ".midi")
    roll = read_midi(path, steps_per_quarter) if midi else load_pianoroll(path).test.x[0]
    if frames is not None and not 1 <= frames <= len(roll):
        raise ValueError(f"`prefix_frames` must be from 1 to {len(roll)}, the frames of {path}; got {frames}.")
    return roll[:frames]


def save_figure(figure: "Figure", path: Path) -> None:
    """Writes a picture, completely or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:])
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def main() -> None:
    values = flags.FLAGS
    run(
        Path(values.workdir),
        values.length,
        values.num,
        values.prefix and Path(values.prefix),
        values.prefix_frames,
        values.seed,
        values.output and Path(values.output),
    )


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of a finished run of trainers.train.")
    flags.DEFINE_integer("length", 64, "Frames to draw.", lower_bound=1)
    flags.DEFINE_integer("num", 1, "Number of samples.", lower_bound=1)
    flags.DEFINE_string("prefix", None, "Music to continue: .mid, or piano-rolls as .npz or .mat.")
    flags.DEFINE_integer("prefix_frames", None, "How many frames of it to take; all by default.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Other seeds draw other music.")
    flags.DEFINE_string("output", None, "Where to write; the folder samples of the run by default.")
    flags.mark_flag_as_required("workdir")
    settings.run_app(main)
