"""Pictures of training, latents, forecasts, piano-rolls, videos, drawings, spectra, pen strokes, skeletons, alarms and
rates (extra `plots`).

Each function returns a `matplotlib.figure.Figure` that no window and no global state knows of:
`figure.savefig("curves.png")`.
"""

from tfdvae.plots.alarms import plot_alarms
from tfdvae.plots.curves import plot_history
from tfdvae.plots.drawings import plot_drawings
from tfdvae.plots.fans import plot_forecast
from tfdvae.plots.latents import plot_change, plot_latents
from tfdvae.plots.maps import plot_latent_map
from tfdvae.plots.pens import plot_strokes
from tfdvae.plots.rates import plot_rate_distortion
from tfdvae.plots.rolls import plot_rolls
from tfdvae.plots.skeletons import plot_skeletons, write_skeleton_gif
from tfdvae.plots.spectra import plot_spectrograms
from tfdvae.plots.videos import plot_videos

__all__ = [
    "plot_alarms",
    "plot_change",
    "plot_drawings",
    "plot_forecast",
    "plot_history",
    "plot_latent_map",
    "plot_latents",
    "plot_rate_distortion",
    "plot_rolls",
    "plot_skeletons",
    "plot_spectrograms",
    "plot_strokes",
    "plot_videos",
    "write_skeleton_gif",
]
