"""Latents as features in pipelines of scikit-learn (extra `sklearn`): `import tfdvae.representations`."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfdvae.arguments import whole
from tfdvae.data.batching import shuffled
from tfdvae.data.sequences import Sequences, from_arrays, pad
from tfdvae.models import DVAE, MODELS

try:
    from sklearn.base import BaseEstimator, TransformerMixin
except ImportError:
    BaseEstimator, TransformerMixin = object, None

__all__ = ["POOLS", "LatentFeatures", "pooled"]


def _last(means: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return means[np.arange(len(means)), mask.sum(axis=1) - 1]


def _mean(means: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return (means * mask[..., None]).sum(axis=1) / mask.sum(axis=1)[:, None]


def _deviation(means: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.sqrt(_mean(np.square(means - _mean(means, mask)[:, None]), mask))


POOLS = {"mean": (_mean,), "last": (_last,), "mean_std": (_mean, _deviation)}
"""What is left of the latents of frames `[N, T, Z]`: their mean over the frames that exist, the last of them, or mean
and standard deviation."""


def pooled(frames: np.ndarray, mask: np.ndarray, pool: str = "mean_std") -> np.ndarray:
    """What `pool`, a name in POOLS, leaves of frames `[N, T, D]` of which those of `mask` `[N, T]` exist: float64."""
    return np.concatenate([way(np.asarray(frames, np.float64), mask) for way in POOLS[pool]], axis=-1)


class LatentFeatures(*(kind for kind in (TransformerMixin, BaseEstimator) if kind is not None)):
    """A DVAE as a transformer of scikit-learn: sequences go in, means of their latents come out.

    `fit` trains the model on sequences without labels; `transform` returns the posterior means of its latents, those of
    frames pooled over time, `[N, F]`; `score` is the log-likelihood, so that a grid search can choose a model.

    Sequences are an array `[N, T, D]`, or a list of N arrays `[T_i, D]`, which pipelines and cross-validation split.

    Args:
        model: a name in `tfdvae.MODELS`, trained by `fit`; or a trained model, which `fit` leaves as it is.
        options: arguments of the model, by name.
        pool: "mean", "last" or "mean_std" over the frames, see POOLS.
        latents: names of the latents to take; all by default.
        epochs, batch_size, learning_rate: of training by Adam.
        num_samples: of the log-likelihood that `score` estimates.
        seed: of weights, noise, and the order of sequences.

    Attributes:
        model_: the trained model, after `fit`.

    Raises:
        ImportError: scikit-learn is not installed.

    Example:
        features = LatentFeatures("srnn", {"latent_dim": 8, "units": 32}, pool="mean_std", epochs=50)
        classifier = make_pipeline(features, StandardScaler(), LogisticRegression())
        classifier.fit(train_sequences, train_labels).score(test_sequences, test_labels)
    """

    def __init__(
        self,
        model: str | DVAE = "vrnn",
        options: Mapping[str, Any] | None = None,
        *,
        pool: str = "mean",
        latents: Sequence[str] | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        num_samples: int = 16,
        seed: int = 0,
    ):
        if TransformerMixin is None:
            raise ImportError('LatentFeatures needs scikit-learn: pip install "tfdvae[sklearn]"')
        self.model = model
        self.options = options
        self.pool = pool
        self.latents = latents
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.num_samples = num_samples
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> "LatentFeatures":
        """Trains on the sequences; labels are not looked at.

        Raises:
            ValueError: an unknown model or pool, options of a trained model, or sequences that cannot be right.
        """
        if self.pool not in POOLS:
            raise ValueError(f"`pool` must be one of {', '.join(POOLS)}, got {self.pool!r}.")
        sequences = _sequences(X)
        if isinstance(self.model, DVAE):
            if self.options:
                raise ValueError("`options` are of a model that is given by its name; this one is made already.")
            model = self.model
        elif self.model in MODELS:
            model = MODELS[self.model](**{"observation": "gaussian", "seed": self.seed, **(self.options or {})})
            model.adapt(sequences)
            model.compile(keras.optimizers.Adam(self.learning_rate))
            model.fit(**shuffled(pad(sequences), self.batch_size, seed=self.seed, epochs=self.epochs), verbose=0)
        else:
            raise ValueError(f"`model` must be a model, or one of {', '.join(sorted(MODELS))}; got {self.model!r}.")
        model.build_for(sequences.features)
        known = [latent.name for latent in model.latents if latent.level != "dataset"]
        unknown = [name for name in self.latents or known if name not in known]
        if unknown or not known:
            raise ValueError(f"The latents of {type(model).__name__} are {known or 'none'}, asked for {self.latents}.")
        self.model_ = model
        self.n_features_in_ = sequences.features
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Posterior means of the latents, float32 `[N, F]`, in the order of `get_feature_names_out`.

        Raises:
            ValueError: before `fit`, or for sequences that cannot be right.
        """
        batches = self._batches(X)
        return np.concatenate([self._features(batch) for batch in batches]).astype(np.float32)

    def score(self, X: Any, y: Any = None) -> float:
        """Importance-sampled log-likelihood, nats per frame; higher is better.

        Raises:
            ValueError: before `fit`, or for sequences that cannot be right.
        """
        total = frames = 0.0
        for batch in self._batches(X):
            found = self.model_.log_prob(**batch, num_samples=self.num_samples, seed=self.seed)
            total, frames = total + float(np.sum(found)), frames + float(batch["mask"].sum())
        return total / frames

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names such as "z0_mean": latent, entry, and what it was pooled by; of latents of sequences "v0"."""
        names = []
        for latent in self._chosen():
            ways = [way.__name__ for way in POOLS[self.pool]] if latent.level in ("frame", "segment") else [""]
            names += [f"{latent.name}{i}{way}" for way in ways for i in range(latent.latent_dim)]
        return np.array(names, dtype=object)

    def _chosen(self) -> list[Any]:
        if not hasattr(self, "model_"):
            raise ValueError("Call `fit` first: it makes the model whose latents are the features.")
        wanted = self.latents
        return [x for x in self.model_.latents if (x.name in wanted if wanted else x.level != "dataset")]

    def _batches(self, X: Any) -> list[dict[str, np.ndarray]]:
        self._chosen()
        sequences = _sequences(X)._replace(index=None)
        size = whole("batch_size", self.batch_size, at_least=1)
        length = int(sequences.lengths.max())
        starts = range(0, sequences.num_sequences, size)
        return [pad(sequences.take(range(i, min(i + size, sequences.num_sequences))), length) for i in starts]

    def _features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        found = self.model_.encode(**batch)
        columns = []
        for latent in self._chosen():
            means = np.asarray(latent.q.mean(found[latent.name]), np.float64)
            columns.append(means if means.ndim == 2 else pooled(means, batch["mask"], self.pool))
        return np.concatenate(columns, axis=-1)

    def __sklearn_clone__(self) -> "LatentFeatures":
        """The same without what `fit` found. A trained model is shared: it is not trained further."""
        return type(self)(**self.get_params(deep=False))


def _sequences(X: Any) -> Sequences:
    """Sequences as pipelines hold them: an array, a list, or an array of objects."""
    if isinstance(X, Sequences):
        return X
    return from_arrays(list(X) if isinstance(X, np.ndarray) and X.dtype == object else X)
