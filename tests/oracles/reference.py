"""The models again, in float64 numpy, equation by equation from the papers, on the weights of a tfdvae cell.

Nothing here calls the library: an array of weights goes in, the terms of the bound come out. Equation numbers are
those of Girin et al. (2021). Frames are numbered from 1 there and from 0 here; what precedes the first is zero.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tests.oracles.networks import Stack, affine, array, gaussian_head, join, linear, mlp, relu, run, sigmoid, softplus

Draw = Callable[[int, np.ndarray, np.ndarray], np.ndarray]


class Path(NamedTuple):
    """z [N, T, Z]; loc and scale of q and of p along it; parameters [N, T, P] of p(x_t | .)."""

    z: np.ndarray
    q: tuple[np.ndarray, np.ndarray]
    p: tuple[np.ndarray, np.ndarray]
    params: np.ndarray


def reparameterised(noise: np.ndarray) -> Draw:
    """z_t = loc + scale * noise_t: a path of the posterior."""
    return lambda t, loc, scale: loc + scale * noise[:, t]


def given(z: np.ndarray) -> Draw:
    """z_t is known, whatever the posterior says: for integrals over z."""
    return lambda t, loc, scale: z[:, t]


# Models. Each takes frames x [N, T, D], inputs u [N, T, U] or None, and how to come by z_t.


def each(x: np.ndarray, u: np.ndarray | None) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    for t in range(x.shape[1]):
        yield t, x[:, t], None if u is None else u[:, t]


def collect(frames: list[tuple], observation: Any) -> Path:
    z, q, p, features = zip(*frames, strict=True)
    stack = [np.stack(y, axis=1) for y in (z, *zip(*q, strict=True), *zip(*p, strict=True), features)]
    params = stack[5] @ array(observation.head.kernel) + array(observation.bias)
    return Path(stack[0], (stack[1], stack[2]), (stack[3], stack[4]), params)


def standard(loc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros_like(loc), np.ones_like(loc)


def vae(cell: Any, observation: Any, x: np.ndarray, u: np.ndarray | None, draw: Draw) -> Path:
    frames = []
    for t, x_t, u_t in each(x, u):
        q = gaussian_head(cell.posterior_head, mlp(cell.encoder, join(x_t, u_t)))
        z_t = draw(t, *q)
        frames.append((z_t, q, standard(z_t), mlp(cell.decoder, join(z_t, u_t))))
    return collect(frames, observation)


def vrnn(cell: Any, observation: Any, x: np.ndarray, u: np.ndarray | None, draw: Draw) -> Path:
    rnn = Stack(cell.rnn, len(x))
    frames = []
    for t, x_t, u_t in each(x, u):
        h = rnn.h
        phi_x = mlp(cell.x_features, x_t)
        q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, join(phi_x, h, u_t)))  # (8.11)
        z_t = draw(t, *q)
        phi_z = mlp(cell.z_features, z_t)
        p = standard(z_t)
        if cell.conditional_prior:
            p = gaussian_head(cell.prior_head, mlp(cell.prior_net, join(h, u_t)))  # (8.4)
        frames.append((z_t, q, p, mlp(cell.decoder, join(phi_z, h, u_t))))  # (8.2)
        rnn.step(join(phi_x, phi_z, u_t))  # (8.1) of the next frame
    return collect(frames, observation)


def storn(cell: Any, observation: Any, x: np.ndarray, u: np.ndarray | None, draw: Draw) -> Path:
    generation, inference = Stack(cell.rnn, len(x)), Stack(cell.encoder_rnn, len(x))
    phi_x = mlp(cell.x_features, np.zeros_like(x[:, 0])) * (cell.first_features == "phi_x")
    frames = []
    for t, x_t, u_t in each(x, u):
        g = inference.step(join(mlp(cell.encoder_x_features, x_t), u_t))  # (7.15)
        q = gaussian_head(cell.posterior_head, mlp(cell.encoder, g))  # (7.16)
        z_t = draw(t, *q)
        h = generation.step(join(phi_x, mlp(cell.z_features, z_t), u_t))  # (7.4)
        frames.append((z_t, q, standard(z_t), mlp(cell.decoder, h)))  # (7.7), (7.5)
        phi_x = mlp(cell.x_features, x_t)
    return collect(frames, observation)


def srnn(cell: Any, observation: Any, x: np.ndarray, u: np.ndarray | None, draw: Draw) -> Path:
    phi_x = mlp(cell.x_features, x)
    first = mlp(cell.x_features, np.zeros_like(x[:, :1])) * (cell.first_features == "phi_x")
    phi_x = np.concatenate([first, phi_x[:, :-1]], axis=1)
    h = run(cell.rnn, join(phi_x, u))  # (9.1)
    g = mlp(cell.smoother, join(h, x))
    if cell.inference == "smooth":
        g = run(cell.backward_rnn, g, backward=True)  # (9.10)
    z_before = np.zeros([len(x), cell.latent_dim])
    frames = []
    for t in range(x.shape[1]):
        p = gaussian_head(cell.prior_head, mlp(cell.prior_net, join(z_before, h[:, t])))  # (9.4)
        loc, scale = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, join(z_before, g[:, t])))  # (9.11)
        q = (loc + p[0], scale) if cell.residual_posterior else (loc, scale)
        z_t = draw(t, *q)
        frames.append((z_t, q, p, mlp(cell.decoder, join(z_t, h[:, t]))))  # (9.2)
        z_before = z_t
    return collect(frames, observation)


def rvae(cell: Any, observation: Any, x: np.ndarray, u: np.ndarray | None, draw: Draw) -> Path:
    whole = type(cell).__name__ == "NonCausalRVAECell"
    xu = join(x, u)
    g = run(cell.backward_rnn, xu, backward=True)  # (10.19)
    if whole:
        g = join(run(cell.forward_rnn, xu), g)  # (10.25), (10.26)
    inference = Stack(cell.posterior_rnn, len(x))
    z_before = np.zeros([len(x), cell.latent_dim])
    drawn = []
    for t in range(x.shape[1]):
        both = join(g[:, t], inference.step(z_before))  # (10.18), (10.20)
        q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, both))  # (10.21)
        z_before = draw(t, *q)
        drawn.append((z_before, q))
    zu = join(np.stack([z for z, _ in drawn], axis=1), u)
    h = run(cell.rnn, zu)  # (10.4), (10.9)
    if whole:
        h = join(h, run(cell.reverse_rnn, zu, backward=True))  # (10.10), (10.11)
    features = mlp(cell.decoder, h)  # (10.5), (10.12)
    return collect([(z, q, standard(z), features[:, t]) for t, (z, q) in enumerate(drawn)], observation)


def zforcing_vrnn(cell: Any, observation: Any, x: np.ndarray, u: np.ndarray | None, draw: Draw) -> Path:
    phi_x = mlp(cell.x_features, x)
    b = run(cell.backward_rnn, join(phi_x, u), backward=True)
    before = np.concatenate([np.zeros_like(phi_x[:, :1]), phi_x[:, :-1]], axis=1)
    rnn = Stack(cell.rnn, len(x))
    frames = []
    for t, _, u_t in each(x, u):
        known = join(before[:, t], u_t)
        q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, join(b[:, t], known, rnn.h)))
        z_t = draw(t, *q)
        p = gaussian_head(cell.prior_head, mlp(cell.prior_net, join(known, rnn.h)))  # (8.4)
        h = rnn.step(join(known, mlp(cell.z_features, z_t)))  # (7.4)
        frames.append((z_t, q, p, mlp(cell.decoder, h)))  # (7.5)
    return collect(frames, observation)


def rssm(cell: Any, observation: Any, x: np.ndarray, u: np.ndarray | None, draw: Draw) -> Path:
    rnn = Stack(cell.rnn, len(x))
    z_before = np.zeros([len(x), cell.latent_dim])
    frames = []
    for t, x_t, u_t in each(x, u):
        h = rnn.step(mlp(cell.transition_net, join(z_before, u_t)))  # h_t = f(h_{t-1}, s_{t-1}, a_{t-1})
        p = gaussian_head(cell.prior_head, mlp(cell.prior_net, h))
        q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, join(mlp(cell.x_features, x_t), h)))
        z_before = draw(t, *q)
        frames.append((z_before, q, p, mlp(cell.decoder, join(z_before, h))))
    return collect(frames, observation)


def lvrnn(cell: Any, observation: Any, x: np.ndarray, u: np.ndarray | None, draw: Draw) -> Path:
    """Gu et al. (2015), in the survey's words of 12.2: (11.2) and (11.3) for z, (7.4) and (7.5) for x, (8.14) for q."""
    generation, inference = Stack(cell.rnn, len(x)), Stack(cell.posterior_rnn, len(x))
    transition = Stack(cell.prior_rnn, len(x)) if cell.conditional_prior else None
    phi_x = np.zeros([len(x), cell.x_features.output_dim(x.shape[-1])])
    phi_z = np.zeros([len(x), cell.z_features.output_dim(cell.latent_dim)])
    frames = []
    for t, x_t, u_t in each(x, u):
        g = inference.step(join(phi_x, phi_z, u_t))
        now = mlp(cell.x_features, x_t)
        q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, join(now, g)))
        z_t = draw(t, *q)
        p = standard(z_t)
        if transition is not None:
            p = gaussian_head(cell.prior_head, mlp(cell.prior_net, transition.step(join(phi_z, u_t))))
        phi_z = mlp(cell.z_features, z_t)
        frames.append((z_t, q, p, mlp(cell.decoder, generation.step(join(phi_x, phi_z, u_t)))))
        phi_x = now
    return collect(frames, observation)


