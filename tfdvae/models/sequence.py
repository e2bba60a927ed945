"""Models whose latents form a sequence that is decoded as a whole: no x_<t is a parent of x_t."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfdvae import masks, random
from tfdvae.models.verbs import VerbsDVAE
from tfdvae.types import Batch, Generated

__all__ = ["SequenceDVAE"]


class SequenceDVAE(VerbsDVAE):
    """A DVAE with p(x, z) = p(z_1:T) prod_t p(x_t | z_1:T): its verbs from three ways to a latent sequence.

    A subclass implements `infer_packed`, `decode`, `prior_path` and `continue_path`.
    """

    def decode(self, z: tf.Tensor, mask: tf.Tensor | None, u: tf.Tensor | None) -> tf.Tensor:
        """Parameters of p(x_t | .), `[B, T, P]`, for right-padded latents `[B, T, Z]`."""
        raise NotImplementedError

    def prior_path(self, u: tf.Tensor | None, noise: Any, size: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """z_1:T from the prior, `[B, T, Z]`; its means where `noise` is None."""
        raise NotImplementedError

    def continue_path(
        self,
        z: tf.Tensor,
        mask: tf.Tensor | None,
        u: tf.Tensor | None,
        future_u: tf.Tensor | None,
        noise: Any,
        horizon: tf.Tensor,
    ) -> tf.Tensor:
        """Latents `[B, horizon, Z]` that follow right-padded ones, from the prior given those."""
        raise NotImplementedError

    @tf.function(reduce_retracing=True, autograph=False)
    def _reconstruct(self, batch: Batch, seed: tf.Tensor, teacher_forced: bool, sample: bool) -> tf.Tensor:
        noise, emission = self.draw(seed, tf.shape(batch.x)[0], tf.shape(batch.x)[1], sample)
        return masks.zero_masked(self.emit(self.infer(*batch, noise).x, emission), batch.mask)

    def _begin(
        self,
        u: tf.Tensor | None,
        latents: Mapping[str, tf.Tensor],
        length: tf.Tensor,
        size: tf.Tensor,
        seed: tf.Tensor,
        sample: bool,
    ) -> Generated:
        noise, emission = self.draw(seed, size, length, sample)
        z = self.prior_path(u, noise, size, length)
        params = self.decode(z, None, u)
        return Generated(self.emit(params, emission), z, params)

    def _continue(
        self,
        past: Batch,
        u: tf.Tensor | None,
        latents: Mapping[str, tf.Tensor],
        horizon: tf.Tensor,
        seed: tf.Tensor,
        sample: bool,
    ) -> Generated:
        (x, mask, past_u), _ = masks.pack_batch(past)
        size, length = tf.shape(x)[0], tf.shape(x)[1]
        noise, emission = self.draw(seed, size, horizon, sample)
        past_noise = self.draw_noise(random.fold_in(seed, "prefix"), size, length) if sample else None
        before = self.infer_packed(x, mask, past_u, past_noise).z
        after = self.continue_path(before, mask, past_u, u, noise, horizon)
        exists = tf.ones([size, length], tf.bool) if mask is None else mask
        joined, how = masks.pack_batch(
            Batch(
                tf.concat([before, after], axis=1),
                tf.concat([exists, tf.ones([size, horizon], tf.bool)], axis=1),
                None if u is None else tf.concat([past_u, u], axis=1),
            )
        )
        params = masks.unpack(self.decode(*joined), how)[:, length:]
        return Generated(self.emit(params, emission), after, params)

    @tf.function(reduce_retracing=True, autograph=False)
    def _fill(self, packed: Batch, observed: tf.Tensor, seed: tf.Tensor, first: bool) -> tuple[tf.Tensor, tf.Tensor]:
        x, mask, u = packed
        size, length = tf.shape(x)[0], tf.shape(x)[1]
        noise, emission = self.draw(seed, size, length, True)
        z = self.infer_packed(x, mask, u, noise).z
        if first:
            whole = tf.reduce_all(observed, axis=-1, keepdims=True)
            z = tf.where(whole, z, self.prior_path(u, noise, size, length))
        params = self.decode(z, mask, u)
        return tf.where(observed, x, self.emit(params, emission)), params
