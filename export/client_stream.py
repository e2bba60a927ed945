"""A stream over a model server: frame by frame, with the state on the side of the client."""

import operator
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from export.client_types import Arrays, InvalidArgumentError, SignatureSpec, TensorSpec

__all__ = ["Stream"]

MIDDLE = {"normal": 0.0, "uniform": 0.5}
VALID = "valid"


class Predicts(Protocol):
    """What a stream asks of a client."""

    has_description: bool

    def predict(self, signature: str, inputs: Mapping[str, Any], timeout: float | None = None) -> Arrays: ...

    def specs(self, signature: str, timeout: float | None = None) -> SignatureSpec: ...


class Stream:
    """A place in B sequences. Any error leaves it where it was, so a call that failed may be made again.

    A call is a function of what is sent, the state and the noise included: a retry gives the same numbers, and the
    server may be another one, of the same version. Not for several threads at once.

    Made by `client.stream`, which says what the arguments are.
    """

    def __init__(
        self, client: Predicts, batch_size: int, sample: bool, seed: int | None, of_sequence: Mapping[str, Any]
    ) -> None:
        if not client.has_description:
            raise ValueError(
                "A stream draws noise, and no server says how: give the client the signatures.json of the export "
                "as its `description`."
            )
        if operator.index(batch_size) < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        self._client, self.batch_size, self.sample = client, batch_size, sample
        self._rng = np.random.default_rng(seed)
        takes = client.specs("reset").inputs
        known = dict(of_sequence)
        known |= {"batch_size": batch_size} if "batch_size" in takes else {}
        known |= {"row": np.zeros(batch_size, np.int32)} if "row" in takes else {}
        if "given_length" in takes and "given" in known:
            known["given_length"] = np.full(batch_size, np.shape(known["given"])[1], np.int32)
        if "given_observed" in takes and "given" in known:
            known.setdefault("given_observed", np.ones(np.shape(known["given"]), bool))
        self._of_sequence = known
        self.reset()

    def reset(self, seed: int | None = None, timeout: float | None = None) -> None:
        """Goes back to before the first frame; with a seed, random numbers start anew as well.

        Raises:
            ServingError: as `predict` of the client.
        """
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._state = _states(self._ask("reset", dict(self._of_sequence), False, timeout))

    def push(
        self, frames: Any, *, u: Any = None, next_u: Any = None, observed: Any = None, timeout: float | None = None
    ) -> Arrays:
        """Takes in the next frame of each sequence.

        Args:
            frames: x_t `[B, D]`, or in the shape of pictures.
            u, next_u: inputs u_t and u_{t+1} `[B, U]`, in driven mode; without `next_u` there is no prediction.
            observed: as `frames`, for a model that was trained on partly observed frames; by default all of it is.

        Returns:
            The outputs of `step` by name, without the state: latents, `score`, `log_px` and `kl` in nats `[B]`,
            `next_mean` and so on.

        Raises:
            InvalidArgumentError: the frames do not fit, or the model refused them.
            ServingError: as `predict` of the client.
        """
        takes, given = self._client.specs("step").inputs, {"x": frames, "u": u, "next_u": next_u, "observed": observed}
        if "observed" in takes and observed is None:
            given["observed"] = np.ones(np.shape(frames), bool)
        unknown = "next_u" in takes and next_u is None
        if unknown and u is not None:
            given["next_u"] = np.zeros(np.shape(u), np.float32)
        given = {name: value for name, value in given.items() if value is not None}
        found = self._ask("step", {**self._state, **given}, not self.sample, timeout)
        self._state = _states(found)
        left_out = ("next_mean", "next_stddev") if unknown else ()
        return {name: value for name, value in found.items() if name not in (*self._state, *left_out)}

    def generate(self, length: int, *, u: Any = None, advance: bool = True, timeout: float | None = None) -> np.ndarray:
        """Draws the next frames of each sequence, `[B, length, D]`, each given all before it.

        Args:
            length: how many; each is a call.
            u: their inputs `[B, length, U]`, in driven mode.
            advance: whether the stream moves on with what was drawn; else another call draws another future.
            timeout: seconds for each call.

        Raises:
            ServingError: as `predict` of the client.
        """
        if operator.index(length) < 1:
            raise ValueError(f"`length` must be at least 1, got {length}.")
        if u is not None and np.shape(u)[:2] != (self.batch_size, length):
            raise ValueError(f"`u` must begin with {[self.batch_size, length]}, got the shape {list(np.shape(u))}.")
        state, frames = self._state, []
        for t in range(length):
            inputs = {} if u is None else {"u": np.asarray(u)[:, t]}
            found = self._ask("generate_step", {**state, **inputs}, False, timeout)
            state = _states(found)
            frames.append(found["x"])
        if advance:
            self._state = state
        return np.stack(frames, axis=1)

    def state(self) -> Arrays:
        """A copy of all that the stream knows of its past, random numbers aside: it can be stored, and go on
        elsewhere."""
        return {name: value.copy() for name, value in self._state.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes to a place that `state` returned, of this stream or of another of the same model and B.

        Raises:
            ValueError: a state that is none of this model.
        """
        fits = state.keys() == self._state.keys() and all(
            np.shape(value) == self._state[name].shape for name, value in state.items()
        )
        if not fits:
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in self._state.items())
            raise ValueError(f"A state of this stream has {shapes}; got {', '.join(state) or 'none'}.")
        self._state = {name: np.array(value, self._state[name].dtype) for name, value in state.items()}

    def _ask(self, signature: str, given: dict[str, Any], middle: bool, timeout: float | None) -> Arrays:
        fields = {name: spec for name, spec in self._client.specs(signature).inputs.items() if spec.random}
        found = self._client.predict(
            signature, {**given, **{name: self._noise(spec, middle) for name, spec in fields.items()}}, timeout
        )
        if VALID in found and not found[VALID].all():
            bad = np.flatnonzero(~found[VALID]).tolist()
            raise InvalidArgumentError(f"{signature!r} cannot answer the rows {bad}: the model refused their values.")
        return found

    def _noise(self, spec: TensorSpec, middle: bool) -> np.ndarray:
        shape = [self.batch_size if size is None else size for size in spec.shape]
        if middle:
            return np.full(shape, MIDDLE[spec.random], np.float32)
        if spec.random == "normal":
            return self._rng.standard_normal(shape, np.float32)
        # Strictly inside of (0, 1), and exact in float32: the logarithms of x and 1 - x are finite.
        return ((self._rng.integers(2**23, size=shape) + 0.5) * 2.0**-23).astype(np.float32)


def _states(outputs: Arrays) -> Arrays:
    return {name: value for name, value in outputs.items() if name.startswith("state_")}
