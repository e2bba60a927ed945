"""From nothing to music: a VRNN learns Bach's chorales in a few minutes, and draws one of its own.

At last the model, exported to LiteRT, continues a test chorale in a process that has no TensorFlow.

    python -m trainers.demo --workdir demo

Run again, it goes on where it was interrupted, or only draws again.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

from export.edge.files import new_file
from tfdvae.data import write_midi
from tfdvae.data.files import atomic_write
from tfdvae.models import DVAE
from tfdvae.plots import plot_history, plot_latents, plot_rolls
from trainers import building, generate, settings, train

__all__ = ["continue_on_the_edge", "run"]

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "bach" / "vrnn.py"
FRAMES, PRIME = 64, 32

WITHOUT_TENSORFLOW = """
import sys
sys.modules.update(dict.fromkeys(("keras", "tensorflow", "tensorflow_probability", "tfdvae")))
from export.edge import chorale
sys.exit(chorale.run(sys.argv[1:]))
"""
"""A program in which importing any of these is an error."""


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
        "latents.png": plot_latents(model, model.infer(original[None])),
    }
    for name, figure in pictures.items():
        generate.save_figure(figure, workdir / name)
    edge = continue_on_the_edge(model, original[:PRIME], workdir, steps, seed)
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
        **edge,
    }
    width = max(len(str(workdir / name)) for name in files)
    print("\nIn the folder are now")
    print("\n".join(f"  {str(workdir / name):{width}}  {what}" for name, what in files.items()))
    print(f"More music: python -m trainers.generate --workdir {workdir} --length 128 --num 3 --seed 1", flush=True)
    return [workdir / name for name in files]


def continue_on_the_edge(
    model: DVAE, prime: np.ndarray, workdir: Path, steps_per_quarter: int, seed: int
) -> dict[str, str]:
    """Exports the model to LiteRT, and has the edge runtime continue a chorale in a process without TensorFlow.

    Returns:
        Names of the files that it wrote, and what they are; none without ai-edge-litert.

    Raises:
        ValueError: the model cannot be exported.
        RuntimeError: the edge runtime failed; says how.
    """
    if importlib.util.find_spec("ai_edge_litert") is None:
        print("The model is not exported, since ai-edge-litert is not installed: the extra edge has it.", flush=True)
        return {}
    exported, first, continued = (workdir / name for name in ("chorale_model.tflite", "prime.npy", "continued.mid"))
    with new_file(exported) as partial:
        model.export(partial, format="litert")
    with atomic_write(first) as file:
        np.save(file, prime)
    options = {"model": exported, "prime": first, "out": continued, "length": FRAMES - len(prime), "seed": seed}
    options["steps_per_quarter"] = steps_per_quarter
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, "--quiet", "--overwrite"]
    command += [f"--{k}={v}" for k, v in options.items()]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    if result.returncode != 0:
        raise RuntimeError(f"The edge runtime ended with code {result.returncode}: {result.stderr.strip()}")
    print(f"\nWithout TensorFlow: {result.stdout.strip()}")
    return {
        continued.name: f"the first {len(prime)} frames of the test chorale, continued without TensorFlow",
        exported.name: "the model for LiteRT, which continued them: export/edge/stream.py runs it",
        first.name: "those frames as a piano-roll, for python -m export.edge.chorale --prime",
    }


def main() -> None:
    run(flags.FLAGS.config, Path(flags.FLAGS.workdir), flags.FLAGS.seed)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", f"{CONFIG}:demo", "File with get_config(), see configs/bach.")
    flags.DEFINE_string("workdir", "demo", "Folder for the results.")
    flags.DEFINE_integer("seed", 0, "Another seed draws another chorale.")
    settings.run_app(main)
