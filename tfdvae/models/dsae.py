"""DSAE (Li and Mandt 2018; survey chapter 11)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks, random, validation
from tfdvae.arguments import Only
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import Batch, State

__all__ = ["DSAE", "DSAECell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class DSAECell(StochasticCell):
    """Disentangled sequential autoencoder: v holds what a sequence keeps (content), z_t what changes (dynamics).

        p(x, z, v) = N(v; 0, I) prod_t p(x_t | z_t, v) p(z_t | z_<t)        (11.1)
        q(z, v | x) = q(v | x_1:T) prod_t q(z_t | v, x_1:T)                 (11.11), (11.22), `inference="full"`
        q(z, v | x) = q(v | x_1:T) prod_t q(z_t | x_t)                      (11.10), `inference="factorized"`

    The prior's recurrence runs over the posterior's own samples z_{t-1}; z_0 is zero. q(z_t | v, x_1:T) follows the
    survey's reading of the paper: two recurrences over [x_t, v] and a third over both (11.17)-(11.20), without
    z_{t-1}. The divergence of v counts once per sequence. Inputs, which the paper has none of, move z as in the deep
    Kalman filter: u_t joins z_{t-1} in the prior and x_t in q, and reaches x_t through z_t alone.

    Args:
        global_dim: V, width of v, the latent "v" of the sequence; the survey takes that of z_t.
        inference: "full" or "factorized".
        posterior_cell: kind of the third recurrence of "full", e^z of (11.20): "rnn" as in the survey's B.6; None for
            that of the others.
        prior_units, posterior_units: hidden layers before the Gaussians over z_t; for "factorized" the latter, on
            x_t, are all of q(z_t | x_t).
        decoder_units: hidden layers on [z_t, v], before p(x_t | .).
    """

    used_with = {"posterior_cell": Only("inference", ("full",))}
    prior_reads = ("h",)
    observe_reads = ("z", "v")

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        global_dim: int = 16,
        inference: str = "full",
        posterior_cell: str | None = None,
        prior_units: Sequence[int] = (),
        posterior_units: Sequence[int] = (),
        decoder_units: Sequence[int] = (32, 64, 128, 256),
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        if inference not in ("full", "factorized"):
            raise ValueError(f"`inference` must be 'full' or 'factorized', got {inference!r}.")
        self.global_dim = validation.whole("global_dim", global_dim, at_least=1)
        self.inference = inference
        self.posterior_cell = posterior_cell
        self.prior_units = tuple(prior_units)
        self.posterior_units = tuple(posterior_units)
        self.decoder_units = tuple(decoder_units)
        self.rnn = self.recurrent("rnn")
        self.prior_net = self.mlp(self.prior_units, "prior")
        self.prior_head = self.head("prior_head")
        self.v_forward_rnn = self.recurrent("v_forward_rnn")
        self.v_backward_rnn = self.recurrent("v_backward_rnn")
        self.v_prior, self.v_posterior = self.gaussians(global_dim)
        self.v_posterior_head = self.head("v_posterior_head", self.v_posterior)
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        self.decoder = self.mlp(self.decoder_units, "decoder")
        if inference == "full":
            self.forward_rnn = self.recurrent("forward_rnn")
            self.backward_rnn = self.recurrent("backward_rnn")
            self.posterior_rnn = self.recurrent("posterior_rnn", posterior_cell)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.rnn.build((None, self.latent_dim + u_dim))
        self.prior_net.build((None, self.units))
        self.prior_head.build((None, self.prior_net.output_dim(self.units)))
        evidence = x_dim + u_dim
        for rnn in (self.v_forward_rnn, self.v_backward_rnn):
            rnn.build((None, evidence))
        self.v_posterior_head.build((None, 2 * self.units))
        if self.inference == "full":
            for rnn in (self.forward_rnn, self.backward_rnn):
                rnn.build((None, evidence + self.global_dim))
            self.posterior_rnn.build((None, 2 * self.units))
            evidence = self.units
        self.posterior_net.build((None, evidence))
        self.posterior_head.build((None, self.posterior_net.output_dim(evidence)))
        self.decoder.build((None, self.latent_dim + self.global_dim))

    @property
    def causal(self) -> bool:
        return False

    @property
    def latents(self) -> tuple[Latent, ...]:
        """v once per sequence, with the prior N(0, I); then z_t, whose posterior sees v and no z."""
        return (
            Latent("v", self.v_prior, self.v_posterior, self.posterior_v, self.absorb_v, level="sequence"),
            self.latent("z", self.z_prior, self.z_posterior, reads=("h",), mean_field=True),
        )

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.latent_dim + self.global_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        return {"z": tf.zeros([batch_size, self.latent_dim]), **self.rnn_state(self.rnn, batch_size)}

    def posterior_v(self, given: Evidence) -> Any:
        """(11.12)-(11.16): q(v | x_1:T) from the last states of two recurrences over [x_t, u_t]."""
        xu = concat(given.x, given.c)
        last = masks.last(self.v_forward_rnn(xu), given.mask)
        first = self.v_backward_rnn(xu, exists=given.mask, backward=True)[:, 0]
        return self.v_posterior_head(concat(last, first))

    def absorb_v(self, state: State, v: tf.Tensor) -> State:
        return {**state, "v": v}

    def previous(self, e: Any, latents: Mapping[str, tf.Tensor]) -> State:
        return {"z": masks.shift(latents["z"])} if "z" in latents else {}

    def encode(self, given: Evidence) -> Any:
        """(11.17)-(11.21), or the frame alone: q(z_t | .) for all frames at once, none of which sees a z."""
        g = concat(given.x, given.c)
        if self.inference == "full":
            g = concat(g, given.state["v"])
            backward = self.backward_rnn(g, exists=given.mask, backward=True)
            g = self.posterior_rnn(concat(self.forward_rnn(g), backward))
        return self.posterior_head(self.posterior_net(g))

    def absorb_u(self, state: State, c: Any) -> State:
        """(11.2): h_t from z_{t-1}, u_t and h_{t-1}."""
        return self.step_rnn(self.rnn, state, concat(state["z"], c))

    def posterior(self, state: State, g: Any) -> Any:
        return g

    def prior(self, state: State) -> Any:
        """(11.3), (11.4): p(z_t | .) from h_t."""
        return self.prior_head(self.prior_net(state["h"]))

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """(11.5): features of p(x_t | .) from z_t and v."""
        return self.decoder(concat(state["z"], state["v"]))

    def absorb_x(self, state: State, e: Any) -> State:
        return state

    def get_config(self) -> dict:
        names = ("global_dim", "inference", "posterior_cell", "prior_units", "posterior_units", "decoder_units")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class DSAE(RecurrentDVAE):
    """Disentangled sequential autoencoder (Li and Mandt 2018): see `DSAECell` for equations and arguments."""

    cell_class = DSAECell
    takes_frame_skips = False

    def swap(
        self,
        x_content: Any,
        x_dynamics: Any,
        *,
        mask_content: Any = None,
        mask_dynamics: Any = None,
        u_content: Any = None,
        u_dynamics: Any = None,
        sample: bool = False,
        seed: int | None = None,
    ) -> tf.Tensor:
        """Frames with the content of one sequence and the dynamics of another: v of the first, z_1:T of the second.

        z is inferred with the second sequence's own v, as it is part of q(z_t | v, x_1:T).

        Args:
            x_content: `[B, T1, D]`, or in the shape of its frames, or a dict with "x", "mask", "u", "observed" and
                "context".
            x_dynamics: `[B, T, D]` likewise; its length and its mask are those of the result.
            mask_content, mask_dynamics, u_content, u_dynamics: of the two, as everywhere.
            sample: draw v, z and x instead of following their means.
            seed: of what is drawn; the next of the model's own by default.

        Returns:
            Frames in the shape of `x_dynamics`, zeros where none of it exists.

        Raises:
            ValueError: if the two hold different numbers of sequences.
        """
        content = self.check(x_content, mask_content, u_content)
        dynamics = self.check(x_dynamics, mask_dynamics, u_dynamics)
        validation.same_rows(x_content=content.x, x_dynamics=dynamics.x)
        found = self._swap(content, dynamics, self.next_seed(seed), validation.switch("sample", sample))
        return restore_frames(found, self.frame_shape)

    @tf.function(reduce_retracing=True, autograph=False)
    def _swap(self, content: Batch, dynamics: Batch, seed: tf.Tensor, sample: bool) -> tf.Tensor:
        size, length = tf.shape(dynamics.x)[0], tf.shape(dynamics.x)[1]
        noise, emission = self.draw(seed, size, length, sample)
        other: Mapping | None = None
        if sample:
            other = self.draw_noise(random.fold_in(seed, "content"), size, tf.shape(content.x)[1])
        v = self.infer(*content, other).latents["v"].z
        z = self.infer(*dynamics, noise).latents["z"].z
        io = self.frames.within(dynamics.context, self.frames.units(dynamics.x, dynamics.mask, dynamics.observed))
        params = io.params(self.cell.observe({"z": z, "v": v}))
        return masks.zero_masked(self.emit(params, emission), dynamics.mask)
