"""Models, optimizers and callbacks from the sections of a config."""

import math
from collections.abc import Callable
from pathlib import Path

import keras
from ml_collections import ConfigDict

from tfdvae import MODELS, bounds, model_files, schedules
from tfdvae.callbacks import BestWeights, FreezeLayers, KLWarmup, Phases, ScheduledSampling
from tfdvae.data import Sequences
from tfdvae.models import DVAE
from trainers.settings import FILE

__all__ = ["begin_with", "build_for", "build_model", "compile_model", "learning_callbacks", "load_model"]

MODEL_FILE = "model.keras"
MONITOR = "val_loss"
"""Minus the bound that is trained by, plain, on the validation split."""
Rate = float | keras.optimizers.schedules.LearningRateSchedule


def build_model(config: ConfigDict) -> DVAE:
    """The model of the section `model`, without weights.

    A config names all options; those that the others leave without use are left out, so that one of them can be
    changed by itself.

    Raises:
        ValueError, TypeError: options that its cell or its observation does not take.
    """
    options = config.model.to_dict()
    observation = {"class_name": options.pop("observation"), "config": options.pop("observation_options")}
    name, precision = options.pop("name"), options.pop("precision")
    if name not in MODELS:
        raise ValueError(f"Unknown model {name!r}: expected one of {sorted(MODELS)}.")
    options = {key: value for key, value in options.items() if key not in MODELS[name].without_use(options)}
    return MODELS[name](observation=observation, seed=config.seed, dtype=precision, **options)


def build_for(model: DVAE, config: ConfigDict, sequences: Sequences) -> None:
    """Gives the model weights for sequences like these.

    Raises:
        ValueError: `config.data.frame_shape` is not that of their frames.
    """
    shape = tuple(config.data.frame_shape) or (sequences.features,)
    if math.prod(shape) != sequences.features:
        raise ValueError(
            f"config.data.frame_shape {shape} makes frames of {math.prod(shape)} features, the data has "
            f"{sequences.features}."
        )
    model.build_for(shape, sequences.inputs, sequences.covariates)


def compile_model(model: DVAE, config: ConfigDict, steps_per_epoch: int) -> None:
    """Compiles it as the sections `optimizer` and `training` say.

    Raises:
        ValueError, TypeError: an unknown optimizer, schedule or bound, options that it does not take, a bound that the
            model cannot have, or settings that exclude each other.
    """
    training = config.training
    if training.bound not in bounds.BOUNDS:
        raise ValueError(f"Unknown bound {training.bound!r}: expected one of {sorted(bounds.BOUNDS)}.")
    model.compile(
        build_optimizer(config.optimizer, steps_per_epoch * training.epochs),
        bound=bounds.BOUNDS[training.bound](training.bound_samples, **training.bound_options),
        beta=kl_schedule(training),
        temperature=temperature_schedule(training),
        free_bits=training.free_bits,
        free_bits_per=training.free_bits_per,
        kl_balance=training.kl_balance,
        clip_norm=training.clip_norm,
        reconstruction_weight=training.reconstruction_weight,
        penalty_weight=penalty_schedule(training),
        scheduled_sampling=training.scheduled_sampling,
        hide=training.hide,
        semi_amortized=training.semi_amortized,
        micro_batch=training.micro_batch,
        stateful=training.truncate is not None,
        jit_compile="auto" if training.jit_compile is None else training.jit_compile,
    )


def begin_with(model: DVAE, workdir: str) -> None:
    """Gives the model the weights of a finished run.

    Raises:
        FileNotFoundError, ValueError: as `load_model`; or that run has a model of other weights.
    """
    given = load_model(Path(workdir)).get_weights()
    own, shapes = [w.shape for w in model.get_weights()], [w.shape for w in given]
    if own != shapes:
        raise ValueError(
            f"config.training.start_from: the model in {workdir} has other weights than this one, {len(shapes)} arrays "
            f"instead of {len(own)}, or of other shapes. Both configs need the same section `model`."
        )
    model.set_weights(given)


def learning_callbacks(config: ConfigDict, best_weights: Path) -> list[keras.callbacks.Callback]:
    """What steers training, in order: plateaus of the learning rate, best weights and early stopping."""
    optimizer, training = config.optimizer, config.training
    callbacks: list[keras.callbacks.Callback] = []
    if optimizer.plateau_patience is not None:
        if optimizer.schedule != "constant":
            raise ValueError(
                f"plateau_patience needs schedule='constant', got {optimizer.schedule!r}: one of the two can set the "
                "learning rate."
            )
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                MONITOR, optimizer.plateau_factor, optimizer.plateau_patience, mode="min", min_delta=0.0
            )
        )
    if training.keep not in ("best", "last"):
        raise ValueError(f"config.training.keep must be 'best' or 'last', got {training.keep!r}.")
    if training.keep == "last":
        if training.patience is not None:
            raise ValueError("config.training.keep='last' runs all epochs: leave out `patience`.")
        return callbacks
    return [*callbacks, BestWeights(MONITOR, "min", training.patience, path=best_weights)]


