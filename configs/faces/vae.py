"""VAE (Kingma and Welling 2014) on simulated faces that see the same film, each frame by itself.

    python -m trainers.train --config configs/faces/vae.py --workdir runs/faces_vae

Sizes are those of `configs/faces/fvae.py`.

Variants: `configs/faces/vae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "faces",
        "vae",
        arg,
        latent_dim=4,
        encoder_units=(64, 64),
        decoder_units=(64, 64),
        optimizer__learning_rate=0.01,
        optimizer__schedule="cosine",
    )
