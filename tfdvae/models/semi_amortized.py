"""Semi-amortised training: gradient steps from the networks' posterior, and the bound where they end.

Kim, Wiseman, Miller, Sontag and Rush, Semi-Amortized Variational Autoencoders (2018). A latent is a
function of noise eps ~ N(0, I), and lambda = (m, s) is another law N(m, s^2) of it, as `refine` moves it; the networks
say lambda_0 = (0, 1). For k < K steps

    lambda_{k+1} = lambda_k + alpha d/dlambda ELBO(lambda_k; theta, phi),

and what is trained is the bound at lambda_K. Its gradient passes through all K steps: theta, phi are
told what they do to where the steps end, which takes second derivatives of the model, of its loop included. So the
networks learn to start where the steps end well, and p(x | z) meets posteriors that are nearly as good as they can be.

Deviations: lambda is of the noise, so steps are in standard deviations of the networks' posterior, in which the bound
curves about as much in all directions: no momentum, a fixed rate, and a slope g enters as g / sqrt(1 + g^2), which
keeps a step shorter than the rate where the paper clips the norm. Second derivatives are exact, not by finite
differences. The steps climb E log p(x | z) - beta KL alone, with the weights of `beta` and `reconstruction_weight`;
what else `compile` asks for is of the bound where they end.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import tensorflow as tf

from tfdvae import random
from tfdvae.bounds import ELBO, Bound, Weighing
from tfdvae.families import Family
from tfdvae.models.moves import at_rest, moved_noise
from tfdvae.types import Batch, Move, StepTerms, Trajectory

if TYPE_CHECKING:
    from tfdvae.models import DVAE

__all__ = ["check", "terms_of_refined"]

_RATE = 0.3


def terms_of_refined(
    model: "DVAE", batch: Batch, seed: tf.Tensor, num_samples: int, weighing: Weighing, steps: int
) -> StepTerms:
    """Terms of K paths per sequence from posteriors that `steps` have moved, in adjacent rows: `[B * K, T]`.

    Gradients pass through the steps. Each draws noise of its own; the paths have that which they would have without.
    """
    packed, _ = model.pack(batch)
    size, length = packed.x.shape[0] or tf.shape(packed.x)[0], packed.x.shape[1] or tf.shape(packed.x)[1]
    packed = packed.repeated(num_samples)
    aligned = Batch(packed.x, packed.mask, observed=packed.observed)
    bound, plain = ELBO(num_samples), Weighing(weighing.beta, reconstruction=weighing.reconstruction, penalty=0.0)

    def terms_at(moves: Mapping[str, Move], seed: tf.Tensor, balance: float | None = None) -> StepTerms:
        many = dict(moves) if num_samples == 1 else tf.nest.map_structure(lambda y: tf.repeat(y, num_samples, 0), moves)
        noise = model.draw_noise(seed, tf.shape(packed.x)[0], length)
        path = model.infer_packed(packed, moved_noise(noise, many))
        return model.terms(_told(model, path, many, noise), aligned, balance)

    def ascend(step: tf.Tensor, moves: dict[str, Move]) -> tuple[tf.Tensor, dict[str, Move]]:
        with tf.GradientTape() as tape:
            tape.watch(moves)
            terms = terms_at(moves, random.fold_in(random.fold_in(seed, "refinement"), step))
            value = bound.objective(plain.apply(terms), plain)
        slopes = tape.gradient(value, moves, unconnected_gradients="zero")
        moves = tf.nest.map_structure(
            lambda a, g: tf.ensure_shape(a + _RATE * g * tf.math.rsqrt(1.0 + tf.square(g)), a.shape), moves, slopes
        )
        return step + 1, moves

    start = (tf.constant(0), at_rest(model.moved_latents, size, length))
    moves = tf.while_loop(lambda step, _: step < steps, ascend, start, maximum_iterations=steps)[1]
    return terms_at(moves, seed, weighing.balance)


def _told(model: "DVAE", path: Trajectory, moves: Mapping[str, Move], noise: Mapping[str, tf.Tensor]) -> Trajectory:
    """The path with moved posteriors by their own parameters, so that it has closed forms of the KL as any other."""
    latents = dict(path.latents)
    for latent in model.moved_latents:
        own = latents[latent.name]
        if own.terms is not None or own.average is not None:
            raise _known_as_a_whole(model, latent.name)
        q = latent.q.moved(own.q, *moves[latent.name])
        latents[latent.name] = own._replace(q=q, noise=noise[latent.name])
    return path._replace(latents=latents)


def _known_as_a_whole(model: "DVAE", name: str) -> ValueError:
    return ValueError(
        f"`semi_amortized` moves posteriors frame by frame, and {type(model).__name__} has a KL of {name!r} that knows "
        "them as a whole: compile without it, and use `refine` after training."
    )


def check(model: "DVAE", bound: Bound) -> None:
    """Raises ValueError where a model or a bound cannot be trained so."""
    if not model.moved_latents:
        raise ValueError(
            f"`semi_amortized` moves normal noise of latents of frames and sequences, of which {type(model).__name__} "
            "as configured has none."
        )
    for latent in model.moved_latents:
        if type(latent.q).moved is Family.moved:
            raise ValueError(
                f"`semi_amortized` needs posteriors that have parameters wherever they are moved, which "
                f"{type(latent.q).__name__} of {latent.name!r} has not: use `refine` after training."
            )
        if not model.splits_kl or latent.average is not None:
            raise _known_as_a_whole(model, latent.name)
    if not bound.by_path or getattr(bound, "chunk", None) is not None:
        raise ValueError(
            f"`semi_amortized` moves whole paths that are held together, and {type(bound).__name__} as configured "
            "takes them apart: use it with bound='elbo', or 'iwae' without `chunk`."
        )
    if model.frames.uses_training_state:
        raise ValueError(
            "Keras' own layers with random or moving state in a frame network would have another state at each step of "
            "`semi_amortized`: leave it out, or take layers without."
        )