def epoch_callbacks(training: ConfigDict) -> list[keras.callbacks.Callback]:
    """What depends on the number of the epoch alone: warm-up of the KL, phases before it, scheduled sampling, layers
    frozen at first."""
    callbacks: list[keras.callbacks.Callback] = []
    warmup = None
    if training.kl_warmup_epochs:
        stairs = training.kl_warmup_stairs
        warmup = KLWarmup(training.kl_warmup_epochs, training.kl_warmup_start, 1.0, stairs)
    if training.prior_epochs or training.free_epochs:
        callbacks.append(Phases(training.prior_epochs, training.free_epochs, warmup))
    elif warmup is not None:
        callbacks.append(warmup)
    if training.sampling_epochs and training.scheduled_sampling:
        callbacks.append(ScheduledSampling(training.sampling_epochs, training.sampling_curve, training.sampling_stairs))
    if training.frozen_epochs:
        callbacks.append(FreezeLayers(training.frozen, training.frozen_epochs))
    return callbacks


def kl_schedule(training: ConfigDict) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Weight of the KL by steps."""
    if not training.kl_warmup_steps:
        return training.beta
    if training.kl_warmup_epochs:
        raise ValueError("kl_warmup_steps and kl_warmup_epochs exclude each other: set one of them to 0.")
    if training.prior_epochs or training.free_epochs:
        raise ValueError(
            "After prior_epochs and free_epochs the KL rises by kl_warmup_epochs: set kl_warmup_steps to 0."
        )
    span = (training.kl_warmup_start * training.beta, training.beta)
    if training.kl_warmup_stairs is None:
        return schedules.LinearWarmup(training.kl_warmup_steps, *span)
    return schedules.StaircaseWarmup(training.kl_warmup_steps, training.kl_warmup_stairs, *span)


def temperature_schedule(training: ConfigDict) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Temperature of the bound by steps; 1 is the bound itself."""
    if not training.temperature_warmup_steps:
        return 1.0
    return schedules.LinearWarmup(training.temperature_warmup_steps, training.temperature_start, 1.0)


def penalty_schedule(training: ConfigDict) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Weight of auxiliary losses by steps."""
    if not training.penalty_warmup_steps:
        return training.penalty_weight
    return schedules.LinearWarmup(training.penalty_warmup_steps, 0.0, training.penalty_weight)


def build_optimizer(optimizer: ConfigDict, steps: int) -> keras.optimizers.Optimizer:
    """A Keras optimizer by its name in lower case, for a run of `steps` updates."""
    if optimizer.schedule not in RATES:
        raise ValueError(f"Unknown schedule {optimizer.schedule!r}: expected one of {sorted(RATES)}.")
    options = {"learning_rate": RATES[optimizer.schedule](optimizer, steps)}
    if optimizer.weight_decay is not None:
        options["weight_decay"] = optimizer.weight_decay
    known = {
        name.lower(): kind
        for name, kind in vars(keras.optimizers).items()
        if isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer)
    }
    if optimizer.name.lower() not in known:
        raise ValueError(f"Unknown optimizer {optimizer.name!r}: expected one of {sorted(known)}.")
    return known[optimizer.name.lower()](**options)


def _constant(optimizer: ConfigDict, steps: int) -> Rate:
    _no_warmup(optimizer)
    return optimizer.learning_rate


def _cosine(optimizer: ConfigDict, steps: int) -> Rate:
    if optimizer.warmup_steps == 0:
        return keras.optimizers.schedules.CosineDecay(optimizer.learning_rate, steps, optimizer.final_fraction)
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - optimizer.warmup_steps),
        optimizer.final_fraction,
        warmup_target=optimizer.learning_rate,
        warmup_steps=optimizer.warmup_steps,
    )


def _exponential(optimizer: ConfigDict, steps: int) -> Rate:
    _no_warmup(optimizer)
    return keras.optimizers.schedules.ExponentialDecay(optimizer.learning_rate, steps, optimizer.final_fraction)


def _no_warmup(optimizer: ConfigDict) -> None:
    if optimizer.warmup_steps:
        raise ValueError(f"warmup_steps goes with schedule='cosine', got {optimizer.schedule!r}.")


RATES: dict[str, Callable[[ConfigDict, int], Rate]] = {
    "constant": _constant,
    "cosine": _cosine,
    "exponential": _exponential,
}


def load_model(workdir: Path) -> DVAE:
    """The trained model of a run.

    Raises:
        FileNotFoundError: training has not finished, or `workdir` is no folder of a run.
        ValueError: the file holds something else, or is damaged.
    """
    path = workdir / MODEL_FILE
    if not path.is_file():
        begun = (workdir / FILE).is_file()
        advice = (
            "the run has not finished; the command that began it goes on"
            if begun
            else "--workdir must be the folder of a run of trainers.train"
        )
        raise FileNotFoundError(f"There is no {path}: {advice}.")
    return model_files.load_model(path)
