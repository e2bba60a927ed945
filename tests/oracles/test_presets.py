"""Presets have the numbers of weights that the tables of the papers imply: counted here from the tables, not from the
models.
"""

import numpy as np
import pytest

import tfdvae
from tfdvae import presets


def dense(*widths: int) -> int:
    """Weights and biases of layers of these widths, one behind the other."""
    return sum((a + 1) * b for a, b in zip(widths, widths[1:], strict=False))


def lstm(inputs: int, units: int) -> int:
    return 4 * units * (inputs + units + 1)


def gru(inputs: int, units: int) -> int:
    """With two biases, as cuDNN has it."""
    return 3 * units * (inputs + units + 2)


def dkf(x: int, z: int, h: int, phi_x: int, gate: int, decoder: tuple, combiner: int, posterior: int) -> int:
    """(B.1)-(B.5), (5.4)-(5.7); from the combiner's last layer to the width of the LSTM."""
    transition = 2 * dense(z, gate, z) + 2 * dense(z, z)
    inference = dense(x, phi_x) + lstm(phi_x, h) + dense(z, combiner, h) + dense(h, posterior, 2 * z)
    return transition + dense(z, *decoder, x) + inference


def storn(x: int, z: int, h: int, phi_x: int, phi_z: tuple, decoder: tuple, encoder: tuple) -> int:
    generation = dense(x, phi_x) + dense(z, *phi_z) + lstm(phi_x + phi_z[-1], h) + dense(h, *decoder, x)
    return generation + dense(x, phi_x) + lstm(phi_x, h) + dense(h, *encoder, 2 * z)


def vrnn(x: int, z: int, h: int, phi_x: int, phi_z: tuple) -> int:
    heads = dense(h, 2 * z) + dense(phi_z[-1] + h, x) + dense(phi_x + h, 2 * z)
    return dense(x, phi_x) + dense(z, *phi_z) + lstm(phi_x + phi_z[-1], h) + heads


def srnn(x: int, z: int, h: int, phi_x: int, prior: tuple, decoder: int, smoother: int, posterior: tuple) -> int:
    generation = dense(x, phi_x) + lstm(phi_x, h) + dense(z + h, *prior, 2 * z) + dense(z + h, decoder, x)
    return generation + dense(h + x, smoother) + lstm(smoother, h) + dense(z + h, *posterior, 2 * z)


def rvae(x: int, z: int, h: int) -> int:
    return lstm(z, h) + dense(h, x) + lstm(z, h) + lstm(x, h) + dense(2 * h, 2 * z)


def rvae_noncausal(x: int, z: int, h: int) -> int:
    return 2 * lstm(z, h) + dense(2 * h, x) + lstm(z, h) + 2 * lstm(x, h) + dense(3 * h, 2 * z)


def dsae(x: int, z: int, h: int, decoder: tuple) -> int:
    generation = lstm(z, h) + dense(h, 2 * z) + dense(2 * z, *decoder, x)
    v = 2 * lstm(x, h) + dense(2 * h, 2 * z)
    return generation + v + 2 * lstm(x + z, h) + dense(3 * h, h) + dense(h, 2 * z)


def tcn(x: int, z: tuple, c: int, phi_x: int) -> int:
    """Two convolutions of each level and two behind the latents, of a kernel of 2."""
    layer = dense(2 * c, 2 * c) + dense(c, c)
    heads = [dense(c + above, 2 * own) + dense(c, 2 * own) for own, above in zip(z, (*z[1:], 0), strict=True)]
    networks = dense(x, phi_x, c) + dense(sum(z), c) + dense(c, x)
    return networks + sum(heads) + 2 * (len(z) + 1) * layer


def transformer(x: int, z: int, c: int, phi_x: int, width: int) -> int:
    """Two blocks before the latent and two behind it, a norm at the end of both pairs."""
    block = dense(c, 3 * width) + dense(width, c) + dense(c, 4 * c, c) + 4 * c
    heads = 2 * dense(c, 2 * z)
    return dense(x, phi_x, c) + dense(c + z, c) + dense(c, x) + heads + 4 * block + 2 * 2 * c


SPEECH, MOTION = (513, 16, 128), (96, 10, 64)
WIDE = (32, 64, 128, 256)
COUNTS = {
    ("speech", "dkf"): dkf(*SPEECH, 256, 16, WIDE, 32, 32),
    ("speech", "storn"): storn(*SPEECH, 256, (32, 64), (256,), (64, 32)),
    ("speech", "vrnn"): vrnn(*SPEECH, 256, (32, 64)),
    ("speech", "srnn"): srnn(*SPEECH, 256, (64, 32), 256, 256, (64, 32)),
    ("speech", "rvae"): rvae(*SPEECH),
    ("speech", "rvae_noncausal"): rvae_noncausal(*SPEECH),
    ("speech", "dsae"): dsae(*SPEECH, WIDE),
    ("speech", "tcn"): tcn(513, (16, 8, 4), 80, 256),
    ("speech", "transformer"): transformer(513, 16, 76, 256, 76),
    ("motion", "transformer"): transformer(96, 10, 32, 64, 28),
    ("motion", "tcn"): tcn(96, (10, 6, 3), 34, 64),
    ("motion", "dkf"): dkf(*MOTION, 64, 10, (32, 64), 16, 32),
    ("motion", "storn"): storn(*MOTION, 64, (32,), (), (32,)),
    ("motion", "vrnn"): vrnn(*MOTION, 64, (16, 32)),
    ("motion", "srnn"): srnn(*MOTION, 64, (32,), 64, 64, (32,)),
    ("motion", "rvae"): rvae(*MOTION),
    ("motion", "rvae_noncausal"): rvae_noncausal(*MOTION),
    ("motion", "dsae"): dsae(*MOTION, (32, 64)),
}


