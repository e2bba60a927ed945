"""Runs the .tflite files of `model.export(path, format="litert")` where there is neither TensorFlow nor tfdvae.

This file, `model.py` and `known.py` need numpy and ai-edge-litert, and nothing else of their repository: copy the three
into a folder of the device, `edge` for one, and import it as a package.

    stream = Stream("vrnn.tflite")
    for frame in frames:                  # [D] each
        pushed = stream.push(frame)       # latents by name, score in nats, prediction of the next frame, ...
    future = stream.generate(20)          # [20, D], drawn from where the stream is

Threads: every public method holds the object's lock while it runs, so any number of threads may share an object; whose
frame comes first is theirs to arrange. Memory: one state and the buffers of the interpreter; no frame is kept.
"""

import operator
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .model import MIDDLE, Arrays, Field, Model, damage, numbers

__all__ = ["Arrays", "Model", "Pushed", "Stream"]


class Pushed(NamedTuple):
    """What a frame x_t says.

    Attributes:
        latents: each latent of the frame by name, `[Z]`: the middle of its posterior, or a draw if it samples.
        latent_scales: their standard deviations under the posterior, `[Z]`.
        prediction: mean of p(x_{t+1} | .) along the prior mean, in the shape of a frame; None in driven mode without
            `next_u`.
        prediction_scale: its standard deviation; None also where p(x | .) has none in closed form.
        score: log_px - kl, what the frame adds to the ELBO, in nats; low values are anomalies.
        log_px: log p(x_t | .) of what was observed, in nats.
        kl: KL of the posterior of the frame's latents from their prior, in nats.
    """

    latents: Arrays
    latent_scales: Arrays
    prediction: np.ndarray | None
    prediction_scale: np.ndarray | None
    score: float
    log_px: float
    kl: float


