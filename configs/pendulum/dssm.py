"""DSSM (Miladinovic et al. 2019) on driven pendulums whose gravity differs between sequences, which v is to hold.

    python -m trainers.train --config configs/pendulum/dssm.py --workdir runs/pendulum_dssm
    python -m trainers.regress --workdir runs/pendulum_dssm
    python -m trainers.reproduce physics --workdir results/physics

Noise is inferred, and c of DVBF's annealing rises from 0.01 to 1, as in `configs/pendulum/dvbf.py`. Where states are
inferred, none of them knows how fast the pendulum moves, and v nothing of gravity (RESULTS.md). Sizes are ours.

Variants: `configs/pendulum/dssm.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pendulum",
        "dssm",
        arg,
        latent_dim=3,
        global_dim=2,
        units=64,
        transition_units=(64,),
        decoder_units=(128,),
        encoder_phi_x=(128,),
        posterior_units=(64,),
        activation="relu",
        inference="noise",
        data__gravities=(4.0, 9.81, 16.0),
        optimizer__learning_rate=0.002,
        optimizer__schedule="cosine",
        training__epochs=700,
        training__temperature_start=0.01,
        training__temperature_warmup_steps=8000,
    )
