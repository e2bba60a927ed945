"""Metrics whose names carry their units, measures of prediction, and scores of forecasts, detectors, speech, motion and
video."""

from tfdvae.metrics.anomalies import (
    NAB_PROFILES,
    DetectionScores,
    NabProfile,
    nab_score,
    point_scores,
    window_scores,
)
from tfdvae.metrics.diagnostics import ACTIVE_VARIANCE, Diagnosis, diagnose
from tfdvae.metrics.forecasts import (
    coverage,
    crps,
    energy_score,
    mae,
    mase,
    mse,
    quantile_crps,
    quantile_loss,
    seasonal_scale,
    weighted_quantile_loss,
)
from tfdvae.metrics.frames import ACTIVE_NATS, FrameMean, ObjectiveMetrics
from tfdvae.metrics.motion import mpjpe
from tfdvae.metrics.prediction import linear_r2, one_step_predictions, squared_error_per_frame
from tfdvae.metrics.speech import SpeechScores, estoi, pesq, si_sdr, speech_scores
from tfdvae.metrics.video import VideoScores, best_of_samples, video_scores

__all__ = [
    "ACTIVE_NATS",
    "ACTIVE_VARIANCE",
    "DetectionScores",
    "Diagnosis",
    "FrameMean",
    "NAB_PROFILES",
    "NabProfile",
    "ObjectiveMetrics",
    "SpeechScores",
    "VideoScores",
    "best_of_samples",
    "coverage",
    "crps",
    "diagnose",
    "energy_score",
    "estoi",
    "linear_r2",
    "mae",
    "mase",
    "mpjpe",
    "mse",
    "nab_score",
    "one_step_predictions",
    "pesq",
    "point_scores",
    "quantile_crps",
    "quantile_loss",
    "seasonal_scale",
    "si_sdr",
    "speech_scores",
    "squared_error_per_frame",
    "video_scores",
    "weighted_quantile_loss",
    "window_scores",
]
