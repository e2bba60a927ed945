"""Pictures of training, of piano-rolls and of latent sequences (extra `plots`).

Each function returns a `matplotlib.figure.Figure` that no window and no global state knows of:
`figure.savefig("curves.png")`.
"""

from tfdvae.plots.curves import plot_history
from tfdvae.plots.latents import plot_latents
from tfdvae.plots.rolls import plot_rolls

__all__ = ["plot_history", "plot_latents", "plot_rolls"]
