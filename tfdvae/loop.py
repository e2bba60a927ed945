"""The one recurrent loop over frames.

`keras.layers.RNN` takes no nested inputs and stacks tuple outputs, `keras.ops.scan` needs outputs shaped like the
carry, `tf.scan` is slow under XLA. Hence `tf.while_loop` over TensorArrays: inputs are read from them too, since
indexing `x[t]` makes the gradient's memory quadratic in T.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

__all__ = ["before_loop", "depends", "scan"]


class _Outside:
    """The graph that a loop is in, and what was computed there for it."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.made: dict[Any, tf.Tensor] = {}


_outside: contextvars.ContextVar[_Outside | None] = contextvars.ContextVar("outside", default=None)


def before_loop(key: Any, make: Callable[[], tf.Tensor]) -> tf.Tensor:
    """`make()`, computed once before the loop of `scan` whose body is being traced, under that key.

    For what is the same at every frame, above all weights that are cut or cast: within the body each frame would
    compute it again, and its gradient as well. Outside of a loop, and eagerly, it is just `make()`. What `make` reads
    must exist before the loop: variables, not tensors of the body.
    """
    outside = _outside.get()
    if outside is None:
        return make()
    if key not in outside.made:
        with outside.graph.as_default():
            outside.made[key] = make()
    return outside.made[key]


@contextlib.contextmanager
def _loop_in(graph: Any) -> Iterator[None]:
    """Within it `before_loop` computes in this graph; nowhere where that is None."""
    token = _outside.set(None if graph is None else _Outside(graph))
    try:
        yield
    finally:
        _outside.reset(token)


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]],
    state: Any,
    inputs: Any,
    *,
    hold: tf.Tensor | None = None,
    length: tf.Tensor | int | None = None,
) -> tuple[Any, Any]:
    """Runs `body(state, inputs_t) -> (state, outputs_t)` over time, batch-major outside, time-major inside.

    Args:
        body: one frame; takes and returns nests of `[B, .]` tensors. The state keeps structure, shapes and dtypes.
        state: nest of `[B, .]` tensors.
        inputs: nest of `[B, T, .]` tensors; may be empty if `length` is given.
        hold: `[B, T]` bool; where false the state of that sequence stays as it was.
        length: number of frames, where there are no inputs to tell it.

    Returns:
        The last state, and the nest of outputs, each `[B, T, .]`.
    """
    given = [x for x in tf.nest.flatten(inputs) if x is not None]
    steps = (given[0].shape[1] or tf.shape(given[0])[1]) if given else length

    def frame(state: Any, frames: list[tf.Tensor], held_t: list[tf.Tensor]) -> tuple[Any, Any]:
        new, outputs = body(state, _restore(inputs, frames))
        if held_t:
            new = tf.nest.map_structure(lambda a, b: tf.where(_as_rank(held_t[0], a.shape.rank), a, b), new, state)
        return new, outputs

    if isinstance(steps, int) and steps == 1:
        # No loop where there is one frame: a step that is streamed on a phone would pay for it.
        state, outputs = frame(state, [x[:, 0] for x in given], [] if hold is None else [hold[:, 0]])
        return state, tf.nest.map_structure(lambda y: y[:, None], outputs)
    series = [_swap(x) for x in given]
    held = [] if hold is None else [_swap(hold)]
    if tf.executing_eagerly():
        collected = []
        for t in range(int(steps)):
            state, outputs = frame(state, [x[t] for x in series], [m[t] for m in held])
            collected.append(outputs)
        return state, tf.nest.map_structure(lambda *ys: tf.stack(ys, axis=1), *collected)

    traced = _trace(lambda s, *xs: frame(s, list(xs), []), state, series)
    arrays = [_array(x, steps).unstack(x) if used else None for x, used in zip(series, traced.used, strict=True)]
    held_arrays = [_array(x, steps).unstack(x) for x in held]
    flat = tf.nest.flatten(traced.outputs)
    first = [traced.places.index(place) for place in range(len(set(traced.places)))]
    written = [tf.TensorArray(flat[i].dtype, size=steps, element_shape=flat[i].shape) for i in first]

    def step(t: tf.Tensor, state: Any, written: list[tf.TensorArray]) -> tuple[tf.Tensor, Any, list[tf.TensorArray]]:
        read = [x[0] if a is None else a.read(t) for a, x in zip(arrays, series, strict=True)]
        state, outputs = frame(state, read, [a.read(t) for a in held_arrays])
        outputs = tf.nest.flatten(outputs)
        return t + 1, state, [a.write(t, outputs[i]) for a, i in zip(written, first, strict=True)]

    with _loop_in(tf.compat.v1.get_default_graph()):
        _, state, written = tf.while_loop(
            lambda t, *_: t < steps, step, (tf.constant(0), state, written), maximum_iterations=steps
        )
    stacked = [_swap(a.stack()) for a in written]
    return state, tf.nest.pack_sequence_as(traced.outputs, [stacked[place] for place in traced.places])


