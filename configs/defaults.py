"""What all experiments share: sections, keys, default values, variants.

A config has the sections `model`, `data`, `optimizer`, `training`, `evaluation`, and `seed`. Each key can be set on the
command line, `--config.training.epochs=50`; each variant with a colon, `--config configs/bach/vrnn.py:smoke`. A key
whose value is None is of the type that it was declared with.
"""

import inspect
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from tfdvae import DVAE, MODELS, bounds, presets, recipes
from tfdvae.layers.frame_io import FRAME_OPTIONS, FrameIO

__all__ = ["DATA", "base", "experiment", "model_options"]

_SPEECH_FOLDER = {
    "path": "$TFDVAE_DATA/librispeech_subset",
    "rate": 16000,
    "train_list": placeholder(str),
    "valid_list": placeholder(str),
    "test_list": placeholder(str),
    "valid_ratio": 0.1,
    "test_ratio": 0.1,
    "split_by": "speaker",
    "speaker_pattern": placeholder(str),
    "limit": placeholder(int),
    "cache_dir": placeholder(str),
}

DATA: dict[str, dict[str, dict[str, Any]]] = {
    "bach": {
        "data": {"cache_dir": placeholder(str), "steps_per_quarter": 1, "limit": placeholder(int), "transpose": 3},
        "model": {"standardize": None},
        "training": {"batch_size": 32, "epochs": 100, "patience": 15},
    },
    "pianoroll": {
        "data": {"path": "$TFDVAE_DATA/polyphonic/{set}.npz", "set": "jsb_chorales", "steps_per_quarter": 1},
        "model": {"standardize": None},
    },
    "bouncing_balls": {
        "data": {"num_train": 4000, "num_valid": 200, "num_test": 200, "length": 100, "resolution": 30, "window": 25},
        "model": {"observation": "identity_gaussian", "observation_options": {"scale": 0.1}, "standardize": None},
        "training": {"batch_size": 32, "epochs": 20},
        "evaluation": {"num_samples": 8},
    },
    "pendulum": {
        "data": {
            **{"num_train": 500, "num_valid": 100, "num_test": 100, "length": 30, "max_torque": 5.0},
            # Physics that differ between sequences, such as (4.0, 9.81, 16.0).
            **{"gravities": (), "frictions": ()},
        },
        "model": {"observation": "identity_gaussian", "observation_options": {"scale": 0.1}, "standardize": None},
        "training": {"batch_size": 32, "epochs": 300},
    },
    "cart_pole": {
        "data": {"num_train": 500, "num_valid": 100, "num_test": 100, "length": 50, "max_force": 10.0},
        "model": {"observation": "identity_gaussian", "observation_options": {"scale": 0.1}, "standardize": None},
        "training": {"batch_size": 32, "epochs": 200},
    },
    "spikes": {
        "data": {
            **{"num_train": 200, "num_valid": 50, "num_test": 50, "length": 100, "num_neurons": 20},
            **{"mean_count": 0.3, "modulation": 1.0},
        },
        "model": {"observation": "poisson", "standardize": None},
        "training": {"batch_size": 20, "epochs": 60},
    },
    "moving_digits": {
        "data": {
            **{"path": "$TFDVAE_DATA/mnist10k/mnist10k.npz", "num_train": 5000, "num_valid": 500, "num_test": 500},
            **{"length": 15, "resolution": 64, "digit_size": 28, "num_digits": 2, "stochastic": True},
        },
        "model": {"observation": "identity_gaussian", "observation_options": {"scale": 0.1}, "standardize": None},
        "training": {"batch_size": 32, "epochs": 60, "patience": 10},
        "evaluation": {"num_samples": 8, "chunk": 2, "batch_size": 16},
    },
    "nascar": {
        "data": {
            **{"num_train": 200, "num_valid": 50, "num_test": 50, "length": 100, "noise_scale": 0.2},
            # Whether every other car goes the other way round.
            "both_ways": False,
        },
        "model": {"observation": "gaussian", "standardize": None},
        "training": {"batch_size": 20, "epochs": 200, "patience": 30},
    },
    "mnist": {
        "data": {
            **{"path": "$TFDVAE_DATA/mnist10k/mnist10k.npz", "num_valid": 1000, "digit_size": 28},
            **{"binarise": "sample", "limit": placeholder(int)},
        },
        "model": {"observation": "bernoulli", "standardize": None},
        "optimizer": {"learning_rate": 1e-3},
        # Sequences of one frame, which need no padding.
        "training": {"batch_size": 128, "epochs": 100, "patience": 15, "buckets": 1, "multiple_of": 1},
        "evaluation": {"num_samples": 40, "chunk": 10, "batch_size": 100},
    },
    "dot": {
        "data": {"num_train": 200, "num_valid": 50, "num_test": 50, "length": 50, "pixels": 20, "noise_scale": 0.1},
        "model": {"observation": "gaussian", "standardize": None},
        "training": {"batch_size": 20, "epochs": 200},
    },
    "faces": {
        "data": {
            **{"num_train": 200, "num_valid": 50, "num_test": 50, "length": 60, "num_factors": 4, "noise_scale": 0.03},
            **{"missing_rate": 0.2, "seed": 0},
        },
        "model": {"observation": "gaussian", "standardize": None},
        "training": {"batch_size": 20, "epochs": 400},
    },
    "healing_digits": {
        "data": {
            **{"path": "$TFDVAE_DATA/mnist10k/mnist10k.npz", "num_train": 8000, "num_valid": 500, "num_test": 1000},
            **{"length": 10, "digit_size": 28, "max_rotation": 30.0, "jitter": 5.0, "missing_rate": 0.6},
        },
        "model": {"observation": "bernoulli", "standardize": None},
        "optimizer": {"learning_rate": 1e-3},
        "training": {"batch_size": 64, "epochs": 40, "patience": 8},
        "evaluation": {"num_samples": 8, "chunk": 4},
    },
    "ball_in_box": {
        "data": {"num_train": 5000, "num_valid": 500, "num_test": 500, "length": 20, "resolution": 32},
        "model": {"standardize": None},
        "training": {"batch_size": 32, "epochs": 60},
    },
    "speech_waveform": {
        "data": {**_SPEECH_FOLDER, "frame_length": 200, "max_frames": 40},
        "model": {"observation": "gaussian", "standardize": None},
        "optimizer": {"learning_rate": 1e-3},
        "training": {"batch_size": 64, "epochs": 60, "patience": 10},
    },
    "speech_spectrogram": {
        "data": {**_SPEECH_FOLDER, "num_frames": 50, "window_length": 1024, "hop_length": 256, "trim_db": 30.0},
        "model": {"observation": "gamma", "standardize": None, "x_scale": "log"},
        "optimizer": {"learning_rate": presets.speech.setting.learning_rate},
        "training": {
            "batch_size": presets.speech.setting.batch_size,
            "epochs": 300,
            "patience": presets.speech.setting.patience,
        },
        "evaluation": {"num_samples": 8, "chunk": 2, "batch_size": 8},
    },
    "motion": {
        "data": {
            "path": "$TFDVAE_DATA/cmu_mocap/cmu_mocap_60hz.npz",
            "num_frames": 50,
            "shift": 2,
            "held_out_shift": placeholder(int),
            "step": 2,
            "unit_mm": 1000.0,
            "valid_subjects": placeholder(str),
            "test_subjects": placeholder(str),
            "limit": placeholder(int),
        },
        # The survey's identity covariance in mm, for frames in metres.
        "model": {"observation": "identity_gaussian", "observation_options": {"scale": 0.001}, "standardize": None},
        # The survey's 0.0001 is for twenty times as many updates per epoch; this one was chosen on validation data.
        "optimizer": {"learning_rate": 3e-3},
        "training": {
            "batch_size": presets.motion.setting.batch_size,
            "epochs": 300,
            "patience": presets.motion.setting.patience,
            "kl_warmup_epochs": presets.motion.setting.kl_warmup_epochs,
        },
    },
    "icu": {
        "data": {
            "path": "$TFDVAE_DATA/icu/physionet2012_a.npz",
            "interval": 60,
            "aggregate": "mean",
            "plausible": True,
            "standardize_context": True,
            "num_train": 2400,
            "num_valid": 400,
        },
        # Four of five values are missing: networks see the last one that was observed, and which were.
        "model": {"observation": "gaussian", "standardize": "feature", "fill": "last", "indicator": True},
        "optimizer": {"schedule": "cosine"},
        # Hiding values that are scored all the same trains what imputation asks for.
        "training": {"batch_size": 32, "epochs": 28, "hide": 0.2},
        "evaluation": {"num_samples": 8, "chunk": 2},
    },
    "timeseries": {
        "data": {
            "path": "$TFDVAE_DATA/ett/ETTh1.csv",
            "time": "date",
            "targets": (),  # all columns of numbers without another role
            "past": (),
            "known": (),
            "context": (),
            "group": placeholder(str),
            "gaps": "refuse",
            "horizon": 96,
            "season": 24,
            "given": 14,
            "lags": (),
            "calendar": ("hour", "weekday"),
            "holidays": placeholder(str),
            "separate": True,
            "shift": 5,
            # The months that papers train on (12), choose by (4) and report on (4).
            **{"train_steps": 8640, "valid_steps": 2880, "test_steps": 2880},
        },
        "model": {**recipes.FORECASTER, "given_frames": 14},
        "optimizer": {"name": "adamw", "learning_rate": 2e-3, "weight_decay": 1e-4, "schedule": "cosine"},
        "training": {"batch_size": 128, "epochs": 6},
        "evaluation": {"num_samples": 8, "chunk": 2, "batch_size": 128},
    },
    "handwriting": {
        "data": {
            "path": "$TFDVAE_DATA/strokes_{set}",
            "set": "kanji",
            "train_list": placeholder(str),
            "valid_list": placeholder(str),
            "test_list": placeholder(str),
            "limit": placeholder(int),
            "cache_dir": placeholder(str),
        },
        "model": {"observation": "pen", "standardize": None},
        "optimizer": {"learning_rate": 1e-3},
        "training": {"batch_size": 64, "epochs": 40, "patience": 8},
    },
}
"""Per data set the arguments of its loader, and what else differs from `base`. In a string of the section `data`,
`$NAME` stands for an environment variable and `{key}` for another key of the section. Models see frames as the loaders
make them, which bring their own units (`standardize` is None), so results compare with those of papers."""


