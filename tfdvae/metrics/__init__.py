"""Metrics whose names carry their units, and measures of prediction."""

from tfdvae.metrics.frames import FrameMean, ObjectiveMetrics
from tfdvae.metrics.prediction import linear_r2, one_step_predictions, squared_error_per_frame

__all__ = ["FrameMean", "ObjectiveMetrics", "linear_r2", "one_step_predictions", "squared_error_per_frame"]
