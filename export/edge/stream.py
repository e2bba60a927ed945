"""Runs the .tflite files of `model.export(path, format="litert")` where there is neither TensorFlow nor tfdvae.

This file needs numpy and ai-edge-litert, and nothing else of its repository: copy it to the device.

    stream = Stream("vrnn.tflite")
    for frame in frames:                  # [D] each
        pushed = stream.push(frame)       # latents by name, score in nats, prediction of the next frame, ...
    future = stream.generate(20)          # [20, D], drawn from where the stream is

Threads: every public method holds the object's lock while it runs, so any number of threads may share an object; whose
frame comes first is theirs to arrange. Memory: one state and the buffers of the interpreter; no frame is kept.
"""

import contextlib
import hashlib
import json
import math
import operator
import os
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Arrays", "Model", "Pushed", "Stream"]

FORMAT, VERSION = "tfdvae.signatures", 2
DESCRIPTION, SIZES = "signatures.json", ("features", "inputs", "context")
MOST = 1 << 24  # bytes of a description, and numbers in a frame
MIDDLE = {"normal": 0.0, "uniform": 0.5}

Arrays = dict[str, np.ndarray]
Shape = tuple[int | str, ...]


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


class Field(NamedTuple):
    """What a file says of an input: its shape (a word for an axis of any size), its type, and how it is drawn."""

    shape: Shape
    dtype: str
    random: str


