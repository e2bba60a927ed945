"""A warning while there is time: latents that have fallen onto their prior (survey 13.3.4)."""

import warnings

import keras

__all__ = ["CollapseWarning"]


class CollapseWarning(keras.callbacks.Callback):
    """Warns once if, at the end of an epoch, fewer latent dimensions are active than wanted.

    A dimension is active where its KL is above `tfdvae.metrics.ACTIVE_NATS` per frame, on the validation data where
    there is any.

    Args:
        least: smallest number of active dimensions that is no cause for a warning.
        patience: first epochs, counted from 1, in which nothing is said, for instance those of a KL warm-up.

    Raises:
        ValueError: `least` below 1, or a negative patience.
    """

    def __init__(self, least: int = 1, patience: int = 5):
        super().__init__()
        if least < 1 or patience < 0:
            raise ValueError(f"`least` must be at least 1 and `patience` at least 0, got {least} and {patience}.")
        self.least = least
        self.patience = patience
        self.warned = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.warned = not self.model.frame_latents

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        active = logs.get("val_active_units", logs.get("active_units"))
        if self.warned or epoch < self.patience or active is None or active >= self.least:
            return
        self.warned = True
        groups = sum(latent.kl_groups for latent in self.model.frame_latents)
        warnings.warn(
            f"Posterior collapse: {int(active)} of {groups} latent dimensions are active after "
            f"epoch {epoch + 1}. Warm the KL up more slowly (KLWarmup), keep bits free (compile(free_bits=)), or make "
            "the decoder weaker, so that it needs the latents.",
            stacklevel=2,
        )
