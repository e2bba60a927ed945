"""Every experiment can be read, checked and built; unknown keys are named together with those that exist."""

import math

import pytest
from ml_collections import ConfigDict

import tfdvae
from configs import defaults
from tests.trainers.helpers import EXPERIMENTS, ROOT, load
from trainers import building, settings

FRAMES = {
    "icu": (35, 0, 12),
    "bach": (88, 0),
    "pianoroll": (88, 0),
    "bouncing_balls": (900, 0),
    "pendulum": (256, 1),
    "cart_pole": (1024, 1),
    "ball_in_box": (1024, 0),
    "moving_digits": (4096, 0),
    "nascar": (10, 0),
    "dot": (20, 0),
    "faces": (68, 0),
    "healing_digits": (784, 0),
    "mnist": (784, 0),
    "handwriting": (3, 0),
    "motion": (114, 0),
    "speech_spectrogram": (513, 0),
    "speech_waveform": (200, 0),
    "spikes": (20, 0),
    "timeseries": (24, 9, 7),
}
"""Features, inputs and context of each data set."""


def test_each_model_and_each_data_set_has_a_config() -> None:
    assert {load(*experiment).model.name for experiment in EXPERIMENTS} == set(tfdvae.MODELS)
    assert {dataset for dataset, _ in EXPERIMENTS} == set(defaults.DATA) == set(tfdvae.data.DATASETS) == set(FRAMES)


def experiments():
    """The four data sets of the survey and the VRNN paper hold every model at a published size, time series two at one:
    by default one each."""
    many = ("handwriting", "motion", "speech_spectrogram", "speech_waveform", "timeseries")
    for dataset, model in EXPERIMENTS:
        left_out = dataset in many and model != "vrnn"
        yield pytest.param(dataset, model, marks=pytest.mark.exhaustive if left_out else ())


@pytest.mark.parametrize(("dataset", "model"), list(experiments()))
@pytest.mark.slow
def test_a_config_names_its_command_and_builds_in_every_variant(dataset: str, model: str) -> None:
    lines = (ROOT / "configs" / dataset / f"{model}.py").read_text().replace("\\\n", " ")
    text = " ".join(lines.split())
    assert f"python -m trainers.train --config configs/{dataset}/{model}.py --workdir runs/{dataset}_{model}" in text
    sizes = {}
    for variant in defaults.VARIANTS:
        if variant == "demo" and load(dataset, model).model.observation != "bernoulli":
            with pytest.raises(ValueError, match="'demo' is for frames of 0 and 1, got the observation"):
                load(dataset, model, variant)
            continue
        config = load(dataset, model, variant)
        settings.check(config)
        assert config.data.name == dataset
        # Published figures are of frames in the units that the loaders give them; these two sets have no such.
        # Units of a sequence are those of its given frames.
        of_series = "sequence" if config.model.given_frames else "feature"
        assert config.model.standardize == {"icu": "feature", "timeseries": of_series}.get(dataset)
        assert model == config.model.name or model.startswith(f"{config.model.name}_")
        built = building.build_model(config)
        building.compile_model(built, config, steps_per_epoch=10)
        building.learning_callbacks(config, ROOT / "best.weights.h5")
        building.epoch_callbacks(config.training)
        features, *beside = FRAMES[dataset]
        built.build_for(tuple(config.data.frame_shape) or features, *beside)
        assert type(built) is tfdvae.MODELS[config.model.name]
        sizes[variant] = built.count_params()
    assert sizes["smoke"] < sizes[""]


def test_the_options_of_a_model_are_those_of_its_cell() -> None:
    config = load("bach", "srnn")
    for option, value in defaults.model_options("srnn").items():
        assert option in config.model
        if isinstance(value, tuple):
            config.model[option] = (5,) * len(value)
    config.model.update(inference="filter", num_layers=2, cell="gru")
    cell = building.build_model(config).cell
    assert (cell.inference, cell.num_layers, cell.cell, cell.prior_units) == ("filter", 2, "gru", (5, 5))


def test_the_parts_that_a_batch_is_held_in_reach_the_model() -> None:
    config = load("pianoroll", "vrnn", "demo")
    for parts in (None, 3):
        config.training.micro_batch = parts
        model = building.build_model(config)
        building.compile_model(model, config, steps_per_epoch=10)
        assert model.micro_batch == parts


def test_observation_options_reach_the_observation() -> None:
    config = load("bach", "vae")
    config.model.observation = "autoregressive_bernoulli"
    with config.unlocked():
        config.model.observation_options = ConfigDict({"hidden": 99})
    assert building.build_model(config).observation.hidden == 99


