"""The contract of every model: frames to Trajectory, Trajectory to the terms of a bound."""

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfdvae import masks, observations, random, replicas, validation
from tfdvae.data.sequences import Sequences, pad
from tfdvae.layers.frame_io import FRAME_OPTIONS, FrameIO
from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.layers.latent import DeclaresLatents, counted_frames, latent_terms
from tfdvae.layers.units import Units
from tfdvae.models.annealing import AnnealingMixin
from tfdvae.models.building import BuildingMixin
from tfdvae.models.drawing import DrawingMixin
from tfdvae.models.identity import IdentityMixin
from tfdvae.models.packed import Packed
from tfdvae.models.refining import RefiningMixin
from tfdvae.models.scoring import ScoringMixin
from tfdvae.models.streaming import StreamingMixin
from tfdvae.models.training import TrainingMixin
from tfdvae.types import Batch, LatentPath, LatentTerms, StepTerms, Trajectory

__all__ = ["DVAE", "Packed"]


def _of_frames(name: str) -> property:
    return property(lambda self: getattr(self.frames, name), doc=f"See `{name}` of `tfdvae.layers.FrameIO`.")


class DVAE(
    validation.CheckedArguments,
    DeclaresLatents,
    BuildingMixin,
    IdentityMixin,
    TrainingMixin,
    ScoringMixin,
    RefiningMixin,
    AnnealingMixin,
    DrawingMixin,
    StreamingMixin,
    keras.Model,
):
    """A dynamical variational autoencoder over frames `[B, T, D]`, or of any shape `[B, T, ...]`.

    A subclass declares `latents` and implements `build_parts`, `features_dim` and `infer_packed`; bounds, training and
    metrics follow. `RecurrentDVAE` and `SequenceDVAE` bring the verbs that draw frames. Frames that do not exist are
    zeroed and packed to the right end here, once, before a subclass sees them.

    Inputs are frames, or a dict with "x" and optionally "mask" (`[B, T]`, true where a frame exists), "u"
    (`[B, T, U]`), "observed" (`[B, T]` or as x, true where a frame that exists was measured; x may hold anything
    elsewhere) and "context" (`[B, C]`, once per sequence).

    Args:
        observation: p(x_t | .), a name in `tfdvae.observations.OBSERVATIONS` or an Observation.
        seed: initial weights, and all randomness of training and evaluation, follow from it.
        missing: "nan" lets NaN in x mean a value that was not observed; None refuses it.
        frame_networks: activation and dropout of the frame networks.
        **options: how frames enter and leave the model, `standardize`, `given_frames`, `x_scale`, `fill`, `indicator`,
            `frame_encoder`, `frame_decoder` and `frame_skips`: see `tfdvae.layers.FrameIO`; the rest goes to
            `keras.Model`.

    Attributes:
        partly_observed: whether the model knows parts of frames: it was built for, adapted to or trained with
            "observed", or with `hide` (see `compile`), or reads NaN as missing. Its exports take "observed" then, and
            `impute` trusts its posterior given what was observed. Saved with the model; to be set where weights are
            loaded into a new one.
    """

    def __init__(
        self,
        observation: str | Mapping | observations.Observation = "gaussian",
        seed: int = 0,
        *,
        missing: str | None = None,
        frame_networks: Mapping[str, Any] | None = None,
        **options: Any,
    ):
        seed = validation.whole("seed", seed)
        own = {name: options.pop(name) for name in FRAME_OPTIONS if name in options}
        super().__init__(**options)
        self.frames = FrameIO(observation, **own, **(frame_networks or {}), dtype=self.dtype_policy, name="frames")
        if self.frames.frame_skips and not self.takes_frame_skips:
            raise ValueError(
                f"{type(self).__name__} decodes latents of whole sequences, which may come from elsewhere than the "
                "given frames: make it without `frame_skips`, or choose a model that goes frame by frame, such as SVG."
            )
        if missing not in (None, "nan"):
            raise ValueError(f"`missing` must be None or 'nan', got {missing!r}.")
        self.missing = missing
        self.seed = seed
        self.frame_shape: tuple[int, ...] | None = None
        self.u_dim: int | None = None
        self.context_dim: int | None = None
        self.partly_observed = missing is not None
        self.verb_seeds = keras.random.SeedGenerator(seed)

    observation = _of_frames("observation")
    standardize = _of_frames("standardize")
    given_frames = _of_frames("given_frames")
    x_scale = _of_frames("x_scale")
    fill = _of_frames("fill")
    indicator = _of_frames("indicator")
    frame_encoder = _of_frames("frame_encoder")
    frame_decoder = _of_frames("frame_decoder")
    frame_skips = _of_frames("frame_skips")

    takes_frame_skips: ClassVar[bool] = False
    """Whether all verbs of the model can have `frame_skips`."""

    # What a subclass implements.

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        """Creates all weights, for E features that the networks see of a frame and U + C inputs (0: none)."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `build_parts`.")

    @property
    def features_dim(self) -> int:
        """H, width of what the frame decoder and the observation take; known once the parts are built."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `features_dim`.")

    def infer_packed(self, packed: Packed, noise: Mapping[str, tf.Tensor] | None) -> Trajectory:
        """One path for right-padded sequences; `noise` from `draw_noise`, None for the modes."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `infer_packed`.")

    @property
    def causal(self) -> bool:
        """Whether no latent is inferred from frames that are yet to come, so that frames can be streamed."""
        return False

    @classmethod
    def without_use(cls, options: Mapping[str, Any] | None = None) -> Mapping[str, str]:
        """Options that such models inherit and refuse, or, where `options` are told, that these make useless, each with
        the reason."""
        return {**cls.unused, **({} if options is None else validation.idle(cls, options))}

    @property
    def states(self) -> dict[str, int]:
        """Widths, by name, of deterministic states that `encode` tells beside the posteriors."""
        return {}

    @property
    def feeds_back(self) -> bool:
        """Whether frames are drawn one by one, so that a model may meet its own output."""
        return False

    @property
    def hears_frames(self) -> bool:
        """Whether p(x_t | .) or the prior of a latent reads earlier frames, beside the latents; known once the model is
        built."""
        return False

    @property
    def splits_kl(self) -> bool:
        """Whether the KL of every latent has one gradient by its posterior and another by its prior, which `kl_balance`
        of `compile` weighs."""
        return True

    @property
    def draws_by_priors(self) -> bool:
        """Whether `params_by_priors` is there, so that training can begin with latents from their priors."""
        return False

    def params_by_priors(self, packed: Packed, noise: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Parameters of p(x_t | .), `[B, T, P]`, for right-padded sequences on which every x_t is the data, with
        latents that `noise` draws from their priors."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `params_by_priors`.")

    @property
    def indexed_sequences(self) -> int:
        """How many training sequences the model learns something of by their "sequence_index"; 0 for none."""
        return 0

    @property
    def x_dim(self) -> int | None:
        """D, how many numbers a frame has; None before the model is built."""
        return None if self.frame_shape is None else int(np.prod(self.frame_shape))

    def draw_noise(self, seed: tf.Tensor, batch_size: tf.Tensor | int, length: tf.Tensor | int) -> dict[str, tf.Tensor]:
        """Noise for a path, by the names of the latents: `[B, T, n]`, or `[B, n]` for those of a sequence."""
        return {latent.name: latent.draw_noise(seed, batch_size, length) for latent in self.latents}

    # Paths and terms.

    def pack(self, batch: Batch, units: Units | None = None) -> tuple[Packed, masks.Packing | None]:
        """The batch as the equations take it, and how to undo the packing (None where all frames exist).

        `units` stand in for those of the given frames, where some of these were filled in.
        """
        packed, how = masks.pack_batch(validation.flat(batch, self.frame_shape))
        units = units or self.frames.units(packed.x, packed.mask, packed.observed)
        shown = random.unhidden(packed.x, packed.observed)
        seen, pictures = self.frames.look(packed.x, shown, units=units)
        skips = self.frames.skips(pictures, packed.mask, shown)
        u = self.inputs(packed.u, packed.context, tf.shape(packed.x)[1])
        return Packed(packed.x, packed.mask, u, packed.observed, seen, packed.context, units, skips), how

    def inputs(self, u: tf.Tensor | None, context: tf.Tensor | None, length: tf.Tensor | int) -> tf.Tensor | None:
        """Inputs of frames `[B, T, U]` and, in the last columns, the context of their sequences."""
        if context is None:
            return u
        along = tf.tile(context[:, None], [1, length, 1])
        if u is None:
            return tf.ensure_shape(along, [context.shape[0], None, context.shape[-1]])
        return tf.concat([u, tf.cast(along, u.dtype)], axis=-1)

    def infer(
        self,
        x: tf.Tensor,
        mask: tf.Tensor | None = None,
        u: tf.Tensor | None = None,
        observed: tf.Tensor | None = None,
        context: tf.Tensor | None = None,
        noise: Mapping[str, tf.Tensor] | None = None,
    ) -> Trajectory:
        """One path z ~ q(z | x), with posteriors, priors and p(x_t | .) along it.

        Args:
            x: `[B, T, D]`, or in the shape of its frames.
            mask: `[B, T]` bool; frames outside may hold anything.
            u: `[B, T, U]`, in driven mode.
            observed: `[B, T, D]` bool; x may hold anything elsewhere.
            context: `[B, C]`.
            noise: of each latent by name, as `draw_noise` makes it; None follows the posterior modes.

        Returns:
            Trajectory aligned with x; zeros at frames that do not exist.
        """
        packed, how = self.pack(Batch(x, mask, u, observed, context))
        if how is not None and noise is not None:
            noise = {name: n if n.shape.rank < 3 else masks.pack(n, how) for name, n in noise.items()}
        path = self.infer_packed(packed, noise)
        if how is None:
            return path
        of_frames = {latent.name: path.latents[latent.name] for latent in self.frame_latents}
        restored = masks.restored(path._replace(latents=of_frames), how)
        return restored._replace(latents={**path.latents, **restored.latents})

    def terms(self, path: Trajectory, batch: Batch, balance: float | None = None) -> StepTerms:
        """The terms of every bound along a path, in nats: log p(x_t | .), and log p, log q and KL of each latent.

        Args:
            path: from `infer`, or `infer_packed`.
            batch: what it was inferred from, aligned with it.
            balance: of the KL's gradient, see `latent_terms`.
        """
        batch = validation.flat(batch, self.frame_shape)
        exists = tf.ones(tf.shape(batch.x)[:2], tf.bool) if batch.mask is None else batch.mask
        x = masks.zero_masked(tf.cast(batch.x, tf.float32), batch.mask)
        scored = self.frames.scored(x, batch.mask, batch.observed)
        log_px = masks.zero_masked(self.frames.log_prob(path.x, x, scored), batch.mask)
        found = {}
        for latent in self.latents:
            terms = latent_terms(latent, path.latents[latent.name], balance)
            if latent.of_frame:
                counted = None if batch.mask is None else exists
                counted = counted_frames(latent, exists) if latent.level == "segment" else counted
                terms = LatentTerms(*(masks.zero_masked(y, counted) for y in terms))
            elif latent.share != 1.0:
                terms = LatentTerms(*(latent.share * y for y in terms))
            found[latent.name] = terms
        penalty = masks.zero_masked(sum(path.penalties.values(), tf.zeros_like(log_px)), batch.mask)
        return StepTerms(log_px, found, penalty, tf.cast(exists, tf.float32))

    def frame_kl(self, paths: Mapping[str, LatentPath], like: tf.Tensor) -> tf.Tensor:
        """KL of all latents of one frame, nats `[B]`, zero where there are none; `like` has that shape."""
        terms = (latent_terms(latent, paths[latent.name]).kl for latent in self.frame_latents)
        return sum((tf.reduce_sum(kl, axis=-1) for kl in terms), tf.zeros_like(like))

    def sample_terms(
        self, batch: Batch, seed: tf.Tensor, num_samples: int = 1, balance: float | None = None
    ) -> StepTerms:
        """Terms of K paths per sequence, in adjacent rows: `[B * K, T]`."""
        packed, _ = self.pack(batch)
        packed = packed.repeated(num_samples)
        x = packed.x
        noise = self.draw_noise(seed, tf.shape(x)[0], x.shape[1] or tf.shape(x)[1])
        aligned = Batch(x, packed.mask, observed=packed.observed)
        return self.terms(self.infer_packed(packed, noise), aligned, balance)

    # Keras.

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        inputs = pad(inputs._replace(index=None)) if isinstance(inputs, Sequences) else inputs
        if not self.built and not isinstance(inputs, list):
            batch = validation.as_batch(inputs)
            validation.check_static(batch)
            self.build_as(batch)
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Mean of p(x_t | .) under teacher forcing, in the shape of x: along the posterior modes, in training along a
        drawn path.

        In training the KL of that path and auxiliary losses join the model's losses by `add_loss`, in nats per frame.
        So a Keras model around this one keeps them, and what follows plays the part of log p(x_t | .). The model's own
        `fit` does not come here.
        """
        if validation.is_symbolic(*validation.as_batch(inputs)):
            # The data of Keras' verbs were checked on their way here.
            batch = self.tensors(inputs)
            validation.check_static(batch, self.built_sizes)
        else:
            batch = self.check(inputs)
        return self._mean_frames(self._trained_path(batch) if training else self.infer(*batch), batch.mask)

    def predict_step(self, data: Any) -> tf.Tensor:
        """As in Keras, for `predict`; on one of several replicas for its rows of the batch."""
        batch, _, rows = replicas.split(*validation.as_training_data(data))
        if rows is None:
            return self(validation.named(batch), training=False)
        batch = self.tensors(batch)
        return rows.cut(self._mean_frames(self.infer(*batch), batch.mask))

    def _mean_frames(self, path: Trajectory, mask: tf.Tensor | None) -> tf.Tensor:
        """Mean of p(x_t | .) along a path, in the shape of x."""
        return restore_frames(masks.zero_masked(self.frames.mean(path.x), mask), self.frame_shape)

    def _trained_path(self, batch: Batch) -> Trajectory:
        """A drawn path, whose divergence has joined the losses."""
        seed = self.next_seed(None)
        noise = self.draw_noise(seed, *tf.unstack(tf.shape(batch.x)[:2]))
        with random.dropout_scope(random.fold_in(seed, "dropout")):
            path = self.infer(*batch, noise)
        terms = self.terms(path, batch)
        total = tf.reduce_sum(terms.kl + terms.penalty) + tf.reduce_sum(terms.sequence_kl)
        self.add_loss(total / self._frames(batch))
        return path

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return tuple(input_shape["x"] if isinstance(input_shape, Mapping) else input_shape)

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "DVAE":
        # Files from before these options were refused hold them.
        model = cls(**{k: v for k, v in config.items() if k not in ("trainable", *cls.without_use(config))})
        if not config.get("trainable", True):
            model.trainable = False  # of all parts; true would thaw a part that was frozen alone
        return model

    def get_config(self) -> dict:
        frames = self.frames.get_config()
        own = {name: frames[name] for name in ("observation", *FRAME_OPTIONS)}
        return {**super().get_config(), **own, "missing": self.missing, "seed": self.seed}

    # Data.

    def adapt(self, x: Any, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None) -> None:
        """Sets the statistics of `standardize` and the output bias from what was observed of data `[N, T, ...]`.

        Training then starts at the data's mean and scale, whatever their units.
        """
        given = validation.as_batch(x, mask, u, observed, context)
        batch = validation.check_arrays(given, self.built_sizes, self.missing, self.frames)
        self.build_as(batch)
        self._learn_about(x)
        self.partly_observed |= batch.observed is not None
        flat = validation.flat(batch, self.frame_shape)
        self._note_statistics(flat)
        self.frames.adapt(flat.x, flat.mask, flat.observed)

    def check(self, x: Any, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None) -> Batch:
        """What a verb was given, as tensors: checked by value, and the model built for it.

        Within a graph, where there are no values yet, assertions check them when it runs.
        """
        batch = validation.as_batch(x, mask, u, observed, context)
        if not validation.is_symbolic(*batch):
            batch = validation.check_arrays(batch, self.built_sizes, self.missing, self.frames)
            self.build_as(batch)
            return self.tensors(batch)
        validation.check_static(batch, self.built_sizes)
        self.build_as(batch)
        if any(isinstance(y, keras.KerasTensor) for y in batch):
            return self.tensors(batch)
        given = Batch(*(None if y is None else tf.convert_to_tensor(y) for y in batch))
        given = validation.with_missing(given, self.missing)
        return self.tensors(validation.after(validation.value_checks(given, self.frames, self.frame_shape), given))

    def next_seed(self, seed: int | None) -> tf.Tensor:
        """A seed tensor from a whole number, or the next of the model's own."""
        if seed is None:
            return tf.cast(self.verb_seeds.next(), tf.int32)
        return random.make_seed(validation.whole("seed", seed))

    def tensors(self, inputs: Any) -> Batch:
        """Arrays or tensors as a Batch of tensors, with frames `[B, T, D]`."""
        batch = validation.as_batch(inputs)
        shape = self.frame_shape or tuple(batch.x.shape[2:])
        kinds = (tf.float32, tf.bool, tf.float32, tf.bool, tf.float32)
        values = [None if y is None else tf.cast(tf.convert_to_tensor(y), k) for y, k in zip(batch, kinds, strict=True)]
        return validation.flat(validation.with_missing(Batch(*values), self.missing), shape)
