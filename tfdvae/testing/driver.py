"""A loop over a cell's half-steps with every latent given from outside, independent of the library's own loops."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfdvae.layers.latent import Evidence, hold_over_segments
from tfdvae.testing.comparing import assert_close
from tfdvae.testing.parents import Target
from tfdvae.testing.sequences import frames, noise

__all__ = ["Given", "check_driver", "draw_given", "drive"]

SPREAD = 3.0
"""Of the latents that are given: wide enough that no ReLU of a transition is off at every point."""


class Given(NamedTuple):
    """What is given.

    Attributes:
        x: frames `[B, T, D]`.
        latents: `[B, T, Z]` by name, `[B, Z]` where one exists once per sequence or data set.
        u: inputs `[B, T, U]`, or None.
        context: `[B, C]`, or None.
    """

    x: tf.Tensor
    latents: dict[str, tf.Tensor]
    u: tf.Tensor | None = None
    context: tf.Tensor | None = None

    def sources(self) -> dict[str, tf.Tensor]:
        """What may be a parent, by name."""
        return {"x": self.x, **self.latents, **({} if self.u is None else {"u": self.u})}

    def with_sources(self, sources: dict[str, tf.Tensor]) -> "Given":
        """The same with other values of `sources`, and as many rows of the context."""
        rest = {k: v for k, v in sources.items() if k not in ("x", "u")}
        return Given(sources["x"], rest, sources.get("u"), self.context)


def draw_given(model: Any, size: int, length: int) -> Given:
    """Random frames and inputs, and latents that are drawn from the standard distribution of their family, wider."""
    batch, own, latents = frames(model, size, length), noise(model, size, length), {}
    for latent in model.latents:
        z = latent.p.sample(latent.p.standard(own[latent.name]), own[latent.name])
        latents[latent.name] = SPREAD * z if latent.p.noise_kind == "normal" else z
    return Given(batch.x, latents, batch.u, batch.context)


def drive(model: Any, given: Given) -> dict[Target, tf.Tensor]:
    """Parameters of every distribution with all latents given, side by side: `[B, T, P]`, `[B, P]` of a sequence.

    What is not stepwise is decoded as a whole.
    """
    cell, length = model.cell, given.x.shape[1]
    seen, pictures = model.frames.look(given.x)
    c = cell.embed_u(model.inputs(given.u, given.context, length))
    evidence = Evidence(seen, cell.embed(seen), c, None, cell.initial_state(given.x.shape[0]))
    evidence = evidence._replace(overview=cell.overview(evidence))
    found: dict[Target, Any] = {}
    for latent in cell.latents:
        if not latent.in_loop:
            z = given.latents[latent.name]
            q = latent.posterior(z.shape[0] if latent.level == "dataset" else evidence)
            if latent.level == "segment":
                q = tf.nest.map_structure(lambda y, s=latent.segment: hold_over_segments(y, s, length), q)
            found[latent.name, "posterior"] = _joined(q, z)
            found[latent.name, "prior"] = _joined(latent.prior_of(evidence.state, z), z)
            if latent.of_frame:
                evidence = evidence._replace(latents={**evidence.latents, latent.name: z})
            else:
                evidence = evidence._replace(state=latent.absorb(evidence.state, z))
    if cell.loop_state:
        # What the posteriors of the loop see of all frames may need these open.
        opened = cell.absorb_u({**evidence.state, **cell.previous(evidence.e, evidence.latents)}, evidence.c)
        for latent in cell.frame_latents:
            opened = opened if latent.in_loop else latent.absorb(opened, given.latents[latent.name])
        evidence = evidence._replace(opened=opened)
    g, state = cell.encode(evidence), evidence.state
    steps: dict[Target, list[tf.Tensor]] = {
        (k.name, of): [] for k in cell.loop_latents for of in ("prior", "posterior")
    }
    shown = []
    for t in range(length):
        pick = partial(tf.nest.map_structure, lambda v, t=t: v[:, t])
        e_t, c_t, g_t = (None if y is None else pick(y) for y in (evidence.e, evidence.c, g))
        state = cell.absorb_u(state, c_t)
        for latent in cell.frame_latents:
            z = given.latents[latent.name][:, t]
            if latent.in_loop:
                steps[latent.name, "posterior"].append(_joined(latent.posterior(state, g_t), z))
                steps[latent.name, "prior"].append(_joined(latent.prior_of(state, z), z))
            state = latent.absorb(state, z)
        shown.append(cell.observe(state) if model.stepwise else cell.read(state, cell.observe_reads))
        state = cell.absorb_x(state, e_t)
    features = tf.nest.map_structure(lambda *y: tf.stack(y, axis=1), *shown)
    features = features if model.stepwise else cell.observe_all(features, None)
    io = model.frames.within(given.context, None, model.frames.skips(pictures))
    found["x", "observation"] = io.params(features)
    return found | {target: tf.stack(y, axis=1) for target, y in steps.items()}


def _joined(dist: Any, z: tf.Tensor) -> tf.Tensor:
    """All parameters of a distribution side by side, with the leading axes of its sample."""
    rank = z.shape.rank - 1
    parts = []
    for y in tf.nest.flatten(dist):
        if y.shape.rank == rank:
            y = tf.broadcast_to(y[:, None], [*z.shape[:-1], y.shape[-1]])
        parts.append(tf.reshape(y, [*z.shape[:-1], int(np.prod(y.shape[rank:]))]))
    return tf.concat(parts, axis=-1)


def check_driver(model: Any, length: int = 5) -> None:
    """The half-steps, taken one by one with the model's own latents, give the model's own distributions."""
    batch = frames(model, 3, length)
    path = model.infer(*batch, noise(model, 3, length))
    latents = {name: own.z for name, own in path.latents.items()}
    found = drive(model, Given(batch.x, latents, batch.u, batch.context))
    expected: dict[Target, tf.Tensor] = {("x", "observation"): path.x}
    for name, own in path.latents.items():
        expected |= {(name, "posterior"): _joined(own.q, own.z), (name, "prior"): _joined(own.p, own.z)}
    for (name, of), values in expected.items():
        assert_close(found[name, of], values, 1e-5, what=f"{of} of {name!r} by the half-steps, and by the model")
