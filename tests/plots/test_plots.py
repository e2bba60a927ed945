"""Pictures show the numbers that they were given, and leave no trace in pyplot."""

import csv
import io
import sys
from pathlib import Path

import numpy as np
import pytest

import tfdvae
from tests import cases
from tfdvae.plots import plot_change, plot_history, plot_latent_map, plot_latents, plot_rolls, plot_videos

pytest.importorskip("matplotlib")

HISTORY = {
    "elbo_nats_per_frame": [-3.0, -2.0, -1.5],
    "val_elbo_nats_per_frame": [-3.5, -2.5, -2.0],
    "kl_weight": [0.0, 0.5, 1.0],
    "loss": [3.0, 2.0, 1.5],
}


def png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def test_curves_of_a_history() -> None:
    figure = plot_history(HISTORY)
    elbo, weight = figure.axes
    assert [line.get_ydata().tolist() for line in elbo.lines] == [
        HISTORY["elbo_nats_per_frame"],
        HISTORY["val_elbo_nats_per_frame"],
    ]
    assert elbo.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert elbo.get_ylabel() == "nats per frame"
    assert weight.get_title() == "weight of the KL"
    assert png(figure).startswith(b"\x89PNG")


def test_curves_of_a_log_file(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *HISTORY, "val_loss"])
        writer.writerows([4 + i, *row, "NA"] for i, row in enumerate(zip(*HISTORY.values(), strict=True)))
    line = plot_history(path).axes[0].lines[1]
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([5, 6, 7], HISTORY["val_elbo_nats_per_frame"])