@pytest.mark.parametrize(("experiment", "name"), COUNTS)
def test_the_survey(experiment: str, name: str) -> None:
    sizes = getattr(presets, experiment)
    model = tfdvae.MODELS[name](**sizes[name])
    model.build_for(sizes.setting.x_dim)
    assert model.count_params() == COUNTS[experiment, name]


@pytest.mark.parametrize("name", ["tcn", "transformer"])
def test_without_recurrences_there_are_as_many_weights_as_in_the_vrnn(name: str) -> None:
    for experiment in ("speech", "motion"):
        assert abs(COUNTS[experiment, name] / COUNTS[experiment, "vrnn"] - 1.0) < 0.05


@pytest.mark.slow
def test_the_vrnn_paper_on_timit() -> None:
    model = tfdvae.VRNN(**presets.papers.vrnn_timit)
    model.build_for(200)
    phi, z, h, x = (600,) * 4, 200, 2000, 200
    mixture = 20 * (2 * x + 1)
    heads = dense(h, *phi, 2 * z) + dense(600 + h, *phi, 2 * z) + dense(600 + h, *phi, mixture)
    expected = dense(x, *phi) + dense(z, *phi) + lstm(1200, h) + heads
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == expected
    statistics = 2 * x
    assert model.count_params() == expected + statistics


def test_the_vrae_paper() -> None:
    for name, z in (("vrae_2d", 2), ("vrae_20d", 20)):
        model = tfdvae.VRAE(**getattr(presets.papers, name))
        model.build_for(88)
        assert model.count_params() == 2 * dense(88 + 500, 500) + dense(500, 2 * z) + dense(z, 500) + dense(500, 88)


def test_the_srnn_paper_on_music() -> None:
    model = tfdvae.SRNN(**presets.papers.srnn_music)
    model.build_for(88)
    z, h, x = 100, 300, 88
    generation = dense(x, 300) + gru(300, h) + dense(z + h, 300, 2 * z) + dense(z + h, 300, x)
    assert model.count_params() == generation + dense(h + x, 300) + gru(300, h) + dense(z + h, 300, 2 * z)


def test_the_svg_paper() -> None:
    """Three LSTMs of 256, each behind a linear layer, that of the predictor of two layers and before a tanh one."""
    z, h, e = 10, 256, 50
    posterior = dense(e, 256) + lstm(256, h) + dense(h, 2 * z)
    predictor = dense(e + z, 256) + 2 * lstm(256, h) + dense(h, 128)
    for name, learned in (("svg_lp", 1), ("svg_fp", 0)):
        vectors = {"frame_encoder": (e,), "frame_decoder": None, "frame_skips": False}
        model = tfdvae.SVG(**{**getattr(presets.papers, name), **vectors})
        model.build_for(88)
        assert model.count_params() == (1 + learned) * posterior + predictor + dense(88, e) + dense(128, 88)


def test_the_draw_paper_on_mnist() -> None:
    """Two LSTMs of 256 with first states, q, windows of 2 x 2 of two pictures and of 5 x 5, and a bias per pixel."""
    z, h, x = 100, 256, 784
    common = dense(h, 2 * z) + lstm(z, h) + 4 * h + x
    for name, rest in {
        "draw_mnist": lstm(2 * 4 + h, h) + 2 * dense(h, 5) + dense(h, 25),
        "draw_mnist_whole": lstm(2 * x + h, h) + dense(h, x),
    }.items():
        model = tfdvae.DRAW(**getattr(presets.papers, name))
        model.build_for((28, 28, 1))
        assert [(latent.name, latent.latent_dim) for latent in model.latents] == [("z", 64 * z)]
        assert model.count_params() == common + rest


@pytest.mark.slow
def test_the_tcn_paper() -> None:
    model = tfdvae.TCNDVAE(**presets.papers.tcn_timit)
    model.build_for(200)
    assert [(latent.name, latent.latent_dim) for latent in model.latents] == [
        ("z5", 16),
        ("z4", 32),
        ("z3", 64),
        ("z2", 128),
        ("z1", 256),
    ]


@pytest.mark.slow
def test_every_model_has_its_sizes_and_every_preset_makes_a_model() -> None:
    for sizes in (presets.speech, presets.motion):
        assert set(sizes) == set(tfdvae.MODELS) and len(sizes) == len(tfdvae.MODELS)
        for name, kind in tfdvae.MODELS.items():
            kind(**sizes[name]).build_for(sizes.setting.x_dim)
    for name, units in {"vrnn_blizzard": 4000, "vrnn_iam_ondb": 1200}.items():
        model = tfdvae.VRNN(**presets.papers[name])
        assert (model.cell.units, model.observation.num_components) == (units, 20)


@pytest.mark.slow
def test_each_access_is_a_copy_and_unknown_names_are_listed() -> None:
    first = presets.speech.vrnn
    first["latent_dim"] = 99
    assert presets.speech.vrnn["latent_dim"] == presets.speech["vrnn"]["latent_dim"] == 16
    assert "vrnn" in dir(presets.speech)
    with pytest.raises(AttributeError, match=r"no preset 'vrrn': expected one of .*vrnn"):
        _ = presets.speech.vrrn
    with pytest.raises(KeyError, match="no preset 'vrrn'"):
        _ = presets.speech["vrrn"]
