"""Metrics whose names carry their units, measures of prediction, and those of speech and motion."""

from tfdvae.metrics.diagnostics import ACTIVE_VARIANCE, Diagnosis, diagnose
from tfdvae.metrics.frames import ACTIVE_NATS, FrameMean, ObjectiveMetrics
from tfdvae.metrics.motion import mpjpe
from tfdvae.metrics.prediction import linear_r2, one_step_predictions, squared_error_per_frame
from tfdvae.metrics.speech import SpeechScores, estoi, pesq, si_sdr, speech_scores

__all__ = [
    "ACTIVE_NATS",
    "ACTIVE_VARIANCE",
    "Diagnosis",
    "FrameMean",
    "ObjectiveMetrics",
    "SpeechScores",
    "diagnose",
    "estoi",
    "linear_r2",
    "mpjpe",
    "one_step_predictions",
    "pesq",
    "si_sdr",
    "speech_scores",
    "squared_error_per_frame",
]
