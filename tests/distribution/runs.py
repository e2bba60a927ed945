"""Trainings of tiny models on one device and on replicas; they run in a `child.Child`."""

import contextlib
import functools
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.callbacks import BestWeights, KLWarmup, Phases, Resume, ScheduledSampling
from tfdvae.data import batches, from_arrays, steps_per_epoch

__all__ = [
    "Found",
    "by_batch",
    "by_prior",
    "clipped",
    "compile_error",
    "decayed",
    "interrupted",
    "mixed_precision",
    "overflow",
    "parameter_server_error",
    "sampling",
    "scaled",
    "scope_errors",
    "sgd",
    "trained",
]

LENGTH = 5


class Found(NamedTuple):
    """What a training leaves behind."""

    before: list[np.ndarray]
    weights: list[np.ndarray]
    logs: dict[str, list[float]]
    evaluated: dict[str, float]
    predicted: np.ndarray
    scale: float


def scope(replicas: int, eagerly: bool = False) -> contextlib.AbstractContextManager:
    """Of one process (0), or of a strategy with that many replicas."""
    if not replicas:
        return contextlib.nullcontext()
    return strategy(replicas, eagerly).scope()


@functools.cache
def strategy(replicas: int, eagerly: bool = False) -> tf.distribute.MirroredStrategy:
    """One for all runs of a process: TensorFlow numbers sums by strategy, and those of two over one device meet."""
    # Without a graph the default, collectives, takes a thread per device and sum, which costs more than all else.
    sums = tf.distribute.ReductionToOneDevice() if eagerly else None
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)], sums)


def rows(name: str, count: int) -> dict[str, np.ndarray]:
    """Sequences of unequal lengths, masked by booleans."""
    data = {key: np.nan_to_num(value[:count]) for key, value in cases.training_data(name, length=LENGTH).items()}
    lengths = np.random.default_rng(0).integers(1, LENGTH + 1, size=(count, 1))
    lengths[0] = LENGTH
    return {**data, "mask": np.arange(LENGTH) < lengths}


def made(name: str, replicas: int, optimizer: Callable, table: int = 0, **options: Any) -> tfdvae.DVAE:
    with scope(replicas, options.get("run_eagerly", False)):
        model = cases.make(name, randomise=False, **({"num_sequences": table} if table else {}))
        model.compile(optimizer(), **options)
    return model


def sgd() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.1)


def clipped() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.1, global_clipnorm=0.5)


def decayed() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.1, momentum=0.5, weight_decay=0.1)


def scaled() -> keras.optimizers.Optimizer:
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**10)


def trained(
    name: str,
    replicas: int,
    count: int = 4,
    batch_size: int = 3,
    weighed: bool = False,
    table: bool = False,
    optimizer: Callable = sgd,
    callbacks: tuple = (),
    **options: Any,
) -> Found:
    """An epoch, by default of a batch of 3 sequences and one of 1, so that a replica has less, and another none; with a
    `table` the model learns something of each of them."""
    model = made(name, replicas, optimizer, count if table else 0, **options)
    data = rows(name, count)
    model.build_for(data["x"].shape[-1], data["u"].shape[-1] if "u" in data else 0)
    before = model.get_weights()
    given = {**data, "sample_weight": np.linspace(0.2, 2.0, count, dtype=np.float32)} if weighed else data
    given = {**given, "sequence_index": np.arange(count)[::-1]} if table else given
    logs = model.fit(
        given, batch_size=batch_size, shuffle=False, verbose=0, callbacks=[make() for make in callbacks]
    ).history
    weights = model.get_weights()
    evaluated = model.evaluate(data, batch_size=batch_size, verbose=0, return_dict=True)
    predicted = model.predict(data, batch_size=batch_size, verbose=0)
    return Found(before, weights, logs, evaluated, predicted, loss_scale(model))


def by_batch(replicas: int) -> tuple[list[np.ndarray], dict[str, float], dict[str, float], np.ndarray]:
    """The verbs that take one batch of arrays."""
    model = made("vae", replicas, sgd, run_eagerly=True)
    data = rows("vae", 3)
    logs = model.train_on_batch(data, return_dict=True)
    tested = model.test_on_batch(data, return_dict=True)
    return model.get_weights(), logs, tested, model.predict_on_batch(data)


