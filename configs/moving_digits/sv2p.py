"""SV2P (Babaeizadeh et al. 2018) with convolutions on two moving digits, the first five frames given, in three phases.

    python -m trainers.train --config configs/moving_digits/sv2p.py --workdir runs/moving_digits_sv2p
    python -m trainers.predict --workdir runs/moving_digits_sv2p

Latents come from the prior in the first three epochs, from a posterior without a KL in three more, and then the weight
of the KL rises; the lengths are ours. With `--config.training.prior_epochs=0 --config.training.free_epochs=0` it begins
with the last phase. `--config.model.level=frame` has one latent per frame; `--config.data.stochastic=False` lets walls
reflect.
Variants: `configs/moving_digits/sv2p.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "moving_digits",
        "sv2p",
        arg,
        latent_dim=10,
        units=256,
        phi_x=(128,),
        decoder_units=(128,),
        given_frames=5,
        frame_encoder="conv",
        frame_decoder="conv",
        activation="relu",
        data__frame_shape=(64, 64, 1),
        optimizer__learning_rate=0.001,
        optimizer__schedule="cosine",
        training__prior_epochs=3,
        training__free_epochs=3,
        training__kl_warmup_epochs=3,
        training__kl_warmup_start=0.1,
    )
