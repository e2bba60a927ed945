"""DVBF (Karl et al. 2017) on the driven pendulum: what its state z_t knows of the true one, their section 5.1.

    python -m trainers.train --config configs/pendulum/dvbf.py --workdir runs/pendulum_dvbf
    python -m trainers.regress --workdir runs/pendulum_dvbf

The paper's z has 3 dimensions and M = 16 matrices, and c rises from 0.01 to 1; the other sizes are ours. With
fewer than half of the updates, at half the rate, and c rising four times as fast, no velocity was in z (RESULTS.md).

Variants: `configs/pendulum/dvbf.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pendulum",
        "dvbf",
        arg,
        latent_dim=3,
        noise_dim=3,
        num_matrices=16,
        units=64,
        mixing_units=(32,),
        initial_units=(64,),
        encoder_phi_x=(128,),
        posterior_units=(64,),
        decoder_units=(128,),
        activation="relu",
        optimizer__learning_rate=0.002,
        optimizer__schedule="cosine",
        training__epochs=700,
        training__temperature_start=0.01,
        training__temperature_warmup_steps=8000,
    )
