"""Pictures of spectrograms, pen strokes and skeletons show the numbers that they were given."""

import io
from pathlib import Path

import numpy as np
import pytest

from tfdvae.plots import plot_skeletons, plot_spectrograms, plot_strokes, write_skeleton_gif

pytest.importorskip("matplotlib")

PARENTS = (-1, 0, 1, 0)


def png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def test_spectrograms_share_time_and_colours() -> None:
    rng = np.random.default_rng(0)
    powers = {"original": rng.exponential(size=(40, 9)), "continuation": 10.0 * rng.exponential(size=(60, 9))}
    powers["original"][3, 2] = 0.0
    figure = plot_spectrograms(powers, rate=8000, hop_length=80, border=40, range_db=50.0)
    first, second = (axes.images[0] for axes in figure.axes[:2])
    top = 10 * np.log10(powers["continuation"].max())
    assert first.get_clim() == second.get_clim() == pytest.approx((top - 50.0, top))
    np.testing.assert_allclose(second.get_array(), np.maximum(10 * np.log10(powers["continuation"].T), top - 50.0))
    assert float(first.get_array()[2, 3]) == pytest.approx(top - 50.0)
    assert second.get_extent() == [0.0, 60 * 80 / 8000, 0.0, 4.0]
    assert [list(axes.lines[0].get_xdata()) for axes in figure.axes[:2]] == [[0.4, 0.4]] * 2
    assert [axes.get_title() for axes in figure.axes[:2]] == list(powers)
    assert png(figure).startswith(b"\x89PNG")
    assert plot_spectrograms({"silence": np.zeros((5, 4))}).axes[0].images[0].get_clim() == (-70.0, 0.0)


@pytest.mark.parametrize(
    ("powers", "message"),
    [
        ({}, "got none"),
        ({"a": np.ones(5)}, r"Expected spectrograms \[T, F\]"),
        ({"a": np.ones((5, 3)), "b": np.ones((5, 4))}, "of one F"),
        ({"a": -np.ones((5, 3))}, "'a' holds others"),
    ],
)
def test_what_is_no_spectrogram(powers: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_spectrograms(powers)


def test_strokes_are_lines_and_what_was_continued_is_red() -> None:
    frames = np.array([[0, 0, 0], [2, 0, 0], [0, 3, 1], [5, 0, 1], [1, 1, 0], [1, 1, 0.2]])
    figure = plot_strokes({"all": frames, "half": frames}, columns=2)
    lines = figure.axes[0].lines
    assert [line.get_xydata().tolist() for line in lines] == [
        [[0, 0], [2, 0], [2, 3]],
        [[7, 3]],
        [[8, 4], [9, 5]],
    ]
    assert figure.axes[0].yaxis_inverted() and png(figure).startswith(b"\x89PNG")
    lines = plot_strokes({"continued": frames}, border=2).axes[0].lines
    assert [(line.get_color(), len(line.get_xdata())) for line in lines if len(line.get_xdata())] == [
        ("black", 2),
        ("red", 2),
        ("red", 1),
        ("red", 2),
    ]
    for drawings, options, message in (
        ({}, {}, "no drawing"),
        ({"a": frames}, {"columns": 0}, "columns"),
        ({"a": np.full((3, 3), np.nan)}, {}, "'a' holds NaN"),
        ({"a": frames[:, :2]}, {}, r"Pen strokes are \[T, 3\]"),
    ):
        with pytest.raises(ValueError, match=message):
            plot_strokes(drawings, **options)


def test_skeletons_are_bones_from_parent_to_child() -> None:
    x = np.arange(5 * 12, dtype=float).reshape(5, 12)
    figure = plot_skeletons({"truth": x, "model": 2 * x}, PARENTS, count=3, border=2)
    assert len(figure.axes) == 6
    lines = figure.axes[2].lines
    assert [line.get_xydata().tolist() for line in lines] == [
        [[48, 49], [51, 52]],
        [[51, 52], [54, 55]],
        [[48, 49], [57, 58]],
    ]
    assert [axes.lines[0].get_color() for axes in figure.axes[:3]] == ["black", "red", "red"]
    upright = plot_skeletons({"truth": x.reshape(5, 4, 3)}, PARENTS, count=1, up="z").axes[0].lines[0]
    assert upright.get_xydata().tolist() == [[0, 2], [3, 5]]
    assert png(figure).startswith(b"\x89PNG")


def test_a_film_has_a_picture_per_frame(tmp_path: Path) -> None:
    from PIL import Image

    x = np.random.default_rng(0).normal(size=(4, 12))
    write_skeleton_gif(tmp_path / "motion.gif", {"truth": x, "model": x + 1}, PARENTS, frames_per_second=20)
    with Image.open(tmp_path / "motion.gif") as film:
        assert (film.n_frames, film.info["duration"]) == (4, 50)
        pictures = []
        for i in range(film.n_frames):
            film.seek(i)
            pictures.append(np.asarray(film.convert("RGB")))
    assert all((a != b).any() for a, b in zip(pictures, pictures[1:], strict=False))
    assert [path.name for path in tmp_path.iterdir()] == ["motion.gif"]
    for path, rate, message in (("motion.mp4", 20.0, "suffix .gif"), ("motion.gif", 60.0, "50 frames per second")):
        with pytest.raises(ValueError, match=message):
            write_skeleton_gif(tmp_path / path, {"truth": x}, PARENTS, frames_per_second=rate)


@pytest.mark.parametrize(
    ("motions", "options", "message"),
    [
        ({}, {}, "got none"),
        ({"a": np.zeros((3, 12)), "b": np.zeros((4, 12))}, {}, "Expected motions of one shape"),
        ({"a": np.zeros((3, 9))}, {}, "of J = 4 joints"),
        ({"a": np.full((3, 12), np.inf)}, {}, "must be finite"),
        ({"a": np.zeros((3, 12))}, {"up": "w"}, "`up` must be"),
        ({"a": np.zeros((3, 12))}, {"count": 0}, "`count` must be at least 1"),
    ],
)
def test_what_is_no_motion(motions: dict, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_skeletons(motions, PARENTS, **options)