def depends(function: Callable[..., Any], on: tf.TensorSpec, *others: Any) -> bool:
    """Whether anything in the nest that `function(on, *others)` returns hangs on `on`, beyond its dtype.

    It is traced for that in a graph that is thrown away; `others` are nests of tensors, which lend their specs. What
    reads the shape of `on` hangs on it as well.
    """
    found = []

    def trace(on: tf.Tensor, *others: Any) -> None:
        found.append(_reaches(on, tf.nest.flatten(function(on, *others))))

    specs = tf.nest.map_structure(lambda y: None if y is None else tf.TensorSpec(y.shape, y.dtype), others)
    with _loop_in(None):
        tf.function(trace, autograph=False).get_concrete_function(on, *specs)
    return found[-1]


def _reaches(source: tf.Tensor, outputs: list[Any]) -> bool:
    """Whether there is a way through their graph from a tensor to one of the others."""
    waiting, met = [y for y in outputs if y is not None], set()
    while waiting:
        y = waiting.pop()
        if y is source:
            return True
        if y.op not in met:
            met.add(y.op)
            waiting.extend(y.op.inputs)
    return False


def _swap(x: tf.Tensor) -> tf.Tensor:
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])


def _as_rank(held: tf.Tensor, rank: int) -> tf.Tensor:
    """`[B]` as `[B, 1, ...]`, to choose between states."""
    return tf.reshape(held, [-1, *[1] * (rank - 1)])


def _array(x: tf.Tensor, size: tf.Tensor | int) -> tf.TensorArray:
    return tf.TensorArray(x.dtype, size=size, element_shape=x.shape[1:])


def _restore(structure: Any, tensors: list[tf.Tensor]) -> Any:
    """`structure` with its tensors replaced in order; what was None (an absent input) stays None."""
    remaining = iter(tensors)
    flat = [None if x is None else next(remaining) for x in tf.nest.flatten(structure)]
    return tf.nest.pack_sequence_as(structure, flat)


class _Traced(NamedTuple):
    """A frame, as tracing it shows it.

    Attributes:
        outputs: the nest of their specs.
        places: which distinct tensor each output is: what is returned twice is written once.
        used: whether each input is read at all, beyond its shape.
    """

    outputs: Any
    places: list[int]
    used: list[bool]


def _trace(frame: Callable, state: Any, series: list[tf.Tensor]) -> _Traced:
    """A frame's outputs and inputs, from tracing it in a graph that is thrown away."""
    found = []

    def trace(state: Any, *frames: tf.Tensor) -> None:
        after, outputs = frame(state, *frames)
        flat = tf.nest.flatten(outputs)
        distinct = list({id(y): y for y in flat}.values())
        places = [next(i for i, y in enumerate(distinct) if y is output) for output in flat]
        specs = tf.nest.map_structure(lambda y: tf.TensorSpec(y.shape, y.dtype), outputs)
        returned = {id(y) for y in (*flat, *tf.nest.flatten(after))}
        used = [bool(x.consumers()) or id(x) in returned for x in frames]
        found.append(_Traced(specs, places, used))

    state_spec = tf.nest.map_structure(lambda s: tf.TensorSpec(s.shape, s.dtype), state)
    with _loop_in(None):
        tf.function(trace, autograph=False).get_concrete_function(
            state_spec, *(tf.TensorSpec(x.shape[1:], x.dtype) for x in series)
        )
    return found[-1]
