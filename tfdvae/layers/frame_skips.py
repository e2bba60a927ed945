"""What a frame decoder takes of the frames that were given, beside the features of the cell: the pictures that the
layers of the frame encoder made of the newest of them."""

from typing import NamedTuple

import tensorflow as tf

__all__ = ["Newest", "Skips", "check_frame_skips", "skips_of"]


class Newest(NamedTuple):
    """The pictures that hold for one frame.

    Attributes:
        pictures: of the newest given frame before it, `[B, S]`, those of all layers one after the other; zeros where
            none was given yet.
        clock: how many frames came before it, `[B]`; None where nobody goes on from here.
    """

    pictures: tf.Tensor
    clock: tf.Tensor | None = None

    def after(self, pictures: tf.Tensor, count: int, known: tf.Tensor | None = None) -> "Newest":
        """Those that hold for the next frame, once this one has these pictures `[B, S]`.

        Args:
            count: how many frames at the start of a sequence are given.
            known: `[B]`, whether anything of this frame was observed; None: it was.
        """
        given = self.clock < count
        given = given if known is None else given & known
        return Newest(tf.where(given[:, None], pictures, self.pictures), self.clock + 1)


class Skips(NamedTuple):
    """The pictures that hold for each frame of right-padded sequences.

    Attributes:
        pictures: of the given frames, `[B, G, S]`.
        newest: `[B, T + 1]`, for each frame and for one that would follow: which of the given frames before it is the
            newest, counted from 1; 0 where there is none.
    """

    pictures: tf.Tensor
    newest: tf.Tensor

    def along(self) -> tf.Tensor:
        """For each frame, `[B, T, S]`."""
        return self._at(self.newest[:, :-1])

    def last(self) -> tf.Tensor:
        """For a frame that follows, `[B, S]`."""
        return self._at(self.newest[:, -1:])[:, 0]

    def _at(self, number: tf.Tensor) -> tf.Tensor:
        before = tf.pad(self.pictures, [[0, 0], [1, 0], [0, 0]])
        return tf.gather(before, number, batch_dims=1)


def skips_of(pictures: tf.Tensor, known: tf.Tensor, count: int) -> Skips:
    """The pictures that hold for each frame, of which the first `count` are given.

    Args:
        pictures: of all frames, `[B, T, S]`.
        known: `[B, T]` bool, frames that exist and of which anything was observed: the others leave those before.
    """
    length = pictures.shape[1] or tf.shape(pictures)[1]
    pictures, known = pictures[:, :count], known[:, :count]
    number = tf.range(1, (pictures.shape[1] or tf.shape(pictures)[1]) + 1)
    before = number <= tf.range(length + 1)[:, None]
    newest = tf.reduce_max(tf.where(before & known[:, None], number, 0), axis=-1)
    return Skips(pictures, newest)


def check_frame_skips(given_frames: int, *specs: object) -> None:
    """Raises ValueError where frame networks with these specs, or so many given frames, cannot have `frame_skips`."""
    if given_frames < 1:
        raise ValueError(
            f"`frame_skips` hands the decoder what the encoder's layers saw of frames that were given, which are "
            f"therefore not scored: `given_frames` must be at least 1, got {given_frames}."
        )
    for name, spec in zip(("frame_encoder", "frame_decoder"), specs, strict=True):
        if not (isinstance(spec, dict) and spec.get("class_name") == "conv"):
            raise ValueError(
                "`frame_skips` joins layers of frame_encoder='conv' to those of frame_decoder='conv' (or dicts of "
                f"these): other networks do not say which picture belongs to which layer; got `{name}` {spec!r}."
            )
