"""One declaration of each function that a model offers where there is no Keras, shared by all formats."""

import tensorflow as tf

from tfdvae import masks
from tfdvae.models import DVAE
from tfdvae.models.drawing import Request
from tfdvae.serving.fields import Field, Signature, Target
from tfdvae.serving.merging import MergedRows
from tfdvae.serving.parts import NATS, UNITS_OF_U, UNITS_OF_X, Parts, Tensors, inlined, scores, seed_of
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
        for latent in self.model.latents:
            name = latent.name
            shape = ("time", latent.latent_dim) if latent.of_frame else (latent.latent_dim,)
            text = f"of q({name}_t | .), zero at frames that do not exist." if latent.of_frame else f"of q({name} | x)."
            outputs.append(self.value(f"{name}_mean", shape, f"Mean {text}"))
            outputs.append(self.value(f"{name}_scale", shape, f"Standard deviation {text}"))
        for name, width in self.model.states.items():
            text = f"The state {name}_t that follows from them, zero at frames that do not exist."
            outputs.append(self.value(name, ("time", width), text))

        def run(given: Tensors) -> Tensors:
            batch = self.read(given)
            path, found = self.model.infer(*batch), {}
            for latent in self.model.latents:
                q = path.latents[latent.name].q
                values = {f"{latent.name}_mean": latent.q.mean(q), f"{latent.name}_scale": latent.q.scale(q)}
                mask = batch.mask if latent.of_frame else None
                found |= {name: masks.zero_masked(value, mask) for name, value in values.items()}
            return found | {name: masks.zero_masked(value, batch.mask) for name, value in path.states.items()}

        text = "Infers the latents of sequences, following modes."
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
        if self.model.sequence_latents:
            outputs.append(self.value("kl_sequence", (), "KL of the latents of the sequence.", NATS))

        def run(given: Tensors) -> Tensors:
            packed, how = self.model.pack(self.read(given))
            count, noise = 1, None
            if latent:
                (count,) = self.positive(given, "num_samples") if seeded else (self.target.num_samples,)
                packed = packed.repeated(count)
                noise = self.drawn_noise(given, packed.x) if seeded else self.given_noise(given)
            aligned = Batch(packed.x, packed.mask, observed=packed.observed)
            found = scores(self.model.terms(self.model.infer_packed(packed, noise), aligned), count)
            for name in () if how is None else ("elbo_frames", "log_prob_frames"):
                found[name] = masks.unpack(found[name], how)
            return {field.name: found[field.name] for field in outputs}

        text = "Evidence lower bound and importance-sampled log-likelihood; low values are anomalies."
        return Signature("score", text, inputs, tuple(outputs), run)

    def generate(self) -> Signature | None:
        """New sequences from the prior."""
        if not self.target.seeded:
            return None
        sizes = list(self.inputs())
        if not self.u_dim:
            sizes = [] if self.context_dim else [self.count("batch_size", "Sequences.")]
            sizes.append(self.count("length", "Frames of each."))
        outputs = [self.frames("x", self.frame_shape, UNITS_OF_X, "Frames drawn from the model.")]
        for latent in self.model.frame_latents:
            outputs.append(self.frames(latent.name, (latent.latent_dim,), "1", "The latents behind them."))

        def run(given: Tensors) -> Tensors:
            u, context = given.get("u"), given.get("context")
            length = tf.shape(u)[1] if self.u_dim else self.positive(given, "length")[0]
            sized = u if u is not None else context
            size = self.positive(given, "batch_size")[0] if sized is None else tf.shape(sized)[0]
            request = Request(size, length, seed_of(given), True, u, context)
            drawn = inlined(self.model.draw_frames)(request)
            return {"x": self.restored(drawn.x), **drawn.latents}

        inputs = (*sizes, *self.context(), self.seed())
        return Signature("generate", "Draws new sequences.", inputs, tuple(outputs), run)

    def forecast(self) -> Signature | None:
        """Continuations of sequences."""
        if not self.target.seeded:
            return None
        ahead = self.count("horizon", "Frames to draw after each sequence.")
        if self.u_dim:
            ahead = self.frames("future_u", (self.u_dim,), UNITS_OF_U, "Inputs of the frames to draw.", "horizon")
        inputs = (*self.sequences(), ahead, self.count("num_samples", "K, continuations per sequence."), self.seed())
        shape = ("samples", self.batch, "horizon", *self.frame_shape)
        outputs = (
            Field("samples", shape, tf.float32, UNITS_OF_X, "Continuations."),
            self.frames("mean", self.frame_shape, UNITS_OF_X, "Mean of E[x_t | path] over the paths.", "horizon"),
        )

        def run(given: Tensors) -> Tensors:
            batch, future = self.read(given), given.get("future_u")
            (count,) = self.positive(given, "num_samples")
            (horizon,) = (tf.shape(future)[1],) if self.u_dim else self.positive(given, "horizon")
            found = inlined(self.model.draw_forecast)(batch, future, horizon, count, seed_of(given))
            return {name: self.restored(value) for name, value in found._asdict().items()}

        text = "Continues each sequence, with latents of the past drawn anew for each sample."
        return Signature("forecast", text, inputs, outputs, run)

    def impute(self) -> Signature | None:
        """Values that were not observed."""
        if not self.target.seeded:
            return None
        shape = (self.batch, "time", *self.frame_shape)
        inputs = (
            *(field for field in self.sequences() if field.name != "observed"),
            self.observed(),
            self.count("num_samples", "K, completions per sequence."),
            self.count("num_sweeps", "Sweeps of the Markov chain; the first one runs forward."),
            self.seed(),
        )
        outputs = (
            Field("samples", ("samples", *shape), tf.float32, UNITS_OF_X, "Completed sequences."),
            Field("mean", shape, tf.float32, UNITS_OF_X, "Their mean; observed entries are as given."),
        )

        def run(given: Tensors) -> Tensors:
            count, sweeps = self.positive(given, "num_samples", "num_sweeps")
            chain = not self.model.partly_observed
            found = inlined(self.model.draw_missing)(self.read(given), sweeps, count, seed_of(given), chain)
            return {name: self.restored(value) for name, value in found._asdict().items()}

        return Signature("impute", "Fills in what was not observed.", inputs, outputs, run)

    # Streaming.

    def reset(self) -> Signature | None:
        """The state before the first frame."""
        if self.layout is None:
            return None
        inputs = (*self.sequence_noise(self.batch), *self.context(), *self.given())
        if not inputs and self.target.batch is None:
            inputs = (self.count("batch_size", "Sequences to stream side by side."),)

        def run(given: Tensors) -> Tensors:
            noise = {latent.name: given[f"noise_{latent.name}"] for latent in self.model.sequence_latents}
            size = self.target.batch
            if size is None:
                rows = [*noise.values(), *(given[name] for name in ("context", "given") if name in given)]
                size = tf.shape(rows[0])[0] if rows else self.positive(given, "batch_size")[0]
            units = self.given_units(given)
            return self.layout.flat(self.model.start_stream(size, {}, given.get("context"), noise, units))

        return Signature("reset", "The state before the first frame.", inputs, self.layout.fields, run)

    def step(self) -> Signature | None:
        """One streamed frame."""
        if not self.model.causal or self.layout is None:
            return None
        frame = self.limited(self.row("x", self.frame_shape, UNITS_OF_X, "The frame x_t."))
        inputs = [*self.layout.fields, frame]
        if self.model.partly_observed:
            text = "True where x holds data; elsewhere it may hold anything."
            inputs.append(Field("observed", (self.batch, *self.frame_shape), tf.bool, "1", text))
        if self.u_dim:
            inputs.append(self.row("u", (self.u_dim,), UNITS_OF_U, "Inputs u_t of this frame."))
            inputs.append(self.row("next_u", (self.u_dim,), UNITS_OF_U, "Inputs u_{t+1}, for the prediction alone."))
        inputs += self.step_noise()
        outputs = []
        for latent in self.model.frame_latents:
            name, shape = latent.name, (latent.latent_dim,)
            outputs.append(self.row(name, shape, "1", f"The latents {name}_t."))
            outputs.append(self.row(f"{name}_mean", shape, "1", f"Mean of q({name}_t | .)."))
            outputs.append(self.row(f"{name}_scale", shape, "1", f"Standard deviation of q({name}_t | .)."))
        outputs += [
            self.value("log_px", (), "log p(x_t | .).", NATS),
            self.value("kl", (), "KL of the posterior of the frame's latents from their prior.", NATS),
            self.value("score", (), "log_px - kl, what the frame adds to the ELBO; low values are anomalies.", NATS),
            *self.predictions(per_frame=False, prefix="next_"),
            *self.layout.fields,
        ]

        def run(given: Tensors) -> Tensors:
            names = ("x", "u", "observed")
            frame = self.read({name: given[name][:, None] for name in names if name in given})
            x, u, observed = (None if y is None else y[:, 0] for y in (frame.x, frame.u, frame.observed))
            out = inlined(self.model.take_frame)(self.layout.nest(given), x, u, observed, self.frame_noise(given))
            ahead = inlined(self.model.draw_frame)(out.state, given.get("next_u"), None, None)[0]
            found = {}
            for latent in self.model.frame_latents:
                path, name = out.latents[latent.name], latent.name
                found |= {name: path.z, f"{name}_mean": latent.q.mean(path.q), f"{name}_scale": latent.q.scale(path.q)}
            found |= {"log_px": out.log_px, "kl": out.kl, "score": out.log_px - out.kl}
            return {**found, **self.predicted(ahead.params, "next_"), **self.layout.flat(out.state)}

        text = "Takes in one frame: latents, score, p(x_{t+1} | .) along the prior mean, and the new state."
        return Signature("step", text, tuple(inputs), tuple(outputs), run)

    def generate_step(self) -> Signature | None:
        """One frame, drawn and fed back."""
        if self.layout is None:
            return None
        inputs = [*self.layout.fields]
        outputs = [self.row("x", self.frame_shape, UNITS_OF_X, "The frame that was drawn.")]
        if self.u_dim:
            inputs.append(self.row("u", (self.u_dim,), UNITS_OF_U, "Inputs u_t of the frame to draw."))
        inputs += self.step_noise()
        for latent in self.model.frame_latents:
            outputs.append(self.row(latent.name, (latent.latent_dim,), "1", "The latents behind it."))
        shape = (self.batch, self.model.observation.noise_dim)
        text = "Uniform in (0, 1): draws x_t from p(x_t | .)."
        inputs.append(Field("uniform", shape, tf.float32, "1", text, "uniform"))
        outputs += [*self.predictions(per_frame=False, prefix="x_"), *self.layout.fields]

        def run(given: Tensors) -> Tensors:
            noise = self.frame_noise(given)
            drawn, state = inlined(self.model.draw_frame)(
                self.layout.nest(given), given.get("u"), noise, given["uniform"]
            )
            found = {"x": self.restored(drawn.x), **drawn.latents}
            return {**found, **self.predicted(drawn.params, "x_"), **self.layout.flat(state)}

        text = "Draws one frame from the model and feeds it back."
        return Signature("generate_step", text, tuple(inputs), tuple(outputs), run)


class MergedDeclarations(MergedRows, Declarations):
    """The signatures of one model for a server that merges calls."""


SIGNATURES = ("encode", "reconstruct", "score", "generate", "forecast", "impute", "reset", "step", "generate_step")
"""Every function by the name that callers use: a method of `Declarations`."""


def declare(model: DVAE, target: Target | None = None) -> dict[str, Signature]:
    """The signatures that the model has for a target, by name, in the order of `SIGNATURES`.

    Args:
        model: a built model.
        target: what the place can do; by default everything.

    Raises:
        ValueError: the model was never built.
    """
    model._require_built("export")
    target = target or Target()
    declarations = (MergedDeclarations if target.merged else Declarations)(model, target)
    found = {name: getattr(declarations, name)() for name in SIGNATURES}
    declared = {name: signature for name, signature in found.items() if signature is not None}
    return {name: declarations.guarded(declarations.sized(one)) for name, one in declared.items()}
