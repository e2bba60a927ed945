"""A map of music in latent space, and music between two pieces, as in sections 3.2 and 3.3 of the VRAE paper.

    python -m trainers.latent_map --workdir runs/bach_vrae --num 7

Writes `latent_map.png` (a point per window of a test piece, a colour per piece), `interpolation_00.mid` and so on from
the first piece to the second, `interpolation.png`, and `endless.mid`, drawn from overlapping windows.
"""

from pathlib import Path

import numpy as np
from absl import flags

from tfdvae.data import windows, write_midi
from tfdvae.models import VRAE
from tfdvae.plots import plot_latent_map, plot_rolls
from trainers import building, loading, settings
from trainers.generate import save_figure

__all__ = ["run"]


def run(workdir: Path, num: int = 7, pieces: int = 10, endless: int = 160, seed: int = 0) -> list[Path]:
    """Writes pictures and MIDI files; prints and returns their paths.

    Args:
        workdir: folder of a finished run of a VRAE on windows of piano-rolls (`config.data.window`).
        num: sequences on the way from one piece to another, both ends included.
        pieces: test pieces on the map.
        endless: frames of `endless.mid`.
        seed: of what is drawn.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: another model, or a run without windows.
    """
    config = settings.load(workdir)
    model = building.load_model(workdir)
    if not isinstance(model, VRAE) or config.data.window is None:
        raise ValueError(
            f"A latent map needs a VRAE trained on windows (config.data.window), got {config.model.name!r} with window "
            f"{config.data.window}."
        )
    test = loading.load_splits(config.data).test
    test = test.first(pieces)
    size, steps = config.data.window, config.data.get("steps_per_quarter", 1)
    cut = [
        windows(test.take([i]), size, config.data.hop, keep_short=False)
        for i in range(test.num_sequences)
        if len(test.x[i]) >= size
    ]
    if len(cut) < 2:
        raise ValueError(f"A map needs two test pieces of at least {size} frames, got {len(cut)}.")
    points = [np.asarray(model.latent_map(np.stack(c.x))) for c in cut]
    labels = [f"piece {i}" for i, p in enumerate(points) for _ in p]
    paths = [workdir / "latent_map.png"]
    save_figure(plot_latent_map(np.concatenate(points), labels), paths[0])

    ends = (np.stack(c.x)[:1] for c in cut[:2])
    means = np.asarray(model.interpolate(*ends, num))[:, 0]
    between = np.asarray(model.interpolate(*(np.stack(c.x)[:1] for c in cut[:2]), num, sample=True, seed=seed))[:, 0]
    shares = np.linspace(0.0, 1.0, num)
    for i, roll in enumerate(between):
        paths.append(workdir / f"interpolation_{i:02d}.mid")
        write_midi(paths[-1], roll, steps)
    rolls = {
        "piece 0": cut[0].x[0],
        **{f"{s:.2f}": r for s, r in zip(shares, means, strict=True)},
        "piece 1": cut[1].x[0],
    }
    paths.append(workdir / "interpolation.png")
    save_figure(plot_rolls(rolls), paths[-1])
    paths.append(workdir / "endless.mid")
    write_midi(paths[-1], np.asarray(model.endless(endless, size, seed=seed))[0], steps)
    print("\n".join(map(str, paths)), flush=True)
    return paths


def main() -> None:
    values = flags.FLAGS
    run(Path(values.workdir), values.num, values.pieces, values.endless, values.seed)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of a finished run of trainers.train.")
    flags.DEFINE_integer("num", 7, "Sequences from one piece to the other.", lower_bound=2)
    flags.DEFINE_integer("pieces", 10, "Test pieces on the map.", lower_bound=2)
    flags.DEFINE_integer("endless", 160, "Frames of endless.mid.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Other seeds draw other music.")
    flags.mark_flag_as_required("workdir")
    settings.run_app(main)