def wrong(change, message: str):
    return pytest.param(change, message, id=message[:40])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        wrong(lambda c: c.training.update(epoch=3), r"config\.training has no key 'epoch'; its keys are batch_size"),
        wrong(lambda c: c.update(extra=ConfigDict()), r"the config has no key 'extra'; its keys are data, evaluation"),
        wrong(lambda c: c.model.update(phi_y=(3,)), r"config\.model has no key 'phi_y'; its keys are .*phi_x"),
        wrong(lambda c: c.data.update(paht="x"), r"config\.data has no key 'paht'; its keys are .*limit"),
        wrong(lambda c: c.optimizer.__delitem__("name"), r"config\.optimizer lacks the key 'name'"),
        wrong(lambda c: c.model.update(observation="laplace"), r"Unknown observation 'laplace': expected one of"),
        wrong(lambda c: c.model.observation_options.update(k=3), r"observation_options has no key 'k'"),
        wrong(lambda c: c.model.update(name="lstm"), r"Unknown model 'lstm': expected one of \['dkf'"),
        wrong(lambda c: c.data.update(name="mozart"), r"Unknown data set 'mozart': expected one of \['bach'"),
    ],
)
def test_a_config_with_other_keys_is_refused(change, message: str) -> None:
    config = load("bach", "vrnn", "smoke")
    with config.unlocked():
        change(config)
    with pytest.raises(ValueError, match=message):
        settings.check(config)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("model", {"cell": "elman"}, "elman"),
        ("optimizer", {"name": "adamm"}, r"Unknown optimizer 'adamm': expected one of .*'adam'"),
        ("optimizer", {"schedule": "linear"}, r"Unknown schedule 'linear': expected one of \['constant'"),
        ("optimizer", {"schedule": "exponential", "warmup_steps": 5}, "warmup_steps goes with schedule='cosine'"),
        ("optimizer", {"schedule": "cosine", "plateau_patience": 5}, "plateau_patience needs schedule='constant'"),
        ("training", {"bound": "fivoo"}, r"Unknown bound 'fivoo': expected one of \['elbo'"),
        ("training", {"kl_warmup_steps": 5, "kl_warmup_epochs": 5}, "exclude each other"),
        (
            "training",
            {"kl_warmup_steps": 5, "kl_warmup_epochs": 0, "free_epochs": 5},
            "the KL rises by kl_warmup_epochs: set",
        ),
        ("training", {"patience": 0}, "at least 1 epoch"),
    ],
)
def test_a_value_that_means_nothing_is_refused(section: str, values: dict, message: str) -> None:
    config = load("bach", "vrnn", "smoke")
    config[section].update(values)
    with pytest.raises(ValueError, match=message):
        model = building.build_model(config)
        model.build_for(88)
        building.compile_model(model, config, steps_per_epoch=10)
        building.learning_callbacks(config, ROOT / "best.weights.h5")


def test_an_unknown_variant_or_option_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown variant 'tiny': expected one of .*'smoke'"):
        load("bach", "vrnn", "tiny")
    with pytest.raises(KeyError, match="phi_y"):
        defaults.experiment("bach", "vrnn", phi_y=(3,))


def rate(step: int, **values) -> float:
    config = load("bach", "vrnn", "smoke")
    config.optimizer.update(learning_rate=0.1, final_fraction=0.01, **values)
    optimizer = building.build_optimizer(config.optimizer, steps=100)
    optimizer.build([])
    optimizer.iterations.assign(step)
    return float(optimizer.learning_rate)


def test_learning_rates_end_where_the_config_says() -> None:
    assert [rate(step, schedule="constant") for step in (0, 100)] == pytest.approx([0.1, 0.1])
    assert [rate(step, schedule="cosine") for step in (0, 50, 100)] == pytest.approx([0.1, 0.0505, 0.001])
    exponential = [rate(step, schedule="exponential") for step in (0, 50, 100)]
    assert exponential == pytest.approx([0.1, 0.1 * math.sqrt(0.01), 0.001])
    warm = [rate(step, schedule="cosine", warmup_steps=20) for step in (0, 10, 20, 60, 100)]
    assert warm == pytest.approx([0.0, 0.05, 0.1, 0.0505, 0.001])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"beta": 0.8}, [0.8, 0.8, 0.8]),
        ({"beta": 0.8, "kl_warmup_steps": 10, "kl_warmup_start": 0.5}, [0.4, 0.6, 0.8]),
        ({"beta": 0.8, "kl_warmup_steps": 10, "kl_warmup_stairs": 1}, [0.0, 0.0, 0.8]),
    ],
)
def test_the_weight_of_the_kl_by_steps(values: dict, expected: list[float]) -> None:
    training = load("bach", "vae", "smoke").training
    training.update(values)
    beta = building.kl_schedule(training)
    assert [float(beta(s)) if callable(beta) else beta for s in (0, 5, 10)] == pytest.approx(expected)


def test_the_temperature_by_steps() -> None:
    training = defaults.base().training
    assert building.temperature_schedule(training) == 1.0
    training.update(temperature_warmup_steps=10, temperature_start=0.2)
    c = building.temperature_schedule(training)
    assert [float(c(step)) for step in (0, 5, 10, 20)] == pytest.approx([0.2, 0.6, 1.0, 1.0])


def test_the_kl_rises_after_the_phases_before_it() -> None:
    training = defaults.base().training
    training.update(prior_epochs=1, free_epochs=2, kl_warmup_epochs=2, kl_warmup_start=0.5)
    (callback,) = building.epoch_callbacks(training)
    assert [callback.phase(epoch) for epoch in range(4)] == [1, 2, 2, 3]
    assert [callback.weight(epoch) for epoch in range(6)] == [0.0, 0.0, 0.0, 0.5, 0.75, 1.0]
    training.update(prior_epochs=0, free_epochs=0)
    (callback,) = building.epoch_callbacks(training)
    assert callback.weight(0) == 0.5


@pytest.mark.slow
def test_scheduled_sampling_rises_where_there_is_any() -> None:
    training = defaults.base().training
    training.update(sampling_epochs=4, sampling_curve="linear")
    assert building.epoch_callbacks(training) == []
    training.scheduled_sampling = 0.5
    (callback,) = building.epoch_callbacks(training)
    assert [callback.part(epoch) for epoch in (0, 2, 4)] == [0.0, 0.5, 1.0]
