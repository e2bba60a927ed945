"""SVG-LP (Denton and Fergus 2018) on two moving digits, the first five frames given: one-step predictions.

    python -m trainers.train --config configs/moving_digits/svg.py --workdir runs/moving_digits_svg
    python -m trainers.predict --workdir runs/moving_digits_svg

The decoder takes what the encoder's layers saw of the newest given frame. `--config.model.frame_skips=False` leaves
that out, and `--config.model.given_frames=0` with it scores all frames. `--config.model.learned_prior=False` is SVG-FP;
`--config.data.stochastic=False` lets walls reflect.
Variants: `configs/moving_digits/svg.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "moving_digits",
        "svg",
        arg,
        latent_dim=10,
        units=256,
        embedding_units=(256,),
        predictor_units=(128,),
        given_frames=5,
        frame_encoder="conv",
        frame_decoder="conv",
        frame_skips=True,
        activation="relu",
        data__frame_shape=(64, 64, 1),
        optimizer__learning_rate=0.001,
        optimizer__schedule="cosine",
        training__kl_warmup_epochs=2,
        training__kl_warmup_start=0.1,
    )
