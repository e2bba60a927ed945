"""From noisy recordings to speech, by a DVAE of clean speech."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdvae.arguments import real, whole
from tfdvae.data.sequences import from_arrays, pad
from tfdvae.data.spectrograms import peak_normalised
from tfdvae.enhancement.baselines import Method
from tfdvae.enhancement.variational_em import VariationalEM
from tfdvae.enhancement.waveforms import Transform, checked_recordings
from tfdvae.models import DVAE
from tfdvae.observations import Gamma

__all__ = ["Denoised", "Denoiser"]


class Denoised(NamedTuple):
    """What a `Denoiser` made of N recordings.

    Attributes:
        speech: waveforms float32 `[L_i]`, of the length and in the scale of the recordings.
        noise: what was taken away: recording minus speech, `[L_i]`.
        bounds: the objective of EM at each iteration, nats per recording, `[S, N]`; of recordings divided by their
            largest magnitude.
    """

    speech: tuple[np.ndarray, ...]
    noise: tuple[np.ndarray, ...]
    bounds: np.ndarray


class Denoiser:
    """Unsupervised speech enhancement (Bie et al. 2022): the speech in a recording follows a DVAE that was trained on
    clean speech, the noise a factorisation of low rank that is learnt from that recording alone. So no noise is known
    in advance. `VariationalEM` says what is maximised, and where this differs from the paper.

    Args:
        model: a DVAE of power spectrograms |STFT|^2 with observation="gamma", each recording divided by its largest
            magnitude, as `tfdvae.data.load_speech_spectrogram` makes them.
        transform: rate and windows of its frames; by default those that its training data say
            (`tfdvae.DataDescription`), with the window that its number of features follows from.
        rank: R, spectra that the noise of a recording is made of.
        steps: iterations of EM.
        settling: how many of them, the first ones, leave the noise at the spectrum of the quiet frames.
        learning_rate: of the steps on the posterior, in standard deviations of the latents' noise.
        gain: loudness of the speech beside that which the model knows, learnt for each "frame", for the recording
            ("sequence"), or 1 ("none").
        steadiness: how much noise is held to one level, as many frequencies per frame would hold it that know nothing
            else (`log_steadiness`); 0 lets it change from frame to frame at will, as in the paper.
        num_samples: paths of latents per iteration.
        final_samples: paths that the speech is a mean over.

    Raises:
        ValueError: a model that was never built, has another observation, knows inputs or context, takes units from
            given frames, or has no latents to infer; windows that it does not fit.

    Example:
        denoiser = tfdvae.enhancement.Denoiser(model)
        speech = denoiser.denoise([noisy], rate=16000).speech[0]
    """

    def __init__(
        self,
        model: DVAE,
        *,
        transform: Transform | None = None,
        rank: int = 8,
        steps: int = 90,
        settling: int = 60,
        learning_rate: float = 0.4,
        gain: str = "frame",
        steadiness: float = 500.0,
        num_samples: int = 1,
        final_samples: int = 8,
    ):
        _check_model(model)
        self.model = model
        self.transform = (transform or _transform_of(model)).checked()
        bins = self.transform.window_length // 2 + 1
        if bins != model.x_dim:
            raise ValueError(
                f"The model has frames of {model.x_dim} features, but windows of {self.transform.window_length} "
                f"samples have {bins} frequencies: say transform=Transform(rate, window_length, hop_length)."
            )
        self.steps = whole("steps", steps, at_least=0)
        self.settling = whole("settling", settling, at_least=0)
        self.learning_rate = real("learning_rate", learning_rate, positive=True)
        self.final_samples = whole("final_samples", final_samples, at_least=1)
        self.em = VariationalEM(model, rank, num_samples, gain, steadiness)

    def denoise(
        self, waveforms: Sequence[np.ndarray], *, rate: int | None = None, seed: int = 0, batch_size: int = 16
    ) -> Denoised:
        """The speech in recordings.

        Args:
            waveforms: noisy recordings `[L_i]` of one channel, in any scale.
            rate: theirs, to be compared with the model's; None where that is known.
            seed: of all that is drawn; the same recordings in other batches draw otherwise.
            batch_size: recordings at a time, those of similar length together.

        Raises:
            ValueError: as `checked_recordings`, which knows what recordings may be.
        """
        waveforms = checked_recordings(waveforms, self.transform, rate)
        seed, batch_size = whole("seed", seed), whole("batch_size", batch_size, at_least=1)
        order = np.argsort([len(waveform) for waveform in waveforms], kind="stable")
        speech: dict[int, np.ndarray] = {}
        bounds = np.zeros([self.steps, len(waveforms)])
        for k, first in enumerate(range(0, len(order), batch_size)):
            rows = order[first : first + batch_size]
            found, bounds[:, rows] = self._denoise([waveforms[i] for i in rows], seed + k)
            speech |= dict(zip(rows.tolist(), found, strict=True))
        found = tuple(speech[i] for i in range(len(waveforms)))
        return Denoised(found, tuple(x - s for x, s in zip(waveforms, found, strict=True)), bounds)

    def method(self, seed: int = 0, batch_size: int = 16) -> Method:
        """For `score_methods`.

        The method raises ValueError where recordings come with another transform than the model's.
        """

        def run(waveforms: Sequence[np.ndarray], transform: Transform) -> list[np.ndarray]:
            if transform != self.transform:
                raise ValueError(f"The model has {self.transform}, got recordings with {transform}.")
            return list(self.denoise(waveforms, seed=seed, batch_size=batch_size).speech)

        return run

    def _denoise(self, waveforms: list[np.ndarray], seed: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Speech of some recordings, and the bounds `[S, B]`."""
        spectra = [self.transform.spectra(peak_normalised(waveform)) for waveform in waveforms]
        batch = pad(from_arrays([np.square(np.abs(x)) for x in spectra]))
        power, exists = tf.constant(batch["x"]), tf.constant(batch["mask"])
        found = self.em.run(
            power,
            exists,
            steps=self.steps,
            settling=self.settling,
            learning_rate=self.learning_rate,
            seed=seed,
            final_samples=self.final_samples,
        )
        speech = []
        for waveform, x, gain in zip(waveforms, spectra, found.gain.numpy(), strict=True):
            own = self.transform.waveform(gain[: len(x)] * x, len(waveform))
            speech.append(own * np.abs(waveform).max())
        return speech, found.bounds.numpy()


def _check_model(model: DVAE) -> None:
    """Raises one ValueError for models that are no prior of power spectra alone."""
    if not isinstance(model, DVAE):
        raise ValueError(f"Expected a DVAE of clean speech, got {type(model).__name__}.")
    if model.x_dim is None:
        raise ValueError("The model was never built: train it on power spectrograms of clean speech, or load one.")
    if not isinstance(model.observation, Gamma):
        raise ValueError(
            f"Expected a model of power spectra with observation='gamma', whose mean is the variance of a complex "
            f"spectrum; got {type(model.observation).__name__}."
        )
    if model.u_dim or model.context_dim or model.given_frames:
        raise ValueError("Recordings bring neither inputs, context nor given frames: expected a model without them.")
    if not model.moved_latents:
        raise ValueError(f"{type(model).__name__} as configured has no latents of normal noise to infer speech by.")


def _transform_of(model: DVAE) -> Transform:
    """What the description of its training data says, and else the defaults."""
    window_length, data = 2 * (model.x_dim - 1), model.data
    if data is None or data.sampling_rate is None or data.frame_period is None:
        return Transform(Transform().rate, window_length, max(window_length // 4, 1))
    return Transform(round(data.sampling_rate), window_length, round(data.frame_period * data.sampling_rate))
