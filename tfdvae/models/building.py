"""How a model comes by its weights, whoever asks first: Keras, a verb, a file."""

from collections.abc import Mapping, Sequence

import numpy as np

from tfdvae import validation
from tfdvae.layers.initial_weights import BUILDING, initial_weights_from
from tfdvae.types import Batch

__all__ = ["BuildingMixin"]


class BuildingMixin:
    """Mixed into `DVAE`: weights for frames of one shape, inputs and contexts of one width, from the model's seed."""

    def build(self, input_shape: Sequence[int | None] | Mapping[str, Sequence[int | None]]) -> None:
        """Creates all weights for frames `[B, T, ...]`, or for a dict of shapes with "x" and optionally "u",
        "observed" and "context"."""
        shapes = input_shape if isinstance(input_shape, Mapping) else {"x": input_shape}
        if len(shapes["x"]) < 3 or None in shapes["x"][2:]:
            raise ValueError(
                f"Expected frames of shape [batch, time, features], or [batch, time, ...] with the shape of a frame "
                f"known, got {shapes['x']}."
            )
        with self.distribute_strategy.scope():
            with initial_weights_from(self, self.seed):
                self._build_all(shapes)
            self._check_fill()
            self.build_metrics()

    def _build_all(self, shapes: Mapping[str, Sequence[int | None]]) -> None:
        self.frame_shape = tuple(shapes["x"][2:])
        self.u_dim = shapes["u"][-1] if shapes.get("u") is not None else 0
        self.context_dim = shapes["context"][-1] if shapes.get("context") is not None else 0
        self.partly_observed |= shapes.get("observed") is not None
        self.frames.build_input(self.frame_shape)
        self.build_parts(self.frames.seen_dim, self.u_dim + self.context_dim)
        self.frames.build_output(self.features_dim + self.context_dim)

    def _check_fill(self) -> None:
        """Raises ValueError where what the networks see of the future would reach what must not know it."""
        if self.fill != "line" or not (self.causal or self.hears_frames):
            return
        what = "infers latents from frames up to their own" if self.causal else "explains frames by those before them"
        raise ValueError(
            f"fill='line' shows the networks of {type(self).__name__} what comes after a gap, and the model as "
            f"configured {what}: choose fill='last' or 'zero', or a model that infers from past and future and reads "
            "frames nowhere else, such as tfdvae.DKF(inference='mf_lr')."
        )

    def get_build_config(self) -> dict:
        names = ("frame_shape", "u_dim", "context_dim", "partly_observed")
        return {**{name: getattr(self, name) for name in names}, **self._identity_config()} if self.built else {}

    def build_from_config(self, config: dict) -> None:
        if config and "frame_shape" not in config:
            raise ValueError(
                "This file was written by tfdvae 0.1, whose models 0.2 cannot read: train the model again."
            )
        if config:
            self.build_for(tuple(config["frame_shape"]), config["u_dim"], config["context_dim"])
            self.partly_observed = config["partly_observed"]
            self._identity_from_config(config)

    def build_for(self, frame_shape: int | Sequence[int], u_dim: int = 0, context_dim: int = 0) -> None:
        """Builds for frames of D features or of any shape, U inputs and C entries of a context, where not yet done."""
        if self.built:
            return
        sizes = frame_shape if isinstance(frame_shape, Sequence | np.ndarray) else (frame_shape,)
        shapes = {"x": (None, None, *(validation.whole("frame_shape", n, at_least=1) for n in sizes))}
        for name, width in (("u", u_dim), ("context", context_dim)):
            width = validation.whole(f"{name}_dim", width, at_least=0)
            if width:
                shapes[name] = (None, None, width) if name == "u" else (None, width)
        # Of several threads that call a new model for the first time, one builds it, and the others wait.
        with BUILDING:
            if not self.built:
                self.build(shapes)

    @property
    def built_sizes(self) -> validation.Sizes:
        """What the model was built for, None before that; and how many sequences it was made for by their index."""
        return validation.Sizes(self.frame_shape, self.u_dim, self.context_dim, self.indexed_sequences)

    def build_as(self, batch: Batch) -> None:
        """Builds for sequences like these."""
        sizes = [0 if y is None else y.shape[-1] for y in (batch.u, batch.context)]
        self.build_for(tuple(batch.x.shape[2:]), *sizes)
