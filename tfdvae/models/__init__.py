"""The models, and the registry that maps names to them."""

from tfdvae.models.base import DVAE
from tfdvae.models.dkf import DKF, DKFCell
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.models.rnn import RNN, RNNCell
from tfdvae.models.srnn import SRNN, SRNNCell
from tfdvae.models.storn import STORN, STORNCell
from tfdvae.models.vae import VAE, VAECell
from tfdvae.models.vrnn import VRNN, VRNNCell

__all__ = [
    "DKF",
    "DKFCell",
    "DVAE",
    "MODELS",
    "RNN",
    "RNNCell",
    "RecurrentDVAE",
    "SRNN",
    "SRNNCell",
    "STORN",
    "STORNCell",
    "VAE",
    "VAECell",
    "VRNN",
    "VRNNCell",
]

MODELS: dict[str, type[DVAE]] = {"rnn": RNN, "vae": VAE, "dkf": DKF, "storn": STORN, "vrnn": VRNN, "srnn": SRNN}
"""Every model by the name that configs and programs use."""
