"""Which networks the survey's models have, and where their weights belong in ours."""

from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["CONVENTIONS", "NETWORKS", "Network", "Recurrence", "parts"]


class Network(NamedTuple):
    """Hidden layers, which there may be none of, and the dense layers that follow them.

    Attributes:
        reads: what the first layer takes, in the order in which the survey writes it.
        own: the same in the order of our cell; empty where that is the survey's.
        target: our MLP, as an attribute of the cell.
        option: the argument of the model that has the widths of its layers.
        heads: parts that follow, side by side: mean and log-variance, or the one output. Empty for features.
        last: our layer for the heads; where there are none, for the part's last layer, which is no hidden one then.
    """

    reads: tuple[str, ...]
    target: str
    option: str
    heads: tuple[str, ...] = ()
    last: str = ""
    own: tuple[str, ...] = ()


class Recurrence(NamedTuple):
    """A recurrent layer in one direction or in both.

    Attributes:
        reads: what it takes, in the order of the survey and of our cell alike.
        targets: our layer of each direction.
        kind: the argument of the model that says whether it is an LSTM.
    """

    reads: tuple[str, ...]
    targets: tuple[str, ...]
    kind: str = "cell"


def _posterior(reads: tuple[str, ...], target: str, option: str, own: tuple[str, ...] = ()) -> Network:
    heads = ("posterior_mean", "posterior_logvar")
    return Network(reads, target, option, heads, "posterior_head.output_layer", own)


def _prior(reads: tuple[str, ...]) -> Network:
    return Network(reads, "prior_net", "prior_units", ("prior_mean", "prior_logvar"), "prior_head.output_layer")


def _decoder(*reads: str) -> Network:
    return Network(reads, "decoder", "decoder_units", ("output",), "observation")


_PHI_X = Network(("x",), "x_features", "phi_x")
_PHI_Z = Network(("z",), "z_features", "phi_z")
_ENCODER_PHI_X = Network(("x",), "encoder_x_features", "encoder_phi_x")

