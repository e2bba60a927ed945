"""Drawings as pictures: which canvases are shown, and where the windows stand."""

import numpy as np
import pytest

import tfdvae
from tests.plots.test_plots import png
from tfdvae.plots import plot_drawings
from tfdvae.types import Drawing

pytest.importorskip("matplotlib")


def drawing(*shape: int, write: bool = True) -> Drawing:
    """Two sequences of one picture in five glimpses; windows that move to the right."""
    frames = np.random.default_rng(0).random([2, 1, 5, *shape])
    squares = np.tile(np.stack([[1.0, g, 2.0, 0.1 + g] for g in range(5)]), [2, 1, 1, 1])
    return Drawing(frames, None, squares if write else None)


def test_rows_are_pictures_and_columns_are_glimpses_with_their_windows() -> None:
    given = drawing(4, 6, 1)
    figure = plot_drawings(given, count=3)
    axes = np.reshape(figure.axes, (2, 3))
    for number in range(2):
        for one, g in zip(axes[number], (0, 2, 4), strict=True):
            np.testing.assert_allclose(one.images[0].get_array(), given.frames[number, 0, g, ..., 0], rtol=1e-6)
            (square,) = one.patches
            assert (*square.get_xy(), square.get_width(), square.get_height()) == (g - 1.0, 0.0, 2.0, 2.0)
            assert square.get_linewidth() == pytest.approx(np.clip(0.1 + g, 0.5, 4.0))
            assert (one.get_xlim(), one.get_ylim()) == ((-0.5, 5.5), (3.5, -0.5))
    assert [one.get_xlabel() for one in axes[-1]] == ["1", "3", "5"]
    assert png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("shape", "picture", "shown"), [((9,), None, (3, 3)), ((6,), (2, 3), (2, 3)), ((2, 3, 3), None, (2, 3, 3))]
)
def test_vectors_and_colours(shape: tuple[int, ...], picture: tuple[int, int] | None, shown: tuple[int, ...]) -> None:
    figure = plot_drawings(drawing(*shape, write=False), picture, count=1)
    assert [one.get_xlabel() for one in figure.axes] == ["", "5"]
    assert figure.axes[0].images[0].get_array().shape == shown and not figure.axes[0].patches


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (drawing(6), {}, r"frames of shape \(6,\)"),
        (drawing(6), {"picture": (2, 2)}, r"frames of shape \(6,\) and picture=\(2, 2\)"),
        (drawing(2, 2, 2), {}, r"frames of shape \(2, 2, 2\)"),
        (drawing(4), {"count": 0}, "`count` must be at least 1, got 0"),
    ],
)
def test_what_is_no_picture_is_refused(given: Drawing, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_drawings(given, **options)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_a_model_draws() -> None:
    model = tfdvae.DRAW(2, num_glimpses=3, units=3, observation="bernoulli")
    found = model.drawing(np.ones([2, 1, 4, 4, 1], np.float32))
    assert len(plot_drawings(found).axes) == 6
