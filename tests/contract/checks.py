"""What tests compare with, from `tfdvae.testing`."""

from tfdvae.testing import assert_close, assert_equal, differs, drawn, evaluate, gradients, of_frames

__all__ = ["assert_close", "assert_equal", "differs", "drawn", "evaluate", "gradients", "of_frames"]
