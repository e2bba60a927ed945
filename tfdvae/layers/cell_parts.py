"""What cells are made of: networks, recurrences and families of latents with the sizes and kinds of the cell."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfdvae import families
from tfdvae.families import Family, Head
from tfdvae.layers.latent import Evidence
from tfdvae.layers.mlp import MLP
from tfdvae.layers.recurrent import Recurrent, RecurrentState
from tfdvae.types import State

__all__ = ["CellParts"]


class CellParts:
    """Mixed into `StochasticCell`, whose arguments it reads."""

    @property
    def scales(self) -> dict[str, Any]:
        """How Gaussians get their scale, as arguments of their families."""
        return {"scale": self.scale, "min_scale": self.min_scale, "scale_floor": self.scale_floor}

    def families(self, latent_dim: int, flow: bool = True) -> tuple[Family, Family]:
        """Families of a prior and of a posterior over `latent_dim` dimensions, as the arguments of the cell say."""
        p = families.get(self.family, latent_dim, **self.scales)
        return p, self.flowing(p) if flow else p

    def gaussians(self, latent_dim: int, flow: bool = True) -> tuple[Family, Family]:
        """Those of a latent that is Gaussian whatever `family` says of z."""
        p = families.get("gaussian", latent_dim, **self.scales)
        return p, self.flowing(p) if flow else p

    def flowing(self, p: Family) -> Family:
        """The family of a posterior: p's, or p's pushed through `posterior_flow` layers of weights of its own."""
        q = families.with_flow(p, self.posterior_flow, self.flow)
        if q is not p:
            self.flow_networks = [*self.flow_networks, q.network]
        return q

    def require_gaussian(self, what: str, flow: bool = False) -> None:
        """Raises ValueError where z is no diagonal Gaussian; a `flow` on its posterior is allowed or not."""
        plain = flow or self.z_posterior is self.z_prior
        if not isinstance(self.z_prior, families.DiagonalGaussian) or not plain:
            raise ValueError(
                f"{what}: it needs family='gaussian'{'' if flow else ' and posterior_flow=0'}, got {self.family!r} and "
                f"{self.posterior_flow}."
            )

    def mlp(self, units: Sequence[int], name: str, activation: str | None = None) -> MLP:
        """An MLP with this cell's dropout, and its activation unless told another one."""
        return MLP(units, activation or self.activation, self.dropout, dtype=self.dtype_policy, name=name)

    def recurrent(self, name: str, kind: str | None = None, num_layers: int | None = None) -> Recurrent:
        """A recurrent stack with this cell's width and dropout, and its kind and height unless told others."""
        kind, height = kind or self.cell, num_layers or self.num_layers
        return Recurrent(self.units, kind, height, self.dropout, dtype=self.dtype_policy, name=name)

    def head(self, name: str, family: Family | None = None) -> Head:
        """Maps features to parameters of a family: by default that of the prior of z."""
        return Head(self.z_prior if family is None else family, dtype=self.dtype_policy, name=name)

    def step_rnn(self, rnn: Recurrent, state: State, x: tf.Tensor, prefix: str = "") -> State:
        """Advances the state's entries `prefix + "h"` and `prefix + "memory"` with input `[B, F]`, by one frame.

        An input `[B, T, F]` runs the whole sequence, from the state before its first frame: "h" is `[B, T, H]` then.
        """
        before = RecurrentState(state[f"{prefix}h"], state[f"{prefix}memory"])
        if x.shape.rank == 3:
            return {**state, f"{prefix}h": rnn(x, state=before)}
        h, memory = rnn.step(before, x=x)
        return {**state, f"{prefix}h": h, f"{prefix}memory": memory}

    def rnn_state(self, rnn: Recurrent, batch_size: tf.Tensor | int, prefix: str = "") -> State:
        """Those two entries before the first frame."""
        h, memory = rnn.initial_state(batch_size)
        return {f"{prefix}h": h, f"{prefix}memory": memory}

    def zeros(self, batch_size: tf.Tensor | int, width: int) -> tf.Tensor:
        """Stands for what precedes the first frame."""
        return tf.zeros([batch_size, width], self.compute_dtype)

    def presence(self, given: Evidence) -> tf.Tensor:
        """1 at frames that exist and hold anything that was observed, 0 at others: `[B, T, 1]`, float32; for cells that
        are `told_presence`."""
        told = given.x[..., self.x_dim - 1 :]
        known = tf.cast(told if told.shape[-1] else tf.ones_like(given.x[..., :1]), tf.float32)
        return known if given.mask is None else known * tf.cast(given.mask, tf.float32)[..., None]
