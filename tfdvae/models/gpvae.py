"""GP-VAE: a variational autoencoder whose latents are Gaussian processes over time (Fortuin et al. 2020)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdvae import families, masks, observations, validation
from tfdvae.arguments import Only
from tfdvae.layers.cell import concat
from tfdvae.layers.gaussian_process import KERNELS, Factors, GaussianProcess
from tfdvae.layers.latent import Latent, no_state
from tfdvae.layers.markov_chain import MAX_CORRELATION, MarkovChain
from tfdvae.layers.mlp import MLP, flat_call
from tfdvae.layers.recurrent import Recurrent
from tfdvae.models.base import Packed
from tfdvae.models.sequence import SequenceDVAE
from tfdvae.types import Batch, Gaussian, LatentPath, LatentTerms, Trajectory

__all__ = ["GPVAE"]


@keras.saving.register_keras_serializable(package="tfdvae")
class GPVAE(SequenceDVAE):
    """Gaussian process variational autoencoder: each latent dimension is a smooth function of time.

        p(x, z) = prod_t p(x_t | z_t) prod_j N(z_{1:T, j}; 0, K_j),  K_j(t, t') = s^2 k(|t - t'| / l_j) + v [t = t']
        q(z | x) = prod_j N(z_{1:T, j}; m_j, (B_j B_j')^-1),  B_j upper bidiagonal

    Fortuin et al. (2020), "GP-VAE: deep probabilistic time series imputation", sections 3.1 to 3.3 (their numbering
    from memory). m and B come from a convolution over time and layers of each frame behind it, or from recurrences in
    both directions. The prior is fixed. What was not observed is zero at the input and absent from the likelihood.

    B is told by marginal scales and correlations of neighbours (`tfdvae.layers.markov_chain.MarkovChain`), which is the
    same family: every tridiagonal precision, q(z | x) = prod_t q(z_t | z_{t-1}, x). Deviations: with that B, the chain
    runs forward, where the paper's B' B has the same chain run backward; correlations stay within 0.9999. The KL is the
    paper's closed form, divided among frames by the chain rule, so that masks, free bits and bounds by frames hold:
    `LatentPath.terms` has E_q log q(z_t | z_{t-1}) - log p(z_t | z_<t) of each dimension, and log p and log q at the
    sample. `encode` tells q(z_t | z_{t-1}) along the path of the means; `smooth` tells the marginals of q.

    New frames follow from the process: `generate` draws z from the prior, `forecast` from p(z_future | z_past) with
    z_past from q, and `impute` draws z of frames of which nothing was observed from p(z | z of the others), whatever
    their pattern. A frame after many others takes work that grows with the square of their number: sequences of
    hundreds of frames are for this model, those of thousands are not.

    Inputs u_t, which the paper has none of, join x_t in q and z_t in p(x_t | .), and the context of a sequence as well.
    With `times_in_u` the last column of u is the time of its frame, in the unit of the length scales; it reaches the
    kernel alone. Otherwise frames have the times 0, 1, 2, ...

    Args:
        latent_dim: Z.
        kernel: k, "cauchy", "rbf", "matern12", "matern32" or "matern52".
        length_scales: l_j: one for each dimension, one for all, or the shortest and the longest, between which those of
            the dimensions are spread in equal ratios; of a single dimension it is their geometric mean.
        prior_scale: s.
        jitter: v, variance of each z_t that no other frame tells of.
        times_in_u: whether the last column of the inputs holds the times of frames.
        inference: "convolution" or "recurrent", what q sees time by.
        window: frames under the convolution, an odd number.
        units, cell: width and kind of the recurrences, "lstm", "gru" or "rnn".
        encoder_units, decoder_units: hidden layers of q, the first of them the convolution, and of p(x_t | z_t).
        activation: of these layers, and of the convolutions of pictures.
        dropout: rate in them, one mask per sequence.
        scale, min_scale, scale_floor: of the marginals of q, see `tfdvae.families.DiagonalGaussian`.
        observation: p(x_t | z_t), a name or an Observation.
        seed: all randomness of training and evaluation follows from it.
        **options: how frames enter and leave the model, see `DVAE`.

    Raises:
        ValueError: for an unknown kernel or inference, numbers that are not positive, another number of length scales,
            and `times_in_u` without inputs.
    """

    used_with = {
        "window": Only("inference", ("convolution",)),
        **dict.fromkeys(("units", "cell"), Only("inference", ("recurrent",))),
    }

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        kernel: str = "cauchy",
        length_scales: float | Sequence[float] = (1.0, 8.0),
        prior_scale: float = 1.0,
        jitter: float = 1e-3,
        times_in_u: bool = False,
        inference: str = "convolution",
        window: int = 3,
        units: int = 64,
        cell: str = "lstm",
        encoder_units: Sequence[int] = (256, 128, 64, 32),
        decoder_units: Sequence[int] = (32, 64, 128, 256),
        activation: str = "tanh",
        dropout: float = 0.0,
        scale: str = "softplus",
        min_scale: float = 1e-4,
        scale_floor: str = "sum",
        observation: str | Mapping | observations.Observation = "gaussian",
        seed: int = 0,
        **options,
    ):
        super().__init__(observation, seed, frame_networks={"activation": activation, "dropout": dropout}, **options)
        if latent_dim < 1:
            raise ValueError(f"`latent_dim` must be at least 1, got {latent_dim}.")
        if kernel not in KERNELS:
            raise ValueError(f"`kernel` must be one of {', '.join(map(repr, KERNELS))}, got {kernel!r}.")
        if inference not in ("convolution", "recurrent"):
            raise ValueError(f"`inference` must be 'convolution' or 'recurrent', got {inference!r}.")
        if window < 1 or window % 2 == 0:
            raise ValueError(f"`window` must be an odd number of frames, got {window}.")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"`dropout` must be in [0, 1), got {dropout}.")
        prior_scale = validation.real("prior_scale", prior_scale, positive=True)
        jitter = validation.real("jitter", jitter, positive=True)
        self.latent_dim = latent_dim
        self.kernel = kernel
        self.length_scales = _length_scales(length_scales, latent_dim)
        self.prior_scale = prior_scale
        self.jitter = jitter
        self.times_in_u = times_in_u
        self.inference = inference
        self.window = window
        self.units = units
        self.cell = cell
        self.encoder_units = tuple(encoder_units)
        self.decoder_units = tuple(decoder_units)
        self.activation = activation
        self.dropout = dropout
        self.scale = scale
        self.min_scale = min_scale
        self.scale_floor = scale_floor
        self.gaussian = families.DiagonalGaussian(latent_dim, scale, min_scale, scale_floor)
        networks, policy = {"activation": activation, "dropout": dropout}, {"dtype": self.dtype_policy}
        if inference == "recurrent":
            self.forward_rnn = Recurrent(units, cell, name="forward_rnn", **policy)
            self.backward_rnn = Recurrent(units, cell, name="backward_rnn", **policy)
        self.encoder = MLP(self.encoder_units, name="encoder", **networks, **policy)
        self.posterior_head = families.Head(self.gaussian, name="posterior_head", **policy)
        self.correlation_head = keras.layers.Dense(latent_dim, name="correlation_head", **policy)
        self.decoder = MLP(self.decoder_units, name="decoder", **networks, **policy)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        if self.times_in_u and not self.u_dim:
            raise ValueError(
                "With `times_in_u` the last column of the inputs `u` holds the times of frames; there are no inputs: "
                "give `u` of shape [batch, time, 1 or more], or leave `times_in_u` out."
            )
        beside = u_dim - int(self.times_in_u)
        width = x_dim + beside
        if self.inference == "recurrent":
            self.forward_rnn.build((None, None, width))
            self.backward_rnn.build((None, None, width))
        seen = 2 * self.units if self.inference == "recurrent" else self.window * width
        self.encoder.build((None, seen))
        for head in (self.posterior_head, self.correlation_head):
            head.build((None, self.encoder.output_dim(seen)))
        # Before training neighbours are as correlated in q as frames one unit of time apart are in the prior: a KL of
        # hundreds of nats lies between independent frames and a smooth prior.
        known = tf.minimum(self.process.correlations(1.0) / MAX_CORRELATION, MAX_CORRELATION)
        self.correlation_head.bias.assign(tf.atanh(known))
        self.decoder.build((None, self.latent_dim + beside))

    @property
    def features_dim(self) -> int:
        beside = self.u_dim + self.context_dim - int(self.times_in_u)
        return self.decoder.output_dim(self.latent_dim + beside)

    @property
    def splits_kl(self) -> bool:
        return False

    @property
    def latents(self) -> tuple[Latent, ...]:
        """z_t. Its prior hangs on all of the path before it, and so it has no loop."""
        return (Latent("z", self.gaussian, self.gaussian, self.posterior, no_state),)

    # Equations.

    @property
    def process(self) -> GaussianProcess:
        """The prior of z, for frames at any times."""
        return GaussianProcess(self.kernel, self.length_scales, self.prior_scale, self.jitter)

    def times(self, u: tf.Tensor | None, length: tf.Tensor | int) -> tf.Tensor:
        """Of frames with inputs `[B, T, U + C]`: `[B, T]`, or `[1, T]` where they are the same for all sequences."""
        if self.times_in_u:
            return tf.cast(u[..., self.u_dim - 1], tf.float32)
        return tf.cast(tf.range(length), tf.float32)[None]

    def prior(self, u: tf.Tensor | None, length: tf.Tensor | int) -> Factors:
        """p(z_1:T) by the factors of its covariances."""
        return self.process.factors(self.times(u, length))

    def beside(self, u: tf.Tensor | None) -> tf.Tensor | None:
        """What networks see of inputs and context, `[B, T, .]`: all but the times."""
        if u is None or not self.times_in_u:
            return u
        parts = [part for part in (u[..., : self.u_dim - 1], u[..., self.u_dim :]) if part.shape[-1]]
        return concat(*parts) if parts else None

    def posterior(self, seen: tf.Tensor, u: tf.Tensor | None, mask: tf.Tensor | None) -> MarkovChain:
        """q(z | x) from right-padded frames as the networks see them, `[B, T, E]`."""
        given = masks.zero_masked(concat(seen, self.beside(u)), mask)
        if self.inference == "recurrent":
            given = concat(self.forward_rnn(given), self.backward_rnn(given, exists=mask, backward=True))
        else:
            given = _neighbours(given, self.window)
        features = self.encoder(given)
        marginal = self.posterior_head(features)
        raw = tf.cast(flat_call(self.correlation_head, features), tf.float32)
        # The first frame has no neighbour before it. LiteRT cannot measure the range of a mask for integers.
        correlation = tf.pad(MAX_CORRELATION * tf.tanh(raw)[:, 1:], [[0, 0], [1, 0], [0, 0]])
        return MarkovChain(marginal.loc, marginal.scale, tf.ensure_shape(correlation, raw.shape))

    def decode(self, z: tf.Tensor, mask: tf.Tensor | None = None, u: tf.Tensor | None = None) -> tf.Tensor:
        """Features of p(x_t | z_t) for z_t `[..., Z]`."""
        return self.decoder(concat(tf.cast(z, self.compute_dtype), self.beside(u)))

    def infer_packed(self, packed: Packed, noise: Mapping[str, tf.Tensor] | None) -> Trajectory:
        own = None if noise is None else noise["z"]
        chain = self.posterior(packed.seen, packed.u, packed.mask)
        prior = self.prior(packed.u, packed.seen.shape[1] or tf.shape(packed.seen)[1])
        z = chain.path(own)
        q, p = chain.conditionals(z), prior.conditionals(z)
        terms = LatentTerms(self.gaussian.log_prob(p, z), self.gaussian.log_prob(q, z), chain.divergence(prior))
        return Trajectory({"z": LatentPath(z, q, p, own, terms)}, self.decoded(packed, z))

    # Sequences.

    def prior_path(self, u: tf.Tensor | None, noise: Any, size: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        if noise is None:
            return tf.zeros([size, length, self.latent_dim])
        return self.prior(u, length).coloured(noise["z"])

    def continue_path(
        self,
        z: tf.Tensor,
        mask: tf.Tensor | None,
        u: tf.Tensor | None,
        future_u: tf.Tensor | None,
        noise: Any,
        horizon: tf.Tensor,
    ) -> tf.Tensor:
        """From p(z_future | z_past). The frames to come follow the last one that exists of each sequence."""
        size, length = tf.shape(z)[0], tf.shape(z)[1]
        before = tf.ones([size, length], tf.bool) if mask is None else mask
        after = tf.ones([size, horizon], tf.bool)
        how = masks.packing(tf.concat([before, after], axis=1))

        def joined(past: tf.Tensor, future: tf.Tensor) -> tf.Tensor:
            return masks.pack(tf.concat([past, future], axis=1), how)

        drawn = tf.zeros([size, horizon, self.latent_dim]) if noise is None else noise["z"]
        inputs = joined(u, future_u) if self.times_in_u else None
        path = self.prior(inputs, length + horizon).completed(
            joined(z, tf.zeros_like(drawn)),
            joined(before, tf.logical_not(after)),
            joined(tf.zeros_like(z), drawn),
        )
        return masks.unpack(path, how)[:, length:]

    def _fill(self, packed: Packed, seed: tf.Tensor, first: bool) -> tuple[tf.Tensor, tf.Tensor]:
        size, length = tf.shape(packed.x)[0], tf.shape(packed.x)[1]
        noise, uniform = self.draw(seed, size, length, True)
        seen = tf.reduce_all(packed.observed, axis=-1) if first else tf.reduce_any(packed.observed, axis=-1)
        seen = seen if packed.mask is None else seen & packed.mask
        chain = self.posterior(packed.seen, packed.u, packed.mask)
        z = self.between(chain.path(noise["z"]), seen, packed.u, noise["z"])
        params = self.decoded(packed, z)
        return tf.where(packed.observed, packed.x, self.emit(params, uniform)), params

    def between(self, z: tf.Tensor, known: tf.Tensor, u: tf.Tensor | None, noise: tf.Tensor | None) -> tf.Tensor:
        """Right-padded paths `[B, T, Z]` with what is not `known` `[B, T]` drawn from p(z | z_known).

        Frames change their places, those that are known first, and take their times along.
        """
        how = masks.packing(known)
        times = self.times(u, tf.shape(z)[1]) + tf.zeros_like(z[..., 0])
        times, z, known = (masks.pack(y, how) for y in (times, z, known))
        noise = None if noise is None else masks.pack(noise, how)
        path = self.process.factors(times).completed(z, known, noise)
        return masks.unpack(path, how._replace(mask=tf.ones_like(known)))

    def smooth(self, x: Any, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None) -> Gaussian:
        """q(z_t | x), of each frame by itself: mean and standard deviation, `[B, T, Z]`; zeros at frames that do not
        exist."""
        return self._smooth(self.check(x, mask, u, observed, context))

    @tf.function(reduce_retracing=True, autograph=False)
    def _smooth(self, batch: Batch) -> Gaussian:
        packed, how = self.pack(batch)
        found = self.posterior(packed.seen, packed.u, packed.mask)
        return masks.restored(Gaussian(found.loc, found.scale), how)

    def get_config(self) -> dict:
        names = (
            *("latent_dim", "kernel", "length_scales", "prior_scale", "jitter", "times_in_u", "inference", "window"),
            *("units", "cell", "encoder_units", "decoder_units", "activation", "dropout"),
            *("scale", "min_scale", "scale_floor"),
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _length_scales(given: float | Sequence[float], latent_dim: int) -> tuple[float, ...]:
    """One for each dimension."""
    lengths = [given] if isinstance(given, int | float) else list(given)
    lengths = [validation.real("length_scales", value, positive=True) for value in lengths]
    if len(lengths) == latent_dim:
        return tuple(lengths)
    if len(lengths) not in (1, 2):
        raise ValueError(
            f"`length_scales` must be one for all dimensions, the shortest and the longest, or {latent_dim}, one for "
            f"each dimension; got {len(lengths)}."
        )
    if latent_dim == 1:
        return (float(np.sqrt(lengths[0] * lengths[-1])),)
    return tuple(float(y) for y in np.geomspace(lengths[0], lengths[-1], latent_dim))


def _neighbours(x: tf.Tensor, window: int) -> tf.Tensor:
    """At each frame of `[B, T, E]` those around it, zeros beyond the ends: `[B, T, window * E]`."""
    length, reach = x.shape[1] or tf.shape(x)[1], window // 2
    padded = tf.pad(x, [[0, 0], [reach, reach], [0, 0]])
    around = tf.concat([padded[:, i : i + length] for i in range(window)], axis=-1)
    return tf.ensure_shape(around, [*x.shape[:2], window * x.shape[2]])
