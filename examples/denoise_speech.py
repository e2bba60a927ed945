"""Speech out of noise, in three steps: a DVAE learns clean speech, meets a noisy recording, and takes the speech out.

    python examples/denoise_speech.py --speech FOLDER --out speech_example

FOLDER holds WAV or FLAC files in the layout of LibriSpeech (SPEAKER/CHAPTER/*.flac), or one folder per speaker. Fifteen
epochs on two hours of speech take some minutes on two cores. Nothing about the noise is known in advance: it is learnt
from the noisy recording itself, so the same model serves hum, hiss and voices in the background.

In the folder of --out are then clean.wav, noisy.wav and speech.wav, to be listened to.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import soundfile

import tfdvae
from tfdvae import data, enhancement, metrics


def main(speech: Path, out: Path, noise: str = "white", snr_db: float = 5.0, epochs: int = 15, steps: int = 90) -> None:
    # 1. Clean speech as power spectra |STFT|^2, in windows of 50 frames, split by speaker; and a model of it. Networks
    # see the logarithm of the power (x_scale), the likelihood is that of complex Gaussian spectra (gamma).
    splits = data.load_speech_spectrogram(speech)
    model = tfdvae.RVAE(**tfdvae.presets.speech.rvae, x_scale="log", standardize=None)
    model.compile(keras.optimizers.Adam(2e-3, clipnorm=5.0))
    model.adapt(splits.train)
    model.fit(splits.train, validation_data=splits.valid, epochs=epochs, batch_size=16, verbose=2)

    # 2. A recording of a speaker whom the model never heard, with noise that follows from a seed.
    recordings = data.read_speech(speech)
    unheard = data.trimmed(recordings.test)
    clean = unheard.waveforms[0]
    made = enhancement.make_noise(noise, len(clean), unheard.rate, seed=0, others=recordings.train.waveforms)
    noisy = enhancement.mixed(clean, made, snr_db)

    # 3. Variational EM: the latents of the speech and a factorisation of the noise, in turns.
    denoiser = enhancement.Denoiser(model, steps=steps, settling=2 * steps // 3)
    found = denoiser.denoise([noisy], rate=unheard.rate, seed=0).speech[0]
    (filtered,) = enhancement.decision_directed([noisy], denoiser.transform)
    for name, waveform in {"noisy": noisy, "Wiener filter": filtered, "RVAE": found}.items():
        quality = metrics.si_sdr(waveform, clean), metrics.estoi(waveform, clean, unheard.rate)
        print(f"{name:14} SI-SDR {quality[0]:6.2f} dB, ESTOI {quality[1]:.3f}")

    out.mkdir(parents=True, exist_ok=True)
    for name, waveform in {"clean": clean, "noisy": noisy, "speech": found}.items():
        soundfile.write(out / f"{name}.wav", np.clip(waveform, -1.0, 1.0), unheard.rate)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--speech", type=Path, required=True, help="folder of WAV or FLAC files")
    parser.add_argument("--out", type=Path, default=Path("speech_example"))
    parser.add_argument("--noise", choices=sorted(enhancement.NOISES), default="white")
    parser.add_argument("--snr_db", type=float, default=5.0)
    parser.add_argument("--epochs", type=int, default=15)
    main(**vars(parser.parse_args()))