class Stream(Model):
    """A place in a sequence, which frames that come in, or are drawn, move on. Any error leaves it where it was.

    Args:
        path, num_threads, seed: as in `Model`.
        sample: latents of pushed frames are drawn from their posteriors instead of following its mean or middle class.
        context: `[C]`, what is known of the sequence, where the model has a context.
        given: `[T, D]`, the first frames of the sequence, where the model takes its units from them.

    Raises:
        ValueError: as `Model`; a context or given frames that are missing or do not fit; a file that cannot stream.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        num_threads: int = 1,
        seed: int | None = 0,
        sample: bool = False,
        context: Any = None,
        given: Any = None,
    ):
        super().__init__(path, num_threads, seed)
        self.sample = sample
        self._require("reset")
        if "step" not in self.signatures:
            self._require("generate_step")
        self._of_sequence = self._known(context) | self._given(given)
        self.reset()

    def reset(self, seed: int | None = None, context: Any = None, given: Any = None) -> None:
        """Goes back to before the first frame. Latents that exist once per sequence are drawn anew.

        Args:
            seed: where it is given, random numbers start anew as well.
            context, given: of another sequence; without them the last ones stay.

        Raises:
            ValueError: a context or given frames of another size or without use.
        """
        known = self._of_sequence | ({} if context is None else self._known(context))
        known |= {} if given is None else self._given(given)
        with self._lock, damage(self.path, "run"):
            if seed is not None:
                self._rng = np.random.default_rng(seed)
            self._of_sequence = known
            self._state = self._runners["reset"](**known, **self._drawn("reset"))

    def push(self, frame: Any, u: Any = None, next_u: Any = None, observed: Any = None) -> Pushed:
        """Takes in the next frame.

        Args:
            frame: x_t `[D]`, or in the shape of a picture.
            u: inputs u_t `[U]`, in driven mode.
            next_u: u_{t+1} `[U]`, for the prediction alone.
            observed: as `frame`, true where it holds data, for a model that was trained on partly observed frames;
                elsewhere it may hold anything. By default all of it does.

        Warns once, where a frame is far outside of the training data (see `known.Watch`).

        Raises:
            ValueError: a frame or inputs of another size, not finite or no numbers; u missing or without use, observed
                without use; a file without `step`; a frame that p(x | .) cannot explain, or at which numbers overflow.
        """
        self._require("step")
        takes, seen = self._takes["step"], None
        if observed is not None and "observed" not in takes:
            raise ValueError(f"{self.path} was not built for partly observed frames: leave out `observed`.")
        if "observed" in takes:
            observed = np.ones(self.frame_shape, bool) if observed is None else observed
            seen = numbers("`observed`", observed, Field(self.frame_shape, "bool"))
        given = {"x": numbers("The frame", frame, takes["x"]._replace(shape=self.frame_shape), known=seen)[None]}
        given |= {} if seen is None else {"observed": seen[None]}
        given |= self._driven("u", u)
        unknown = self.inputs and next_u is None
        given |= self._driven("next_u", np.zeros(self.inputs, np.float32) if unknown else next_u)
        with self._lock, damage(self.path, "run"):
            if self._watch is not None:
                self._watch(given["x"][0], None if seen is None or seen.all() else seen)
            given |= self._drawn("step", not self.sample)
            out, state = self._advance("step", self._state, given, "score")
            if unknown:
                out.pop("next_mean"), out.pop("next_stddev", None)
            latents, scales = ({name: out[name + suffix][0] for name in self.latents} for suffix in ("", "_scale"))
            predicted = (out[name][0] if name in out else None for name in ("next_mean", "next_stddev"))
            pushed = Pushed(latents, scales, *predicted, *(float(out[name][0]) for name in ("score", "log_px", "kl")))
            self._state = state
        return pushed

    def generate(self, n: int, u: Any = None, advance: bool = True) -> np.ndarray:
        """Draws the next frames `[n, D]`, or `[n, ...]` in the shape of a frame, each given all before it.

        Args:
            n: how many.
            u: their inputs `[n, U]`, in driven mode.
            advance: whether the stream moves on with what was drawn; else another call draws another future.

        Raises:
            ValueError: n below 1; u missing, without use, or unfit; a file without `generate_step`.
        """
        self._require("generate_step")
        if operator.index(n) < 1:
            raise ValueError(f"`n` must be at least 1, got {n}.")
        rows, frames = self._driven("u", u, (n,)), np.empty((n, *self.frame_shape), np.float32)
        with self._lock, damage(self.path, "run"):
            state = self._state
            for t in range(n):
                given = {name: value[t : t + 1] for name, value in rows.items()} | self._drawn("generate_step")
                out, state = self._advance("generate_step", state, given, "x")
                frames[t] = out["x"][0]
            if advance:
                self._state = state
        return frames

    @property
    def partly_observed(self) -> bool:
        """Whether `push` takes `observed`."""
        return "observed" in self._takes.get("step", {})

    def state(self) -> Arrays:
        """A copy of all that the stream knows of its past; random numbers aside."""
        with self._lock:
            return {name: value.copy() for name, value in self._state.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes to a place that `state` returned, of this stream or of another one of the same model; ValueError for one
        that is none of this model."""
        if state.keys() != self._states.keys():
            raise ValueError(f"A state of {self.path} has {', '.join(self._states)}; got {', '.join(state) or 'none'}.")
        fresh = {name: numbers(name, state[name], field).copy() for name, field in self._states.items()}
        with self._lock:
            self._state = fresh

    def _advance(self, name: str, state: Arrays, given: Arrays, result: str) -> tuple[Arrays, Arrays]:
        """Outputs of a step, and the state after it."""
        out = self._runners[name](**given, **state)
        state = {key: out[key] for key in self._states}
        if not all(np.isfinite(value).all() for value in (out[result], *state.values())):
            raise ValueError(
                f"{name!r} gave numbers that are not finite: the frames may lie far outside of what the model in "
                f"{self.path} was trained on, or of what its p(x | .) allows."
            )
        return out, state

    def _driven(self, name: str, value: Any, rows: tuple[int, ...] = ()) -> Arrays:
        """Inputs by their name, `[1, U]` or `[n, U]`; nothing for a model without."""
        if (value is None) == (self.inputs > 0):
            how = f"is driven by {self.inputs} inputs per frame: give" if self.inputs else "takes no inputs: leave out"
            raise ValueError(f"The model in {self.path} {how} `{name}`.")
        field = Field((*rows, self.inputs), "float32")
        return {} if value is None else {name: numbers(f"`{name}`", value, field).reshape(-1, self.inputs)}

    def _known(self, context: Any) -> Arrays:
        """The context as `reset` takes it; nothing for a model without."""
        if (context is None) == (self.context > 0):
            has = f"a context of {self.context} numbers: give" if self.context else "no context: leave out"
            raise ValueError(f"The model in {self.path} has {has} `context`.")
        field = Field((self.context,), "float32")
        return {} if context is None else {"context": numbers("`context`", context, field)[None]}

    def _given(self, frames: Any) -> Arrays:
        """The first frames of the sequence as `reset` takes them; nothing for a model of other units."""
        takes = self._takes["reset"]
        if (frames is None) == ("given" in takes):
            has = "its units from the first frames: give" if "given" in takes else "units of its own: leave out"
            raise ValueError(f"The model in {self.path} has {has} `given`.")
        if frames is None:
            return {}
        field = takes["given"]._replace(shape=("frames", *self.frame_shape))
        frames = numbers("`given`", frames, field, sizes={})[None]
        whole = {"given_observed": np.ones(frames.shape, bool)} if "given_observed" in takes else {}
        return {"given": frames, **whole}

    def _drawn(self, name: str, middle: bool = False) -> Arrays:
        """Noise for one call of a function, or the middle of what it is drawn from."""
        fields = {key: field for key, field in self._takes[name].items() if field.random}
        if middle:
            return {key: np.full(field.shape, MIDDLE[field.random], np.float32) for key, field in fields.items()}
        return {key: self._noise(field, {}) for key, field in fields.items()}
