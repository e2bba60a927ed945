"""FVAE (Deng et al. 2017) on simulated faces that see the same film: who looks, times what is shown.

    python -m trainers.train --config configs/faces/fvae.py --workdir runs/faces_fvae
    python -m trainers.impute --workdir runs/faces_fvae

Sizes are ours. The log-prior of V is shared by the 200 training individuals. With a table of U, as in the paper:
`--config.model.table`.

Variants: `configs/faces/fvae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "faces",
        "fvae",
        arg,
        latent_dim=4,
        num_times=60,
        num_sequences=200,
        encoder_units=(64, 64),
        decoder_units=(64, 64),
        optimizer__learning_rate=0.01,
        optimizer__schedule="cosine",
    )
