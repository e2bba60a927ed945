"""DKF, also known as DMM (Krishnan et al. 2017), on intensive-care stays (PhysioNet 2012): imputation.

    python -m trainers.train --config configs/icu/dkf.py --workdir runs/icu_dkf
    python -m trainers.impute --workdir runs/icu_dkf

The networks see straight lines between the hours at which a variable was measured. The KL has a small weight, by which
more latents come into use; its bound is not that of log p(x), so the last epoch is kept and not the best by the bound.

Variants: `configs/icu/dkf.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "icu",
        "dkf",
        arg,
        latent_dim=64,
        units=256,
        transition_units=(64,),
        decoder_units=(256,),
        encoder_phi_x=(256,),
        combiner_units=(),
        posterior_units=(64,),
        inference="mf_lr",
        fill="line",
        training__hide=0.3,
        training__beta=0.03,
        training__keep="last",
        training__epochs=60,
        optimizer__schedule="cosine",
    )
