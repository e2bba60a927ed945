"""Anomalies in series: scores of a streaming model, thresholds by extreme values, and what any detector must beat.

Series come from `tfdvae.data` (`regular_series`; `snap_to_grid` for untidy times), a good detector from
`tfdvae.recipes.detector`, scores against labels from `tfdvae.metrics` (`nab_score`, `point_scores`, `window_scores`).
"""

from tfdvae.anomalies.alarms import AlarmRule, Alarms, held, smoothed
from tfdvae.anomalies.baselines import BASELINES, isolation_forest, left_matrix_profile, rolling_z_score
from tfdvae.anomalies.detector import Detector, DetectorStream, Learning, load_detector
from tfdvae.anomalies.labels import label_steps, read_labels
from tfdvae.anomalies.thresholds import Threshold, enough_scores, fit_threshold
from tfdvae.anomalies.views import Follower, Views, fit_views

__all__ = [
    "AlarmRule",
    "Alarms",
    "BASELINES",
    "Detector",
    "DetectorStream",
    "Follower",
    "Learning",
    "Threshold",
    "Views",
    "enough_scores",
    "fit_threshold",
    "fit_views",
    "held",
    "isolation_forest",
    "label_steps",
    "left_matrix_profile",
    "load_detector",
    "read_labels",
    "rolling_z_score",
    "smoothed",
]
