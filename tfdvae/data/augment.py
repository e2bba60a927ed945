"""Masking of spectrograms (Park et al. 2019, SpecAugment) by tensorflow-io (extra `io`)."""

import warnings
from types import ModuleType

import tensorflow as tf

from tfdvae.data.files import import_extra

__all__ = ["masked_spectrograms"]


def masked_spectrograms(
    dataset: tf.data.Dataset, frequencies: int = 0, times: int = 0, seed: int | None = None
) -> tf.data.Dataset:
    """Batches in which a band of frequencies and a span of frames of each spectrogram are zero.

    `tfio.audio.freq_mask` and `time_mask` draw the width, from 0 to less than the given number, and the place. x is
    both what a model reads and what it explains, so the zeros are explained as well; a floor of the observation
    (`gamma` has one) keeps their density finite.

    Args:
        dataset: batches with "x" [B, T, D], such as `batches` returns for training.
        frequencies: less than so many neighbouring features are masked; 0 for none.
        times: less than so many neighbouring frames are masked; 0 for none.
        seed: sets TensorFlow's global seed, since tensorflow-io takes none; None leaves it alone.

    Raises:
        ImportError: tensorflow-io is not installed, or does not load beside this TensorFlow.
        ValueError: a negative number, or nothing to mask.
    """
    if frequencies < 0 or times < 0 or not (frequencies or times):
        raise ValueError(f"Expected frequencies or times above 0, none below; got {frequencies} and {times}.")
    audio = _tfio().audio
    if seed is not None:
        tf.random.set_seed(seed)

    def mask(x: tf.Tensor) -> tf.Tensor:
        masked = audio.freq_mask(x, frequencies) if frequencies else x
        return tf.ensure_shape(audio.time_mask(masked, times) if times else masked, x.shape)

    def augment(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {**batch, "x": tf.map_fn(mask, batch["x"])}

    return dataset.map(augment)


def _tfio() -> ModuleType:
    with warnings.catch_warnings():
        # Its native operations are built for another TensorFlow; those used here are Python.
        warnings.simplefilter("ignore", UserWarning)
        return import_extra("tensorflow_io", "Masking spectrograms", "io")