def test_logs_that_hold_no_curve(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected curves such as 'elbo_nats_per_frame'.*\['accuracy'\]"):
        plot_history({"accuracy": [0.5]})
    with pytest.raises(FileNotFoundError, match=r"no\.csv"):
        plot_history(tmp_path / "no.csv")
    bad = tmp_path / "bad.csv"
    bad.write_text("epoch,loss\n0,abc\n")
    with pytest.raises(ValueError, match="no log of numbers"):
        plot_history(bad)


def test_rolls_share_axes_and_are_drawn_key_by_key() -> None:
    roll = np.zeros([20, 88])
    roll[3, 60 - 21] = 1.0
    figure = plot_rolls({"original": roll, "reconstruction": 0.3 * roll[:10]})
    top, bottom = figure.axes
    assert (top.get_title(), bottom.get_title()) == ("original", "reconstruction")
    image = np.asarray(top.images[0].get_array())
    assert np.argwhere(image).tolist() == [[39, 3]]
    assert np.asarray(bottom.images[0].get_array()).max() == pytest.approx(0.3)
    assert top.get_xlim() == bottom.get_xlim() == (-0.5, 19.5)
    # Middle C is MIDI note 60: its label stands at its key.
    labels = {label.get_text(): label.get_position()[1] for label in top.get_yticklabels()}
    assert labels["C4"] == 39
    assert png(figure).startswith(b"\x89PNG")


def test_an_empty_roll_can_be_drawn() -> None:
    assert png(plot_rolls({"silence": np.zeros([4, 88])})).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("rolls", "message"),
    [
        ({}, "no piano-roll"),
        ({"a": np.zeros([4, 12])}, r"'a' has shape \(4, 12\)"),
        ({"a": np.zeros([0, 88])}, "at least 1"),
        ({"a": np.full([4, 88], 2.0)}, "'a' holds other values"),
        ({"a": np.full([4, 88], np.nan)}, "'a' holds other values"),
    ],
)
def test_other_arrays_are_refused(rolls: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_rolls(rolls)


@pytest.mark.slow
def test_latents_show_the_posterior_and_its_kl() -> None:
    model = tfdvae.VAE(3, encoder_units=(4,), decoder_units=(4,))
    model.build_for(2)
    rng = np.random.default_rng(0)
    x, noise = (rng.normal(size=(2, 6, n)).astype(np.float32) for n in (2, 3))
    path = model.infer(x, noise={"z": noise})
    figure = plot_latents(model, path, index=1, length=5)
    titles = ["posterior mean", "posterior log-variance", "sample", "KL(q || p), nats"]
    assert [axes.get_title() for axes in figure.axes[:4]] == titles
    assert plot_latents(model, model.infer(x)).axes[2].get_title() == "mode"  # which is no sample
    mean, log_variance, sample, kl = (np.asarray(axes.images[0].get_array()).T for axes in figure.axes[:4])
    loc, scale = (np.asarray(y)[1, :5] for y in path.latents["z"].q)
    np.testing.assert_allclose(mean, loc, rtol=1e-6)
    np.testing.assert_allclose(sample, loc + scale * noise[1, :5], rtol=1e-5)
    np.testing.assert_allclose(log_variance, np.log(scale**2), atol=1e-5)
    # The prior of a VAE is N(0, I), and its KL is in every textbook.
    np.testing.assert_allclose(kl, 0.5 * (loc**2 + scale**2 - 1.0 - np.log(scale**2)), atol=1e-5)
    assert png(figure).startswith(b"\x89PNG")


def test_change_shows_where_the_mean_moves() -> None:
    model = tfdvae.VAE(3, encoder_units=(4,), decoder_units=(4,))
    model.build_for(2)
    x = np.random.default_rng(0).normal(size=(2, 6, 2)).astype(np.float32)
    found = tfdvae.metrics.diagnose(model, x)["z"]
    figure = plot_change(x, found, index=1, length=5)
    line, kl, frames = figure.axes[:3]
    np.testing.assert_array_equal(line.lines[0].get_ydata(), found.change[1, :5])
    np.testing.assert_allclose(np.asarray(kl.images[0].get_array()).T, found.kl[1, :5])
    np.testing.assert_allclose(np.asarray(frames.images[0].get_array()).T, x[1, :5])
    with pytest.raises(ValueError, match="Expected the frames that were diagnosed"):
        plot_change(x[:, :4], found)
    with pytest.raises(ValueError, match="from 0 to 1"):
        plot_change(x, found, index=2)


def test_latents_that_do_not_exist() -> None:
    x = np.zeros([1, 3, 2], np.float32)
    without = tfdvae.RNN(units=2, phi_x=())
    without.build_for(2)
    with pytest.raises(ValueError, match="no latent variables"):
        plot_latents(without, without.infer(x))
    model = tfdvae.VAE(2, encoder_units=(2,), decoder_units=(2,))
    model.build_for(2)
    with pytest.raises(ValueError, match="from 0 to 0"):
        plot_latents(model, model.infer(x), index=1)
    with pytest.raises(ValueError, match="from 1 to 3"):
        plot_latents(model, model.infer(x), length=4)
    with pytest.raises(ValueError, match="`name` must be one of z, got 'v'"):
        plot_latents(model, model.infer(x), "v")


@pytest.mark.slow
def test_one_of_several_latents_is_shown_by_its_name() -> None:
    """Those of frames alone: v of a VSSN exists once. Without a name it is the last one declared."""
    model, batch = cases.make("vssn-u"), cases.frames("vssn-u")
    path = model.infer(*batch, cases.noise(model))
    terms = model.terms(path, batch)
    for name, shown in (("w", "w"), ("z", "z"), (None, "z")):
        axes = plot_latents(model, path, name).axes[:4]
        latent = path.latents[shown]
        expected = (latent.q.loc, 2.0 * np.log(latent.q.scale), latent.z, terms.latents[shown].kl)
        for one, values in zip(axes, expected, strict=True):
            np.testing.assert_allclose(np.asarray(one.images[0].get_array()).T, values[0], atol=1e-5)
            assert one.get_ylabel() == f"dimension of {shown}"
    with pytest.raises(ValueError, match="`name` must be one of w, z, got 'v'"):
        plot_latents(model, path, "v")


def test_pyplot_is_left_alone() -> None:
    before = "matplotlib.pyplot" in sys.modules
    plot_history(HISTORY)
    plot_rolls({"a": np.zeros([2, 88])})
    assert ("matplotlib.pyplot" in sys.modules) == before
    if before:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_without_matplotlib_there_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "tfdvae\[plots\]"'):
        plot_history(HISTORY)


def test_videos_are_rows_of_frames() -> None:
    truth = np.random.default_rng(0).random((7, 6)).astype("float32")
    holed = np.where(np.arange(7)[:, None] == 3, np.nan, truth)
    figure = plot_videos({"truth": truth, "seen": holed}, (2, 3), count=4)
    images = [axes.images[0].get_array() for axes in figure.axes]
    assert len(images) == 8
    times = [0, 2, 4, 6]
    for row, video in enumerate((truth, holed)):
        for column, t in enumerate(times):
            np.testing.assert_array_equal(
                np.ma.filled(images[4 * row + column], np.nan), video[t].reshape(2, 3), strict=False
            )
    assert [axes.get_xlabel() for axes in figure.axes[4:]] == ["0", "2", "4", "6"]
    assert plot_videos({"a": truth[:, :4]}).axes[0].images[0].get_array().shape == (2, 2)
    assert png(figure).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="6 pixels, which is not 2 x 2"):
        plot_videos({"a": truth})
    with pytest.raises(ValueError, match="one shape"):
        plot_videos({"a": truth, "b": truth[:3]})


@pytest.mark.slow
def test_a_map_has_a_point_per_sequence_and_a_colour_per_label() -> None:
    points = np.random.default_rng(0).normal(size=(6, 2))
    figure = plot_latent_map(points, ["a", "b", "a", "c", "b", "a"])
    (axes,) = figure.axes
    assert [c.get_label() for c in axes.collections] == ["a", "b", "c"]
    np.testing.assert_allclose(axes.collections[0].get_offsets(), points[[0, 2, 5]])
    assert png(figure).startswith(b"\x89PNG")
    high = np.random.default_rng(1).normal(size=(20, 5)) * [9.0, 4.0, 0.1, 0.1, 0.1]
    offsets = plot_latent_map(high, [0] * 20).axes[0].collections[0].get_offsets()
    for component in range(2):
        assert abs(np.corrcoef(offsets[:, component], high[:, component])[0, 1]) > 0.95
    with pytest.raises(ValueError, match="Z of at least 2"):
        plot_latent_map(points[:, :1], [0] * 6)
