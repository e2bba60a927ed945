"""Layers that models are made of, and one that puts a model's cell into any Keras model."""

from tfdvae.layers.cell import StochasticCell
from tfdvae.layers.gated_transition import GatedTransition
from tfdvae.layers.mlp import MLP, GaussianHead
from tfdvae.layers.recurrent import Recurrent, RecurrentState
from tfdvae.layers.stochastic_rnn import StochasticRNN

__all__ = ["GatedTransition", "GaussianHead", "MLP", "Recurrent", "RecurrentState", "StochasticCell", "StochasticRNN"]
