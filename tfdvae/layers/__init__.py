"""Layers that models are made of, and one that puts a model's cell into any Keras model."""

from tfdvae.layers.causal_attention import CausalAttention
from tfdvae.layers.causal_convolutions import CausalConvolutions
from tfdvae.layers.cell import StochasticCell
from tfdvae.layers.frame_io import FrameIO
from tfdvae.layers.frame_networks import FrameDecoder, FrameEncoder, frame_decoder, frame_encoder
from tfdvae.layers.frames import ConvDecoder, ConvEncoder
from tfdvae.layers.gated_transition import GatedTransition
from tfdvae.layers.kalman import Belief, Filtered, KalmanFilter, LinearSystem
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.layers.mixing import MatrixBank, MixingNetwork
from tfdvae.layers.mlp import MLP
from tfdvae.layers.recurrent import Recurrent, RecurrentState
from tfdvae.layers.stochastic_rnn import StochasticRNN

__all__ = [
    "Belief",
    "CausalAttention",
    "CausalConvolutions",
    "ConvDecoder",
    "ConvEncoder",
    "Evidence",
    "Filtered",
    "FrameDecoder",
    "FrameEncoder",
    "FrameIO",
    "GatedTransition",
    "KalmanFilter",
    "Latent",
    "LinearSystem",
    "MLP",
    "MatrixBank",
    "MixingNetwork",
    "Recurrent",
    "RecurrentState",
    "StochasticCell",
    "StochasticRNN",
    "frame_decoder",
    "frame_encoder",
]
