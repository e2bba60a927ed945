"""Metrics whose names carry their units, measures of prediction, and those of speech, motion and video."""

from tfdvae.metrics.diagnostics import ACTIVE_VARIANCE, Diagnosis, diagnose
from tfdvae.metrics.frames import ACTIVE_NATS, FrameMean, ObjectiveMetrics
from tfdvae.metrics.motion import mpjpe
from tfdvae.metrics.prediction import linear_r2, one_step_predictions, squared_error_per_frame
from tfdvae.metrics.speech import SpeechScores, estoi, pesq, si_sdr, speech_scores
from tfdvae.metrics.video import VideoScores, best_of_samples, video_scores

__all__ = [
    "ACTIVE_NATS",
    "ACTIVE_VARIANCE",
    "Diagnosis",
    "FrameMean",
    "ObjectiveMetrics",
    "SpeechScores",
    "VideoScores",
    "best_of_samples",
    "diagnose",
    "estoi",
    "linear_r2",
    "mpjpe",
    "one_step_predictions",
    "pesq",
    "si_sdr",
    "speech_scores",
    "squared_error_per_frame",
    "video_scores",
]
