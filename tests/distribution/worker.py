"""One of several workers, which TF_CONFIG tells from each other: trains, and leaves what came of it as `.npz`.

    TF_CONFIG=... python -m tests.distribution.worker FOLDER

FOLDER is shared by the workers.
"""

import json
import os
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tfdvae
from tfdvae.callbacks import BestWeights, KLWarmup, Resume
from tfdvae.data import batches, from_arrays, steps_per_epoch

BATCH, EPOCHS = 3, 3


def run(folder: Path, strategy: tf.distribute.Strategy) -> dict[str, np.ndarray]:
    """What a user runs on each worker."""
    with strategy.scope():
        model = tfdvae.VAE(2, encoder_units=(4,), decoder_units=(4,), dropout=0.2, seed=3)
        model.compile(keras.optimizers.SGD(0.1))
        model.build_for(4)
    rng = np.random.default_rng(0)
    data = from_arrays([rng.normal(size=(rng.integers(2, 6), 4)).astype(np.float32) for _ in range(7)])
    best = BestWeights(path=folder / "best.weights.h5")
    resume = Resume(folder / "checkpoints", [best])
    left = resume.epochs(EPOCHS)
    history = model.fit(
        batches(data, BATCH, seed=1, epochs=left or 1),
        steps_per_epoch=steps_per_epoch(data, BATCH),
        initial_epoch=left.start,
        epochs=left.stop,
        validation_data=batches(data, 4),
        verbose=0,
        callbacks=[KLWarmup(2), best, resume],
    ).history
    predicted = model.predict(batches(data, 4, pad_to=6), verbose=0)
    found = {f"weights/{i}": w for i, w in enumerate(model.get_weights())}
    return {**found, **{f"logs/{k}": np.asarray(v) for k, v in history.items()}, "predicted": predicted}


def main(folder: str) -> None:
    several = "TF_CONFIG" in os.environ
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if several else tf.distribute.get_strategy()
    found = run(Path(folder), strategy)
    index = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))["task"]["index"]
    np.savez(Path(folder) / f"worker-{index}.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
