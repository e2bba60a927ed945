"""Pictures of training, of piano-rolls, of videos and of latents (extra `plots`).

Each function returns a `matplotlib.figure.Figure` that no window and no global state knows of:
`figure.savefig("curves.png")`.
"""

from tfdvae.plots.curves import plot_history
from tfdvae.plots.latents import plot_latents
from tfdvae.plots.maps import plot_latent_map
from tfdvae.plots.rolls import plot_rolls
from tfdvae.plots.videos import plot_videos

__all__ = ["plot_history", "plot_latent_map", "plot_latents", "plot_rolls", "plot_videos"]
