"""Metrics whose names carry their units."""

from tfdvae.metrics.frames import FrameMean, ObjectiveMetrics

__all__ = ["FrameMean", "ObjectiveMetrics"]
