"""RSSM (Hafner et al. 2019) with convolutions on two moving digits: one-step predictions.

    python -m trainers.train --config configs/moving_digits/rssm.py --workdir runs/moving_digits_rssm
    python -m trainers.predict --workdir runs/moving_digits_rssm

`--config.data.stochastic=False` lets walls reflect.
Variants: `configs/moving_digits/rssm.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "moving_digits",
        "rssm",
        arg,
        latent_dim=10,
        units=256,
        phi_x=(128,),
        transition_units=(128,),
        prior_units=(64,),
        posterior_units=(128,),
        decoder_units=(128,),
        frame_encoder="conv",
        frame_decoder="conv",
        activation="elu",
        data__frame_shape=(64, 64, 1),
        optimizer__learning_rate=0.001,
        optimizer__schedule="cosine",
        training__kl_warmup_epochs=2,
        training__kl_warmup_start=0.1,
    )
