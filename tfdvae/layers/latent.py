"""How a model declares its latent variables: by name, level, family and equations, in the order of drawing."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae import families, random
from tfdvae.families import Family
from tfdvae.types import Averaged, LatentPath, LatentTerms, State

__all__ = [
    "LEVELS",
    "DeclaresLatents",
    "Evidence",
    "Latent",
    "check_latents",
    "check_state",
    "counted_frames",
    "hold_over_segments",
    "latent_terms",
    "no_state",
]

LEVELS = ("dataset", "sequence", "segment", "frame")
"""How often a latent variable exists, from the rarest to the most frequent."""

RESERVED = ("x", "u", "mask", "observed", "context", "mean", "stddev", "seed", "state", "noise", "elbo", "log_prob")


class Evidence(NamedTuple):
    """What inference knows of right-padded sequences before the loop over their frames.

    Attributes:
        x: frames as the networks see them, `[B, T, E]`; zero in the padding.
        e: what later frames need of them (`StochasticCell.embed`), a nest of `[B, T, .]`.
        c: inputs and context as the model sees them (`embed_u`), `[B, T, .]`, or None.
        mask: `[B, T]`, or None where all frames exist.
        state: the state before the first frame; latents of the sequence join it as they are drawn.
        latents: samples `[B, T, Z]`, by name, of the latents of frames and segments that were drawn already.
        overview: what several posteriors read (`StochasticCell.overview`), made once.
        opened: for `encode` of cells whose frames open without a latent of the loop (`loop_state`): the state at the
            opening of every frame, `[B, T, .]`.
    """

    x: tf.Tensor
    e: Any
    c: Any
    mask: tf.Tensor | None
    state: State
    latents: dict[str, tf.Tensor] = {}
    opened: State | None = None
    overview: Any = None


class Latent(NamedTuple):
    """One latent variable of a model, and its equations.

    Attributes:
        name: what verbs, metrics, plots and signatures call it.
        p, q: families of its prior and of its posterior, over vectors of the same width.
        posterior: of a latent of the loop, `(state, g) -> parameters of q`, after `absorb_u` and after the latents
            before it; of one that is `ahead` and of a segment or sequence, `(evidence) -> parameters`, `[B, T, .]`,
            `[B, S, .]` for S segments, or `[B, .]`; of a data set, `(number of sequences) -> parameters` `[B, .]`.
        absorb: `(state, z) -> state`, z is known now.
        prior: `(state) -> parameters of p`; None: the family's fixed one, N(0, I) or uniform. That of a latent outside
            of the loop may read latents of the sequence alone.
        level: one of `LEVELS`. A latent of the data set has a posterior that no sequence changes and that stands in
            for its prior where sequences are drawn; each sequence bears `share` of its divergence.
        ahead: a latent of frames whose posterior sees no other latent of the loop but is seen by their posteriors at
            earlier frames as well: it is drawn for all frames at once, before the loop.
        mean_field: a latent of the loop whose posterior reads `g` alone, not the state, so that it needs no loop.
        within_frame: a latent of the loop whose posterior reads of the state only what hangs on no latent of an earlier
            frame (but on those of a mean field): on x, on u, and on latents of its own frame. It needs no loop either.
        reads: entries of the state that `prior` reads. The loop keeps them, and the prior runs once for all frames.
        share: the part of its divergence that one sequence bears.
        segment: frames of a segment.
        average: of a latent of the loop, `(state, g) -> Averaged`, with the state that `prior` reads: its KL is a mean
            over the values of a discrete latent, in place of the KL given the value that was drawn.
    """

    name: str
    p: Family
    q: Family
    posterior: Callable[..., Any]
    absorb: Callable[[State, tf.Tensor], State]
    prior: Callable[[State], Any] | None = None
    level: str = "frame"
    ahead: bool = False
    mean_field: bool = False
    within_frame: bool = False
    reads: tuple[str, ...] = ()
    share: float = 1.0
    segment: int = 0
    average: Callable[[State, Any], Averaged] | None = None

    @property
    def of_frame(self) -> bool:
        """Whether every frame has a value of it, be it the same for a whole segment."""
        return self.level in ("frame", "segment")

    @property
    def in_loop(self) -> bool:
        """Whether it is drawn within the loop over frames where it is inferred."""
        return self.level == "frame" and not self.ahead

    @property
    def latent_dim(self) -> int:
        """Z."""
        return self.p.latent_dim

    @property
    def kl_groups(self) -> int:
        """G, how many terms its KL has."""
        return families.kl_groups(self.q, self.p)

    def prior_of(self, state: State, like: tf.Tensor) -> Any:
        """Parameters of p, from the state or, where the prior is fixed, with the leading axes of `like` `[..., F]`."""
        return self.p.standard(like) if self.prior is None else self.prior(state)

    def path(self, state: State, g: Any, z: tf.Tensor, q: Any, noise: tf.Tensor | None) -> LatentPath:
        """What one of the loop is along a path, in the state in which it was drawn."""
        average = None if self.average is None else self.average(state, g)
        return LatentPath(z, q, self.prior_of(state, z), noise, average=average)

    def noise_shape(self, size: tf.Tensor | int, length: tf.Tensor | int) -> list:
        """Of the noise of a path: `[B, T, n]`, or `[B, n]`."""
        return [size, length, self.q.noise_dim] if self.of_frame else [size, self.q.noise_dim]

    def draw_noise(self, seed: tf.Tensor, size: tf.Tensor | int, length: tf.Tensor | int) -> tf.Tensor:
        """That noise, of the kind that q takes."""
        draw = {"normal": random.normal, "uniform": random.uniform}[self.q.noise_kind]
        return draw(random.fold_in(seed, self.name), self.noise_shape(size, length))


class DeclaresLatents:
    """What follows from a declaration of latent variables, for cells and for models."""

    @property
    def latents(self) -> tuple[Latent, ...]:
        """The latent variables, in the order in which they are drawn."""
        raise NotImplementedError(f"{type(self).__name__} does not declare its `latents`.")

    @property
    def has_latents(self) -> bool:
        """Whether there is anything to infer; without, every bound is the log-likelihood."""
        return bool(self.latents)

    @property
    def loop_latents(self) -> tuple[Latent, ...]:
        """Those that are inferred within the loop over frames."""
        return tuple(latent for latent in self.latents if latent.in_loop)

    @property
    def frame_latents(self) -> tuple[Latent, ...]:
        """Those that every frame has a value of, those of segments included."""
        return tuple(latent for latent in self.latents if latent.of_frame)

    @property
    def sequence_latents(self) -> tuple[Latent, ...]:
        """Those that exist once per sequence or once per data set."""
        return tuple(latent for latent in self.latents if not latent.of_frame)


def check_latents(latents: tuple[Latent, ...], model: str, states: Sequence[str] = ()) -> None:
    """Raises ValueError where a declaration cannot be right; `states` are told beside the latents, by other names."""
    names = [*(latent.name for latent in latents), *states]
    for latent in latents:
        what = f"The latent {latent.name!r} of {model}"
        if latent.level not in LEVELS:
            raise ValueError(f"{what} has the level {latent.level!r}: expected one of {', '.join(LEVELS)}.")
        if names.count(latent.name) > 1 or latent.name in RESERVED or not latent.name.isidentifier():
            raise ValueError(f"{what} needs a name of its own: an identifier, and none of {', '.join(RESERVED)}.")
        if (latent.level == "segment") != (latent.segment > 0):
            raise ValueError(f"{what} needs `segment`, frames of a segment, at the level 'segment' and there alone.")
        own, other = ((f.latent_dim, f.noise_kind, f.noise_dim) for f in (latent.p, latent.q))
        if own != other:
            raise ValueError(
                f"{what} has a prior over {latent.p.latent_dim} and a posterior over {latent.q.latent_dim} dimensions, "
                f"drawn from {latent.p.noise_kind} and {latent.q.noise_kind} noise: both must agree."
            )


def check_state(state: State, model: str) -> None:
    """Raises ValueError where a cell's state has entries under which models keep what stands beside it."""
    taken = sorted({"context", "last", "segments"} & set(state))
    if taken:
        raise ValueError(
            f"The state of {model} has entries {', '.join(map(repr, taken))}, under which models keep what stands "
            "beside it: rename them."
        )


