"""Sizes of published experiments, as arguments of the models.

    model = tfdvae.VRNN(**tfdvae.presets.speech.vrnn)
    model = tfdvae.VRAE(**{**tfdvae.presets.papers.vrae_2d, "dropout": 0.1})

`speech` and `motion` hold every model by its name in `tfdvae.MODELS`, `papers` the sizes of single papers. What an
experiment says beside its networks (features, frames, batch, learning rate) is in its `setting`.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["Presets", "Setting", "motion", "papers", "speech"]


class Setting(NamedTuple):
    """What an experiment says beside its networks.

    Attributes:
        x_dim, length, batch_size: D, T and B.
        learning_rate: of Adam.
        patience: epochs without a better validation loss before training stopped.
        kl_warmup_epochs: over which the weight of the KL rose to 1; 0 where it did not.
    """

    x_dim: int
    length: int
    batch_size: int
    learning_rate: float
    patience: int
    kl_warmup_epochs: int = 0


class Presets(Mapping[str, dict[str, Any]]):
    """Arguments of models by name, also as attributes; each access returns a copy of its own.

    Args:
        setting: of the experiment, None where the presets stem from several.
        common: arguments of every model.
        **options: arguments of each; None leaves out a common one.

    Raises:
        AttributeError, KeyError: no such name; the message lists those that exist.
    """

    def __init__(self, setting: Setting | None, common: Mapping[str, Any], **options: Mapping[str, Any]):
        self.setting = setting
        joined = {name: {**common, **own} for name, own in options.items()}
        self._arguments = {name: {k: v for k, v in own.items() if v is not None} for name, own in joined.items()}

    def __getitem__(self, name: str) -> dict[str, Any]:
        if name not in self._arguments:
            raise KeyError(f"There is no preset {name!r}: expected one of {', '.join(self)}.")
        return copy.deepcopy(self._arguments[name])

    def __getattr__(self, name: str) -> dict[str, Any]:
        if name.startswith("_") or name not in self._arguments:
            raise AttributeError(f"There is no preset {name!r}: expected one of {', '.join(self.__dir__())}.")
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arguments)

    def __len__(self) -> int:
        return len(self._arguments)

    def __dir__(self) -> list[str]:
        return [*self.__dict__.get("_arguments", ())]


_SURVEY = {"cell": "lstm", "activation": "tanh", "scale": "exp", "scale_floor": "clip"}

speech = Presets(
    Setting(x_dim=513, length=50, batch_size=128, learning_rate=0.002, patience=50),
    {**_SURVEY, "latent_dim": 16, "units": 128, "observation": "gamma"},
    rnn={"scale": None, "scale_floor": None, "latent_dim": 0, "phi_x": (256,)},
    vae={"units": None, "cell": None, "encoder_units": (128,), "decoder_units": (128,)},
    dkf={
        "initial_prior": "transition",
        "transition_units": (16,),
        "decoder_units": (32, 64, 128, 256),
        "encoder_phi_x": (256,),
        "combiner_units": (32,),
        "posterior_units": (32,),
    },
    storn={
        "first_features": "phi_x",
        "phi_x": (256,),
        "phi_z": (32, 64),
        "decoder_units": (256,),
        "encoder_phi_x": (256,),
        "encoder_units": (64, 32),
    },
    vrnn={"phi_x": (256,), "phi_z": (32, 64)},
    srnn={
        "first_features": "phi_x",
        "phi_x": (256,),
        "prior_units": (64, 32),
        "decoder_units": (256,),
        "smoother_units": (256,),
        "posterior_units": (64, 32),
    },
    rvae={},
    rvae_noncausal={},
    dsae={"global_dim": 16, "posterior_cell": "rnn", "decoder_units": (32, 64, 128, 256)},
    dssm={
        "global_dim": 16,
        "transition_units": (16,),
        "decoder_units": (32, 64, 128, 256),
        "encoder_phi_x": (256,),
        "posterior_units": (32,),
    },
    dvbf={
        "noise_dim": 16,
        "mixing_units": (16,),
        "initial_units": (16,),
        "encoder_phi_x": (256,),
        "posterior_units": (32,),
        "decoder_units": (32, 64, 128, 256),
    },
    fhvae={"global_dim": 16},
    fvae={
        **{"cell": None, "units": None, "num_times": 50},
        **{"encoder_units": (256, 128, 64, 32), "decoder_units": (32, 64, 128, 256)},
    },
    kvae={
        "cell": None,
        "latent_dim": 16,
        "encoding_dim": 8,
        "encoder_units": (256, 128, 64, 32),
        "decoder_units": (32, 64, 128, 256),
    },
    latent_lds={"cell": None, "units": None, "encoder_units": (256, 128, 64, 32), "decoder_units": (32, 64, 128, 256)},
    switching_lds={
        **{"cell": None, "units": None, "num_regimes": 4, "rounds": 2},
        **{"encoder_units": (256, 128, 64, 32), "decoder_units": (32, 64, 128, 256)},
    },
    gpvae={"cell": None, "units": None, "encoder_units": (256, 128, 64, 32), "decoder_units": (32, 64, 128, 256)},
    draw={"activation": None, "num_glimpses": 8},
    vrae={},
    vssn={
        "cell": "gru",
        "phi_u": (256,),
        "noise_units": (256,),
        "prior_units": (64, 32),
        "decoder_units": (256,),
        "smoother_units": (256,),
        "posterior_units": (64, 32),
    },
    zforcing_vrnn={"phi_x": (256,), "phi_z": (32, 64), "auxiliary_units": (64,)},
    rssm={
        "cell": "gru",
        "scale": "softplus",
        "scale_floor": None,
        "phi_x": (256,),
        "transition_units": (64,),
        "prior_units": (64, 32),
        "posterior_units": (64, 32),
        "decoder_units": (256,),
    },
    lvrnn={"phi_x": (256,), "phi_z": (32, 64)},
    sv2p={"phi_x": (256,), "decoder_units": (256,)},
    svg={"frame_encoder": (256,), "frame_decoder": (256,), "embedding_units": (128,)},
    tcn={"cell": None, "units": 80, "phi_x": (256,), "upper_dims": (8, 4), "num_layers": 2, "output_layers": 2},
    transformer={
        "cell": None,
        "units": 76,
        "phi_x": (256,),
        "num_layers": 2,
        "num_heads": 2,
        "head_dim": 38,
        "window": 50,
    },
)
"""Power spectrograms of speech: Girin et al. 2021, section 13.2 and appendix B.

