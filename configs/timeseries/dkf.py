"""Deep Kalman filter on time series of a CSV file, whose latents see past and future: for filling gaps.

    python -m trainers.train --config configs/timeseries/dkf.py --workdir runs/timeseries_dkf
    python -m trainers.impute --workdir runs/timeseries_dkf --rates 0.1,0.3,0.5,0.7

All that p(x_t | .) knows of other frames comes through z_t, so a gap is filled from both sides. Frames are single steps
of all columns, in windows of 192. The networks see straight lines through what is missing, and the indicator; training
hides 40% of the values from them and scores these all the same. A small weight of the KL (--config.training.beta=0.05
--config.training.keep=last) keeps the model nearer to what it sees; RESULTS.md compares them. For forecasts take
`configs/timeseries/srnn.py`, whose latents do not see the future.

Variants: `configs/timeseries/dkf.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "timeseries",
        "dkf",
        arg,
        inference="mf_lr",
        latent_dim=8,
        encoder_phi_x=(64,),
        decoder_units=(64,),
        dropout=0.0,
        fill="line",
        indicator=True,
        standardize="feature",
        given_frames=0,
        data__season=1,
        data__given=1,
        data__horizon=191,
        data__separate=False,
        data__shift=8,
        training__batch_size=32,
        training__epochs=40,
        training__hide=0.4,
    )
