"""Speech enhancement: speech out of noisy recordings, by a DVAE of clean speech and noise of low rank, learnt from the
recording alone; simple ways to compare with; and made noises to score them on.

Models are trained on `tfdvae.data.load_speech_spectrogram` with observation="gamma".
"""

from tfdvae.enhancement.baselines import Method, decision_directed, spectral_gating, unchanged
from tfdvae.enhancement.denoiser import Denoised, Denoiser
from tfdvae.enhancement.files import denoise_file
from tfdvae.enhancement.noise_model import LowRankNoise, Mixture, log_likelihood, updated, wiener_gain
from tfdvae.enhancement.noises import NOISES, make_noise, mixed
from tfdvae.enhancement.scoring import EnhancementScores, NoisySpeech, noisy_speech, score_methods, score_table
from tfdvae.enhancement.variational_em import VariationalEM
from tfdvae.enhancement.waveforms import Transform

__all__ = [
    "Denoised",
    "Denoiser",
    "EnhancementScores",
    "LowRankNoise",
    "Method",
    "Mixture",
    "NOISES",
    "NoisySpeech",
    "Transform",
    "VariationalEM",
    "decision_directed",
    "denoise_file",
    "log_likelihood",
    "make_noise",
    "mixed",
    "noisy_speech",
    "score_methods",
    "score_table",
    "spectral_gating",
    "unchanged",
    "updated",
    "wiener_gain",
]