def overflow(replicas: int, optimizer: Callable) -> Found:
    """Of two batches the first is not finite in its last row, so on the last replica alone."""
    model = made("vae", replicas, optimizer, run_eagerly=True)
    data = rows("vae", 4)
    data["x"][1] *= 1e30
    model.build_for(data["x"].shape[-1])
    before = model.get_weights()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logs = model.fit(data, batch_size=2, shuffle=False, verbose=0).history
    logs["iterations"] = [int(model.optimizer.iterations.numpy())]
    return Found(before, model.get_weights(), logs, {}, np.zeros(0), loss_scale(model))


def loss_scale(model: tfdvae.DVAE) -> float:
    found = getattr(model.optimizer, "dynamic_scale", None)
    return 1.0 if found is None else float(found.numpy())


def mixed_precision(replicas: int) -> Found:
    """Half precision, whose optimizer scales the loss."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return trained("vae", replicas, optimizer=scaled, run_eagerly=True)
    finally:
        keras.config.set_dtype_policy("float32")


class Stop(keras.callbacks.Callback):
    """A plug pulled in the middle of the second epoch."""

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        if self.model.optimizer.iterations.numpy() >= 3:
            raise KeyboardInterrupt


def interrupted(folder: Path, replicas: int, stop: bool) -> tuple[list[np.ndarray], dict[str, list[float]]]:
    """What a user runs, and runs again: weights, those of the optimizer, and history."""
    model = made("vae", replicas, lambda: keras.optimizers.Adam(0.01), run_eagerly=True)
    rng = np.random.default_rng(0)
    data = from_arrays([rng.normal(size=(rng.integers(2, 6), 4)).astype(np.float32) for _ in range(5)])
    model.build_for(4)
    best = BestWeights(path=folder / "best.weights.h5", patience=5)
    resume = Resume(folder / "checkpoints", [best])
    left = resume.epochs(2)
    try:
        history = model.fit(
            batches(data, 3, seed=1, epochs=left or 1),
            steps_per_epoch=steps_per_epoch(data, 3),
            initial_epoch=left.start,
            epochs=left.stop,
            validation_data=batches(data, 4),
            verbose=0,
            callbacks=[KLWarmup(2), best, resume, *([Stop()] if stop else [])],
        ).history
    except KeyboardInterrupt:
        return [], {}
    saved = tfdvae.VAE.from_config(model.get_config())
    saved.build_for(4)
    saved.load_weights(folder / "best.weights.h5")
    np.testing.assert_equal([*saved.get_weights()], model.get_weights())
    return [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)], history


def sampling() -> keras.callbacks.Callback:
    return ScheduledSampling(1, stairs=1)


def by_prior() -> keras.callbacks.Callback:
    return Phases(1, 0)


def compile_error(replicas: int, **options: Any) -> str:
    """What `compile` says to options that replicas cannot have."""
    with scope(replicas):
        model = cases.make("vae")
        inner = options.pop("inner", None)
        try:
            model.compile(keras.optimizers.SGD(0.1, **inner) if inner else "sgd", **options)
        except ValueError as error:
            return str(error)
    return ""


def scope_errors() -> dict[str, str]:
    """What is said where a strategy, a model and an optimizer do not belong together."""
    found = {}
    outside = cases.make("vae")
    outside.compile("sgd")
    optimizer = keras.optimizers.SGD(0.1)
    with strategy(2).scope():
        inside = cases.make("vae")

        def attempt(name: str, call: Callable, *args: Any) -> None:
            try:
                call(*args)
            except ValueError as error:
                found[name] = str(error)

        attempt("fit", outside.fit, rows("vae", 2))
        attempt("compile", outside.compile, "sgd")
        attempt("optimizer", inside.compile, optimizer)
    with tf.distribute.experimental.CentralStorageStrategy(["CPU:0", "CPU:1"]).scope():
        attempt("central storage", cases.make("vae").compile, "sgd")
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=["cpu:0", "cpu:1"]))
    try:
        attempt("keras", outside.compile, "sgd")
    finally:
        keras.distribution.set_distribution(None)
    return found


def parameter_server_error() -> str:
    """What `compile` says under a ParameterServerStrategy, in a cluster within this process."""
    ports = [socket.socket() for _ in range(2)]
    for port in ports:
        port.bind(("localhost", 0))
    names = [f"localhost:{port.getsockname()[1]}" for port in ports]
    for port in ports:
        port.close()
    cluster = tf.train.ClusterSpec({"worker": names[:1], "ps": names[1:]})
    servers = [tf.distribute.Server(cluster, job_name=job, task_index=0) for job in ("worker", "ps")]
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, rpc_layer="grpc")
    with tf.distribute.ParameterServerStrategy(resolver).scope():
        try:
            cases.make("vae").compile("sgd")
        except ValueError as error:
            return str(error)
    return f"{len(servers)} servers, and no error"