Scales are exponentials of log-variances, clipped at `min_scale` where the survey has no floor at all. Its VAE, which it
does not describe, has one hidden layer in its authors' configurations; RVAE and DSAE have no dense layers beside those
of its text (footnote of B.6).

The survey lists no RNN, KVAE, latent LDS, switching LDS, GP-VAE, VRAE, VSSN, DSSM, DVBF, FHVAE, FVAE, LV-RNN, SVG,
SV2P, Z-forcing VRNN, RSSM, TCN and transformer: these are by analogy, VSSN, SV2P and RSSM with SRNN, LV-RNN and
Z-forcing with VRNN, SVG with STORN, KVAE, latent and switching LDS, GP-VAE, FVAE, DSSM and DVBF with DKF's networks,
FHVAE with RVAE and DSAE; TCN and transformer have as many weights as the VRNN."""

motion = Presets(
    Setting(x_dim=96, length=50, batch_size=128, learning_rate=0.0001, patience=30, kl_warmup_epochs=50),
    {**_SURVEY, "latent_dim": 10, "units": 64, "observation": "identity_gaussian"},
    rnn={"scale": None, "scale_floor": None, "latent_dim": 0, "phi_x": (64,)},
    vae={"units": None, "cell": None, "encoder_units": (32,), "decoder_units": (32,)},
    dkf={
        "initial_prior": "transition",
        "transition_units": (10,),
        "decoder_units": (32, 64),
        "encoder_phi_x": (64,),
        "combiner_units": (16,),
        "posterior_units": (32,),
    },
    storn={
        "first_features": "phi_x",
        "phi_x": (64,),
        "phi_z": (32,),
        "decoder_units": (),
        "encoder_phi_x": (64,),
        "encoder_units": (32,),
    },
    vrnn={"phi_x": (64,), "phi_z": (16, 32)},
    srnn={
        "first_features": "phi_x",
        "phi_x": (64,),
        "prior_units": (32,),
        "decoder_units": (64,),
        "smoother_units": (64,),
        "posterior_units": (32,),
    },
    rvae={},
    rvae_noncausal={},
    dsae={"global_dim": 10, "posterior_cell": "rnn", "decoder_units": (32, 64)},
    dssm={
        "global_dim": 10,
        "transition_units": (10,),
        "decoder_units": (32, 64),
        "encoder_phi_x": (64,),
        "posterior_units": (32,),
    },
    dvbf={
        "noise_dim": 10,
        "mixing_units": (10,),
        "initial_units": (10,),
        "encoder_phi_x": (64,),
        "posterior_units": (32,),
        "decoder_units": (32, 64),
    },
    fhvae={"global_dim": 10},
    fvae={"cell": None, "units": None, "num_times": 50, "encoder_units": (64, 32), "decoder_units": (32, 64)},
    kvae={"cell": None, "latent_dim": 10, "encoding_dim": 6, "encoder_units": (64, 32), "decoder_units": (32, 64)},
    latent_lds={"cell": None, "units": None, "encoder_units": (64, 32), "decoder_units": (32, 64)},
    switching_lds={
        **{"cell": None, "units": None, "num_regimes": 4, "rounds": 2},
        **{"encoder_units": (64, 32), "decoder_units": (32, 64)},
    },
    gpvae={"cell": None, "units": None, "encoder_units": (64, 32), "decoder_units": (32, 64)},
    draw={"activation": None, "num_glimpses": 8},
    vrae={},
    vssn={
        "cell": "gru",
        "noise_dim": 5,
        "universal_dim": 5,
        "phi_u": (64,),
        "noise_units": (64,),
        "prior_units": (32,),
        "decoder_units": (64,),
        "smoother_units": (64,),
        "posterior_units": (32,),
    },
    zforcing_vrnn={"phi_x": (64,), "phi_z": (16, 32), "auxiliary_units": (32,)},
    rssm={
        "cell": "gru",
        "scale": "softplus",
        "scale_floor": None,
        "phi_x": (64,),
        "transition_units": (32,),
        "prior_units": (32,),
        "posterior_units": (32,),
        "decoder_units": (64,),
    },
    lvrnn={"phi_x": (64,), "phi_z": (16, 32)},
    sv2p={"phi_x": (64,), "decoder_units": (64,)},
    svg={"frame_encoder": (64,), "frame_decoder": (64,), "embedding_units": (64,), "predictor_units": (64,)},
    tcn={"cell": None, "units": 34, "phi_x": (64,), "upper_dims": (6, 3), "num_layers": 2, "output_layers": 2},
    transformer={
        "cell": None,
        "units": 32,
        "phi_x": (64,),
        "num_layers": 2,
        "num_heads": 2,
        "head_dim": 14,
        "window": 50,
    },
)
"""3D human motion: Girin et al. 2021, section 13.3 and appendix C; models that are not there by analogy, as above."""


def _vrnn(units: int, phi: tuple[int, ...], observation: str, latent_dim: int) -> dict[str, Any]:
    networks = ("phi_x", "phi_z", "prior_units", "posterior_units", "decoder_units")
    mixture = {"class_name": observation, "config": {"num_components": 20}}
    options = {"latent_dim": latent_dim, "units": units, "cell": "lstm", "activation": "relu", "observation": mixture}
    return options | {name: phi for name in networks}


def _rssm(units: int, hidden: tuple[int, ...], latent_dim: int, family: str | dict[str, Any]) -> dict[str, Any]:
    networks = ("transition_units", "prior_units", "posterior_units")
    options = {"latent_dim": latent_dim, "units": units, "cell": "gru", "activation": "elu", "family": family}
    return options | {name: hidden for name in networks} | {"observation": "identity_gaussian"}


_SVG = {
    "latent_dim": 10,
    "units": 256,
    "cell": "lstm",
    "embedding_units": (256,),
    "predictor_layers": 2,
    "predictor_units": (128,),
    "frame_encoder": "conv",
    "frame_decoder": "conv",
    "given_frames": 5,
    "frame_skips": True,
    "observation": "identity_gaussian",
}

_DRAW = {"latent_dim": 100, "units": 256, "cell": "lstm", "scale": "exp", "observation": "bernoulli"}

papers = Presets(
    None,
    {},
    vrnn_timit=_vrnn(2000, (600,) * 4, "gaussian_mixture", 200),
    vrnn_blizzard=_vrnn(4000, (800,) * 4, "gaussian_mixture", 200),
    vrnn_iam_ondb=_vrnn(1200, (600,), "pen", 50),
    vrae_2d={"latent_dim": 2, "units": 500, "cell": "rnn", "observation": "bernoulli"},
    vrae_20d={"latent_dim": 20, "units": 500, "cell": "rnn", "observation": "bernoulli"},
    srnn_music={
        "latent_dim": 100,
        "units": 300,
        "cell": "gru",
        "activation": "relu",
        "phi_x": (300,),
        "prior_units": (300,),
        "smoother_units": (300,),
        "posterior_units": (300,),
        "decoder_units": (300,),
        "residual_posterior": True,
        "observation": "bernoulli",
    },
    rssm_planet=_rssm(200, (200,), 30, "gaussian"),
    rssm_dreamer=_rssm(600, (600,), 1024, {"class_name": "categorical", "config": {"classes": 32}}),
    gpvae_healing={
        "latent_dim": 256,
        "kernel": "cauchy",
        "length_scales": (2.0,),
        "encoder_units": (256, 256),
        "decoder_units": (256, 256, 256),
        "observation": "bernoulli",
    },
    draw_mnist={**_DRAW, "num_glimpses": 64, "read_size": 2, "write_size": 5},
    draw_mnist_whole={**_DRAW, "num_glimpses": 64, "attention": False},
    svg_lp=_SVG,
    svg_fp={**_SVG, "learned_prior": False},
    tcn_timit={
        "latent_dim": 256,
        "upper_dims": (128, 64, 32, 16),
        "units": 256,
        "num_layers": 5,
        "output_layers": 5,
        "observation": {"class_name": "gaussian_mixture", "config": {"num_components": 20}},
    },
)
"""Chung et al. 2015, section 4 (`vrnn_timit` also for Accent and Onomatopoeia; raw audio in frames of 200 samples, and
pens; the paper does not print Z, which is ours). Fabius and van Amersfoort 2014, section 3.2 (windows of 50 frames for
two dimensions, of 40 with 50% overlap for twenty). Fraccaro et al. 2016 on polyphonic music (the widths of its hidden
layers are ours). Hafner et al. 2019 (`rssm_planet`, trained with 3 free nats) and 2021 (`rssm_dreamer`, 32 groups of 32
classes, KL balance of 0.8) on pictures, for which both want a `frame_encoder` and a `frame_decoder`. Denton and Fergus
2018 on moving digits (its recurrences; convolutions, Z and the width of g_t are ours). Fortuin et al. 2020 on Healing
MNIST (`gpvae_healing`, from memory and unchecked, without its convolutions of single pictures). Gregor et al. 2015 on
MNIST (`draw_mnist`, and `draw_mnist_whole` without attention). Aksan and Hilliges 2019 on raw audio: the widths of the
five latents, all else is ours."""
