"""The one backend of Keras that the package runs on; imported before anything else of it."""

import os
import sys

__all__ = ["require_tensorflow"]


def require_tensorflow() -> None:
    """Raises ImportError where Keras has, or would come up with, another backend than TensorFlow.

    Keras reads the environment variable KERAS_BACKEND, and a file of settings, when it is first imported; with a
    backend that is not installed it fails there, with a message that does not speak of settings.
    """
    named = os.environ.get("KERAS_BACKEND", "") if "keras" not in sys.modules else ""
    if named in ("", "tensorflow"):
        import keras

        named = keras.config.backend()
    if named != "tensorflow":
        raise ImportError(
            f"tfdvae runs on Keras' TensorFlow backend, and Keras is set to {named!r}: set KERAS_BACKEND=tensorflow "
            "before the first import of keras."
        )


require_tensorflow()