NETWORKS: dict[str, dict[str, Network | Recurrence]] = {
    "vae": {
        "encoder": _posterior(("x",), "encoder", "encoder_units"),
        "decoder": _decoder("z"),
    },
    "dkf": {
        "transition_gate": Network(
            ("z",), "transition_net.gate", "transition_units", last="transition_net.gate_output"
        ),
        "transition_nonlinear": Network(
            ("z",), "transition_net.nonlinear", "transition_units", last="transition_net.nonlinear_output"
        ),
        "transition_linear": Network(("z",), "", "", last="transition_net.linear"),
        "transition_variance": Network(("mu_nonlin",), "", "", last="transition_net.variance"),
        "decoder": _decoder("z"),
        "encoder_phi_x": _ENCODER_PHI_X,
        "backward_rnn": Recurrence(("phi_x",), ("backward_rnn",)),
        "combiner": Network(("z",), "combiner", "combiner_units", last="combiner_output"),
        "posterior": _posterior(("g",), "posterior_net", "posterior_units"),
    },
    "storn": {
        "phi_x": _PHI_X,
        "phi_z": _PHI_Z,
        "rnn": Recurrence(("phi_x", "phi_z"), ("rnn",)),
        "decoder": _decoder("h"),
        "encoder_phi_x": _ENCODER_PHI_X,
        "encoder_rnn": Recurrence(("phi_x",), ("encoder_rnn",)),
        "encoder": _posterior(("g",), "encoder", "encoder_units"),
    },
    "vrnn": {
        "phi_x": _PHI_X,
        "phi_z": _PHI_Z,
        "rnn": Recurrence(("phi_x", "phi_z"), ("rnn",)),
        "prior": _prior(("h",)),
        "posterior": _posterior(("phi_x", "h"), "posterior_net", "posterior_units"),
        "decoder": _decoder("phi_z", "h"),
    },
    "srnn": {
        "phi_x": _PHI_X,
        "rnn": Recurrence(("phi_x",), ("rnn",)),
        "prior": _prior(("z", "h")),
        "smoother": Network(("h", "x"), "smoother", "smoother_units"),
        "backward_rnn": Recurrence(("smoothed",), ("backward_rnn",)),
        "posterior": _posterior(("z", "g"), "posterior_net", "posterior_units"),
        "decoder": _decoder("z", "h"),
    },
    "rvae": {
        "rnn": Recurrence(("z",), ("rnn",)),
        "decoder": _decoder("h"),
        "posterior_rnn": Recurrence(("z",), ("posterior_rnn",)),
        "backward_rnn": Recurrence(("x",), ("backward_rnn",)),
        "posterior": _posterior(("g_z", "g_x"), "posterior_net", "posterior_units", own=("g_x", "g_z")),
    },
    "rvae_noncausal": {
        "rnn": Recurrence(("z",), ("rnn", "reverse_rnn")),
        "decoder": _decoder("h_forward", "h_backward"),
        "posterior_rnn": Recurrence(("z",), ("posterior_rnn",)),
        "x_rnn": Recurrence(("x",), ("forward_rnn", "backward_rnn")),
        "posterior": _posterior(
            ("g_z", "g_x_forward", "g_x_backward"),
            "posterior_net",
            "posterior_units",
            own=("g_x_forward", "g_x_backward", "g_z"),
        ),
    },
    "dsae": {
        "rnn": Recurrence(("z",), ("rnn",)),
        "prior": _prior(("h",)),
        "v_rnn": Recurrence(("x",), ("v_forward_rnn", "v_backward_rnn")),
        "v_posterior": Network(
            ("g_forward", "g_backward"), "", "", ("v_mean", "v_logvar"), "v_posterior_head.output_layer"
        ),
        "z_rnn": Recurrence(("x", "v"), ("forward_rnn", "backward_rnn")),
        "posterior_rnn": Recurrence(("g_forward", "g_backward"), ("posterior_rnn",), "posterior_cell"),
        "posterior": _posterior(("g",), "posterior_net", "posterior_units"),
        "decoder": _decoder("z", "v"),
    },
}
"""The survey's models and their networks, by the names that `from_dvae_state_dict` knows them by."""

CONVENTIONS: dict[str, dict[str, Any]] = {
    "dkf": {"initial_prior": "transition"},
    "storn": {"first_features": "phi_x"},
    "srnn": {"first_features": "phi_x"},
}
"""Arguments beside those of every model that the survey's experiments have, and that weights do not show."""


def parts(name: str) -> dict[str, str]:
    """The parts of a model of the survey whose weights `from_dvae_state_dict` looks for, each with what it is.

    Args:
        name: "vae", "dkf", "storn", "vrnn", "srnn", "rvae", "rvae_noncausal" or "dsae".

    Raises:
        ValueError: another name.
    """
    return dict(_described(name))


def networks_of(name: str) -> dict[str, Network | Recurrence]:
    """Its networks; raises ValueError where the survey has no such model."""
    if name not in NETWORKS:
        raise ValueError(f"The survey's models are {', '.join(NETWORKS)}; got {name!r}.")
    return NETWORKS[name]


def _described(name: str) -> Iterator[tuple[str, str]]:
    for part, network in networks_of(name).items():
        taken = f"on [{', '.join(network.reads)}]"
        if isinstance(network, Recurrence):
            yield part, f"recurrent layer, {'in both directions, ' if len(network.targets) == 2 else ''}{taken}"
        elif network.heads:
            if network.target:
                yield part, f"hidden layers {taken}, or none"
            place = f"behind {part}, or where that has no layers" if network.target else ""
            yield from ((head, f"dense layer {place} {taken}".replace("  ", " ")) for head in network.heads)
        else:
            yield part, f"dense layers {taken}" + (", the last one without its activation" if network.last else "")
