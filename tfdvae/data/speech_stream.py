"""Batches of speech that does not fit into memory: windows are read where they are needed.

The waveforms of `read_speech` are mapped into memory, so that a window costs what it is long. The order of an epoch is
one permutation of all windows of all recordings, as that of `batches`.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdvae.data.batching import epoch_numbers
from tfdvae.data.spectrograms import HOP, WINDOW, batch_transform, num_stft_frames
from tfdvae.data.speech_files import Utterances

__all__ = ["SpeechStream", "stream_spectrograms", "stream_waveforms"]


class SpeechStream(NamedTuple):
    """What `fit` needs of data that are read as it goes.

    Attributes:
        dataset: batches {"x": float32 [B, T, D], "mask": bool [B, T], all true} of all epochs.
        steps_per_epoch: batches per epoch.
        num_windows: sequences per epoch.
    """

    dataset: tf.data.Dataset
    steps_per_epoch: int
    num_windows: int


def stream_waveforms(
    utterances: Utterances,
    batch_size: int,
    *,
    num_frames: int = 40,
    frame_length: int = 200,
    mean: float = 0.0,
    std: float = 1.0,
    seed: int | None = None,
    epochs: int | Sequence[int] = 1,
) -> SpeechStream:
    """The windows that `load_speech_waveform` cuts (keep_short=False), in batches of B.

    Args:
        utterances: from `read_speech`, or `trimmed`.
        batch_size: B; the windows that fill no batch are left out, others in each epoch.
        num_frames: T.
        frame_length: D.
        mean, std: of the training set, from `waveform_moments`.
        seed: of the order; None keeps the order of the recordings.
        epochs: a number of epochs, or the epochs themselves: the order of epoch e depends on (seed, e) alone.

    Raises:
        ValueError: an argument out of range, or fewer windows than one batch.
    """
    _check(num_frames=num_frames, frame_length=frame_length)
    if not std > 0.0:
        raise ValueError(f"std must be above 0; got {std}.")
    counts = [len(waveform) // frame_length // num_frames for waveform in utterances.waveforms]
    length = num_frames * frame_length

    def window(i: int, number: int) -> np.ndarray:
        return utterances.waveforms[i][number * length : (number + 1) * length]

    def transform(samples: tf.Tensor) -> tf.Tensor:
        return tf.reshape((samples - mean) / std, [batch_size, num_frames, frame_length])

    return _stream(utterances, counts, window, length, transform, num_frames, batch_size, seed, epochs)


def stream_spectrograms(
    utterances: Utterances,
    batch_size: int,
    *,
    num_frames: int = 50,
    window_length: int = WINDOW,
    hop_length: int = HOP,
    normalise: bool = True,
    seed: int | None = None,
    epochs: int | Sequence[int] = 1,
) -> SpeechStream:
    """The windows that `load_speech_spectrogram` cuts for training (keep_short=False), in batches of B.

    Args:
        utterances: from `read_speech`, or `trimmed`.
        batch_size: B; the windows that fill no batch are left out, others in each epoch.
        num_frames: T.
        window_length, hop_length: as in `stft`.
        normalise: divide each recording by its largest magnitude, which is looked for once per recording.
        seed: of the order; None keeps the order of the recordings.
        epochs: a number of epochs, or the epochs themselves: the order of epoch e depends on (seed, e) alone.

    Raises:
        ValueError: an argument out of range, or fewer windows than one batch.
    """
    _check(num_frames=num_frames)
    transform = batch_transform(window_length, hop_length)
    counts = [
        num_stft_frames(len(waveform), window_length, hop_length) // num_frames for waveform in utterances.waveforms
    ]
    length = (num_frames - 1) * hop_length + window_length

    @functools.cache
    def peak(i: int) -> np.float32:
        # Silence stays silence: the loader refuses it, but a stream must not end in the middle of an epoch.
        return np.abs(utterances.waveforms[i]).max() or np.float32(1.0)

    def window(i: int, number: int) -> np.ndarray:
        waveform = utterances.waveforms[i]
        # Frame t covers the samples from (t + 1) hop_length - window_length on, zeros around the recording.
        first = (number * num_frames + 1) * hop_length - window_length
        samples = np.zeros(length, np.float32)
        start, end = max(0, first), min(len(waveform), first + length)
        samples[start - first : end - first] = waveform[start:end]
        return samples / peak(i) if normalise else samples

    return _stream(utterances, counts, window, length, transform, num_frames, batch_size, seed, epochs)


def _stream(
    utterances: Utterances,
    counts: list[int],
    window: Callable[[int, int], np.ndarray],
    length: int,
    transform: Callable[[tf.Tensor], tf.Tensor],
    num_frames: int,
    batch_size: int,
    seed: int | None,
    epochs: int | Sequence[int],
) -> SpeechStream:
    _check(batch_size=batch_size)
    if seed is not None and seed < 0:
        raise ValueError(f"seed must not be negative; got {seed}.")
    numbers = epoch_numbers(epochs)
    owner = np.repeat(np.arange(len(counts)), counts)
    within = np.concatenate([np.arange(count) for count in counts] or [np.empty(0, int)])
    steps = len(owner) // batch_size
    if not steps:
        raise ValueError(
            f"There are {len(owner)} windows of {num_frames} frames, fewer than one batch of {batch_size}."
        )

    def segments() -> Iterator[np.ndarray]:
        for epoch in numbers:
            order = (
                np.arange(len(owner)) if seed is None else np.random.default_rng([seed, epoch]).permutation(len(owner))
            )
            for batch in order[: steps * batch_size].reshape(steps, batch_size):
                # Neighbours on disk are read one after the other.
                yield np.stack([window(owner[i], within[i]) for i in np.sort(batch)])

    def finish(samples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"x": transform(samples), "mask": tf.ones([batch_size, num_frames], tf.bool)}

    dataset = tf.data.Dataset.from_generator(segments, output_signature=tf.TensorSpec([batch_size, length], tf.float32))
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps * len(numbers)))
    dataset = dataset.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return SpeechStream(dataset.prefetch(tf.data.AUTOTUNE), steps, len(owner))


def _check(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}.")
