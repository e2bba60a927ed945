"""One declaration of each function that a model offers where there is no Keras, shared by all formats."""

from collections.abc import Callable

import tensorflow as tf

from tfdvae import masks, random
from tfdvae.models.verbs import VerbsDVAE, untile
from tfdvae.serving.fields import Field, Signature, Target
from tfdvae.serving.parts import NATS, UNITS_OF_U, UNITS_OF_X, Parts, Tensors, repeated, scores, seed_of
from tfdvae.types import Batch

__all__ = ["Declarations", "SIGNATURES", "declare"]


class Declarations(Parts):
    """The signatures of one model for one target; a method returns None where the model, or the target, lacks it."""

    # Sequences.

    def encode(self) -> Signature | None:
        """Posterior means and scales along the mean path."""
        if not self.model.has_latents:
            return None
        outputs = []
        if self.z_dim:
            text = "of q(z_t | .), zero at frames that do not exist."
            outputs.append(self.frames("mean", self.z_dim, "1", f"Mean {text}"))
            outputs.append(self.frames("scale", self.z_dim, "1", f"Standard deviation {text}"))
        for name, width in self.model.global_dims.items():
            outputs.append(self.value(f"{name}_mean", (width,), f"Mean of q({name} | x), a latent of the sequence."))
            outputs.append(self.value(f"{name}_scale", (width,), f"Standard deviation of q({name} | x)."))

        def run(given: Tensors) -> Tensors:
            path = self.model.infer(*self.read(given))
            found = {"mean": path.q.loc, "scale": path.q.scale} if self.z_dim else {}
            for name, latent in path.global_latents.items():
                found |= {f"{name}_mean": latent.q.loc, f"{name}_scale": latent.q.scale}
            return found

        text = "Infers the latents of sequences, following means."
        return Signature("encode", text, self.sequences(), tuple(outputs), run)

    def reconstruct(self) -> Signature:
        """E[x_t | .] along the posterior mean, under teacher forcing."""

        def run(given: Tensors) -> Tensors:
            batch = self.read(given)
            found = self.predicted(self.model.infer(*batch).x)
            return {name: masks.zero_masked(value, batch.mask) for name, value in found.items()}

        text = "p(x_t | .) along the posterior mean, with x_<t given; zero at frames that do not exist."
        return Signature("reconstruct", text, self.sequences(), self.predictions(per_frame=True), run)

    def score(self) -> Signature:
        """ELBO and importance-sampled log-likelihood."""
        latent, seeded = self.model.has_latents, self.target.seeded
        inputs = self.sequences()
        if latent and seeded:
            inputs += (self.count("num_samples", "K, paths drawn for each sequence."), self.seed())
        elif latent:
            inputs += self.noise(self.target.batch * self.target.num_samples)
        outputs = [
            self.value("elbo", (), "Evidence lower bound of a sequence, averaged over the paths.", NATS),
            self.value("elbo_frames", ("time",), "log p(x_t | .) - KL_t, averaged over the paths.", NATS),
            self.value("log_prob", (), "Importance-sampled log p(x) of a sequence.", NATS),
            self.value("log_prob_frames", ("time",), "What frame t adds to it, log p(x_t | x_<t).", NATS),
        ]
        if self.model.global_dims:
            outputs.append(self.value("kl_sequence", (), "KL of the latents of the sequence.", NATS))

        def run(given: Tensors) -> Tensors:
            (x, mask, u), how = masks.pack_batch(self.read(given))
            count, noise = 1, None
            if latent:
                (count,) = self.positive(given, "num_samples") if seeded else (self.target.num_samples,)
                x, mask, u = (repeated(y, count) for y in (x, mask, u))
                noise = self.drawn_noise(given, x) if seeded else self.given_noise(given)
            found = scores(self.model.terms(self.model.infer_packed(x, mask, u, noise), x, mask), count)
            for name in () if how is None else ("elbo_frames", "log_prob_frames"):
                found[name] = masks.unpack(found[name], how)
            return {field.name: found[field.name] for field in outputs}

        text = "Evidence lower bound and importance-sampled log-likelihood; low values are anomalies."
        return Signature("score", text, inputs, tuple(outputs), run)

    def generate(self) -> Signature | None:
        """New sequences from the prior."""
        if not self.target.seeded:
            return None
        sizes = self.inputs() or (self.count("batch_size", "Sequences."), self.count("length", "Frames of each."))
        outputs = [self.frames("x", self.x_dim, UNITS_OF_X, "Frames drawn from the model.")]
        if self.z_dim:
            outputs.append(self.frames("z", self.z_dim, "1", "The latents behind them."))

        def run(given: Tensors) -> Tensors:
            u = given.get("u")
            size, length = tf.unstack(tf.shape(u)[:2]) if self.u_dim else self.positive(given, "batch_size", "length")
            drawn = self.model._generate(None, u, {}, length, size, seed_of(given), True)
            return {field.name: drawn._asdict()[field.name] for field in outputs}

        return Signature("generate", "Draws new sequences.", (*sizes, self.seed()), tuple(outputs), run)

    def forecast(self) -> Signature | None:
        """Continuations of sequences."""
        if not self.target.seeded:
            return None
        ahead = self.count("horizon", "Frames to draw after each sequence.")
        if self.u_dim:
            ahead = self.frames("future_u", self.u_dim, UNITS_OF_U, "Inputs of the frames to draw.", "horizon")
        inputs = (*self.sequences(), ahead, self.count("num_samples", "K, continuations per sequence."), self.seed())
        shape = ("samples", self.batch, "horizon", self.x_dim)
        outputs = (
            Field("samples", shape, tf.float32, UNITS_OF_X, "Continuations."),
            self.frames("mean", self.x_dim, UNITS_OF_X, "Mean of E[x_t | path] over the paths.", "horizon"),
        )

        def run(given: Tensors) -> Tensors:
            batch, future = self.read(given), given.get("future_u")
            (count,) = self.positive(given, "num_samples")
            (horizon,) = (tf.shape(future)[1],) if self.u_dim else self.positive(given, "horizon")
            return self.model._forecast(batch, future, horizon, count, seed_of(given))._asdict()

        text = "Continues each sequence, with latents of the past drawn anew for each sample."
        return Signature("forecast", text, inputs, outputs, run)

    def impute(self) -> Signature | None:
        """Values that were not observed."""
        if not self.target.seeded:
            return None
        shape = (self.batch, "time", self.x_dim)
        inputs = (
            *self.sequences(),
            Field("observed", shape, tf.bool, "1", "True where x holds data; elsewhere it may hold anything."),
            self.count("num_samples", "K, completions per sequence."),
            self.count("num_sweeps", "Sweeps of the Markov chain; the first one runs forward."),
            self.seed(),
        )
        outputs = (
            Field("samples", ("samples", *shape), tf.float32, UNITS_OF_X, "Completed sequences."),
            Field("mean", shape, tf.float32, UNITS_OF_X, "Their mean; observed entries are as given."),
        )

        def run(given: Tensors) -> Tensors:
            observed, seed = given["observed"], seed_of(given)
            count, sweeps = self.positive(given, "num_samples", "num_sweeps")
            batch = self.read({**given, "x": tf.where(observed, given["x"], 0.0)})
            start = self.model._sweep(batch.x, observed, batch, seed, count, True)

            def sweep(i: tf.Tensor, filled: tf.Tensor, params: tf.Tensor) -> tuple:
                again = random.fold_in(seed, i)
                return i + 1, *self.model._sweep(filled, observed, batch, again, count, False)

            widths = (self.x_dim, self.model.observation.params_dim)
            shapes = (tf.TensorShape([]), *(tf.TensorShape([None, None, width]) for width in widths))
            _, filled, params = tf.while_loop(lambda i, *_: i < sweeps, sweep, (tf.constant(1), *start), shapes)
            means = tf.reduce_mean(untile(self.model.observation.mean(params), count), axis=0)
            mean = masks.zero_masked(tf.where(observed, batch.x, means), batch.mask)
            return {"samples": untile(filled, count), "mean": mean}

        return Signature("impute", "Fills in what was not observed.", inputs, outputs, run)

    # Streaming.

    def reset(self) -> Signature | None:
        """The state before the first frame."""
        if self.layout is None:
            return None
        dims = self.model.global_dims
        inputs = self.sequence_noise(self.batch)
        if not dims and self.target.batch is None:
            inputs = (self.count("batch_size", "Sequences to stream side by side."),)

        def run(given: Tensors) -> Tensors:
            noise = {name: given[f"noise_{name}"] for name in dims}
            size = self.target.batch
            if size is None:
                size = tf.shape(next(iter(noise.values())))[0] if dims else self.positive(given, "batch_size")[0]
            latents = self.model.prior_globals(size, noise, {}) if dims else {}
            return self.layout.flat(self.model._initial_state(size, latents))

        return Signature("reset", "The state before the first frame.", inputs, self.layout.fields, run)

    def step(self) -> Signature | None:
        """One streamed frame."""
        if not self.model.causal or self.layout is None:
            return None
        inputs = [*self.layout.fields, self.row("x", self.x_dim, UNITS_OF_X, "The frame x_t.")]
        if self.u_dim:
            inputs.append(self.row("u", self.u_dim, UNITS_OF_U, "Inputs u_t of this frame."))
            inputs.append(self.row("next_u", self.u_dim, UNITS_OF_U, "Inputs u_{t+1}, for the prediction alone."))
        outputs = []
        if self.z_dim:
            inputs.append(self.row("noise", self.z_dim, "1", "Standard normal; zeros follow the posterior mean."))
            outputs.append(self.row("z", self.z_dim, "1", "The latents z_t."))
            outputs.append(self.row("z_mean", self.z_dim, "1", "Mean of q(z_t | .)."))
            outputs.append(self.row("z_scale", self.z_dim, "1", "Standard deviation of q(z_t | .)."))
        outputs += [
            self.value("log_px", (), "log p(x_t | .).", NATS),
            self.value("kl", (), "KL(q(z_t | .) || p(z_t | .)).", NATS),
            self.value("score", (), "log_px - kl, what the frame adds to the ELBO; low values are anomalies.", NATS),
            *self.predictions(per_frame=False, prefix="next_"),
            *self.layout.fields,
        ]

        def run(given: Tensors) -> Tensors:
            u, noise = given.get("u"), given.get("noise")
            frame = self.check(Batch(given["x"][:, None], None, None if u is None else u[:, None]))
            out = self.model._step(self.layout.nest(given), frame.x[:, 0], None if u is None else frame.u[:, 0], noise)
            ahead = self.model._generate_step(out.state, given.get("next_u"), None, None)[0]
            found = {"z": out.z, "z_mean": out.q.loc, "z_scale": out.q.scale} if self.z_dim else {}
            found |= {"log_px": out.log_px, "kl": out.kl, "score": out.log_px - out.kl}
            return {**found, **self.predicted(ahead.params, "next_"), **self.layout.flat(out.state)}

        text = "Takes in one frame: latents, score, p(x_{t+1} | .) along the prior mean, and the new state."
        return Signature("step", text, tuple(inputs), tuple(outputs), run)

    def generate_step(self) -> Signature | None:
        """One frame, drawn and fed back."""
        if self.layout is None:
            return None
        inputs = [*self.layout.fields]
        outputs = [self.row("x", self.x_dim, UNITS_OF_X, "The frame that was drawn.")]
        if self.u_dim:
            inputs.append(self.row("u", self.u_dim, UNITS_OF_U, "Inputs u_t of the frame to draw."))
        if self.z_dim:
            inputs.append(self.row("noise", self.z_dim, "1", "Standard normal; zeros follow the prior mean."))
            outputs.append(self.row("z", self.z_dim, "1", "The latents behind it."))
        width = self.model.observation.noise_dim
        inputs.append(self.row("emission", width, "1", "Uniform in (0, 1): draws x_t from p(x_t | .)."))
        outputs += [*self.predictions(per_frame=False, prefix="x_"), *self.layout.fields]

        def run(given: Tensors) -> Tensors:
            state, noise = self.layout.nest(given), given.get("noise")
            drawn, state = self.model._generate_step(state, given.get("u"), noise, given["emission"])
            found = {"x": drawn.x, "z": drawn.z} if self.z_dim else {"x": drawn.x}
            return {**found, **self.predicted(drawn.params, "x_"), **self.layout.flat(state)}

        text = "Draws one frame from the model and feeds it back."
        return Signature("generate_step", text, tuple(inputs), tuple(outputs), run)


SIGNATURES: dict[str, Callable[[Declarations], Signature | None]] = {
    "encode": Declarations.encode,
    "reconstruct": Declarations.reconstruct,
    "score": Declarations.score,
    "generate": Declarations.generate,
    "forecast": Declarations.forecast,
    "impute": Declarations.impute,
    "reset": Declarations.reset,
    "step": Declarations.step,
    "generate_step": Declarations.generate_step,
}
"""Every function by the name that callers use."""


def declare(model: VerbsDVAE, target: Target | None = None) -> dict[str, Signature]:
    """The signatures that the model has for a target, by name, in the order of `SIGNATURES`.

    Args:
        model: a built model.
        target: what the place can do; by default everything.

    Raises:
        ValueError: the model was never built.
    """
    model._require_built("export")
    declarations = Declarations(model, target or Target())
    found = {name: method(declarations) for name, method in SIGNATURES.items()}
    return {name: signature for name, signature in found.items() if signature is not None}