def svg(cell: Any, observation: Any, x: np.ndarray, u: np.ndarray | None, draw: Draw) -> Path:
    """Denton and Fergus (2018), section 3: LSTMs of the posterior, of the learned prior and of the predictor."""
    before = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
    inferred = run(cell.posterior_rnn, linear(cell.posterior_input, join(x, u)))
    learned = run(cell.prior_rnn, linear(cell.prior_input, join(before, u))) if cell.learned_prior else None
    predictor = Stack(cell.predictor, len(x))
    frames = []
    for t, _, u_t in each(x, u):
        q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, inferred[:, t]))
        z_t = draw(t, *q)
        p = standard(z_t)
        if learned is not None:
            p = gaussian_head(cell.prior_head, mlp(cell.prior_net, learned[:, t]))
        h = predictor.step(linear(cell.predictor_input, join(before[:, t], z_t, u_t)))
        frames.append((z_t, q, p, mlp(cell.predictor_output, h)))
    return collect(frames, observation)


def sv2p(cell: Any, observation: Any, x: np.ndarray, u: np.ndarray | None, draw: Draw) -> Path:
    """Babaeizadeh et al. (2018), one latent per frame: (9.1) and (9.2) for x, all of x for q."""
    phi_x = mlp(cell.x_features, x)
    h = run(cell.rnn, join(np.concatenate([np.zeros_like(phi_x[:, :1]), phi_x[:, :-1]], axis=1), u))
    g = join(run(cell.forward_rnn, join(x, u)), run(cell.backward_rnn, join(x, u), backward=True))
    frames = []
    for t in range(x.shape[1]):
        q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, g[:, t]))
        z_t = draw(t, *q)
        frames.append((z_t, q, standard(z_t), mlp(cell.decoder, join(h[:, t], z_t))))
    return collect(frames, observation)


