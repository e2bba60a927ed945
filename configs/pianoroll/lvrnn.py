"""LV-RNN (Gu et al. 2015) on piano-rolls, by NASMC with 8 particles.

    TFDVAE_DATA=DATA_FOLDER python -m trainers.train --config configs/pianoroll/lvrnn.py --workdir runs/pianoroll_lvrnn

The data set is JSB chorales; `--config.data.set=nottingham` takes another one of the folder `polyphonic` in
TFDVAE_DATA, `--config.data.path=FILE` a file. `--config.training.bound=fivo` learns p and q by one bound;
`--config.model.conditional_prior=False` is the paper's variant with independent latents. Variants:
`configs/pianoroll/lvrnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pianoroll",
        "lvrnn",
        arg,
        latent_dim=32,
        units=200,
        phi_x=(200,),
        phi_z=(64,),
        decoder_units=(200,),
        dropout=0.1,
        data__transpose=4,
        training__epochs=35,
        training__bound="nasmc",
        training__bound_samples=8,
        training__batch_size=16,
        training__buckets=4,
        optimizer__learning_rate=3e-3,
        optimizer__schedule="cosine",
        optimizer__final_fraction=0.02,
        evaluation__bounds=("elbo", "iwae", "fivo"),
    )
