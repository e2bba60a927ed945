"""VSSN, the variational structured stochastic network."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.layers.mlp import SplitNetwork
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import Gaussian, State

__all__ = ["VSSN", "VSSNCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class VSSNCell(StochasticCell):
    """Variational structured stochastic network: a state space model on a recurrent network with random transitions.

        p(x, z, beta | u) = p(v) prod_t p(x_t | z_t, d_t) p(z_t | z_{t-1}, d_t) p(w_t)      (section 2.1)
        q(z, beta | x, u) = q(v) prod_t q(w_t | x_1:T, u_1:T) q(z_t | z_{t-1}, a_t)         (3), (4)

        d_t = GRU(d_{t-1}, beta_t, u_t), beta_t = (w_t, v)
        a_t = RNN(a_{t+1}, [d_t, x_t])

    w_t is noise of a frame, drawn from a network that is bidirectional over [x, u] (the paper leaves it open); v is
    one vector for all sequences, with a learned Gaussian posterior, drawn anew for each sequence. Both have the prior
    N(0, I); z_0, d_0 and what precedes the first frame are zero. In driven mode u_t is the given input and x_{t-1}
    does not enter d_t. In undriven mode (the paper's music) u_t is x_{t-1}, and q(w_t | .) sees x alone.

    Of the two priors that the paper writes for z, a delta function and the Gaussian (2), this is the Gaussian. The
    objective is the ELBO. The printed one, half of A = log p(x | .) - KL(beta) plus half of B = log p(x | .) - KL(z),
    equals log p(x | .) - (KL(beta) + KL(z)) / 2, which exceeds the ELBO and bounds nothing; `compile(beta=0.5)` trains
    on it. Reports are of the ELBO in any case.

    The divergence of q(v) belongs to the training set as a whole. With `num_sequences=1` each sequence bears all of
    it: a bound on log p of every single sequence, pessimistic where there are many. With the number of training
    sequences (of the windows, where they are cut) the sum over them bounds log p of the training set.

    Args:
        noise_dim: W, width of w_t.
        universal_dim: V, width of v.
        num_sequences: how many sequences share the divergence of q(v).
        phi_u: hidden layers of the feature extractor of u_t, of x_{t-1} in undriven mode.
        noise_units: hidden layers on [x_t, phi_u(u_t)] before the bidirectional recurrence of q(w_t | .).
        prior_units, posterior_units, decoder_units: hidden layers before the three heads.
        smoother_units: hidden layers on [d_t, x_t] before the backward recurrence.
    """

    prior_reads = ("h", "z")
    observe_reads = ("h", "z")
    loop_state = ("z",)

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        noise_dim: int = 8,
        universal_dim: int = 8,
        num_sequences: int = 1,
        cell: str = "gru",
        phi_u: Sequence[int] = (256,),
        noise_units: Sequence[int] = (256,),
        prior_units: Sequence[int] = (64, 32),
        smoother_units: Sequence[int] = (256,),
        posterior_units: Sequence[int] = (64, 32),
        decoder_units: Sequence[int] = (256,),
        **kwargs,
    ):
        super().__init__(latent_dim, cell=cell, **kwargs)
        for name, value in {
            "latent_dim": latent_dim,
            "noise_dim": noise_dim,
            "universal_dim": universal_dim,
            "num_sequences": num_sequences,
        }.items():
            if value < 1:
                raise ValueError(f"`{name}` of a VSSN must be at least 1, got {value}.")
        self.noise_dim = noise_dim
        self.universal_dim = universal_dim
        self.num_sequences = num_sequences
        self.phi_u = tuple(phi_u)
        self.noise_units = tuple(noise_units)
        self.prior_units = tuple(prior_units)
        self.smoother_units = tuple(smoother_units)
        self.posterior_units = tuple(posterior_units)
        self.decoder_units = tuple(decoder_units)
        self.u_features = self.mlp(self.phi_u, "phi_u")
        self.rnn = self.recurrent("rnn")
        self.noise_net = self.mlp(self.noise_units, "noise")
        self.noise_forward_rnn = self.recurrent("noise_forward_rnn")
        self.noise_backward_rnn = self.recurrent("noise_backward_rnn")
        self.w_prior, self.w_posterior = self.gaussians(noise_dim)
        self.v_prior, _ = self.gaussians(universal_dim, flow=False)
        self.noise_posterior_head = self.head("noise_posterior_head", self.w_posterior)
        self.prior_net = self.mlp(self.prior_units, "prior")
        self.prior_head = self.head("prior_head")
        self.smoother = self.mlp(self.smoother_units, "smoother")
        self.backward_rnn = self.recurrent("backward_rnn")
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        self.decoder = self.mlp(self.decoder_units, "decoder")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        given = u_dim if self.driven else x_dim
        self.u_features.build((None, given))
        u_width = self.u_features.output_dim(given)
        c_width = u_width if self.driven else u_dim
        self.rnn.build((None, self.noise_dim + self.universal_dim + (u_width if self.driven else u_width + u_dim)))
        evidence = x_dim + c_width
        self.noise_net.build((None, evidence))
        for rnn in (self.noise_forward_rnn, self.noise_backward_rnn):
            rnn.build((None, self.noise_net.output_dim(evidence)))
        self.noise_posterior_head.build((None, 2 * self.units))
        zd = self.latent_dim + self.units
        self.prior_net.build((None, zd))
        self.prior_head.build((None, self.prior_net.output_dim(zd)))
        self.smoother.build((None, self.units + x_dim))
        self.backward_rnn.build((None, self.smoother.output_dim(self.units + x_dim)))
        self.posterior_net.build((None, zd))
        self.posterior_head.build((None, self.posterior_net.output_dim(zd)))
        self.decoder.build((None, zd))
        self.universal_posterior = self.add_weight(
            name="universal_posterior", shape=(2 * self.universal_dim,), dtype="float32", autocast=False
        )
        self.universal_posterior.assign(self.v_prior.initial_bias())

    @property
    def causal(self) -> bool:
        return False

    @property
    def latents(self) -> tuple[Latent, ...]:
        """v for the data set, w_t for all frames before the loop, z_t; the priors of v and w_t are N(0, I)."""
        v, share = self.v_prior, 1.0 / self.num_sequences
        return (
            Latent("v", v, v, self.posterior_v, self.absorb_v, level="dataset", share=share),
            Latent("w", self.w_prior, self.w_posterior, self.posterior_w, self.absorb_w, ahead=True),
            self.latent("z", self.z_prior, self.z_posterior, reads=tuple(self.prior_reads)),
        )

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.latent_dim + self.units)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        state = {"z": tf.zeros([batch_size, self.latent_dim]), **self.rnn_state(self.rnn, batch_size)}
        return state if self.driven else {**state, "x": self.zeros(batch_size, self.u_features.output_dim(self.x_dim))}

    def embed(self, x: tf.Tensor) -> tf.Tensor:
        """In undriven mode what the next frame sees as its input."""
        return super().embed(x) if self.driven else self.u_features(x)

    def embed_u(self, u: tf.Tensor | None) -> tf.Tensor | None:
        return self.u_features(u) if self.driven else super().embed_u(u)

    def posterior_v(self, batch_size: tf.Tensor | int) -> Gaussian:
        """q(v), the same for every sequence: `[B, V]`. Its scale is the heads' function of a real number."""
        q = self.v_prior.parameters(tf.convert_to_tensor(self.universal_posterior))
        return Gaussian(*(tf.broadcast_to(y, [batch_size, self.universal_dim]) for y in q))

    def absorb_v(self, state: State, v: tf.Tensor) -> State:
        return {**state, "v": v}

    def posterior_w(self, given: Evidence) -> Any:
        """q(w_t | x_1:T, u_1:T) for all frames."""
        evidence = self.noise_net(concat(given.x, given.c))
        future = self.noise_backward_rnn(evidence, exists=given.mask, backward=True)
        return self.noise_posterior_head(concat(self.noise_forward_rnn(evidence), future))

    def absorb_w(self, state: State, w: tf.Tensor) -> State:
        """d_t from beta_t = (w_t, v), u_t (x_{t-1} in undriven mode) and d_{t-1}."""
        opened = self.step_rnn(self.rnn, state, concat(w, state.get("u"), state["v"], state.get("x")))
        return {k: v for k, v in opened.items() if k != "u"}

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> State:
        before = {"z": masks.shift(latents["z"])} if "z" in latents else {}
        return before if self.driven else {**before, "x": masks.shift(e)}

    def posterior_network(self) -> SplitNetwork:
        """From [a_t, z_{t-1}] to q(z_t | .), in two parts: a_t is known before the loop."""
        return SplitNetwork(self.posterior_net, self.posterior_head, self.units)

    def encode(self, given: Evidence) -> tf.Tensor:
        """a_t of (4), the backward recurrence over [d_t, x_t]."""
        a = self.smoother(concat(given.opened["h"], given.x))
        return self.posterior_network().hoist(self.backward_rnn(a, exists=given.mask, backward=True))

    def posterior(self, state: State, g: tf.Tensor) -> Any:
        """(4): q(z_t | .) from a_t and z_{t-1}."""
        return self.posterior_network()(g, state["z"])

    def prior(self, state: State) -> Any:
        """(2): p(z_t | .) from z_{t-1} and d_t."""
        return self.prior_head(self.prior_net(concat(state["z"], state["h"])))

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_t | .) from z_t and d_t."""
        return self.decoder(concat(state["z"], state["h"]))

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return state if self.driven else {**state, "x": e}

    def get_config(self) -> dict:
        names = (
            "noise_dim",
            "universal_dim",
            "num_sequences",
            "phi_u",
            "noise_units",
            "prior_units",
            "smoother_units",
            "posterior_units",
            "decoder_units",
        )
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class VSSN(RecurrentDVAE):
    """Variational structured stochastic network: see `VSSNCell` for equations and arguments.

    Its latents are "v" of the data set, "w" and "z" of each frame. New sequences are drawn with v from its learned
    posterior, which stands for its prior once there are data; `sample=False` takes its mean.
    """

    cell_class = VSSNCell