def base() -> ConfigDict:
    """Every section with every key that does not depend on the model or the data set."""
    config = ConfigDict()
    config.seed = 0
    config.model = {
        "name": "",
        "observation": "bernoulli",  # a name in tfdvae.observations.OBSERVATIONS
        "observation_options": {},  # its arguments
        "precision": "float32",  # or mixed_bfloat16, mixed_float16
    }
    config.data = {
        "name": "",
        "transpose": 0,  # also train on every transposition of up to so many semitones
        "window": placeholder(int),  # cut training sequences into windows of so many frames
        "hop": placeholder(int),  # frames from window to window; as `window` by default
        "max_sequences": placeholder(int),  # of each split, to try things out
        "frame_shape": (),  # (height, width, channels) of flattened pictures, for convolutions; () for vectors
    }
    config.optimizer = {
        "name": "adam",
        "learning_rate": 2e-3,
        "weight_decay": placeholder(float),
        "schedule": "constant",  # or cosine, exponential: from learning_rate to final_fraction of it
        "warmup_steps": 0,  # linear, before a schedule that is not constant
        "final_fraction": 0.05,
        "plateau_patience": placeholder(int),  # epochs without a better validation bound before the rate is multiplied
        "plateau_factor": 0.5,
    }
    config.training = {
        "batch_size": 32,
        "micro_batch": placeholder(int),  # sequences of a batch that are in memory at a time; all by default
        "truncate": placeholder(int),  # frames that gradients reach back, in windows that go on; all by default
        "epochs": 100,
        "patience": placeholder(int),  # epochs without a better validation bound before training stops
        "bound": "elbo",  # or iwae, fivo, nasmc
        "bound_samples": 1,  # paths per sequence in the bound
        "bound_options": {},  # further arguments of the bound, such as {"chunk": 8} or {"criterion": "always"}
        "beta": 1.0,
        "prior_epochs": 0,  # first epochs, in which latents come from the prior and the posterior learns nothing
        "free_epochs": 0,  # epochs after them in which the KL has the weight 0
        "kl_warmup_epochs": 0,  # from kl_warmup_start to beta, after prior_epochs and free_epochs
        "kl_warmup_steps": 0,
        "kl_warmup_start": 0.0,
        "kl_warmup_stairs": placeholder(int),  # jumps; a straight line by default
        "temperature_warmup_steps": 0,  # from temperature_start to 1, c of DVBF's annealed bound
        "temperature_start": 0.01,
        "free_bits": 0.0,  # nats per frame that the KL is not pushed below
        "free_bits_per": "group",  # dimension of a Gaussian or group of categoricals; or latent, or frame
        "kl_balance": placeholder(float),  # part of the KL's gradient that reaches the prior; both get all by default
        "reconstruction_weight": 1.0,  # of log p(x_t | .), in training alone
        "penalty_weight": 1.0,  # of a model's auxiliary losses
        "penalty_warmup_steps": 0,  # from 0 to penalty_weight
        "scheduled_sampling": 0.0,  # part of the frames in whose place the model is fed its own output
        "sampling_epochs": 0,  # epochs in which it rises to that part; where 0 it is that part from the start
        "sampling_curve": "staircase",  # or linear, inverse_sigmoid
        "sampling_stairs": 5,
        "hide": 0.0,  # part of the observed values that networks do not see in training, and that it still scores
        "semi_amortized": 0,  # gradient steps that move the posteriors of a batch before it is trained on
        "start_from": placeholder(str),  # folder of a finished run of the same model whose weights to begin with
        "keep": "best",  # weights of the best epoch by the validation bound; or last
        "frozen": (),  # names of layers that are not trained in the first frozen_epochs
        "frozen_epochs": 0,
        "clip_norm": 5.0,
        "jit_compile": placeholder(bool),  # by default on a GPU only
        "buckets": 4,  # groups of similar length
        "multiple_of": 8,  # padded lengths are rounded up to a multiple
        "records": placeholder(str),  # folder of trainers.records to train on, in place of the data set's own files
        "shuffle_buffer": 4096,  # sequences of records that are shuffled at a time
        "data_service": placeholder(str),  # grpc://HOST:PORT of trainers.data_service, whose workers read the records
    }
    config.evaluation = {
        "num_samples": 40,
        "chunk": 8,
        "batch_size": 32,
        "bounds": ("elbo", "iwae"),  # and fivo, by as many particles, for causal models
    }
    return config


