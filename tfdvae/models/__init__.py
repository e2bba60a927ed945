"""The models, and the registry that maps names to them."""

from collections.abc import Callable

from tfdvae.models.base import DVAE
from tfdvae.models.dkf import DKF, DKFCell
from tfdvae.models.draw import DRAW
from tfdvae.models.dsae import DSAE, DSAECell
from tfdvae.models.dssm import DSSM, DSSMCell
from tfdvae.models.dvbf import DVBF, DVBFCell
from tfdvae.models.fhvae import FHVAE, FHVAECell
from tfdvae.models.fvae import FVAE, Factors, FVAECell
from tfdvae.models.gpvae import GPVAE
from tfdvae.models.kvae import KVAE, StateEstimate
from tfdvae.models.latent_lds import LatentLDS, LatentLDSCell
from tfdvae.models.lvrnn import LVRNN, LVRNNCell
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.models.rnn import RNN, RNNCell
from tfdvae.models.rssm import RSSM, RSSMCell
from tfdvae.models.rvae import RVAE, NonCausalRVAE, NonCausalRVAECell, RVAECell
from tfdvae.models.sequence import SequenceDVAE
from tfdvae.models.srnn import SRNN, SRNNCell
from tfdvae.models.storn import STORN, STORNCell
from tfdvae.models.sv2p import SV2P, SV2PCell
from tfdvae.models.svg import SVG, SVGCell
from tfdvae.models.switching_lds import SwitchingLDS, SwitchingLDSCell
from tfdvae.models.tcn import TCNDVAE, TCNDVAECell
from tfdvae.models.transformer import TransformerDVAE, TransformerDVAECell
from tfdvae.models.vae import VAE, VAECell
from tfdvae.models.vrae import VRAE, VRAECell
from tfdvae.models.vrnn import VRNN, VRNNCell
from tfdvae.models.vssn import VSSN, VSSNCell
from tfdvae.models.zforcing import ZForcingVRNN, ZForcingVRNNCell

__all__ = [
    "DKF",
    "DKFCell",
    "DRAW",
    "DSAE",
    "DSAECell",
    "DSSM",
    "DSSMCell",
    "DVAE",
    "DVBF",
    "DVBFCell",
    "FHVAE",
    "FHVAECell",
    "FVAE",
    "FVAECell",
    "Factors",
    "GPVAE",
    "KVAE",
    "LVRNN",
    "LVRNNCell",
    "LatentLDS",
    "LatentLDSCell",
    "MODELS",
    "NonCausalRVAE",
    "NonCausalRVAECell",
    "RNN",
    "RNNCell",
    "RSSM",
    "RSSMCell",
    "RVAE",
    "RVAECell",
    "RecurrentDVAE",
    "SRNN",
    "SRNNCell",
    "STORN",
    "STORNCell",
    "SV2P",
    "SV2PCell",
    "SVG",
    "SVGCell",
    "SequenceDVAE",
    "StateEstimate",
    "SwitchingLDS",
    "SwitchingLDSCell",
    "TCNDVAE",
    "TCNDVAECell",
    "TransformerDVAE",
    "TransformerDVAECell",
    "VAE",
    "VAECell",
    "VRAE",
    "VRAECell",
    "VRNN",
    "VRNNCell",
    "VSSN",
    "VSSNCell",
    "ZForcingVRNN",
    "ZForcingVRNNCell",
    "register",
]

MODELS: dict[str, type[DVAE]] = {
    "rnn": RNN,
    "vae": VAE,
    "dkf": DKF,
    "storn": STORN,
    "vrnn": VRNN,
    "srnn": SRNN,
    "rvae": RVAE,
    "rvae_noncausal": NonCausalRVAE,
    "dsae": DSAE,
    "dssm": DSSM,
    "dvbf": DVBF,
    "fhvae": FHVAE,
    "fvae": FVAE,
    "kvae": KVAE,
    "latent_lds": LatentLDS,
    "switching_lds": SwitchingLDS,
    "gpvae": GPVAE,
    "draw": DRAW,
    "vrae": VRAE,
    "vssn": VSSN,
    "zforcing_vrnn": ZForcingVRNN,
    "rssm": RSSM,
    "lvrnn": LVRNN,
    "svg": SVG,
    "sv2p": SV2P,
    "tcn": TCNDVAE,
    "transformer": TransformerDVAE,
}
"""Every model by the name that configs and programs use."""


def register(name: str) -> Callable[[type[DVAE]], type[DVAE]]:
    """Decorates a model from outside, so that configs, programs and `MODELS` know it by a name.

    Raises:
        ValueError: the name is taken, or no identifier; the class is no DVAE.

    Example:
        @tfdvae.models.register("my_vrnn")
        @keras.saving.register_keras_serializable(package="mine")
        class MyVRNN(tfdvae.RecurrentDVAE):
            cell_class = MyCell
    """

    def add(model: type[DVAE]) -> type[DVAE]:
        if not (isinstance(model, type) and issubclass(model, DVAE)):
            raise ValueError(f"Only a subclass of tfdvae.DVAE can be registered, got {model!r}.")
        if not name.isidentifier() or MODELS.get(name, model) is not model:
            raise ValueError(f"{name!r} is taken or is no identifier: models are {', '.join(MODELS)}.")
        MODELS[name] = model
        return model

    return add