class Model:
    """The functions of an exported model, one sequence at a time.

    Args:
        path: a .tflite file that tfdvae wrote, of any precision; inputs and outputs are float32 in all of them.
        num_threads, seed: of the interpreter, and of all that is drawn.

    Attributes:
        description: what the file says about itself: model, precision, signatures with names, shapes and units.
        frame_shape: of a frame, `(D,)`, or `(H, W, C)` of a picture.
        features: D, how many numbers a frame has.
        inputs: U, the width of the control inputs; 0 without.
        context: C, the width of what is known of a sequence; 0 without.
        latents: names of the latents of a frame.
        signatures: names of the functions in the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, something else, or of another version.
        ImportError: ai-edge-litert is not installed.
    """

    def __init__(self, path: str | os.PathLike, num_threads: int = 1, seed: int | None = 0):
        if operator.index(num_threads) < 1:
            raise ValueError(f"`num_threads` must be at least 1, got {num_threads}.")
        self.path = os.fspath(path)
        with _damage(self.path, "read"):
            self.description, self._runners = _open(self.path, num_threads)
            self.frame_shape: tuple[int, ...] = tuple(self.description["frame_shape"])
            self.features, self.inputs, self.context = (self.description[key] for key in SIZES)
            self.latents: tuple[str, ...] = tuple(self.description["latents"])
            self.signatures = tuple(self._runners)
            described = self.description["signatures"]
            self._takes = {name: _fields(one["inputs"]) for name, one in described.items()}
            self._states = _fields(described["reset"]["outputs"]) if "reset" in described else {}
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()

    def run(self, name: str, **arrays: Any) -> Arrays:
        """Calls a function of the file, and returns its outputs by name.

        Args:
            name: one of `signatures`.
            arrays: its inputs by name, such as x `[1, T, D]`. Noise may be left out, and is drawn then; x may hold
                anything where `observed` is given and false.

        Raises:
            ValueError: no such function; inputs that are missing, unknown, of another shape, no numbers, or not finite.
        """
        self._require(name)
        takes, sizes = self._takes[name], {}
        if arrays.keys() - takes.keys() or any(key not in arrays and not field.random for key, field in takes.items()):
            raise ValueError(f"{name!r} takes {', '.join(takes) or 'nothing'}; got {', '.join(arrays) or 'nothing'}.")
        given: Arrays = {}
        for key in sorted(arrays, key=lambda key: key != "observed"):
            known = given.get("observed") if key == "x" else None
            given[key] = _numbers(repr(key), arrays[key], takes[key], sizes, known)
        with self._lock, _damage(self.path, "run"):
            drawn = {key: self._noise(field, sizes) for key, field in takes.items() if key not in given}
            return self._runners[name](**given, **drawn)

    def _require(self, name: str) -> None:
        if name not in self.signatures:
            raise ValueError(f"{self.path} has no {name!r}, only {', '.join(self.signatures)}.")

    def _noise(self, field: Field, sizes: Mapping[str, int]) -> np.ndarray:
        sized = [sizes.get(n, n) for n in field.shape]
        if field.random == "normal":
            return self._rng.standard_normal(sized, np.float32)
        # Strictly inside of (0, 1), and exact in float32: the logarithms of x and 1 - x are finite.
        return ((self._rng.integers(2**23, size=sized) + 0.5) * 2.0**-23).astype(np.float32)


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
        with self._lock, _damage(self.path, "run"):
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

        Raises:
            ValueError: a frame or inputs of another size, not finite or no numbers; u missing or without use, observed
                without use; a file without `step`; a frame at which its numbers overflow.
        """
        self._require("step")
        takes, seen = self._takes["step"], None
        if observed is not None and "observed" not in takes:
            raise ValueError(f"{self.path} was not built for partly observed frames: leave out `observed`.")
        if "observed" in takes:
            observed = np.ones(self.frame_shape, bool) if observed is None else observed
            seen = _numbers("`observed`", observed, Field(self.frame_shape, "bool", ""))
        given = {"x": _numbers("The frame", frame, Field(self.frame_shape, "float32", ""), known=seen)[None]}
        given |= {} if seen is None else {"observed": seen[None]}
        given |= self._driven("u", u)
        unknown = self.inputs and next_u is None
        given |= self._driven("next_u", np.zeros(self.inputs, np.float32) if unknown else next_u)
        with self._lock, _damage(self.path, "run"):
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
        with self._lock, _damage(self.path, "run"):
            state = self._state
            for t in range(n):
                given = {name: value[t : t + 1] for name, value in rows.items()} | self._drawn("generate_step")
                out, state = self._advance("generate_step", state, given, "x")
                frames[t] = out["x"][0]
            if advance:
                self._state = state
        return frames

    def state(self) -> Arrays:
        """A copy of all that the stream knows of its past; random numbers aside."""
        with self._lock:
            return {name: value.copy() for name, value in self._state.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes to a place that `state` returned, of this stream or of another one of the same model; ValueError for one
        that is none of this model."""
        if state.keys() != self._states.keys():
            raise ValueError(f"A state of {self.path} has {', '.join(self._states)}; got {', '.join(state) or 'none'}.")
        fresh = {name: _numbers(name, state[name], field).copy() for name, field in self._states.items()}
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
        field = Field((*rows, self.inputs), "float32", "")
        return {} if value is None else {name: _numbers(f"`{name}`", value, field).reshape(-1, self.inputs)}

    def _known(self, context: Any) -> Arrays:
        """The context as `reset` takes it; nothing for a model without."""
        if (context is None) == (self.context > 0):
            has = f"a context of {self.context} numbers: give" if self.context else "no context: leave out"
            raise ValueError(f"The model in {self.path} has {has} `context`.")
        field = Field((self.context,), "float32", "")
        return {} if context is None else {"context": _numbers("`context`", context, field)[None]}

    def _given(self, frames: Any) -> Arrays:
        """The first frames of the sequence as `reset` takes them; nothing for a model of other units."""
        takes = self._takes["reset"]
        if (frames is None) == ("given" in takes):
            has = "its units from the first frames: give" if "given" in takes else "units of its own: leave out"
            raise ValueError(f"The model in {self.path} has {has} `given`.")
        if frames is None:
            return {}
        frames = _numbers("`given`", frames, Field(("frames", *self.frame_shape), "float32", ""), sizes={})[None]
        whole = {"given_observed": np.ones(frames.shape, bool)} if "given_observed" in takes else {}
        return {"given": frames, **whole}

    def _drawn(self, name: str, middle: bool = False) -> Arrays:
        """Noise for one call of a function, or the middle of what it is drawn from."""
        fields = {key: field for key, field in self._takes[name].items() if field.random}
        if middle:
            return {key: np.full(field.shape, MIDDLE[field.random], np.float32) for key, field in fields.items()}
        return {key: self._noise(field, {}) for key, field in fields.items()}


