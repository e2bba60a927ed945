"""From PyTorch's arrays to a model of ours."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdvae.models import DVAE, MODELS
from tfdvae.porting.networks import CONVENTIONS, Network, Recurrence, networks_of
from tfdvae.porting.published import Dense, Direction, Published

__all__ = ["from_dvae_state_dict"]

_KINDS = {4: "lstm", 1: "rnn"}
"""Recurrent layers by the number of their gates. PyTorch and Keras both have an LSTM's in the order i, f, g, o."""

_OPTIONS = "leave out options that make it of other parts than the survey's"


def from_dvae_state_dict(
    name: str,
    arrays: Mapping[str, np.ndarray],
    *,
    names: Mapping[str, str] | None = None,
    orders: Mapping[str, Sequence[str]] | None = None,
    **options: Any,
) -> DVAE:
    """A model of Girin et al. (2021) with the weights of its PyTorch twin.

    All sizes follow from the arrays. Everything else is as in the survey's experiments: tanh layers, log-variances
    without a floor that is added to scales, no standardisation, gamma observations, DKF's p(z_1) by the transition,
    phi_x(0) before the first frame of STORN and SRNN. Layers that the survey's text does not have, such as dense ones
    before the recurrences of RVAE and DSAE, have no place here, and are reported as left over.

    Args:
        name: "vae", "dkf", "storn", "vrnn", "srnn", "rvae", "rvae_noncausal" or "dsae".
        arrays: weights by their names in PyTorch's state: ".weight" and ".bias" of linear layers, `[out, in]` and
            `[out]`; ".weight_ih_l0", ".weight_hh_l0", ".bias_ih_l0" and ".bias_hh_l0" of recurrent ones, the other
            direction of bidirectional ones with "_reverse" at the end. An opened `.npz` is such a mapping;
            `tfdvae.porting` says how to write one.
        names: what the state calls the parts that `tfdvae.porting.parts(name)` lists: the name of a layer, or of a
            `Sequential` for all its layers. A part that is not among them is called as in that list.
        orders: in which order the first layer of a part takes its inputs, by part, where that is not the survey's,
            which that list has.
        **options: arguments of the model, such as observation="identity_gaussian" for motion data.

    Returns:
        The model, built.

    Raises:
        ValueError: an unknown model, part or input; and, in one message, all names that are missing or left over, and
            all arrays of other shapes, of no floating-point numbers, or with some that are not finite; options that
            make a model of other parts than the survey's.

    Example:
        arrays = np.load("vrnn.npz", allow_pickle=False)
        names = {"phi_x": "features_x", "phi_z": "features_z", "rnn": "lstm", "output": "decoder.logvar"}
        model = tfdvae.porting.from_dvae_state_dict("vrnn", arrays, names=names)
        elbo = model.log_prob(power_spectrograms, num_samples=16)   # [B], nats
    """
    networks, orders = networks_of(name), dict(orders or {})
    _check_orders(name, networks, orders)
    state = Published(name, arrays, names or {})
    found = {part: state.read(part, network) for part, network in networks.items()}
    heads = {head: state.head(head) for network in networks.values() for head in getattr(network, "heads", ())}
    state.refuse(all_read=True)
    usual = {"activation": "tanh", "scale": "exp", "scale_floor": "clip", "observation": "gamma", "standardize": None}
    ours = {**usual, **CONVENTIONS.get(name, {}), **_sizes(networks, found, heads)}
    # Widths of parts that the options leave out are dropped, so that the part itself is what is refused below.
    idle = MODELS[name].without_use({**ours, **options})
    model = MODELS[name](**{**{key: value for key, value in ours.items() if key not in idle}, **options})
    model.build_for(len(heads["output"].bias))
    widths = _widths(model)
    for part, network in networks.items():
        order = tuple(orders.get(part, network.reads))
        if isinstance(network, Recurrence):
            columns = _columns(order, network.reads, widths)
            for target, direction in zip(network.targets, found[part], strict=True):
                layer = _part(state, model, part, target).stack[0].cell
                _place_recurrence(state, layer, direction, columns)
        else:
            columns = _columns(order, network.own or network.reads, widths)
            behind = [heads[head] for head in network.heads]
            _place_network(state, model, part, network, found[part], behind, columns)
    state.refuse()
    if left := [weight.path for weight in model.trainable_weights if id(weight) not in state.placed]:
        raise ValueError(
            f"The published {name!r} has no weights for {', '.join(left)} of the model that was asked for: {_OPTIONS}."
        )
    return model


def _check_orders(name: str, networks: Mapping[str, Any], orders: Mapping[str, Sequence[str]]) -> None:
    for part, order in orders.items():
        if part not in networks or sorted(order) != sorted(networks[part].reads):
            known = {one: network.reads for one, network in networks.items() if len(network.reads) > 1}
            raise ValueError(
                f"`orders` may reorder what these parts of {name!r} read: {known}; got {part!r}: {tuple(order)}."
            )