def gated_transition(layer: Any, zu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    nu = sigmoid(affine(layer.gate_output, mlp(layer.gate, zu, relu)))  # (B.1)
    nonlinear = affine(layer.nonlinear_output, mlp(layer.nonlinear, zu, relu))  # (B.2)
    linear = affine(layer.linear, zu)  # (B.3)
    loc = (1.0 - nu) * linear + nu * nonlinear  # (B.4)
    variance = softplus(affine(layer.variance, relu(nonlinear)))  # (B.5)
    return loc, np.sqrt(variance + layer.min_scale**2)


def linear_transition(layer: Any, zu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    positive = softplus if layer.scale == "softplus" else lambda raw: np.exp(0.5 * raw)
    loc = zu @ array(layer.linear.kernel)
    return loc, np.broadcast_to(positive(array(layer.raw_scale)) + layer.min_scale, loc.shape)


def dkf(cell: Any, observation: Any, x: np.ndarray, u: np.ndarray | None, draw: Draw) -> Path:
    xu = join(x, u)
    if cell.inference == "local":
        nothing = np.zeros_like(xu[:, :1])
        before, after = np.concatenate([nothing, xu[:, :-1]], axis=1), np.concatenate([xu[:, 1:], nothing], axis=1)
        xu = join(before, xu, after)
    features = mlp(cell.encoder_x_features, xu)
    sources = {"l": ["forward"], "r": ["backward"], "lr": ["forward", "backward"]}
    named = sources.get(cell.inference.removeprefix("st_").removeprefix("mf_"), [])
    runs = [run(getattr(cell, f"{way}_rnn"), features, backward=way == "backward") for way in named]  # (5.4)
    z_before = np.zeros([len(x), cell.latent_dim])
    frames = []
    for t, _, u_t in each(x, u):
        terms = [g[:, t] for g in runs] or [features[:, t]]
        if cell.inference.startswith("st_"):
            terms.append(np.tanh(affine(cell.combiner_output, mlp(cell.combiner, z_before))))
        g_t = sum(terms) / len(terms)  # (5.5)
        q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, g_t))  # (5.6)
        z_t = draw(t, *q)
        first = t == 0 and cell.initial_prior == "standard"
        moves = linear_transition if cell.transition == "linear" else gated_transition
        p = standard(z_t) if first else moves(cell.transition_net, join(z_before, u_t))
        frames.append((z_t, q, p, mlp(cell.decoder, z_t)))  # (3.11)
        z_before = z_t
    return collect(frames, observation)


