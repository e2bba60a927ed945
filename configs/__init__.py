"""Experiments: `configs/<dataset>/<model>.py`, each with `get_config()`."""
