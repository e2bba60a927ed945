"""Data: loaders, user arrays, windows, padding, and batches for `tf.data`.

`DATASETS` maps a name to its loader, which returns `Splits`.
"""

from tfdvae.data.augment import masked_spectrograms
from tfdvae.data.bach import load_bach
from tfdvae.data.batching import batches, steps_per_epoch
from tfdvae.data.calendars import CALENDAR, calendar_features
from tfdvae.data.description import DataDescription, Statistics
from tfdvae.data.events import events_to_grid
from tfdvae.data.forecast_files import load_timeseries, read_timeseries, split_steps
from tfdvae.data.grids import Snapped, snap_to_grid
from tfdvae.data.holdout import (
    MaskedErrors,
    hold_out,
    impute_forward,
    impute_linear,
    impute_mean,
    masked_errors,
    observed_moments,
)
from tfdvae.data.icu import ICU_CONTEXT, ICU_VARIABLES, load_icu, read_icu_deaths
from tfdvae.data.kalman_filling import impute_kalman
from tfdvae.data.midi import read_midi, write_midi
from tfdvae.data.mnist import load_mnist
from tfdvae.data.motion import load_motion, read_motions, read_skeleton, scaled_motion
from tfdvae.data.pianoroll import load_pianoroll, save_pianoroll, transpose, transposed
from tfdvae.data.record_batches import record_batches
from tfdvae.data.record_parsing import check_records, read_records, record_errors
from tfdvae.data.records import Records, RecordShard, open_records, write_records
from tfdvae.data.seasons import (
    Origin,
    Seasons,
    forecast_inputs,
    forecast_windows,
    rolling_origins,
    steps_of_frames,
)
from tfdvae.data.sequences import Sequences, Splits, describe, from_arrays, numbered, pad, windows
from tfdvae.data.simulated import (
    TRACK_REGIMES,
    Simulated,
    load_ball_in_box,
    load_bouncing_balls,
    load_cart_pole,
    load_dot,
    load_faces,
    load_healing_digits,
    load_moving_digits,
    load_nascar,
    load_pendulum,
    load_spikes,
    simulate_ball_in_box,
    simulate_bouncing_balls,
    simulate_cart_pole,
    simulate_dot,
    simulate_faces,
    simulate_healing_digits,
    simulate_moving_digits,
    simulate_nascar,
    simulate_pendulum,
    simulate_spikes,
)
from tfdvae.data.spectrograms import istft, peak_normalised, power_spectrogram, resynthesise, stft, trim_silence
from tfdvae.data.speech import (
    load_speech_spectrogram,
    load_speech_waveform,
    scaled_speech_waveform,
    trimmed,
    waveform_moments,
)
from tfdvae.data.speech_files import SpeechSplits, Utterances, read_audio, read_speech
from tfdvae.data.speech_stream import SpeechStream, stream_spectrograms, stream_waveforms
from tfdvae.data.splitting import Scaled
from tfdvae.data.strokes import load_handwriting, offsets_to_points, scaled_handwriting
from tfdvae.data.strokes_iam import points_to_offsets, read_line_strokes
from tfdvae.data.tables import from_table
from tfdvae.data.timeseries import TimeSeries, read_csv, regular_series
from tfdvae.data.window_batches import window_batches, window_steps

__all__ = [
    "CALENDAR",
    "DATASETS",
    "DataDescription",
    "ICU_CONTEXT",
    "ICU_VARIABLES",
    "MaskedErrors",
    "Origin",
    "RecordShard",
    "Records",
    "SCALED",
    "SIMULATIONS",
    "Scaled",
    "Seasons",
    "Sequences",
    "Simulated",
    "Snapped",
    "SpeechSplits",
    "SpeechStream",
    "Splits",
    "Statistics",
    "TRACK_REGIMES",
    "TimeSeries",
    "Utterances",
    "batches",
    "calendar_features",
    "check_records",
    "describe",
    "events_to_grid",
    "forecast_inputs",
    "forecast_windows",
    "from_arrays",
    "from_table",
    "hold_out",
    "impute_forward",
    "impute_kalman",
    "impute_linear",
    "impute_mean",
    "istft",
    "load_bach",
    "load_ball_in_box",
    "load_bouncing_balls",
    "load_cart_pole",
    "load_dot",
    "load_faces",
    "load_handwriting",
    "load_healing_digits",
    "load_icu",
    "load_mnist",
    "load_motion",
    "load_moving_digits",
    "load_nascar",
    "load_pendulum",
    "load_pianoroll",
    "load_speech_spectrogram",
    "load_speech_waveform",
    "load_spikes",
    "load_timeseries",
    "masked_errors",
    "masked_spectrograms",
    "numbered",
    "observed_moments",
    "offsets_to_points",
    "open_records",
    "pad",
    "peak_normalised",
    "points_to_offsets",
    "power_spectrogram",
    "read_audio",
    "read_csv",
    "read_icu_deaths",
    "read_line_strokes",
    "read_midi",
    "read_motions",
    "read_records",
    "read_skeleton",
    "read_speech",
    "read_timeseries",
    "record_batches",
    "record_errors",
    "regular_series",
    "resynthesise",
    "rolling_origins",
    "save_pianoroll",
    "scaled_handwriting",
    "scaled_motion",
    "scaled_speech_waveform",
    "simulate_ball_in_box",
    "simulate_bouncing_balls",
    "simulate_cart_pole",
    "simulate_dot",
    "simulate_faces",
    "simulate_healing_digits",
    "simulate_moving_digits",
    "simulate_nascar",
    "simulate_pendulum",
    "simulate_spikes",
    "snap_to_grid",
    "split_steps",
    "steps_of_frames",
    "steps_per_epoch",
    "stft",
    "stream_spectrograms",
    "stream_waveforms",
    "transpose",
    "transposed",
    "trim_silence",
    "trimmed",
    "waveform_moments",
    "window_batches",
    "window_steps",
    "windows",
    "write_midi",
    "write_records",
]

SIMULATIONS = {
    "ball_in_box": simulate_ball_in_box,
    "bouncing_balls": simulate_bouncing_balls,
    "cart_pole": simulate_cart_pole,
    "dot": simulate_dot,
    "faces": simulate_faces,
    "healing_digits": simulate_healing_digits,
    "moving_digits": simulate_moving_digits,
    "nascar": simulate_nascar,
    "pendulum": simulate_pendulum,
    "spikes": simulate_spikes,
}
"""Data sets whose true states are known, by the same names: functions that return them too, as `Simulated`."""

SCALED = {
    "handwriting": scaled_handwriting,
    "motion": scaled_motion,
    "speech_waveform": scaled_speech_waveform,
}
"""Data sets whose frames are not in their original unit, by the same names: functions that return the scale too, as
`Scaled`."""

DATASETS = {
    "bach": load_bach,
    "ball_in_box": load_ball_in_box,
    "bouncing_balls": load_bouncing_balls,
    "cart_pole": load_cart_pole,
    "dot": load_dot,
    "faces": load_faces,
    "handwriting": load_handwriting,
    "healing_digits": load_healing_digits,
    "icu": load_icu,
    "mnist": load_mnist,
    "motion": load_motion,
    "moving_digits": load_moving_digits,
    "nascar": load_nascar,
    "pendulum": load_pendulum,
    "pianoroll": load_pianoroll,
    "speech_spectrogram": load_speech_spectrogram,
    "speech_waveform": load_speech_waveform,
    "spikes": load_spikes,
    "timeseries": load_timeseries,
}
