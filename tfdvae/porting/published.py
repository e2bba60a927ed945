"""The arrays of PyTorch's state by the parts of a model, and all that is wrong with them."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tfdvae.porting.networks import Network, Recurrence, parts

__all__ = ["Dense", "Direction", "Published"]


class Dense(NamedTuple):
    """`torch.nn.Linear`: weight `[out, in]`, bias `[out]`, and their names up to the dot."""

    weight: np.ndarray
    bias: np.ndarray
    stem: str


class Direction(NamedTuple):
    """One direction of `torch.nn.LSTM` or `torch.nn.RNN`: weights `[G H, in]` and `[G H, H]`, two biases `[G H]`, and
    the names of these four."""

    input_weight: np.ndarray
    state_weight: np.ndarray
    input_bias: np.ndarray
    state_bias: np.ndarray
    names: tuple[str, ...]


class Published:
    """Reads parts and collects faults, so that one error tells all of them.

    Args:
        model: one of the survey's.
        arrays: as PyTorch names them.
        names: what parts are called there, where not as in `parts`.

    Raises ValueError for names of parts that the model does not have.
    """

    def __init__(self, model: str, arrays: Mapping[str, np.ndarray], names: Mapping[str, str]) -> None:
        known = parts(model)
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise ValueError(
                f"`names` says what the state calls the parts of {model!r}, which are {', '.join(known)}; got "
                f"{', '.join(map(repr, unknown))}."
            )
        self.model, self.named = model, set(names)
        self.prefixes = {part: names.get(part, part) for part in known}
        self.arrays = {name: np.asarray(arrays[name]) for name in arrays}
        self.left = set(self.arrays)
        self.placed: set[int] = set()
        self.faults: dict[str, list[str]] = {"missing": [], "left over": [], "wrong": []}
        for name, array in self.arrays.items():
            if array.dtype.kind != "f":
                self.faults["wrong"].append(f"{name} holds {array.dtype} in place of floating-point numbers")
            elif not np.isfinite(array).all():
                self.faults["wrong"].append(f"{name} holds NaN or infinite numbers")

    def read(self, part: str, network: Network | Recurrence) -> list[Any]:
        """The layers of a part, without its heads, or the directions of a recurrent one."""
        if isinstance(network, Recurrence):
            return [self._direction(part, end) for end in ("", "_reverse")[: len(network.targets)]]
        if network.heads and not network.target:
            return []
        return self._layers(part, needed=part in self.named or bool(network.last and not network.heads))

    def head(self, part: str) -> Dense:
        """A part that is one layer."""
        return self._dense(self.prefixes[part])

    def fits(self, array: np.ndarray, shape: tuple[int, ...], name: str) -> bool:
        """Whether the array has the shape that the model wants; it is a fault where not."""
        if array.shape != shape:
            self.faults["wrong"].append(f"{name} has shape {list(array.shape)} in place of {list(shape)}")
        return array.shape == shape

    def place(self, variable: Any, value: np.ndarray) -> None:
        """Gives a variable of the model its value, and notes that it has one."""
        variable.assign(value)
        self.placed.add(id(variable))

    def refuse(self, all_read: bool = False) -> None:
        """Raises ValueError where there are faults; names that nothing has read are one once `all_read`."""
        if all_read:
            self.faults["left over"] = sorted(self.left)
        told = [f"{what}: {', '.join(names)}" for what, names in self.faults.items() if names]
        if told:
            called = ", ".join(f"{part!r}: {prefix!r}" for part, prefix in self.prefixes.items())
            raise ValueError(
                f"These arrays are not the weights of {self.model!r}. {'; '.join(told)}. Expected these parts by these "
                f"names, which `names` can change: {called}."
            )

    def _layers(self, part: str, needed: bool) -> list[Dense]:
        """All dense layers by or below a name, in the order of the numbers in their names."""
        prefix = self.prefixes[part]
        others = [f"{other}." for other in self.prefixes.values() if other.startswith(f"{prefix}.")]
        stems = {name.rpartition(".")[0] for name in self.arrays if name.startswith(f"{prefix}.")}
        own = [stem for stem in stems if not f"{stem}.".startswith(tuple(others))]
        if needed and not own:
            self.faults["missing"].append(f"{prefix}.weight, or layers below {prefix}")
        return [self._dense(stem) for stem in sorted(own, key=_natural)]

    def _dense(self, stem: str) -> Dense:
        return Dense(self._take(f"{stem}.weight", 2), self._take(f"{stem}.bias", 1), stem)

    def _direction(self, part: str, end: str) -> Direction:
        kinds = {"weight_ih": 2, "weight_hh": 2, "bias_ih": 1, "bias_hh": 1}
        names = {f"{self.prefixes[part]}.{kind}_l0{end}": rank for kind, rank in kinds.items()}
        return Direction(*(self._take(name, rank) for name, rank in names.items()), tuple(names))

    def _take(self, name: str, rank: int) -> np.ndarray:
        """The array by that name; a zero where that is a fault."""
        self.left.discard(name)
        array = self.arrays.get(name)
        if array is not None and array.ndim == rank and array.size:
            return array
        if array is None:
            self.faults["missing"].append(name)
        else:
            self.faults["wrong"].append(f"{name} has shape {list(array.shape)} in place of {rank} axes")
        return np.zeros([1] * rank)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts "layer.10" behind "layer.9"."""
    return [(0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in re.split(r"(\d+)", name)]
