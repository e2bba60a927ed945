"""DKF with the tridiagonal posterior and a linear transition (Archer et al. 2015) on spikes of a latent oscillator: a
linear dynamical system with Poisson frames, whose posterior over all z is one Gaussian.

    python -m trainers.train --config configs/spikes/dkf.py --workdir runs/spikes_dkf
    python -m trainers.regress --workdir runs/spikes_dkf
    python -m trainers.reproduce spikes --workdir results/spikes    # beside other posteriors and LatentLDS

Sizes are ours. The rates of the neurons are exponentials of linear functions of z, as those of the data are.

Variants: `configs/spikes/dkf.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "spikes",
        "dkf",
        arg,
        inference="tridiagonal",
        transition="linear",
        latent_dim=2,
        units=32,
        transition_units=(32,),
        decoder_units=(),
        encoder_phi_x=(32,),
        combiner_units=(),
        posterior_units=(32,),
        optimizer__learning_rate=0.005,
        optimizer__schedule="cosine",
    )
