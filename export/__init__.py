"""Programs that put a trained model somewhere and compare what arrived: `python -m export.saved_model --help`."""

from export import startup

startup.calm()
