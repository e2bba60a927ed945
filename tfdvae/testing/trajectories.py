"""What a path must be: shapes and dtypes of the contract, finite, of each sequence alone, with the densities of its

families."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.families import Categorical, CategoricalGroups, DiagonalGaussian, TriangularGaussian
from tfdvae.testing.comparing import assert_close, drawn, require, require_finite
from tfdvae.testing.sequences import BATCH, LENGTH, each, frames, noise
from tfdvae.types import Batch, Gaussian

__all__ = ["check_densities", "check_modes", "check_separate", "check_trajectory"]


def check_trajectory(model: Any, size: int = BATCH, length: int = LENGTH) -> None:
    """Names, shapes, dtypes and finiteness of a Trajectory and of its terms."""
    batch = frames(model, size, length)
    path = model.infer(*batch, noise=noise(model, size, length))
    names = [latent.name for latent in model.latents]
    require(list(path.latents) == names, f"latents of the path are {list(path.latents)}, declared are {names}")
    terms = model.terms(path, batch)
    require(list(terms.latents) == names, f"latents of the terms are {list(terms.latents)}, declared are {names}")
    for latent in model.latents:
        _check_latent(latent, path.latents[latent.name], terms.latents[latent.name], size, length)
    _require_shape(path.x, (size, length, model.frames.params_dim), "parameters of p(x_t | .)")
    require(path.x.dtype == tf.float32, f"parameters of p(x_t | .) are {path.x.dtype.name}, not float32")
    require_finite(path.x, "parameters of p(x_t | .)")
    for name, y in path.penalties.items():
        _require_shape(y, (size, length), f"the penalty {name!r}")
    for name in ("log_px", "log_ratio", "kl", "penalty", "weight"):
        _require_shape(getattr(terms, name), (size, length), f"`{name}` of the terms")
    for name in ("sequence_kl", "sequence_log_ratio"):
        _require_shape(getattr(terms, name), (size,), f"`{name}` of the terms")


def _check_latent(latent: Any, found: Any, terms: Any, size: int, length: int) -> None:
    what, lead = f"latent {latent.name!r}", (size, length) if latent.of_frame else (size,)
    _require_shape(found.z, (*lead, latent.latent_dim), f"sample of {what}")
    for of, family, dist in (("posterior", latent.q, found.q), ("prior", latent.p, found.p)):
        for y in tf.nest.flatten(dist):
            require(y.dtype == tf.float32, f"{of} of {what} is {y.dtype.name}, not float32")
            require(tuple(y.shape[: len(lead)]) == lead, f"{of} of {what} has shape {tuple(y.shape)}, not {lead} first")
            require_finite(y, f"{of} of {what}")
        if isinstance(family, DiagonalGaussian):
            for name, y in dist._asdict().items():
                _require_shape(y, (*lead, latent.latent_dim), f"{name} of the {of} of {what}")
            require((dist.scale.numpy() > 0).all(), f"{of} of {what} has a scale that is not positive")
    require(found.z.dtype == tf.float32, f"sample of {what} is {found.z.dtype.name}, not float32")
    require_finite(found.z, f"sample of {what}")
    require(0.0 < latent.share <= 1.0, f"`share` of {what} is {latent.share}, not in (0, 1]")
    log_p, log_q, kl = terms
    for name, y in (("log p", log_p), ("log q", log_q)):
        _require_shape(y, lead, f"{name} of {what}")
    _require_shape(kl, (*lead, latent.kl_groups), f"KL of {what}")
    if all(isinstance(family, DiagonalGaussian) for family in (latent.p, latent.q)):
        require((kl.numpy() >= 0).all(), f"KL of {what} is negative somewhere")


def _require_shape(y: tf.Tensor, shape: tuple[int, ...], what: str) -> None:
    require(tuple(y.shape) == shape, f"{what} has shape {tuple(y.shape)}, expected {shape}")


def check_separate(model: Any) -> None:
    """Sequences of a batch do not see each other."""
    batch, own = frames(model), noise(model)
    order = [2, 0, 1]
    moved = Batch(*(None if y is None else tf.gather(y, order) for y in batch))
    path, other = model.infer(*batch, own), model.infer(*moved, each(lambda n: tf.gather(n, order), own))
    for a, b in ((drawn(path), drawn(other)), (path.x, other.x)):
        expected = tf.nest.map_structure(lambda y: tf.gather(y, order), a)
        assert_close(b, expected, what="sequences in another order")
    alone = model.infer(*(None if y is None else y[1:2] for y in batch), each(lambda n: n[1:2], own))
    expected = each(lambda y: y[1:2], [drawn(path), path.x])
    assert_close([drawn(alone), alone.x], expected, what="a sequence alone, and among others")


def check_modes(model: Any) -> None:
    """Without noise the path is that of the posterior modes."""
    path = model.infer(*frames(model))
    for latent in model.latents:
        found = path.latents[latent.name]
        assert_close(found.z, latent.q.mode(found.q), what=f"sample of {latent.name!r} without noise, and the mode")
        if isinstance(latent.q, DiagonalGaussian):
            assert_close(found.z, found.q.loc, what=f"sample of {latent.name!r} without noise, and the mean")
    if all(latent.q.noise_kind == "normal" for latent in model.latents):
        zero = model.infer(*frames(model), each(tf.zeros_like, noise(model)))
        found = [drawn(path), path.x, path.penalties]
        assert_close(found, [drawn(zero), zero.x, zero.penalties], what="no noise, and noise of zeros")


def check_densities(model: Any) -> None:
    """log p and log q are those of the families, Gaussians and categoricals by their formulas, times the share of each
    latent.

    A latent of segments counts once per segment, at frames that other tests name; it is left out here.
    """
    batch = frames(model)
    path = model.infer(*batch, noise(model))
    terms = model.terms(path, batch)
    per_frame, per_sequence = np.zeros((BATCH, LENGTH), np.float32), np.zeros(BATCH, np.float32)
    counted = [latent for latent in model.latents if latent.level != "segment"]
    for latent in counted:
        z, q, p = path.latents[latent.name][:3]
        pairs = ((latent.p, p), (latent.q, q))
        expected = [np.float32(latent.share) * _log_prob(family, dist, z) for family, dist in pairs]
        if path.latents[latent.name].terms is None or isinstance(latent.q, DiagonalGaussian):
            found = list(terms.latents[latent.name][:2])
            assert_close(found, expected, 1e-4, what=f"log p and log q of {latent.name!r}")
        if latent.of_frame:
            per_frame += expected[0] - expected[1]
        else:
            per_sequence += expected[0] - expected[1]
        if not latent.of_frame and latent.prior is None and isinstance(latent.p, DiagonalGaussian):
            fixed = p is not q and (np.asarray(p.loc) == 0.0).all() and (np.asarray(p.scale) == 1.0).all()
            require(fixed, f"prior of {latent.name!r} is not N(0, I), which `prior=None` says")
    if len(counted) == len(model.latents):
        assert_close(terms.log_ratio, per_frame, 1e-4, what="`log_ratio` of the terms")
        assert_close(terms.sequence_log_ratio, per_sequence, 1e-4, what="`sequence_log_ratio` of the terms")


def _log_prob(family: Any, dist: Any, z: tf.Tensor) -> np.ndarray:
    if isinstance(family, DiagonalGaussian):
        return _log_normal(z.numpy(), dist)
    if isinstance(family, Categorical):
        return _log_chosen(family, z.numpy(), dist)
    if isinstance(family, TriangularGaussian):
        return _log_correlated(z.numpy(), dist)
    return np.asarray(family.log_prob(dist, z))


def _log_correlated(z: np.ndarray, dist: Any) -> np.ndarray:
    """By inverse and determinant of the covariance."""
    factor, off = np.float64(dist.scale_tril), np.float64(z - dist.loc)
    covariance = factor @ np.swapaxes(factor, -1, -2)
    squares = np.einsum("...i,...ij,...j->...", off, np.linalg.inv(covariance), off)
    return np.float32(-0.5 * (squares + np.linalg.slogdet(2.0 * np.pi * covariance)[1]))


def _log_chosen(family: Categorical, z: np.ndarray, dist: CategoricalGroups) -> np.ndarray:
    """The log-probabilities of the classes that are on, one in each group."""
    shape = (*z.shape[:-1], family.num_groups, family.classes)
    log_p, one_hot = np.reshape(dist.logits, shape), np.reshape(z, shape)
    require(np.allclose(np.exp(log_p).sum(-1), 1.0, atol=1e-5), "probabilities of a group do not add up to one")
    require(((one_hot == 1.0).sum(-1) == 1).all() and (one_hot != 0.0).sum() == log_p[..., 0].size, "z is not one-hot")
    return np.take_along_axis(log_p, one_hot.argmax(-1)[..., None], axis=-1)[..., 0].sum(-1).astype("float32")


def _log_normal(z: np.ndarray, dist: Gaussian) -> np.ndarray:
    loc, scale = np.asarray(dist.loc), np.asarray(dist.scale)
    return (-0.5 * ((z - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)).sum(-1).astype("float32")
