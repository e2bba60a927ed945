"""Keras' verbs on data: fit, evaluate, predict, each on batches as well. All data pass one gate here, `_checked`."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdvae import replicas, validation
from tfdvae.callbacks.skipped import SkippedBatches

__all__ = ["FittingMixin"]


class FittingMixin:
    """A model that is fitted, evaluated and asked for predictions as in Keras, without targets.

    Data are arrays, dicts of arrays, a tf.data.Dataset, a generator, or a PyDataset. Weights of sequences `[B]`, which
    weigh the loss of each, are `sample_weight`, or stand in each batch: as "sample_weight" in its dict, or as
    (x, None, weights). "sequence_index" `[B]` in the dict says which of the training sequences each one is, to models
    that learn something of each (`indexed_sequences`); only training reads it. "continues" `[B]` in the dict says which
    rows follow on the same rows of the batch before (`stateful` of `compile`).
    """

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As in Keras. There are no targets: `y` must stay None, and `class_weight` with it.

        Where every batch of an epoch was skipped, since its gradient was not finite, the loss is NaN, and a warning
        says so.

        Raises:
            ValueError: for data that cannot be right, before anything else happens (see `tfdvae.validation`).
        """
        if not self.compiled:
            raise ValueError("Call `compile` before `fit`.")
        options = _by_name(super().fit, args, kwargs)
        if options.get("validation_data") is not None:
            options["validation_data"] = self._checked(options["validation_data"])
        given, x = (
            x,
            self._checked(x, y, options.pop("sample_weight", None), options.pop("class_weight", None), learning=True),
        )
        self._learn_about(given)
        self._stamp()
        if isinstance(x, Mapping) and "continues" in x:
            raise ValueError(
                "Arrays are cut into batches and shuffled by Keras, so that no row of a batch follows on that of the "
                'one before: pass "continues" in the batches of a Dataset, such as tfdvae.data.window_batches makes, '
                "of a generator or a PyDataset, or to `train_on_batch`."
            )
        if self.carried_by_fit is not None:
            self.carried_by_fit.reset()
        if not isinstance(x, Mapping | keras.utils.PyDataset):
            options.setdefault("shuffle", False)  # Keras warns otherwise: such sources shuffle themselves
        options["callbacks"] = _with_own(options.get("callbacks"), self.objective_metrics.directions)
        self._build_optimizer()
        return super().fit(x, None, **options)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As in Keras; see `fit`. The values are the plain bound and its parts, whatever weights training used."""
        options = _by_name(super().evaluate, args, kwargs)
        weights = options.pop("sample_weight", None)
        if not options.get("_use_cached_eval_dataset"):
            x = self._checked(x, y, weights)
        if self.carried_by_evaluate is not None:
            self.carried_by_evaluate.reset()
        return super().evaluate(x, None, **options)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """As in Keras: mean reconstructions `[N, T, D]`."""
        return super().predict(self._checked(x, weighed=False), *args, **kwargs)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """As in Keras, one step on arrays; see `fit`."""
        batch = self._one_batch(x, y, sample_weight, class_weight, learning=True)
        self._build_optimizer()
        return super().train_on_batch(batch, return_dict=return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """As in Keras, on arrays; see `evaluate`."""
        return super().test_on_batch(self._one_batch(x, y, sample_weight), return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> np.ndarray:
        """As in Keras: mean reconstructions of arrays, `[B, T, D]`."""
        return super().predict_on_batch(self._one_batch(x, weighed=False))

    def save(self, filepath: Any, overwrite: bool = True, **options: Any) -> None:
        """As in Keras, to a `.keras` file.

        Raises:
            ValueError: another ending. Keras would write `.h5` and `.hdf5` files, which it cannot load again.
        """
        if str(os.fspath(filepath)).endswith((".h5", ".hdf5")):
            raise ValueError(
                f"A DVAE is saved as '.keras', and its weights alone by `save_weights` as '.weights.h5'; got "
                f"{filepath}."
            )
        super().save(filepath, overwrite=overwrite, **options)

    # The gate.

    def _checked(
        self,
        data: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        weighed: bool = True,
        learning: bool = False,
    ) -> Any:
        """Data as Keras takes them, each batch a dict, checked; the model built for them.

        Args:
            weighed: whether weights of sequences have a meaning.
            learning: whether the model learns from them, and must know which of its training sequences these are.

        Raises:
            ValueError: targets, weights of classes, data of an unknown kind, or such as cannot be right.
        """
        replicas.check_scope(self.distribute_strategy, self.verb_seeds.state, "This model")
        if y is not None:
            raise ValueError(validation.NO_TARGETS)
        if class_weight is not None:
            raise ValueError(
                "A DVAE has no targets whose classes `class_weight` could weigh: weigh sequences by `sample_weight`."
            )
        if isinstance(data, tf.data.Dataset | keras.utils.PyDataset | Iterator) and sample_weight is not None:
            raise ValueError(
                "Weights of sequences belong into the batches of a Dataset, a generator or a PyDataset, as "
                "'sample_weight' beside 'x' or as (x, None, weights), not beside them."
            )

        def one(batch: Any) -> dict[str, np.ndarray]:
            return self._checked_arrays(batch, weighed=weighed)

        if isinstance(data, tf.data.Dataset):
            checked = validation.check_dataset(data, self.built_sizes, self.missing, self.frames)
            first = checked.element_spec
            self._check_weighed(first, weighed)
        elif isinstance(data, keras.utils.PyDataset):
            checked = validation.CheckedPyDataset(data, one)
            first = checked.first()
        elif isinstance(data, Iterator):
            first, checked = validation.first_of(data, one)
        else:
            checked = first = self._checked_arrays(data, sample_weight, weighed)
        batch, beside = validation.as_training_data(first)
        if learning:
            self._check_indexed(beside)
        if weighed:
            self._check_continued(beside, learning)
        self.build_as(batch)
        if beside.continues is not None:
            self._make_room(checked, beside.continues.shape[0], learning)
        return checked

    def _check_indexed(self, beside: validation.Beside) -> None:
        """Raises ValueError where nobody says which training sequences these are, to a model that learns something of
        each."""
        if beside.sequence_index is None and self.indexed_sequences:
            raise ValueError(
                f"{type(self).__name__} learns something of each of {self.indexed_sequences} training sequences: say "
                'which they are, by "sequence_index" of shape [batch] beside "x" in the data.'
            )

    def _checked_arrays(self, data: Any, sample_weight: Any = None, weighed: bool = True) -> dict[str, np.ndarray]:
        """Arrays as one dict, checked."""
        given, beside = validation.as_training_data(data, sample_weight)
        batch = validation.check_arrays(given, self.built_sizes, self.missing, self.frames)
        found = validation.named(batch, validation.check_beside(beside, batch, self.built_sizes))
        self._check_weighed(found, weighed)
        return found

    def _check_continued(self, beside: validation.Beside, learning: bool) -> None:
        """Raises ValueError where nobody says which rows go on from batch to batch, or where none can."""
        stateful = self.compiled and self.stateful
        if learning and stateful and beside.continues is None:
            raise ValueError(
                "The model was compiled with stateful=True: say which rows of a batch follow on those of the batch "
                'before, by "continues" of shape [batch] beside "x", as tfdvae.data.window_batches does.'
            )
        if beside.continues is not None and not stateful:
            raise ValueError(
                'Sequences go on from batch to batch, as "continues" says, in `fit` and `evaluate` of a model that was '
                "compiled with stateful=True; elsewhere leave it out."
            )

    def _make_room(self, data: Any, rows: int | None, learning: bool) -> None:
        """Variables for the states after batches of so many rows, or of as many as the first batch of a Dataset has."""
        rows = len(next(iter(data.take(1)))["continues"]) if rows is None else rows
        held = self.carried_by_fit if learning else self.carried_by_evaluate
        if held is not None and held.size >= rows:
            return
        made = self.carried(rows)
        if held is not None:
            made.take(held)
        # Keras' functions have the variables in them that were there when they were traced.
        if learning:
            self.carried_by_fit, self.train_function = made, None
        else:
            self.carried_by_evaluate, self.test_function = made, None

    def _one_batch(self, x: Any, *others: Any, **options: Any) -> dict[str, np.ndarray]:
        """One batch of arrays, checked."""
        if isinstance(x, tf.data.Dataset | keras.utils.PyDataset | Iterator):
            raise ValueError(f"Expected one batch of frames [batch, time, features], got a {type(x).__name__}.")
        return replicas.dealt(self.distribute_strategy, self._checked(x, *others, **options))

    @staticmethod
    def _check_weighed(batch: Mapping[str, Any], weighed: bool) -> None:
        if not weighed and "sample_weight" in batch:
            raise ValueError("`predict` has no loss that `sample_weight` could weigh: leave it out.")
        if not weighed and "continues" in batch:
            raise ValueError("`predict` takes sequences as wholes, none of which goes on: leave out `continues`.")

    def _build_optimizer(self) -> None:
        if self.compiled and self.built and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # Keras builds models of a strategy by the mean of a batch, which masks do not have, and which takes a batch
        # from a generator. The gate has built this one.
        pass


def _by_name(verb: Callable, args: tuple, options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of one of Keras' verbs after x and y, by their names."""
    names = list(inspect.signature(verb).parameters)[2:]
    return {**dict(zip(names, args, strict=False)), **options}


def _with_own(callbacks: Any, directions: Mapping[str, str]) -> Any:
    """Callbacks of `fit` with those that it always has, told which way is better for what they monitor."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    given = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks] if callbacks is not None else []
    for callback in given:
        # Keras looks for directions where it keeps its own metrics of `compile` alone.
        monitor = getattr(callback, "monitor", None)
        if getattr(callback, "mode", None) == "auto" and isinstance(monitor, str):
            callback.mode = directions.get(monitor.removeprefix("val_"), "auto")
    return [SkippedBatches(), *given]
