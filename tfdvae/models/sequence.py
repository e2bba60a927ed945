"""Models whose latents form a sequence that is decoded as a whole: no x_<t is a parent of x_t."""

from collections.abc import Mapping

import tensorflow as tf

from tfdvae import masks, random
from tfdvae.models.base import DVAE, Packed
from tfdvae.models.drawing import Request
from tfdvae.types import Batch, Generated

__all__ = ["SequenceDVAE"]

Noise = Mapping[str, tf.Tensor] | None


class SequenceDVAE(DVAE):
    """A DVAE with p(x, z) = p(z_1:T) prod_t p(x_t | z_1:T): its verbs from three ways to a latent sequence.

    It declares one latent, of frames. A subclass implements `infer_packed`, `decode`, `prior_path` and `continue_path`.
    """

    takes_frame_skips = False

    def decode(self, z: tf.Tensor, mask: tf.Tensor | None, u: tf.Tensor | None) -> tf.Tensor:
        """Features `[B, T, H]` of p(x_t | .), for right-padded latents `[B, T, Z]` and inputs `[B, T, U + C]`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `decode`.")

    def prior_path(self, u: tf.Tensor | None, noise: Noise, size: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """z_1:T from the prior, `[B, T, Z]`; its modes where `noise` is None."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `prior_path`.")

    def continue_path(
        self,
        z: tf.Tensor,
        mask: tf.Tensor | None,
        u: tf.Tensor | None,
        future_u: tf.Tensor | None,
        noise: Noise,
        horizon: tf.Tensor,
    ) -> tf.Tensor:
        """Latents `[B, horizon, Z]` that follow right-padded ones, from the prior given those."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `continue_path`.")

    def decoded(self, packed: Packed, z: tf.Tensor) -> tf.Tensor:
        """Parameters of p(x_t | .), `[B, T, P]`, of sequences with these latents `[B, T, Z]`."""
        return packed.within(self.frames).params(self.decode(z, packed.mask, packed.u))

    @property
    def draws_by_priors(self) -> bool:
        return True

    def params_by_priors(self, packed: Packed, noise: Mapping[str, tf.Tensor]) -> tf.Tensor:
        size, length = tf.shape(packed.x)[0], tf.shape(packed.x)[1]
        return self.decoded(packed, self.prior_path(packed.u, noise, size, length))

    @property
    def latent_name(self) -> str:
        """What the one latent is called."""
        return self.latents[0].name

    @tf.function(reduce_retracing=True, autograph=False)
    def _reconstruct(self, batch: Batch, seed: tf.Tensor, teacher_forced: bool, sample: bool) -> tf.Tensor:
        noise, uniform = self.draw(seed, tf.shape(batch.x)[0], tf.shape(batch.x)[1], sample)
        return masks.zero_masked(self.emit(self.infer(*batch, noise).x, uniform), batch.mask)

    def _begin(self, request: Request) -> Generated:
        noise, uniform = self.draw(request.seed, request.size, request.length, request.sample)
        u = self.inputs(request.u, request.context, request.length)
        z = self.prior_path(u, noise, request.size, request.length)
        params = self.frames.within(request.context).params(self.decode(z, request.mask, u))
        return Generated(self.emit(params, uniform), {self.latent_name: z}, params)

    def _continue(self, request: Request) -> Generated:
        packed, _ = self.pack(request.past)
        size, length, horizon = tf.shape(packed.x)[0], tf.shape(packed.x)[1], request.length
        noise, uniform = self.draw(request.seed, size, horizon, request.sample)
        past_noise = None
        if request.sample:
            past_noise = self.draw_noise(random.fold_in(request.seed, "prefix"), size, length)
        before = self.infer_packed(packed, past_noise).latents[self.latent_name].z
        u = self.inputs(request.u, packed.context, horizon)
        after = self.continue_path(before, packed.mask, packed.u, u, noise, horizon)
        exists = tf.ones([size, length], tf.bool) if packed.mask is None else packed.mask
        wanted = tf.ones([size, horizon], tf.bool) if request.mask is None else request.mask
        joined, how = masks.pack_batch(
            Batch(
                tf.concat([before, after], axis=1),
                tf.concat([exists, wanted], axis=1),
                None if u is None else tf.concat([packed.u, u], axis=1),
            )
        )
        io = packed.within(self.frames)
        params = io.params(self.decode(joined.x, joined.mask, joined.u))
        params = masks.unpack(params, how)[:, length:]
        return Generated(self.emit(params, uniform), {self.latent_name: after}, params)

    def _fill(self, packed: Packed, seed: tf.Tensor, first: bool) -> tuple[tf.Tensor, tf.Tensor]:
        size, length = tf.shape(packed.x)[0], tf.shape(packed.x)[1]
        noise, uniform = self.draw(seed, size, length, True)
        z = self.infer_packed(packed, noise).latents[self.latent_name].z
        if first:
            whole = tf.reduce_all(packed.observed, axis=-1, keepdims=True)
            z = tf.where(whole, z, self.prior_path(packed.u, noise, size, length))
        params = self.decoded(packed, z)
        return tf.where(packed.observed, packed.x, self.emit(params, uniform)), params
