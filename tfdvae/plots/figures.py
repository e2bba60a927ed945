"""What all pictures share."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["new_figure"]


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, outside of pyplot.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('Plotting needs matplotlib: pip install "tfdvae[plots]"') from error
    return Figure(figsize=(width, height), layout="constrained", dpi=120)
