"""Training in three phases: without the posterior, without its KL, and with it (Babaeizadeh et al. 2018)."""

import keras

from tfdvae import validation
from tfdvae.callbacks.kl_warmup import KLWarmup

__all__ = ["Phases"]


class Phases(keras.callbacks.Callback):
    """Moves training through three phases by the number of the epoch.

    1. For `prior_epochs`: latents are drawn from their prior, log p(x | z) is maximised, and the posterior learns
       nothing (`model.draw_latents_from("prior")`).
    2. For `free_epochs`: latents are drawn from the posterior, and its KL has the weight 0.
    3. From then on: the KL has the weight 1, or that of a warm-up.

    The weight of the KL is `model.kl_weight`, which multiplies `beta` of `compile`.

    The phase follows from the number of the epoch alone, so a resumed run goes on as an uninterrupted one. The train
    step is traced anew at the end of the first phase. Validation tells the bound in all of them, which is poor before
    the posterior has learned to be near the prior: let patience of early stopping begin later, or leave it out. Weight
    decay of an optimizer shrinks the posterior's weights in the first phase, too.

    Example:
        model.fit(x, epochs=60, callbacks=[tfdvae.callbacks.Phases(10, 10, KLWarmup(20))])

    Args:
        prior_epochs, free_epochs: lengths of the first two phases; 0 leaves one out, not both.
        warmup: the weight in the third phase, whose epoch 0 is the first of that phase; None: 1 from its start.

    Raises:
        ValueError: lengths that are negative, or both 0; and by `fit`, before it trains, a model that cannot draw from
            its priors along the data, and a bound that has no KL.
    """

    def __init__(self, prior_epochs: int, free_epochs: int, warmup: KLWarmup | None = None):
        super().__init__()
        self.prior_epochs = validation.whole("prior_epochs", prior_epochs, at_least=0)
        self.free_epochs = validation.whole("free_epochs", free_epochs, at_least=0)
        if not self.prior_epochs + self.free_epochs:
            raise ValueError("Phases of no epochs change nothing: leave them out, or take KLWarmup alone.")
        self.warmup = warmup

    def phase(self, epoch: int) -> int:
        """1, 2 or 3 in epoch `epoch`, counted from 0."""
        return 1 + (epoch >= self.prior_epochs) + (epoch >= self.prior_epochs + self.free_epochs)

    def weight(self, epoch: int) -> float:
        """The weight of the KL in epoch `epoch`."""
        if self.phase(epoch) < 3:
            return 0.0
        return 1.0 if self.warmup is None else self.warmup.weight(epoch - self.prior_epochs - self.free_epochs)

    def on_train_begin(self, logs: dict | None = None) -> None:
        if not self.model.bound.tempered:
            raise ValueError(f"Phases have nothing to weigh: {type(self.model.bound).__name__} has no KL.")
        if self.prior_epochs:
            self.model.check_prior_phase()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.model.draw_latents_from("prior" if self.phase(epoch) == 1 else "posterior")
        self.model.kl_weight.assign(self.weight(epoch))

    def on_train_end(self, logs: dict | None = None) -> None:
        self.model.draw_latents_from("posterior")
