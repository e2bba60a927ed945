"""From nothing to music: a VRNN learns Bach's chorales in a few minutes, and draws one of its own.

    python -m trainers.demo --workdir demo

Run again, it goes on where it was interrupted, or only draws again.
"""

from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

from tfdvae.data import write_midi
from tfdvae.plots import plot_history, plot_latents, plot_rolls
from trainers import building, generate, settings, train

__all__ = ["run"]

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "bach" / "vrnn.py"
FRAMES = 64


def run(config: ConfigDict, workdir: Path, seed: int = 0) -> list[Path]:
    """Trains, scores, draws, and says what each file is. Returns the paths of all files."""
    steps = config.data.steps_per_quarter
    model, splits, _ = train.run(config, workdir)
    original = splits.test.x[0][:FRAMES]
    reconstruction = np.asarray(model.reconstruct(original[None], mode="teacher_forced"))[0]
    chorale = generate.draw(model, FRAMES, seed=seed)[0]
    title = splits.test.names[0] if splits.test.names else "original"
    write_midi(workdir / "chorale.mid", chorale, steps)
    write_midi(workdir / "original.mid", original, steps)
    pictures = {
        "chorale.png": plot_rolls(
            {
                f"{title}, a chorale that the model has not seen": original,
                "its reconstruction, p(key is on), teacher forced": reconstruction,
                "a chorale drawn from the model": chorale,
            }
        ),
        "curves.png": plot_history(workdir / "log.csv"),
        "latents.png": plot_latents(model.infer(original[None])),
    }
    for name, figure in pictures.items():
        generate.save_figure(figure, workdir / name)
    files = {
        "chorale.mid": "a chorale drawn from the model, to listen to",
        "chorale.png": "a test chorale, its reconstruction, and the drawn one, as piano-rolls",
        "original.mid": "the test chorale",
        "curves.png": "training curves",
        "latents.png": "what the model infers about the test chorale: mean, log-variance, KL over time",
        "scores_test.md": "the table above, also as .txt and .json",
        building.MODEL_FILE: "the model: keras.models.load_model(path), after import tfdvae",
        "log.csv": "all metrics of every epoch; the folder tensorboard/ has them for TensorBoard",
        settings.FILE: "the config",
    }
    width = max(len(str(workdir / name)) for name in files)
    print("\nIn the folder are now")
    print("\n".join(f"  {str(workdir / name):{width}}  {what}" for name, what in files.items()))
    print(f"More music: python -m trainers.generate --workdir {workdir} --length 128 --num 3 --seed 1", flush=True)
    return [workdir / name for name in files]


def main() -> None:
    run(flags.FLAGS.config, Path(flags.FLAGS.workdir), flags.FLAGS.seed)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", f"{CONFIG}:demo", "File with get_config(), see configs/bach.")
    flags.DEFINE_string("workdir", "demo", "Folder for the results.")
    flags.DEFINE_integer("seed", 0, "Another seed draws another chorale.")
    settings.run_app(main)
