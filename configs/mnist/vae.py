"""VAE (Kingma and Welling 2014) on binary MNIST digits, with about as many weights as `configs/mnist/draw.py`.

    python -m trainers.train --config configs/mnist/vae.py --workdir runs/mnist_vae
    python -m trainers.reproduce draw --workdir results/draw --row VAE

Variants: `configs/mnist/vae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "mnist",
        "vae",
        arg,
        latent_dim=100,
        encoder_units=(370, 370),
        decoder_units=(370, 370),
        scale="exp",
    )
