"""A dynamical VAE's cell as one layer of somebody else's Keras model."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdvae import masks, random, recurrence
from tfdvae.layers.cell import StochasticCell
from tfdvae.layers.latent import latent_terms

__all__ = ["StochasticRNN"]


@keras.saving.register_keras_serializable(package="tfdvae")
class StochasticRNN(keras.layers.Layer):
    """Runs a stochastic cell over a sequence `[B, T, D]` and returns the latent sequence `[B, T, Z]`.

    In training z is drawn from the posterior, otherwise it is the posterior's mean. The KL to the prior joins the
    model's losses through `add_loss`, in nats per frame. Masks are respected and passed on; z is zero at frames that
    do not exist. What follows the layer plays the part of p(x_t | .).

        inputs = keras.Input([None, 8])
        z = tfdvae.layers.StochasticRNN(tfdvae.VRNNCell(latent_dim=4))(inputs)
        model = keras.Model(inputs, keras.layers.Dense(8)(z))

    Args:
        cell: a StochasticCell, for example `tfdvae.VRNNCell(latent_dim=4)`.
        beta: weight of the KL.
        seed: of the noise in training.
    """

    def __init__(self, cell: StochasticCell, beta: float = 1.0, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(cell, StochasticCell):
            raise TypeError(f"`cell` must be a StochasticCell such as tfdvae.VRNNCell(...), got {type(cell).__name__}.")
        self.cell = cell
        if len(cell.latents) != 1 or not cell.loop_latents:
            raise ValueError(
                f"{type(cell).__name__} has latents that are not one vector per frame, which this layer returns. Use "
                "its model, or a cell such as tfdvae.VRNNCell(...)."
            )
        self.beta = beta
        self.seed = seed
        self.supports_masking = True
        self.seeds = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Sequence[int | None]) -> None:
        if not self.cell.built:
            self.cell.build((*input_shape[:-1], input_shape[-1] + self.cell.told_presence))

    def call(self, x: tf.Tensor, mask: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        how = None if mask is None else masks.packing(tf.cast(mask, tf.bool))
        if how is not None:
            x, mask = masks.pack(masks.zero_masked(x, tf.cast(mask, tf.bool)), how), how.mask
        seed = tf.cast(self.seeds.next(), tf.int32) if training else None
        (latent,), noise = self.cell.latents, None
        if training:
            noise = {latent.name: latent.draw_noise(seed, *tf.unstack(tf.shape(x)[:2]))}
        with random.dropout_scope(None if seed is None else random.fold_in(seed, "dropout")):
            path, _ = recurrence.teacher_forced(self.cell, self.cell.hoist(x, mask, None, noise))
        drawn = path.latents[latent.name]
        kl = tf.reduce_sum(masks.zero_masked(latent_terms(latent, drawn).kl, mask))
        frames = tf.size(x[..., 0]) if mask is None else tf.math.count_nonzero(mask)
        self.add_loss(self.beta * kl / tf.cast(tf.maximum(frames, tf.ones_like(frames)), tf.float32))
        z = tf.cast(drawn.z, self.compute_dtype)
        return masks.restored(z, how)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.cell.latent_dim)

    def get_config(self) -> dict:
        cell = keras.saving.serialize_keras_object(self.cell)
        return {**super().get_config(), "cell": cell, "beta": self.beta, "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict) -> "StochasticRNN":
        return cls(**{**config, "cell": keras.saving.deserialize_keras_object(config["cell"])})