def model_options(model: str) -> dict[str, Any]:
    """The arguments of a model and their default values: how frames enter and leave it, and those of its cell, or its
    own where it has none.

    Raises:
        ValueError: no such model.
    """
    if model not in MODELS:
        raise ValueError(f"Unknown model {model!r}: expected one of {sorted(MODELS)}.")
    frames = _arguments(FrameIO)
    options = {name: frames[name] for name in FRAME_OPTIONS} | {"missing": _arguments(DVAE)["missing"]}
    for ancestor in reversed(getattr(MODELS[model], "cell_class", MODELS[model]).__mro__):
        own = ancestor.__module__.partition(".")[0] == "tfdvae" and "__init__" in vars(ancestor)
        if own and ancestor is not DVAE:
            options |= _arguments(ancestor)
    left_out = ("observation", "seed", "name", "dtype", *MODELS[model].without_use())
    return {k: v for k, v in options.items() if k not in left_out}


def _arguments(kind: type) -> dict[str, Any]:
    """Arguments of a constructor by name, with their default values."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}


def experiment(dataset: str, model: str, arg: str = "", **options: Any) -> ConfigDict:
    """A model on a data set.

    Args:
        dataset: a name in DATA.
        model: a name in `tfdvae.MODELS`.
        arg: what stands behind the colon of `--config FILE:ARG`: a name in VARIANTS, or nothing.
        **options: arguments of the model; keys of other sections as "training__epochs".

    Raises:
        ValueError: an unknown data set, model or variant.
        KeyError: an unknown option.
    """
    for what, name, known in (("data set", dataset, DATA), ("variant", arg, VARIANTS)):
        if name not in known:
            raise ValueError(f"Unknown {what} {name!r}: expected one of {sorted(known)}.")
    config = base()
    config.model.update(name=model, **model_options(model))
    for section, values in DATA[dataset].items():
        config[section].update(values)
    config.data.name = dataset
    config.lock()
    for key, value in options.items():
        section, _, name = key.rpartition("__")
        config[section or "model"][name] = value
    VARIANTS[arg](config)
    return config


def _smoke(config: ConfigDict) -> None:
    """Everything small: seconds on a laptop, to see that all runs."""
    for name, value in config.model.items():
        if isinstance(value, tuple):
            config.model[name] = (8,) * len(value)
    if "units" in config.model:
        config.model.units = 8
    config.model.latent_dim = min(config.model.latent_dim, 2)
    if "num_glimpses" in config.model:
        config.model.num_glimpses = 3
    few = {"limit": 6, "num_train": 8, "num_valid": 4, "num_test": 4, "length": 8, "resolution": 12, "digit_size": 7}
    config.data.update({key: value for key, value in few.items() if key in config.data})
    if config.data.frame_shape and "resolution" in config.data:
        config.data.frame_shape = (few["resolution"], few["resolution"], *config.data.frame_shape[2:])
    config.data.update(transpose=0, max_sequences=6)
    config.training.update(frozen_epochs=min(config.training.frozen_epochs, 1))
    config.training.update(epochs=2, batch_size=4, kl_warmup_epochs=min(config.training.kl_warmup_epochs, 1))
    config.training.update(prior_epochs=min(config.training.prior_epochs, 1), free_epochs=0)
    config.evaluation.update(num_samples=4, chunk=2, batch_size=4)


def _demo(config: ConfigDict) -> None:
    """What two cores can do with music in one to three minutes."""
    if config.model.observation != "bernoulli":
        raise ValueError(
            f"The variant 'demo' is for frames of 0 and 1, got the observation {config.model.observation!r}: choose "
            "'smoke', or no variant."
        )
    config.model.update(observation="autoregressive_bernoulli", dropout=0.0)
    config.optimizer.update(learning_rate=3e-3, schedule="cosine")
    config.training.update(epochs=16, buckets=4)
    if bounds.BOUNDS[config.training.bound].tempered:
        config.training.update(kl_warmup_epochs=4, kl_warmup_start=0.2)


VARIANTS: dict[str, Callable[[ConfigDict], None]] = {"": lambda config: None, "demo": _demo, "smoke": _smoke}