def _sizes(networks: Mapping[str, Any], found: Mapping[str, list], heads: Mapping[str, Dense]) -> dict[str, Any]:
    """Arguments of the model that follow from shapes."""
    sizes: dict[str, Any] = {"latent_dim": len(heads["posterior_mean"].bias)}
    if "v_mean" in heads:
        sizes["global_dim"] = len(heads["v_mean"].bias)
    for part, network in networks.items():
        if isinstance(network, Recurrence):
            rows, units = found[part][0].state_weight.shape
            sizes.setdefault("units", units)
            sizes.setdefault(network.kind, _KINDS.get(rows // units, "lstm"))
        elif network.option:
            hidden = found[part] if network.heads or not network.last else found[part][:-1]
            sizes.setdefault(network.option, tuple(len(layer.bias) for layer in hidden))
    return sizes


def _widths(model: DVAE) -> dict[str, int]:
    """How many columns each of several inputs of a part has."""
    cell = model.cell
    widths = {"x": model.x_dim, "z": cell.latent_dim, "v": getattr(cell, "global_dim", 0)}
    for features, read in (("x_features", "x"), ("z_features", "z")):
        if hasattr(cell, features):
            widths[f"phi_{read}"] = getattr(cell, features).output_dim(widths[read])
    directions = ("g_x_forward", "g_x_backward", "h_forward", "h_backward", "g_forward", "g_backward")
    return {**widths, **dict.fromkeys(("h", "g", "g_x", "g_z", *directions), cell.units)}


def _columns(order: Sequence[str], own: Sequence[str], widths: Mapping[str, int]) -> np.ndarray | None:
    """Which columns of a published weight those of ours are; None where they are the same."""
    if tuple(order) == tuple(own):
        return None
    ends = np.cumsum([widths[read] for read in order])
    places = {read: np.arange(end - widths[read], end) for read, end in zip(order, ends, strict=True)}
    return np.concatenate([places[read] for read in own])


def _place_recurrence(state: Published, layer: Any, found: Direction, columns: np.ndarray | None) -> None:
    """The weights of one direction, whose one bias is here the sum of two."""
    kernel, recurrent, bias = layer.kernel, layer.recurrent_kernel, layer.bias
    shapes = (tuple(kernel.shape[::-1]), tuple(recurrent.shape[::-1]), tuple(bias.shape), tuple(bias.shape))
    if all([state.fits(*fitting) for fitting in zip(found[:4], shapes, found.names, strict=True)]):
        state.place(kernel, _reordered(found.input_weight, columns).T)
        state.place(recurrent, found.state_weight.T)
        state.place(bias, found.input_bias + found.state_bias)


def _place_network(
    state: Published,
    model: DVAE,
    part: str,
    network: Network,
    found: Sequence[Dense],
    heads: Sequence[Dense],
    columns: np.ndarray | None,
) -> None:
    """The weights of dense layers, and of the heads behind them side by side in one layer."""
    hidden = _part(state, model, part, network.target).hidden if network.target else []
    layers = [(layer.kernel, layer.bias) for layer in hidden]
    behind = _layer_behind(state, model, part, network.last)
    if behind and not heads:
        layers.append(behind)
    if len(found) != len(layers):
        stems = ", ".join(layer.stem for layer in found)
        state.faults["wrong"].append(f"{stems} are {len(found)} layers in place of {len(layers)}")
        return
    for i, (variables, layer) in enumerate(zip(layers, found, strict=True)):
        _place(state, variables, [layer], columns if i == 0 else None)
    if heads:
        _place(state, behind, heads, None if layers else columns)


def _layer_behind(state: Published, model: DVAE, part: str, last: str) -> tuple[Any, Any] | None:
    """Kernel and bias of the layer by that name."""
    if last == "observation":
        return model.observation.head.kernel, model.observation.bias
    if not last:
        return None
    layer = _part(state, model, part, last)
    return layer.kernel, layer.bias


def _part(state: Published, model: DVAE, part: str, target: str) -> Any:
    """The layer of the cell by that name; ValueError where options have made a model without it."""
    try:
        found = operator.attrgetter(target)(model.cell)
    except AttributeError:
        found = None
    if found is None:
        raise ValueError(
            f"The published {state.model!r} has weights of {part!r}, for which the model that was asked for has no "
            f"place: {_OPTIONS}."
        )
    return found


def _place(state: Published, variables: tuple[Any, Any], parts: Sequence[Dense], columns: np.ndarray | None) -> None:
    """The weights of dense layers side by side into one layer."""
    kernel, bias = variables
    width, share = kernel.shape[0], kernel.shape[1] // len(parts)
    fits = [
        state.fits(array, shape, f"{part.stem}.{end}")
        for part in parts
        for array, shape, end in ((part.weight, (share, width), "weight"), (part.bias, (share,), "bias"))
    ]
    if all(fits):
        state.place(kernel, np.concatenate([_reordered(part.weight, columns).T for part in parts], axis=1))
        state.place(bias, np.concatenate([part.bias for part in parts]))


def _reordered(weight: np.ndarray, columns: np.ndarray | None) -> np.ndarray:
    return weight if columns is None else weight[:, columns]
