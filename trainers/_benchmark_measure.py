"""Measures one model in a process of its own: `measure` starts it, `main` is what runs there."""

import functools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfdvae.data import from_arrays, window_batches
from tfdvae.models import DVAE
from trainers._benchmark_count import train_step_multiply_adds
from trainers._benchmark_deploy import measure_here
from trainers.sizes import SIZES, build_model, frames

__all__ = ["measure", "measure_deployment", "measure_memory"]

MATMUL_SIZES = (1024, 1536, 2048)
STREAMED_FRAMES = 20


def measure(model: str, size: str, seconds: float, jit: bool) -> dict[str, Any]:
    """Times and memory of a model of `tfdvae.MODELS` at a size of `SIZES`, measured in a new process.

    Returns:
        seconds per call, medians: "train", "evaluation", "generation" (batches) and "streaming" (a frame; None where q
        is not causal); "rate", multiply-adds per second of a large matrix product; "share", what part of it the train
        step reaches; "multiply_adds" of the train step per frame; "peak_mib" of resident memory above what the process
        took before there was a model; "rounds".

    Raises:
        RuntimeError: with the process's last words, if it fails.
    """
    return _in_process({"what": "times", "model": model, "size": size, "seconds": seconds, "jit": jit})


def measure_memory(
    model: str, size: str, batch_size: int, length: int, jit: bool, truncate: int | None = None
) -> dict[str, Any]:
    """Peak memory of two train steps on `[B, T, D]` in a new process: "peak_mib" and "total_mib", and "train"; where
    gradients are truncated to so many frames, of two passes over all windows."""
    request = {"what": "memory", "model": model, "size": size, "batch_size": batch_size, "length": length, "jit": jit}
    return _in_process({**request, "truncate": truncate})


def measure_deployment(model: str, size: str, seconds: float, precisions: Sequence[str]) -> list[dict[str, Any]]:
    """What `_benchmark_deploy.measure_here` returns, measured in a new process."""
    request = {"model": model, "size": size, "seconds": seconds, "precisions": list(precisions)}
    return _in_process({"what": "deployment", **request})


def _in_process(request: dict[str, Any]) -> Any:
    command = [sys.executable, "-m", "trainers._benchmark_measure", json.dumps(request)]
    folder = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"Measuring {request} failed with code {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_mib() -> float:
    """Largest resident set of this process so far, MiB.

    On Linux from /proc, because `ru_maxrss` starts at the size of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def batches(x: Any) -> Any:
    """An endless iterator of one batch, read from memory; its batch size is not static, as in `fit`."""
    dataset = tf.data.Dataset.from_tensor_slices({"x": x}).batch(len(x)).cache().repeat().prefetch(1)
    return iter(dataset)


def train_call(model: DVAE, data: Any) -> Callable[[], float]:
    """One train step through the function that `fit` compiles and calls."""
    model.make_train_function()
    return lambda: float(model.train_function(data)["loss"])


def evaluation_call(model: DVAE, data: Any) -> Callable[[], float]:
    """One test step through the function that `evaluate` compiles and calls."""
    model.make_test_function()
    return lambda: float(model.test_function(data)["loss"])


def generation_call(model: DVAE, batch_size: int, length: int, jit: bool) -> Callable[[], Any]:
    """A batch of sequences from the prior."""

    def generate() -> tf.Tensor:
        return model.generate(length, batch_size, seed=0).x

    call = tf.function(generate, autograph=False, jit_compile=True) if jit else generate
    return lambda: call()[0, -1, 0].numpy()


def streaming_call(model: DVAE, x: Any, jit: bool) -> Callable[[], Any] | None:
    """Some frames of one sequence, one by one, state handed on; None if the model cannot do that."""
    if not getattr(model, "causal", False):
        return None
    one = [tf.constant(x[:1, t % x.shape[1]]) for t in range(STREAMED_FRAMES)]
    step = tf.function(model.step, autograph=False, jit_compile=True) if jit else model.step

    def stream() -> Any:
        state = model.initial_state(1)
        for frame in one:
            out = step(state, frame)
            state = out.state
        return out.log_px.numpy()

    return stream


def matmul_call() -> tuple[Callable[[], Any], int]:
    """The float32 product of square matrices with the highest rate here, and its multiply-adds."""
    product = tf.function(lambda a: tf.matmul(a, a)[0, 0])

    def run(a: tf.Tensor) -> Any:
        return product(a).numpy()

    calls = {n: functools.partial(run, tf.random.stateless_normal([n, n], [0, n])) for n in MATMUL_SIZES}
    for call in calls.values():
        call()
    rates = {n: n**3 / min(_time(call) for _ in range(3)) for n, call in calls.items()}
    best = max(rates, key=rates.get)
    return calls[best], best**3


def _time(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure_times(model: str, size: str, seconds: float, jit: bool) -> dict[str, Any]:
    """What `measure` returns, measured here. All calls take turns with the matrix product for `seconds`."""
    shape, before = SIZES[size], peak_mib()
    x = frames(shape)
    built = build_model(model, shape, jit)
    data = batches(x)
    train = train_call(built, data)
    train(), train()
    peak = peak_mib() - before
    calls = {
        "evaluation": evaluation_call(built, data),
        "generation": generation_call(built, shape.batch_size, shape.length, jit),
        "streaming": streaming_call(built, x, jit),
    }
    calls = {k: v for k, v in calls.items() if v is not None}
    for call in calls.values():
        call()
    product, product_multiply_adds = matmul_call()
    multiply_adds = train_step_multiply_adds(built, shape.batch_size, shape.length)

    taken: dict[str, list[float]] = {k: [] for k in ("rate", "train", "share", *calls)}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken["train"]) < 5:
        before_step, step, after_step = _time(product), _time(train), _time(product)
        rate = 2.0 * product_multiply_adds / (before_step + after_step)
        taken["rate"].append(rate)
        taken["train"].append(step)
        taken["share"].append(multiply_adds / step / rate)
        for name, call in calls.items():
            taken[name].append(_time(call))
    result = {k: statistics.median(v) for k, v in taken.items()}
    result["streaming"] = result["streaming"] / STREAMED_FRAMES if "streaming" in result else None
    per_frame = multiply_adds / (shape.batch_size * shape.length)
    return result | {"multiply_adds": per_frame, "peak_mib": peak, "rounds": len(taken["train"])}


def measure_peak(
    model: str, size: str, batch_size: int, length: int, jit: bool, truncate: int | None = None
) -> dict[str, Any]:
    """What `measure_memory` returns, measured here."""
    shape = SIZES[size]._replace(batch_size=batch_size, length=length)
    before = peak_mib()
    made, x = build_model(model, shape, jit), frames(shape)
    if truncate is None:
        train = train_call(made, batches(x))
    else:
        made.compile(made.optimizer, stateful=True, jit_compile=jit)
        windows = window_batches(from_arrays(x), batch_size, truncate)
        del x

        def train() -> None:
            made.fit(windows, verbose=0)

    train()
    seconds = _time(train)
    peak = peak_mib()
    return {"peak_mib": peak - before, "total_mib": peak, "train": seconds}


def main(request: dict[str, Any]) -> None:
    """Measures what `request` asks for and prints it as the last line of standard output."""
    kinds = {"times": measure_times, "memory": measure_peak, "deployment": measure_here}
    kind = kinds[request.pop("what")]
    print(json.dumps(kind(**request)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
