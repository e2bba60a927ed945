"""The survey's models in float64 numpy on the arrays of a PyTorch state, from its equations and appendix B.

PyTorch's conventions: y = x W^T + b; an LSTM has the gates i, f, g, o below each other and two biases. Nothing here
knows of tfdvae. `State` also makes such arrays, with names as a careless author may choose them.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Path(NamedTuple):
    """z [N, T, Z]; (loc, scale) of q and p; the output [N, T, D]; v [N, V] where there is one."""

    z: np.ndarray
    q: tuple[np.ndarray, np.ndarray]
    p: tuple[np.ndarray, np.ndarray]
    output: np.ndarray
    v: np.ndarray | None = None


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


class State(dict):
    """Arrays by name, drawn as they are asked for the first time."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def linear(self, name: str, x: np.ndarray, out: int) -> np.ndarray:
        weight = self.array(f"{name}.weight", out, x.shape[-1])
        return x @ weight.T + self.array(f"{name}.bias", out)

    def array(self, name: str, *shape: int) -> np.ndarray:
        """Float32 as in a file, used in float64."""
        if name not in self:
            self[name] = self.rng.normal(size=shape, scale=0.7 / np.sqrt(shape[-1])).astype(np.float32)
        assert self[name].shape == shape, name
        return self[name].astype(np.float64)

    def layers(self, name: str, x: np.ndarray, *widths: int, act: Callable = np.tanh, step: int = 2) -> np.ndarray:
        """A `Sequential` with an activation, and maybe dropout, between its linear layers."""
        for i, width in enumerate(widths):
            x = act(self.linear(f"{name}.{step * i}", x, width))
        return x

    def gaussian(self, name: str, x: np.ndarray, out: int) -> tuple[np.ndarray, np.ndarray]:
        return self.linear(f"{name}_mean", x, out), np.exp(0.5 * self.linear(f"{name}_logvar", x, out))

    def cell(self, name: str, units: int, kind: str, end: str = "") -> Callable:
        """x_t, (h, c) -> (h, c)."""
        gates = {"lstm": 4, "rnn": 1}[kind] * units

        def step(x: np.ndarray, hc: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            h, c = hc
            raw = x @ self.array(f"{name}.weight_ih_l0{end}", gates, x.shape[-1]).T
            raw = raw + h @ self.array(f"{name}.weight_hh_l0{end}", gates, units).T
            raw = raw + self.array(f"{name}.bias_ih_l0{end}", gates) + self.array(f"{name}.bias_hh_l0{end}", gates)
            if kind == "rnn":
                return np.tanh(raw), c
            i, f, g, o = np.split(raw, 4, axis=-1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            return sigmoid(o) * np.tanh(c), c

        return step

    def run(
        self, name: str, x: np.ndarray, units: int, kind: str = "lstm", backward: bool = False, end: str = ""
    ) -> np.ndarray:
        """h at every frame."""
        step, hc, found = self.cell(name, units, kind, end), zeros(x, units), []
        for x_t in np.moveaxis(x[:, ::-1] if backward else x, 1, 0):
            hc = step(x_t, hc)
            found.append(hc[0])
        found = np.stack(found, axis=1)
        return found[:, ::-1] if backward else found

    def both(self, name: str, x: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray]:
        return self.run(name, x, units), self.run(name, x, units, backward=True, end="_reverse")


def zeros(x: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros([len(x), units]), np.zeros([len(x), units])


def join(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=-1)


def standard(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros_like(z), np.ones_like(z)


def drawn(q: tuple[np.ndarray, np.ndarray], noise: np.ndarray) -> np.ndarray:
    return q[0] + q[1] * noise


def stacked(frames: list) -> tuple[np.ndarray, tuple, tuple]:
    z, q, p = zip(*frames, strict=True)
    along = [np.stack(y, axis=1) for y in (z, *zip(*q, strict=True), *zip(*p, strict=True))]
    return along[0], (along[1], along[2]), (along[3], along[4])


def before(x: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
    """The frame before each, and zeros or `first` before the first one."""
    return np.concatenate([np.zeros_like(x[:, :1]) if first is None else first, x[:, :-1]], axis=1)


# Sizes differ from each other, so that a mix-up of two shapes cannot pass.
Z, H, V, PHI = 3, 5, 2, (6,)


def vae(s: State, x: np.ndarray, noise: np.ndarray, _: np.ndarray) -> Path:
    q = s.gaussian("inf", s.layers("net_x", x, 7), Z)
    z = drawn(q, noise)
    return Path(z, q, standard(z), s.linear("gen", s.layers("net_z", z, 4, 6), x.shape[-1]))


def dkf(s: State, x: np.ndarray, noise: np.ndarray, _: np.ndarray) -> Path:
    g = s.run("back", s.layers("net_x", x, *PHI), H, backward=True)  # (5.4)
    z_before, frames = np.zeros([len(x), Z]), []
    for t in range(x.shape[1]):
        gate = sigmoid(s.linear("gate.2", s.layers("gate", z_before, 4, act=relu), Z))  # (B.1)
        nonlinear = s.linear("nonlin.2", s.layers("nonlin", z_before, 4, act=relu), Z)  # (B.2)
        loc = (1.0 - gate) * s.linear("lin", z_before, Z) + gate * nonlinear  # (B.3), (B.4)
        variance = np.log1p(np.exp(s.linear("var", relu(nonlinear), Z)))  # (B.5)
        combined = 0.5 * (np.tanh(s.linear("comb.2", s.layers("comb", z_before, 7), H)) + g[:, t])  # (5.5)
        q = s.gaussian("inf", s.layers("net_g", combined, 8), Z)
        z_before = drawn(q, noise[:, t])
        frames.append((z_before, q, (loc, np.sqrt(variance))))
    z, q, p = stacked(frames)
    return Path(z, q, p, s.linear("gen", s.layers("net_z", z, 4, 6), x.shape[-1]))


def storn(s: State, x: np.ndarray, noise: np.ndarray, _: np.ndarray) -> Path:
    q = s.gaussian("inf", s.layers("net_g", s.run("rnn_g", s.layers("net_x_g", x, 7), H), 8), Z)  # (7.15), (7.16)
    z = drawn(q, noise)
    h = s.run("rnn_h", join(s.layers("net_x", before(x), *PHI), s.layers("net_z", z, 4)), H)  # (7.4), x_0 = 0
    return Path(z, q, standard(z), s.linear("gen", s.layers("net_h", h, 6), x.shape[-1]))


def vrnn(s: State, x: np.ndarray, noise: np.ndarray, _: np.ndarray) -> Path:
    step, hc, frames, features = s.cell("rnn", H, "lstm"), zeros(x, H), [], []
    for t in range(x.shape[1]):
        phi_x, h = s.layers("net_x", x[:, t], *PHI), hc[0]
        q = s.gaussian("inf", join(phi_x, h), Z)  # (8.11)
        z = drawn(q, noise[:, t])
        phi_z = s.layers("net_z", z, 4)
        frames.append((z, q, s.gaussian("prior", h, Z)))  # (8.4)
        features.append(join(phi_z, h))  # (8.2)
        hc = step(join(phi_x, phi_z), hc)  # (8.1) of the next frame
    return Path(*stacked(frames), s.linear("gen", np.stack(features, axis=1), x.shape[-1]))


def srnn(s: State, x: np.ndarray, noise: np.ndarray, _: np.ndarray) -> Path:
    h = s.run("rnn_h", s.layers("net_x", before(x), *PHI), H)  # (9.1), x_0 = 0
    g = s.run("rnn_g", s.layers("net_hx", join(h, x), 7), H, backward=True)  # (9.10)
    z, frames = np.zeros([len(x), Z]), []
    for t in range(x.shape[1]):
        p = s.gaussian("prior", s.layers("net_zh", join(z, h[:, t]), 8), Z)  # (9.4)
        q = s.gaussian("inf", s.layers("net_zg", join(z, g[:, t]), 9, 4), Z)  # (9.11)
        z = drawn(q, noise[:, t])
        frames.append((z, q, p))
    z, q, p = stacked(frames)
    return Path(z, q, p, s.linear("gen", s.layers("net_out", join(z, h), 6), x.shape[-1]))  # (9.2)


def rvae(s: State, x: np.ndarray, noise: np.ndarray, _: np.ndarray, whole: bool = False) -> Path:
    if whole:
        g_x = join(*s.both("rnn_gx", x, H))  # (10.25), (10.26)
    else:
        g_x = s.run("rnn_gx", x, H, backward=True)  # (10.19)
    step, hc, z, frames = s.cell("rnn_gz", H, "lstm"), zeros(x, H), np.zeros([len(x), Z]), []
    for t in range(x.shape[1]):
        hc = step(z, hc)  # (10.18)
        q = s.gaussian("inf", join(hc[0], g_x[:, t]), Z)  # (10.20), (10.27)
        z = drawn(q, noise[:, t])
        frames.append((z, q, standard(z)))
    z, q, p = stacked(frames)
    h = join(*s.both("rnn_h", z, H)) if whole else s.run("rnn_h", z, H)  # (10.4), (10.9)-(10.11)
    return Path(z, q, p, s.linear("gen", h, x.shape[-1]))


def rvae_noncausal(s: State, x: np.ndarray, noise: np.ndarray, v_noise: np.ndarray) -> Path:
    return rvae(s, x, noise, v_noise, whole=True)


def dsae(s: State, x: np.ndarray, noise: np.ndarray, v_noise: np.ndarray) -> Path:
    forward, backward = s.both("rnn_v", x, H)
    v = drawn(s.gaussian("v", join(forward[:, -1], backward[:, 0]), V), v_noise)  # (11.14), (11.15)
    along = np.repeat(v[:, None], x.shape[1], axis=1)
    g = s.run("rnn_g", join(*s.both("rnn_z", join(x, along), H)), H, kind="rnn")  # (11.17)-(11.20), B.6
    q = s.gaussian("inf", g, Z)
    z = drawn(q, noise)
    p = s.gaussian("prior", s.run("rnn_h", before(z), H), Z)  # (11.2), (11.3)
    return Path(z, q, p, s.linear("gen", s.layers("net_zv", join(z, along), 4, 6), x.shape[-1]), v)


HEADS = {"posterior_mean": "inf_mean", "posterior_logvar": "inf_logvar", "output": "gen"}
PRIOR = {"prior_mean": "prior_mean", "prior_logvar": "prior_logvar"}
NAMES: dict[str, dict[str, str]] = {
    "vae": {"encoder": "net_x", "decoder": "net_z", **HEADS},
    "dkf": {
        **{"transition_gate": "gate", "transition_nonlinear": "nonlin", "transition_linear": "lin"},
        **{"transition_variance": "var", "decoder": "net_z", "encoder_phi_x": "net_x", "backward_rnn": "back"},
        **{"combiner": "comb", "posterior": "net_g", **HEADS},
    },
    "storn": {
        **{"phi_x": "net_x", "phi_z": "net_z", "rnn": "rnn_h", "decoder": "net_h", "encoder_phi_x": "net_x_g"},
        **{"encoder_rnn": "rnn_g", "encoder": "net_g", **HEADS},
    },
    "vrnn": {"phi_x": "net_x", "phi_z": "net_z", "rnn": "rnn", **PRIOR, **HEADS},
    "srnn": {
        **{"phi_x": "net_x", "rnn": "rnn_h", "prior": "net_zh", "smoother": "net_hx", "backward_rnn": "rnn_g"},
        **{"posterior": "net_zg", "decoder": "net_out", **PRIOR, **HEADS},
    },
    "rvae": {"rnn": "rnn_h", "posterior_rnn": "rnn_gz", "backward_rnn": "rnn_gx", **HEADS},
    "rvae_noncausal": {"rnn": "rnn_h", "posterior_rnn": "rnn_gz", "x_rnn": "rnn_gx", **HEADS},
    "dsae": {
        **{"rnn": "rnn_h", "v_rnn": "rnn_v", "v_mean": "v_mean", "v_logvar": "v_logvar", "z_rnn": "rnn_z"},
        **{"posterior_rnn": "rnn_g", "decoder": "net_zv", **PRIOR, **HEADS},
    },
}
"""What the arrays above are called, by the parts of `tfdvae.porting`."""

MODELS: dict[str, Callable[..., Path]] = {
    **{"vae": vae, "dkf": dkf, "storn": storn, "vrnn": vrnn, "srnn": srnn},
    **{"rvae": rvae, "rvae_noncausal": rvae_noncausal, "dsae": dsae},
}