def no_state(state: State, z: tf.Tensor) -> State:
    """`absorb` of latents whose priors hang on whole paths, so that no state passes from frame to frame."""
    return state


def hold_over_segments(x: tf.Tensor, segment: int, length: tf.Tensor | int) -> tf.Tensor:
    """What belongs to each segment, `[B, S, .]`, at each of its frames: `[B, T, .]`."""
    held = tf.repeat(x, segment, axis=1)[:, :length]
    return tf.ensure_shape(held, [x.shape[0], length if isinstance(length, int) else None, *x.shape[2:]])


def counted_frames(latent: Latent, exists: tf.Tensor) -> tf.Tensor:
    """At which frames the terms of a latent count, `[B, T]` bool: at every one that exists, or at the last one of each
    segment, which may be cut short by the end of the sequence.
    """
    if latent.level != "segment":
        return exists
    index = tf.cumsum(tf.cast(exists, tf.int32), axis=1)
    last = index == tf.reduce_sum(tf.cast(exists, tf.int32), axis=1, keepdims=True)
    return exists & ((index % latent.segment == 0) | last)


def latent_terms(latent: Latent, path: LatentPath, balance: float | None = None) -> LatentTerms:
    """log p, log q and KL of one latent along a path, before masks and shares.

    Args:
        balance: alpha of KL balancing (Hafner et al. 2021): the KL has the gradient of alpha KL(sg q || p) +
            (1 - alpha) KL(q || sg p), and its own value; None is the plain KL.

    Raises:
        ValueError: a balance for terms that the model brings, in which q and p are not told apart.
    """
    if path.terms is not None:
        if balance is not None:
            raise ValueError(
                f"`kl_balance` divides the gradient of the KL between posterior and prior, which the closed form of "
                f"the whole path of {latent.name!r} does not tell apart: compile without it."
            )
        return path.terms
    q, p, z = path.q, path.p, path.z
    log_p, log_q = latent.p.log_prob(p, z), latent.q.log_prob(q, z, path.noise)
    weight, noise = (), path.noise
    if path.average is not None:
        weight, q, p = path.average
        z, noise = tf.expand_dims(z, -2), None
    if balance is not None:
        q, z, weight = tf.nest.map_structure(lambda y: _scale_gradient(y, 1.0 - balance), (q, z, weight))
        p = tf.nest.map_structure(lambda y: _scale_gradient(y, balance), p)
    kl = families.kl(latent.q, q, latent.p, p, z, noise)
    if path.average is not None:
        kl = tf.reduce_sum(tf.expand_dims(weight, -1) * kl, axis=-2)
    return LatentTerms(log_p, log_q, kl)


def _scale_gradient(x: tf.Tensor, factor: float) -> tf.Tensor:
    """x, through which `factor` times the gradient passes."""
    return factor * x + tf.stop_gradient((1.0 - factor) * x)