def rnn(cell: Any, observation: Any, x: np.ndarray, u: np.ndarray | None, draw: Draw) -> Path:
    phi_x = mlp(cell.x_features, x)
    phi_x = np.concatenate([np.zeros_like(phi_x[:, :1]), phi_x[:, :-1]], axis=1)
    features = mlp(cell.decoder, run(cell.rnn, join(phi_x, u)))
    params = features @ array(observation.head.kernel) + array(observation.bias)
    none = np.zeros([*x.shape[:2], 0])
    return Path(none, (none, none), (none, none), params)


MODELS = {
    "VAE": vae,
    "VRNN": vrnn,
    "STORN": storn,
    "SRNN": srnn,
    "DKF": dkf,
    "RNN": rnn,
    "RVAE": rvae,
    "NonCausalRVAE": rvae,
    "ZForcingVRNN": zforcing_vrnn,
    "RSSM": rssm,
    "LVRNN": lvrnn,
    "SVG": svg,
    "SV2P": sv2p,
}


def follow(model: Any, x: np.ndarray, draw: Draw, u: np.ndarray | None = None) -> Path:
    """A path of a tfdvae model, by the function above that has the name of its class."""
    return MODELS[type(model).__name__](model.cell, model.observation, array(x), u, draw)


# Densities, in nats, summed over features or latent dimensions: [N, T].


def normal_log_density(x: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (-0.5 * ((x - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2.0 * np.pi)).sum(axis=-1)


def normal_divergence(q: tuple, p: tuple) -> np.ndarray:
    """KL(q || p) of each dimension: [N, T, Z]."""
    return np.log(p[1] / q[1]) + (q[1] ** 2 + (q[0] - p[0]) ** 2) / (2.0 * p[1] ** 2) - 0.5


def observation_log_density(observation: Any, params: np.ndarray, x: np.ndarray) -> np.ndarray:
    if type(observation).__name__ == "Bernoulli":
        on = sigmoid(params)
        return np.log(np.where(x > 0.5, on, 1.0 - on)).sum(axis=-1)
    loc, raw = np.split(params, 2, axis=-1)
    return normal_log_density(x, loc, softplus(raw) + observation.min_scale)


def log_joint(model: Any, path: Path, x: np.ndarray) -> np.ndarray:
    """log p(x, z) of each sequence: [N]."""
    observed = observation_log_density(model.observation, path.params, array(x))
    return (observed + normal_log_density(path.z, *path.p)).sum(axis=-1)


def log_posterior(path: Path) -> np.ndarray:
    """log q(z | x) of each sequence: [N]."""
    return normal_log_density(path.z, *path.q).sum(axis=-1)
