"""DRAW (Gregor et al. 2015) on binary MNIST digits, with attention: 64 glimpses, windows of 2 x 2 and 5 x 5 filters.

    python -m trainers.train --config configs/mnist/draw.py --workdir runs/mnist_draw
    python -m trainers.reproduce draw --workdir results/draw --row DRAW

Sizes are the paper's. Without attention: `--config.model.attention=False`.

Variants: `configs/mnist/draw.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "mnist",
        "draw",
        arg,
        latent_dim=100,
        num_glimpses=64,
        read_size=2,
        write_size=5,
        units=256,
        scale="exp",
    )
