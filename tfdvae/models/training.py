"""The one training path: compile, fit, evaluate, and the train step with the timestep-wise bound."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdvae import bounds, random, validation
from tfdvae.metrics import ObjectiveMetrics
from tfdvae.types import Batch

__all__ = ["Factor", "TrainingMixin"]


class Factor:
    """A factor on a setting of `compile` that callbacks may move; kept out of the model's saved state on purpose."""

    def __init__(self, name: str) -> None:
        self.variable = keras.Variable(1.0, trainable=False, name=name, dtype="float32")

    def assign(self, value: float) -> None:
        """Sets it from now on."""
        self.variable.assign(value)


class TrainingMixin:
    """Keras' training verbs for a DVAE: mixed into `keras.Model`."""

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        *,
        bound: str | bounds.Bound = "elbo",
        beta: float | keras.optimizers.schedules.LearningRateSchedule = 1.0,
        free_bits: float | Mapping[str, float] = 0.0,
        free_bits_per: str = "group",
        kl_balance: float | None = None,
        temperature: float | keras.optimizers.schedules.LearningRateSchedule = 1.0,
        clip_norm: float | None = 5.0,
        kl_per_dimension: bool = False,
        reconstruction_weight: float = 1.0,
        penalty_weight: float | keras.optimizers.schedules.LearningRateSchedule = 1.0,
        scheduled_sampling: float | keras.optimizers.schedules.LearningRateSchedule = 0.0,
        hide: float = 0.0,
        jit_compile: bool | str = "auto",
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        auto_scale_loss: bool = True,
    ) -> None:
        """Configures training.

        Args:
            optimizer: as in Keras.
            bound: what to maximise: "elbo", "iwae", "fivo", "nasmc", or a Bound such as `tfdvae.bounds.FIVO(8)`.
            beta: weight of the KL, a number or any Keras schedule of the optimizer's step (see `tfdvae.schedules`);
                multiplied by `model.kl_weight`, which the callback `KLWarmup` moves per epoch.
            free_bits: nats per frame that the KL of each group of each latent of frames is not pushed below; a dict
                gives them by the names of latents.
            free_bits_per: "group": each dimension of a Gaussian, each group of categoricals; "latent": all of a latent
                together (RSSM's free nats).
            kl_balance: alpha of KL balancing (Hafner et al. 2021): the KL's gradient reaches the prior alpha-fold and
                the posterior (1 - alpha)-fold. None: the plain KL. Its value is the same.
            temperature: c of DVBF's annealing (Karl et al. 2017), E[c log p(x, z) - log q(z | x)] in place of the ELBO,
                a number or a schedule as for `beta`; 1 is the bound.
            clip_norm: largest global norm of the gradient of the loss (nats per frame); None does not clip.
            kl_per_dimension: report the KL of each latent dimension.
            reconstruction_weight: weight of log p(x_t | .) in training (KVAE's authors take 0.3); reports keep 1.
            penalty_weight: weight of a model's auxiliary losses (Z-forcing), a number or a schedule as for `beta`.
            scheduled_sampling: part of the frames in whose place training feeds the model its own output E[x_t | .]
                (Bengio et al. 2015; survey 13.3.3), a number in [0, 1] or a schedule as for `beta`, multiplied by
                `model.own_output`, which the callback `ScheduledSampling` moves. q(z_t | .) still sees what `encode`
                hoists from the data. With it the logs of training tell of p(x_t | .) along that path, which is no
                bound; `evaluate` stays teacher-forced.
            hide: part of the observed entries of x, drawn anew at each step, that training hides from the networks, as
                if they had not been observed, and still scores. The bound is then one by a posterior that knows less
                (and by p(x_t | .) given less of x_<t), and what training asks for is what `impute` does: values
                that nothing showed. In logs of training alone; `evaluate` hides nothing.
            jit_compile: XLA. "auto" is on where there is a GPU and off otherwise, since the graph is faster on a CPU.
            run_eagerly, steps_per_execution, auto_scale_loss: as in Keras.

        Raises:
            ValueError: a bound that this model cannot have, weights that have no meaning for it, scheduled sampling for
                a model that feeds nothing back, or together with `hide`.
        """
        if jit_compile == "auto":
            jit_compile = bool(tf.config.list_physical_devices("GPU")) and not run_eagerly
        self._check_weights(free_bits, free_bits_per, kl_balance)
        bound = bounds.get(bound)
        bound.check(self, bounds.Weighing(beta, free_bits, reconstruction_weight, 1.0, kl_balance, temperature))
        if scheduled_sampling != 0.0:
            self._check_feedback(scheduled_sampling, bound)
        self._check_hide(hide, scheduled_sampling)
        super().compile(
            optimizer=optimizer,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            auto_scale_loss=auto_scale_loss,
        )
        self.bound = bound
        self.beta = beta
        self.free_bits = free_bits
        self.free_bits_per = free_bits_per
        self.kl_balance = kl_balance
        self.temperature = temperature
        self.clip_norm = clip_norm
        self.kl_per_dimension = kl_per_dimension
        self.reconstruction_weight = reconstruction_weight
        self.penalty_weight = penalty_weight
        self.scheduled_sampling = scheduled_sampling
        self.hide = hide
        self.kl_weight = Factor("kl_weight")
        self.own_output = Factor("own_output")
        self.objective_metrics = None
        if self.built:
            self.build_metrics()

    def build_metrics(self) -> None:
        """Creates the metrics, which need to know the latents."""
        if self.compiled:
            groups = {latent.name: latent.kl_groups for latent in self.latents}
            framed = {latent.name for latent in self.frame_latents}
            self.objective_metrics = ObjectiveMetrics(groups, framed, self.kl_per_dimension)

    def _check_weights(self, free_bits: Any, free_bits_per: str, kl_balance: float | None) -> None:
        """Raises ValueError for weights of the KL that mean nothing."""
        given = free_bits if isinstance(free_bits, Mapping) else {"free_bits": free_bits}
        if any(value < 0.0 for value in given.values()):
            raise ValueError(f"`free_bits` must not be negative, got {free_bits}.")
        names = [latent.name for latent in self.frame_latents]
        unknown = sorted(set(given) - set(names)) if isinstance(free_bits, Mapping) else []
        if unknown:
            raise ValueError(
                f"`free_bits` names {', '.join(map(repr, unknown))}; the latents of frames are {', '.join(names)}."
            )
        if free_bits_per not in ("group", "latent"):
            raise ValueError(f"`free_bits_per` must be 'group' or 'latent', got {free_bits_per!r}.")
        if kl_balance is not None and not 0.0 <= kl_balance <= 1.0:
            raise ValueError(f"`kl_balance` must be in [0, 1] or None, got {kl_balance}.")

    def _check_feedback(self, rate: Any, bound: bounds.Bound) -> None:
        """Raises ValueError where scheduled sampling is impossible."""
        if not callable(rate) and not 0.0 <= rate <= 1.0:
            raise ValueError(f"`scheduled_sampling` must be a part of all frames, from 0 to 1, got {rate}.")
        if not self.feeds_back:
            raise ValueError(
                f"{type(self).__name__} decodes whole latent sequences and is fed no frames: compile it without "
                "`scheduled_sampling`."
            )
        if not bound.by_path:
            raise ValueError(
                f"{type(bound).__name__} weighs particles by the data that they were fed: use scheduled sampling with "
                "bound='elbo' or 'iwae'."
            )

    def _check_hide(self, hide: float, scheduled_sampling: Any) -> None:
        """Raises ValueError where nothing can be hidden."""
        if not 0.0 <= hide < 1.0:
            raise ValueError(f"`hide` must be a part of what was observed, from 0 to below 1, got {hide}.")
        if hide and scheduled_sampling != 0.0:
            raise ValueError(
                "`hide` hides entries of the data, and scheduled sampling feeds frames that are none: take one of them."
            )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        if not self.compiled or self.objective_metrics is None:
            return []
        return self.objective_metrics.metrics

    def current_beta(self) -> tf.Tensor:
        """The KL's weight at the optimizer's present step."""
        return self._scheduled(self.beta) * tf.convert_to_tensor(self.kl_weight.variable)

    def _scheduled(self, value: Any) -> tf.Tensor:
        """A number, or the value of a schedule at the optimizer's present step."""
        return tf.cast(value(self.optimizer.iterations) if callable(value) else value, tf.float32)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update on the bound. A batch whose gradient is not finite is skipped and counted."""
        batch = self._unpack(data)
        self.partly_observed |= batch.observed is not None or self.hide > 0.0
        seed = random.fold_in(random.make_seed(self.seed), self.optimizer.iterations)
        beta = self.current_beta()
        variables = self.trainable_variables
        penalty = self._scheduled(self.penalty_weight)
        temperature = self._scheduled(self.temperature) if self.temperature != 1.0 else 1.0
        weighing = bounds.Weighing(
            beta,
            self.free_bits,
            self.reconstruction_weight,
            penalty,
            self.kl_balance,
            temperature,
            self.free_bits_per,
        )
        frames = self._frames(batch)

        def scaled(objective: tf.Tensor, share: float) -> tf.Tensor:
            return self.optimizer.scale_loss(self._loss(objective, frames, share))

        rate = None
        if self.scheduled_sampling != 0.0:
            rate = self._scheduled(self.scheduled_sampling) * tf.convert_to_tensor(self.own_output.variable)
        replacing = random.replacement_scope(rate, random.fold_in(seed, "replacement"))
        hiding = random.hiding_scope(self.hide, random.fold_in(seed, "hide"))
        with random.dropout_scope(random.fold_in(seed, "dropout")), replacing, hiding:
            (objective, terms), gradients = self.bound.differentiate(self, batch, seed, weighing, scaled, variables)
        loss = self._loss(objective, frames)
        norm = tf.linalg.global_norm([tf.cast(g, tf.float32) for g in gradients])
        finite = tf.math.is_finite(norm) & tf.math.is_finite(loss)
        if self.clip_norm is not None:
            limit = self.optimizer.scale_loss(tf.constant(self.clip_norm, tf.float32))
            gradients = [g * tf.cast(limit / tf.maximum(norm, limit), g.dtype) for g in gradients]
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            self.optimizer.apply(gradients, variables)
        else:
            tf.cond(finite, lambda: self._apply(gradients, variables), lambda: tf.constant(False))
        self.objective_metrics.update_state(loss, terms, finite)
        logs = {**self.objective_metrics.result(), "kl_weight": beta}
        return logs if rate is None else {**logs, "own_output": rate}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The bound on a batch, plain, with the same noise at every evaluation of the same data."""
        batch = self._unpack(data)
        seen = tf.convert_to_tensor(self.objective_metrics.loss.frames)
        seed = random.fold_in(random.fold_in(random.make_seed(self.seed), "evaluation"), seen)
        value, terms = self.bound.estimate(self, batch, seed)
        self.objective_metrics.update_state(-tf.reduce_sum(value) / self._frames(batch), terms)
        return self.objective_metrics.result()

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As in Keras, on arrays, dicts of arrays or a tf.data.Dataset. There are no targets: `y` must stay None.

        Raises:
            ValueError: for data that cannot be right, before anything else happens (see `tfdvae.validation`).
        """
        if y is not None:
            raise ValueError("A DVAE models x itself: pass frames (or a dict with 'x', 'mask', 'u') and no y.")
        if not self.compiled:
            raise ValueError("Call `compile` before `fit`.")
        if kwargs.get("validation_data") is not None:
            kwargs["validation_data"] = self._checked(kwargs["validation_data"])
        x = self._checked(x)
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # Keras warns otherwise: a Dataset shuffles itself
        if self.built and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().fit(x, None, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As in Keras; see `fit`. The values are the plain bound and its parts, whatever weights training used."""
        if y is not None:
            raise ValueError("A DVAE models x itself: pass frames (or a dict with 'x', 'mask', 'u') and no y.")
        return super().evaluate(self._checked(x), None, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """As in Keras: mean reconstructions `[N, T, D]`."""
        return super().predict(self._checked(x), *args, **kwargs)

    def _checked(self, data: Any) -> Any:
        """Data as Keras takes it, checked; the model built for it."""
        if isinstance(data, tf.data.Dataset):
            data = validation.check_dataset(data, self.built_sizes, self.missing)
            spec = data.element_spec
            batch = validation.as_batch(spec[0] if isinstance(spec, tuple) else spec)
        elif isinstance(data, Mapping) or tf.is_tensor(data) or isinstance(data, (np.ndarray, list)):
            batch = validation.check_arrays(validation.as_batch(data), self.built_sizes, self.missing)
            self.check_frames(batch)
            data = {k: v for k, v in batch._asdict().items() if v is not None}
        else:
            return data
        self.build_as(batch)
        return data

    def _unpack(self, data: Any) -> Batch:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if y is not None or sample_weight is not None:
            raise ValueError(
                "A DVAE takes neither targets nor sample weights: expected x, or a dict with 'x', 'mask', 'u', "
                "'observed' and 'context'."
            )
        batch = self.tensors(x)
        validation.check_static(batch, self.built_sizes)
        return batch

    def _loss(self, objective: tf.Tensor, frames: tf.Tensor, share: float = 1.0) -> tf.Tensor:
        """Minus the objective, nats per frame, plus what layers added (weight decay), or that share of it."""
        return sum((share * loss for loss in self.losses), -tf.reduce_sum(objective) / frames)

    @staticmethod
    def _frames(batch: Batch) -> tf.Tensor:
        """How many frames exist, at least 1."""
        exists = tf.ones(tf.shape(batch.x)[:2]) if batch.mask is None else tf.cast(batch.mask, tf.float32)
        return tf.maximum(tf.reduce_sum(exists), 1.0)

    def _apply(self, gradients: list[tf.Tensor], variables: list[keras.Variable]) -> tf.Tensor:
        self.optimizer.apply(gradients, variables)
        return tf.constant(True)

    def get_compile_config(self) -> dict | None:
        if not self.compiled:
            return None
        names = (
            "optimizer",
            "bound",
            "beta",
            "free_bits",
            "free_bits_per",
            "kl_balance",
            "temperature",
            "clip_norm",
            "kl_per_dimension",
            "reconstruction_weight",
            "penalty_weight",
            "scheduled_sampling",
            "hide",
            "jit_compile",
            "run_eagerly",
            "steps_per_execution",
        )
        return keras.saving.serialize_keras_object({k: getattr(self, k) for k in names})

    def compile_from_config(self, config: dict) -> None:
        if config:
            self.compile(**keras.saving.deserialize_keras_object(config))
            if self.built:
                self.optimizer.build(self.trainable_variables)
