"""Frames as vectors, and vectors as frames."""

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.support import SHAPE, data
from tfdvae.layers.frame_shapes import flatten_frames, restore_frames


@pytest.mark.parametrize("shape", [(7,), (3, 4), SHAPE])
def test_frames_are_flattened_and_restored(shape: tuple[int, ...]) -> None:
    x = data(2, 3, *shape)
    flat = flatten_frames(x, shape)
    assert np.array_equal(flat, x.numpy().reshape(2, 3, -1))
    assert np.array_equal(restore_frames(flat, shape), x)
    assert np.array_equal(flatten_frames(x[0, 0], shape), flat[0, 0])
    for leading in ([None, 3], [None, None], [2, None]):
        function = tf.function(lambda x: (y := flatten_frames(x, shape), restore_frames(y, shape)))
        found = function.get_concrete_function(tf.TensorSpec([*leading, *shape]))
        assert [y.as_list() for y in found.output_shapes] == [[*leading, np.prod(shape)], [*leading, *shape]]
        assert np.array_equal(found(x)[1], x)
    with pytest.raises(ValueError, match=r"Expected frames of shape \[..., 5, 4, 2\], got shape \[2, 5, 2, 4\]"):
        flatten_frames(tf.zeros([2, 5, 2, 4]), SHAPE)
    with pytest.raises(ValueError, match="makes frames of 40 features, got 41"):
        restore_frames(tf.zeros([2, 41]), SHAPE)