def _open(path: str, num_threads: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A file's description, and its functions, which are as it says."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError("Running .tflite files needs ai-edge-litert: pip install ai-edge-litert") from error
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {path}.")
    with zipfile.ZipFile(path) as attached, open(path, "rb") as file:
        if attached.getinfo(DESCRIPTION).file_size > MOST:
            raise ValueError("its description is too long")
        description = json.loads(attached.read(DESCRIPTION))
        model = hashlib.sha256(file.read(min(one.header_offset for one in attached.infolist()))).hexdigest()
    found = description["format"], description["version"]
    if found != (FORMAT, VERSION):
        raise ValueError(
            f"{path} was written as {found[0]} version {found[1]}, this module reads {FORMAT} version {VERSION}: "
            "export the model again, or take the module that came with that version."
        )
    if model != description["model_sha256"]:  # A damaged model can crash the interpreter, and with it the process.
        raise ValueError("the model is not the one that was written")
    interpreter = Interpreter(model_path=path, num_threads=num_threads)
    runners = {name: interpreter.get_signature_runner(name) for name in description["signatures"]}
    _check(description, runners)
    return description, runners


@contextlib.contextmanager
def _damage(path: str, done: str) -> Iterator[None]:
    """Whatever a damaged file leads to, nearly anything, becomes one ValueError that names it."""
    try:
        yield
    except Exception as error:
        if isinstance(error, FileNotFoundError | ImportError) or (isinstance(error, ValueError) and path in str(error)):
            raise
        raise ValueError(f"{path} cannot be {done} as a model that tfdvae exported to LiteRT: {error!r}") from error


def _check(description: Mapping[str, Any], runners: Mapping[str, Any]) -> None:
    """Raises an error where the description has no sizes, or says of functions what they are not."""
    frame, sizes = tuple(description["frame_shape"]), [description[key] for key in SIZES]
    if any(type(n) is not int or not 0 <= n <= MOST for n in (*frame, *sizes)) or math.prod(frame) != sizes[0]:
        raise ValueError(f"frames of {frame} with {SIZES} of {sizes} are none")
    for name, runner in runners.items():
        for side, there in (("inputs", runner.get_input_details()), ("outputs", runner.get_output_details())):
            for key, field in _fields(description["signatures"][name][side]).items():
                pairs = zip(field.shape, there[key]["shape_signature"].tolist(), strict=True)
                # The runtime may not know the size of an output before it has made it.
                other = any(n != m for n, m in pairs if isinstance(n, int) and (m >= 0 or side == "inputs"))
                other |= key == "x" and field.shape[-len(frame) :] != frame
                if other or field.dtype != np.dtype(there[key]["dtype"]).name:
                    raise ValueError(f"{name!r} has no {key!r} of {field.dtype} {list(field.shape)}")


def _fields(described: Iterable[Mapping[str, Any]]) -> dict[str, Field]:
    """Fields by name."""
    found = {}
    for one in described:
        shape = tuple(n if n >= 0 else str(one["axes"][i]) for i, n in enumerate(one["shape"]))
        field = found[one["name"]] = Field(shape, one["dtype"], one.get("random", ""))
        if any(type(n) not in (int, str) for n in shape) or field.random not in ("", *MIDDLE):
            raise ValueError(f"{one} is no input or output")
    return found


def _numbers(
    what: str, value: Any, field: Field, sizes: dict[str, int] | None = None, known: np.ndarray | None = None
) -> np.ndarray:
    """The value as a field takes it, finite, zeros where not `known`; sizes of words are noted, the same everywhere."""
    shape = field.shape
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} cannot be read as an array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} must hold real numbers, got {array.dtype}.")
    if sizes is not None and array.ndim == len(shape):
        pairs = zip(shape, array.shape, strict=True)
        shape = tuple(sizes.setdefault(n, max(size, 1)) if isinstance(n, str) else n for n, size in pairs)
    if array.shape != shape:
        raise ValueError(f"{what} must have the shape [{', '.join(map(str, shape))}], got {list(array.shape)}.")
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(array, field.dtype)
    if known is not None:
        array = np.where(known, array, np.zeros([], array.dtype))
    if not np.isfinite(array).all():
        raise ValueError(f"{what} holds NaN or infinity.")
    return array
