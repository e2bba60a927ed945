"""How training is configured: `compile`, its checks, and what of it is saved with a model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import bounds, replicas, validation
from tfdvae.metrics import ObjectiveMetrics
from tfdvae.metrics.frames import DIRECTIONS
from tfdvae.metrics.of_means import MeansMetrics
from tfdvae.models import prior_phase
from tfdvae.models.semi_amortized import check as check_semi_amortized
from tfdvae.passages import Carried

__all__ = ["CompilingMixin", "Factor"]

KERAS_LOSSES = ("loss", "loss_weights", "weighted_metrics")
"""Arguments of Keras' own `compile` that speak of targets."""


class Factor:
    """A factor on a setting of `compile` that callbacks may move; kept out of the model's saved state on purpose."""

    def __init__(self, name: str) -> None:
        self.variable = keras.Variable(1.0, trainable=False, name=name, dtype="float32")

    def assign(self, value: float) -> None:
        """Sets it from now on; ValueError for a number that is negative, NaN or infinite."""
        self.variable.assign(validation.real(self.variable.name, value))


class CompilingMixin:
    """`compile` of a DVAE, whose loss is a bound and whose metrics are its parts, and any of E[x_t | .]."""

    semi_amortized = 0
    """Gradient steps of training on the posterior of a batch; set by `compile`."""
    stateful = False
    """Whether sequences go on from batch to batch; set by `compile`."""
    carried_by_fit: Carried | None = None
    carried_by_evaluate: Carried | None = None
    """The states that pass from batch to batch, where there are such; `fit` and `evaluate` make room for them."""
    latents_from = "posterior"
    """What training draws latents from, or "prior"; see `draw_latents_from`."""

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: None = None,
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
        semi_amortized: int = 0,
        micro_batch: int | None = None,
        stateful: bool = False,
        metrics: Sequence[str | keras.metrics.Metric | Callable] | None = None,
        jit_compile: bool | str = "auto",
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        auto_scale_loss: bool = True,
        **others: Any,
    ) -> None:
        """Configures training.

        Args:
            optimizer: as in Keras.
            loss: must stay None: the loss is the bound.
            bound: what to maximise: "elbo", "iwae", "fivo", "nasmc", or a Bound such as `tfdvae.bounds.FIVO(8)`.
            beta: weight of the KL, a number or any Keras schedule of the optimizer's step (see `tfdvae.schedules`);
                multiplied by `model.kl_weight`, which the callback `KLWarmup` moves per epoch.
            free_bits: nats per frame that the KL of each group of each latent of frames is not pushed below; a dict
                gives them by the names of latents.
            free_bits_per: "group": each dimension of a Gaussian, each group of categoricals; "latent": all of a latent
                together; both on the average over the frames of a batch. "frame": all of a latent together, at each
                frame by itself (the free nats of RSSM, Hafner et al. 2019).
            kl_balance: alpha of KL balancing (Hafner et al. 2021): the KL's gradient reaches the prior alpha-fold and
                the posterior (1 - alpha)-fold. None: the plain KL. Its value is the same.
            temperature: c of DVBF's annealing (Karl et al. 2017), E[c log p(x, z) - log q(z | x)] in place of the ELBO,
                a number or a schedule as for `beta`; 1 is the bound.
            clip_norm: largest global norm of the gradient of the loss (nats per frame), a positive finite number; None
                does not clip.
            kl_per_dimension: report the KL of each latent dimension.
            reconstruction_weight: weight of log p(x_t | .) in training (KVAE's authors take 0.3); reports keep 1.
            penalty_weight: weight of a model's auxiliary losses (Z-forcing, RSSM's overshooting), a number or a
                schedule as for `beta`.
            scheduled_sampling: part of the frames in whose place training feeds the model its own output E[x_t | .]
                (Bengio et al. 2015; survey 13.3.3), a number in [0, 1] or a schedule as for `beta`, multiplied by
                `model.own_output`, which the callback `ScheduledSampling` moves. q(z_t | .) still sees what `encode`
                hoists from the data. With it the logs of training tell of p(x_t | .) along that path, which is no
                bound; `evaluate` stays teacher-forced.
            hide: part of the observed entries of x, drawn anew at each step, that training hides from the networks, as
                if they had not been observed, and still scores. The bound is then one by a posterior that knows less
                (and by p(x_t | .) given less of x_<t), and what training asks for is what `impute` does: values
                that nothing showed. In logs of training alone; `evaluate` hides nothing.
            semi_amortized: how many gradient steps move the posterior of each batch from where the networks put it,
                before the bound is taken, whose gradient passes through them (Kim et al. 2018); see
                `tfdvae.models.semi_amortized`. Logs of training tell of the moved posteriors, `evaluate` of the
                networks' own; `refine` moves those of other data. 0: none. Each step is a forward and a backward pass
                more, both of which are differentiated again.
            micro_batch: how many sequences of a batch a step holds in memory at a time; None: all of them. The update
                is that of the whole batch, with its noise, unlike that of an optimizer's
                `gradient_accumulation_steps`, which is the mean of several batches' own. The pass of `metrics`, which
                needs no gradients, still takes all of them together.
            stateful: whether sequences are trained on window by window, for those that are too long for one batch: each
                batch says by "continues" `[B]` beside "x" which of its rows follow on the same row of the batch before
                (`tfdvae.data.window_batches` makes such batches). They start from the state at its end; gradients stop
                there (truncated backpropagation through time). `evaluate` takes such batches as well, and the bounds of
                the windows add up to that of the whole sequence by a posterior that sees no further ahead than its
                window. Auxiliary losses that look over several frames stay within a window. `fit` and `evaluate` begin
                with no state. All frames go through one loop, so that a model which trains without one (TCN,
                transformer, a deep Kalman filter) is slower per frame.
            metrics: as in Keras, of frames and E[x_t | .], the means that `predict` returns, beside the parts of the
                bound; each frame that exists is a sample, or each entry where parts of frames are not observed. They
                cost a pass over the data at each step.
            jit_compile: XLA. "auto" is on where there is a GPU and off otherwise, since the graph is faster on a CPU;
                off under a strategy of `tf.distribute`, and with `micro_batch`.
            run_eagerly, steps_per_execution, auto_scale_loss: as in Keras.
            **others: none; an argument of Keras' `compile` that has no meaning here is named.

        Raises:
            ValueError: a bound that this model cannot have, weights that have no meaning for it or are negative, NaN or
                infinite, scheduled sampling for a model that feeds nothing back, or together with `hide`; a loss,
                metrics that Keras does not know or whose names are taken, or no optimizer; a strategy of
                `tf.distribute` under which a training would not be that of one process, or a model, an optimizer or a
                metric that was made outside of its scope.
            TypeError: an argument that neither this nor Keras knows.
        """
        self._check_arguments(optimizer, {"loss": loss, **others})
        replicas.check_scope(self.distribute_strategy, self.verb_seeds.state, "This model")
        steps_per_execution = validation.whole("steps_per_execution", steps_per_execution, at_least=1)
        replicas.check_compile(self.distribute_strategy, optimizer, jit_compile, steps_per_execution)
        beta = validation.scheduled("beta", beta)
        temperature = validation.scheduled("temperature", temperature)
        penalty_weight = validation.scheduled("penalty_weight", penalty_weight)
        reconstruction_weight = validation.real("reconstruction_weight", reconstruction_weight)
        if clip_norm is not None:
            clip_norm = validation.real("clip_norm", clip_norm, positive=True, hint="; None does not clip")
        kl_per_dimension = validation.switch("kl_per_dimension", kl_per_dimension)
        run_eagerly = validation.switch("run_eagerly", run_eagerly)
        free_bits, scheduled_sampling, hide = map(validation.plain, (free_bits, scheduled_sampling, hide))
        kl_balance = validation.plain(kl_balance)
        semi_amortized = validation.whole("semi_amortized", semi_amortized, at_least=0)
        if jit_compile == "auto":
            alone = not isinstance(self.distribute_strategy, replicas.SUPPORTED)
            jit_compile = bool(tf.config.list_physical_devices("GPU")) and not run_eagerly and alone
            jit_compile = jit_compile and micro_batch is None
        jit_compile = validation.switch("jit_compile", jit_compile)
        self._check_weights(free_bits, free_bits_per, kl_balance)
        if micro_batch is not None:
            micro_batch = validation.whole("micro_batch", micro_batch, at_least=1)
            self._check_micro_batch(free_bits, free_bits_per, jit_compile)
        bound = bounds.get(bound)
        stateful = validation.switch("stateful", stateful)
        bound.check(self, bounds.Weighing(beta, free_bits, reconstruction_weight, 1.0, kl_balance, temperature))
        if scheduled_sampling != 0.0:
            self._check_feedback(scheduled_sampling, bound)
        self._check_hide(hide, scheduled_sampling)
        if semi_amortized:
            check_semi_amortized(self, bound)
        if stateful:
            others = {"scheduled_sampling": scheduled_sampling, "semi_amortized": semi_amortized, "metrics": metrics}
            self._check_stateful(bound, {**others, "micro_batch": micro_batch})
        with self.distribute_strategy.scope():
            of_means = MeansMetrics(metrics)
            of_means.check_names(DIRECTIONS)
            super().compile(
                optimizer=optimizer,
                jit_compile=jit_compile,
                run_eagerly=run_eagerly,
                steps_per_execution=steps_per_execution,
                auto_scale_loss=auto_scale_loss,
            )
        for metric in of_means.metrics:
            for variable in metric.variables:
                replicas.check_scope(self.distribute_strategy, variable, f"The metric {metric.name!r}")
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
        self.semi_amortized = semi_amortized
        self.micro_batch = micro_batch
        self.stateful = stateful
        self.carried_by_fit = self.carried_by_evaluate = None
        self.latents_from = "posterior"
        self.metrics_of_means = of_means
        with self.distribute_strategy.scope():
            self.kl_weight = Factor("kl_weight")
            self.own_output = Factor("own_output")
            self.objective_metrics = None
            if self.built:
                self.build_metrics()

    def draw_latents_from(self, source: str) -> None:
        """Whether training draws latents from the "posterior", as it does once compiled, or the "prior", until told
        otherwise: see `tfdvae.models.prior_phase`, and the callback `Phases`, which calls this.

        From the prior it maximises E log p(x | z, .): weights of the KL, free bits and temperatures have no part in it.
        Where that changes, the train step is traced anew. `evaluate` tells the bound all the same.

        Raises:
            ValueError: another source, a model that is not built or compiled, or whose latents cannot be drawn from
                their prior along the data.
        """
        if source not in prior_phase.SOURCES:
            raise ValueError(f"Latents come from one of {', '.join(prior_phase.SOURCES)}, got {source!r}.")
        if source == "prior":
            self.check_prior_phase()
        if source != self.latents_from:
            self.latents_from = source
            self.make_train_function(force=True)

    def check_prior_phase(self) -> None:
        """Raises ValueError where `draw_latents_from("prior")` does."""
        if not self.compiled or not self.built:
            raise ValueError("Compile and build the model first: what it is trained on says where latents come from.")
        prior_phase.check(self)

    def build_metrics(self) -> None:
        """Creates the metrics, which need to know the latents."""
        if self.compiled:
            groups = {latent.name: latent.kl_groups for latent in self.latents}
            framed = {latent.name for latent in self.frame_latents}
            self.objective_metrics = ObjectiveMetrics(groups, framed, self.kl_per_dimension, self.metrics_of_means)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        if not self.compiled or self.objective_metrics is None:
            return []
        return self.objective_metrics.metrics

    @property
    def metrics_names(self) -> list[str]:
        """Names of the values that `evaluate` returns, in their order; empty until the model is built and compiled."""
        return self.objective_metrics.names if self.metrics else []

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
            "semi_amortized",
            "micro_batch",
            "stateful",
            "jit_compile",
            "run_eagerly",
            "steps_per_execution",
        )
        config = {k: getattr(self, k) for k in names}
        if self.metrics_of_means.metrics:
            config["metrics"] = self.metrics_of_means.metrics
        return keras.saving.serialize_keras_object(config)

    def compile_from_config(self, config: dict) -> None:
        if config:
            self.compile(**keras.saving.deserialize_keras_object(config))
            if self.built:
                self.optimizer.build(self.trainable_variables)

    # Checks.

    @staticmethod
    def _check_arguments(optimizer: Any, others: Mapping[str, Any]) -> None:
        """Raises for what only models with targets have, for unknown arguments, and where there is no optimizer."""
        for name, value in others.items():
            if name not in KERAS_LOSSES:
                raise TypeError(f"`compile` of a DVAE has no argument {name!r}.")
            if value is not None:
                raise ValueError(
                    f"A DVAE's loss is its bound (`bound`, `beta`, `free_bits` and so on say which), and sequences are "
                    f"weighed by `sample_weight`, so `compile` takes no `{name}`; got {value!r}. Measures of "
                    "E[x_t | .] go into `metrics`."
                )
        if not isinstance(optimizer, str | Mapping | keras.optimizers.Optimizer):
            raise ValueError(f"`optimizer` must be a name such as 'adam' or an Optimizer of Keras, got {optimizer!r}.")

    def _check_weights(self, free_bits: Any, free_bits_per: str, kl_balance: float | None) -> None:
        """Raises ValueError for weights of the KL that mean nothing."""
        given = free_bits if isinstance(free_bits, Mapping) else {"free_bits": free_bits}
        for value in given.values():
            validation.real("free_bits", value)
        names = [latent.name for latent in self.frame_latents]
        unknown = sorted(set(given) - set(names)) if isinstance(free_bits, Mapping) else []
        if unknown:
            raise ValueError(
                f"`free_bits` names {', '.join(map(repr, unknown))}; the latents of frames are {', '.join(names)}."
            )
        if free_bits_per not in ("group", "latent", "frame"):
            raise ValueError(f"`free_bits_per` must be 'group', 'latent' or 'frame', got {free_bits_per!r}.")
        if kl_balance is not None and not 0.0 <= kl_balance <= 1.0:
            raise ValueError(f"`kl_balance` must be in [0, 1] or None, got {kl_balance}.")
        if kl_balance is not None and not self.splits_kl:
            raise ValueError(
                f"`kl_balance` divides the gradient of the KL between posterior and prior, which the closed form of a "
                f"{type(self).__name__} does not tell apart: compile without it."
            )

    def _check_micro_batch(self, free_bits: Any, free_bits_per: str, jit_compile: bool) -> None:
        """Raises ValueError where parts of a batch would not add up to the update of all of it."""
        if jit_compile:
            raise ValueError("XLA needs parts of one size: leave out `micro_batch` or `jit_compile`.")
        if free_bits != 0.0 and free_bits_per != "frame":
            raise ValueError(
                f"free_bits_per={free_bits_per!r} compares the mean over all sequences of a batch, and `micro_batch` "
                "never has them together: use free_bits_per='frame', or leave out one of the two."
            )
        if self.frames.uses_training_state:
            raise ValueError(
                "Keras' own layers with random or moving state in a frame network would see parts of a batch, and have "
                "another state for each: leave out `micro_batch`, or take layers without."
            )

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

    def _check_stateful(self, bound: bounds.Bound, others: Mapping[str, Any]) -> None:
        """Raises ValueError where no state can pass from batch to batch."""
        if self.not_stateful:
            raise ValueError(
                f"{type(self).__name__} {self.not_stateful}, so no state passes from one batch to the next: compile it "
                "without `stateful`."
            )
        if not bound.by_window or bound.num_samples > 1:
            raise ValueError(
                f"{type(bound).__name__}({bound.num_samples}) of a sequence is not the sum of those of its windows, as "
                "`stateful` has it: use bound='elbo' with one path."
            )
        for name, value in others.items():
            if value:
                raise ValueError(
                    f"`{name}` takes other paths than the one whose state passes to the next batch: leave out "
                    f"`stateful` or `{name}`."
                )
        if isinstance(self.distribute_strategy, replicas.SUPPORTED):
            raise ValueError(
                "`stateful` passes the states of a batch on to the same rows of the next, and replicas share these out "
                "anew in each: train on one device, or leave it out."
            )

    def _check_hide(self, hide: float, scheduled_sampling: Any) -> None:
        """Raises ValueError where nothing can be hidden."""
        if not 0.0 <= hide < 1.0:
            raise ValueError(f"`hide` must be a part of what was observed, from 0 to below 1, got {hide}.")
        if hide and scheduled_sampling != 0.0:
            raise ValueError(
                "`hide` hides entries of the data, and scheduled sampling feeds frames that are none: take one of them."
            )
