"""Models that only the second contract can express: other families, several latents per frame, segments, pictures."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae import Evidence, Latent
from tfdvae.layers.cell import concat
from tfdvae.types import Batch, State

PICTURE = (4, 5, 1)
CONTEXT_DIM = 3


@keras.saving.register_keras_serializable(package="tests")
class TwoLevelCell(tfdvae.VRNNCell):
    """A VRNN with a coarse latent of each frame above the fine one.

    p(x, y, z) = prod_t p(x_t | z_<=t, x_<t) p(z_t | y_t, h_t) p(y_t | h_t)
    q(y, z | x) = prod_t q(y_t | h_t, x_t) q(z_t | y_t, h_t, x_t)
    """

    def __init__(self, latent_dim: int = 2, *, top_dim: int = 3, **kwargs: Any):
        super().__init__(latent_dim, **kwargs)
        self.top_dim = top_dim
        self.y_prior, self.y_posterior = self.gaussians(top_dim)
        self.top_prior = self.head("top_prior", self.y_prior)
        self.top_posterior = self.head("top_posterior", self.y_posterior)
        self.fine_prior = self.head("fine_prior")
        self.fine_posterior = self.head("fine_posterior", self.z_posterior)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        super().build_parts(x_dim, u_dim)
        context, features = self.units + u_dim, self.x_features.output_dim(x_dim)
        self.top_prior.build((None, context))
        self.top_posterior.build((None, context + features))
        self.fine_prior.build((None, context + self.top_dim))
        self.fine_posterior.build((None, context + self.top_dim + features))

    @property
    def latents(self) -> tuple[Latent, ...]:
        return (
            Latent("y", self.y_prior, self.y_posterior, self.posterior_y, self.absorb_y, self.prior_y, reads=("h",)),
            Latent(
                "z", self.z_prior, self.z_posterior, self.posterior_z, self.absorb_z, self.prior_z, reads=("h", "y")
            ),
        )

    def encode(self, given: Evidence) -> tf.Tensor:
        return given.e["phi_x"]

    def posterior_y(self, state: State, g: tf.Tensor) -> Any:
        return self.top_posterior(concat(g, state["h"], state.get("u")))

    def prior_y(self, state: State) -> Any:
        return self.top_prior(concat(state["h"], state.get("u")))

    def absorb_y(self, state: State, y: tf.Tensor) -> State:
        return {**state, "y": y}

    def posterior_z(self, state: State, g: tf.Tensor) -> Any:
        return self.fine_posterior(concat(g, state["h"], state.get("u"), state["y"]))

    def prior_z(self, state: State) -> Any:
        return self.fine_prior(concat(state["h"], state.get("u"), state["y"]))

    def get_config(self) -> dict:
        return {**super().get_config(), "top_dim": self.top_dim}


@keras.saving.register_keras_serializable(package="tests")
class TwoLevelVRNN(tfdvae.RecurrentDVAE):
    """See `TwoLevelCell`."""

    cell_class = TwoLevelCell


@keras.saving.register_keras_serializable(package="tests")
class SegmentCell(tfdvae.VAECell):
    """A VAE whose frames share a latent s of their segment.

    p(x, s, z) = prod_n N(s_n; 0, I) prod_t p(x_t | z_t, s_n(t)) N(z_t; 0, I)
    q(s, z | x) = prod_n q(s_n | x of the segment) prod_t q(z_t | x_t)
    """

    observe_reads = ("z", "s")

    def __init__(self, latent_dim: int = 2, *, segment: int = 2, segment_dim: int = 3, **kwargs: Any):
        super().__init__(latent_dim, **kwargs)
        self.segment = segment
        self.segment_dim = segment_dim
        self.s_prior, self.s_posterior = self.gaussians(segment_dim)
        self.segment_posterior = self.head("segment_posterior", self.s_posterior)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        super().build_parts(x_dim, u_dim)
        self.segment_posterior.build((None, x_dim))

    @property
    def latents(self) -> tuple[Latent, ...]:
        s = Latent(
            "s",
            self.s_prior,
            self.s_posterior,
            self.posterior_s,
            self.absorb_s,
            level="segment",
            segment=self.segment,
        )
        return (s, *super().latents)

    @property
    def causal(self) -> bool:
        return False

    @property
    def features_dim(self) -> int:
        return super().features_dim + self.segment_dim

    def posterior_s(self, given: Evidence) -> Any:
        """From the mean frame of each segment, `[B, S, .]`; a segment cut short has the mean of what it has."""
        length = tf.shape(given.x)[1]
        missing = -length % self.segment
        exists = tf.ones(tf.shape(given.x)[:2]) if given.mask is None else tf.cast(given.mask, tf.float32)
        x, exists = (tf.pad(y, [[0, 0], [0, missing], *[[0, 0]] * (y.shape.rank - 2)]) for y in (given.x, exists))
        x = tf.reshape(x * exists[..., None], [tf.shape(x)[0], -1, self.segment, given.x.shape[-1]])
        count = tf.reduce_sum(tf.reshape(exists, tf.shape(x)[:3]), axis=2, keepdims=True)
        return self.segment_posterior(tf.reduce_sum(x, axis=2) / tf.maximum(count, 1.0))

    def absorb_s(self, state: State, s: tf.Tensor) -> State:
        return {**state, "s": s}

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        return {**super().initial_state(batch_size), "s": tf.zeros([batch_size, self.segment_dim])}

    def observe(self, state: State) -> tf.Tensor:
        return concat(super().observe(state), state["s"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {"z": state["z"], "s": state["s"]}

    def get_config(self) -> dict:
        return {**super().get_config(), "segment": self.segment, "segment_dim": self.segment_dim}


@keras.saving.register_keras_serializable(package="tests")
class SegmentVAE(tfdvae.RecurrentDVAE):
    """See `SegmentCell`."""

    cell_class = SegmentCell


def vrnn(**options: Any) -> tfdvae.DVAE:
    return tfdvae.VRNN(units=5, **{**cases.SIZES["vrnn"], **options})


CONV = {"class_name": "conv", "config": {"filters": (3,), "kernel_size": 3}}

MODELS: dict[str, Callable[[], tfdvae.DVAE]] = {
    "categorical": lambda: vrnn(latent_dim=6, family={"class_name": "categorical", "config": {"classes": 3}}),
    "categorical_storn": lambda: tfdvae.STORN(
        units=5,
        **{**cases.SIZES["storn"], "latent_dim": 4},
        family={"class_name": "categorical", "config": {"classes": 2}},
    ),
    "triangular": lambda: vrnn(latent_dim=3, family="triangular"),
    "coupling": lambda: vrnn(posterior_flow=2),
    "autoregressive": lambda: vrnn(latent_dim=3, posterior_flow=2, flow="autoregressive"),
    "flow_dsae": lambda: tfdvae.DSAE(units=5, **cases.SIZES["dsae"], posterior_flow=2),
    "flow_dkf": lambda: tfdvae.DKF(
        **cases.used("dkf", {"units": 5, **cases.SIZES["dkf"], "inference": "mf_l"}), posterior_flow=2
    ),
    "flow_kvae": lambda: tfdvae.KVAE(units=5, **cases.SIZES["kvae"], posterior_flow=2),
    "flow_srnn": lambda: tfdvae.SRNN(units=5, **cases.SIZES["srnn"], posterior_flow=2, inference="filter"),
    "two_levels": lambda: TwoLevelVRNN(units=5, **cases.SIZES["vrnn"]),
    "segments": lambda: SegmentVAE(2, encoder_units=(6,), decoder_units=(4,)),
    "pictures": lambda: vrnn(frame_encoder=CONV, frame_decoder=CONV),
    "skips": lambda: vrnn(frame_encoder=CONV, frame_decoder=CONV, frame_skips=True, given_frames=2),
    "layers": lambda: vrnn(
        frame_encoder=keras.Sequential([keras.layers.Conv2D(3, 3, 2), keras.layers.Flatten()]),
        frame_decoder=keras.Sequential([keras.layers.Dense(7, "tanh"), keras.layers.LayerNormalization()]),
    ),
    "partly": lambda: vrnn(fill="last", indicator=True),
    "context": lambda: vrnn(),
    "context_vssn": lambda: tfdvae.VSSN(units=5, **cases.SIZES["vssn"]),
    "units": lambda: vrnn(standardize="feature"),
}
"""By name, small and not built."""

OF_PICTURES = {"pictures", "skips", "layers"}
WITH_CONTEXT = {"context", "context_vssn"}


def frame_shape(name: str) -> tuple[int, ...]:
    return PICTURE if name in OF_PICTURES else (cases.X_DIM,)


def make(name: str) -> tfdvae.DVAE:
    """The built model, with all weights moved a little."""
    keras.utils.set_random_seed(3)
    model = MODELS[name]()
    model.build_for(frame_shape(name), 0, CONTEXT_DIM if name in WITH_CONTEXT else 0)
    cases.jitter(model.trainable_variables, 4)
    if name == "units":
        rng = np.random.default_rng(7)
        model.adapt(rng.normal(size=(20, 6, cases.X_DIM)) * [1.0, 100.0, 0.01, 3.0] + [0.0, 1e5, 0.3, -5.0])
    return model


def frames(name: str, batch: int = 3, length: int = 5, seed: int = 1) -> Batch:
    """Frames, with what the model takes beside them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, length, *frame_shape(name)))
    if name == "units":
        x = x * [1.0, 100.0, 0.01, 3.0] + [0.0, 1e5, 0.3, -5.0]
    observed = rng.random(x.shape) < 0.6 if name == "partly" else None
    context = rng.normal(size=(batch, CONTEXT_DIM)) if name in WITH_CONTEXT else None
    tensors = [None if y is None else tf.constant(y, tf.float32) for y in (x, context)]
    return Batch(tensors[0], None, None, None if observed is None else tf.constant(observed), tensors[1])
