"""Sequences into classes: latents of a DVAE as features in scikit-learn's pipelines, beside raw features.

    python examples/latent_features.py             # made-up gestures, a minute or two
    python examples/latent_features.py --toy       # seconds, to see that all runs

The model learns from all sequences without labels; the classifier sees the few that have some. With your own sequences
give a list of arrays `[T_i, D]`. It needs the extra `sklearn`.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tfdvae.representations import LatentFeatures

TURNS = (1.0, 1.5, 2.0)
"""What tells the classes apart: how fast a gesture turns, at any height, phase and direction."""


def made_gestures(count: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Noisy paths in the plane, `[T_i, 2]` of 30 to 60 frames, and their classes."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, len(TURNS), count)
    found = []
    for kind in classes:
        t = np.arange(rng.integers(30, 61)) / 10.0
        angle = TURNS[kind] * rng.choice([-1.0, 1.0]) * t + rng.uniform(0.0, 2 * np.pi)
        path = np.stack([np.cos(angle), np.sin(angle)], -1) * rng.uniform(0.7, 1.3) + rng.normal(scale=0.5, size=2)
        found.append((path + rng.normal(scale=0.3, size=path.shape)).astype(np.float32))
    return found, classes


def moments(sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Mean and standard deviation of each raw feature, and of its step from frame to frame."""
    rows = []
    for x in sequences:
        steps = np.diff(x, axis=0)
        rows.append(np.concatenate([x.mean(0), x.std(0), steps.mean(0), steps.std(0)]))
    return np.array(rows)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Prints, and returns, the part of the test sequences whose class is found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--toy", action="store_true", help="a model and a training for seconds")
    given = parser.parse_args(arguments)
    count, labelled = (30, 24) if given.toy else (600, 60)
    train, classes = made_gestures(count, seed=0)
    test, truth = made_gestures(30 if given.toy else 300, seed=1)

    # 1. A DVAE learns what gestures are, of all of them, without labels.
    sizes = {"latent_dim": 2, "units": 4} if given.toy else {"latent_dim": 8, "units": 32}
    learned = LatentFeatures("srnn", sizes, epochs=1 if given.toy else 40, learning_rate=3e-3).fit(train)
    print(f"log p(x) of the test sequences, nats per sequence: {learned.score(test):.2f}")

    # 2. The trained model is a step of a pipeline, as any transformer is: here for the few that have labels.
    latents = LatentFeatures(learned.model_, pool="mean_std")
    accuracies = {}
    for name, step in {"latents": latents, "raw moments": FunctionTransformer(moments)}.items():
        pipeline = make_pipeline(step, StandardScaler(), LogisticRegression(max_iter=1000))
        pipeline.fit(train[:labelled], classes[:labelled])
        accuracies[name] = float(pipeline.score(test, truth))
        print(f"{name:12} {accuracies[name]:.1%} of the classes found, from {labelled} labels")
    return accuracies


if __name__ == "__main__":
    main()
