"""Programs: train, evaluate, generate, demo, benchmark. Run them as `python -m trainers.train --help`."""

from export import startup

startup.calm()
