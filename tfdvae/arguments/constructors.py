"""Checks of constructor arguments by the kinds of their defaults: a whole number where the default is one, etc."""

import functools
import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tfdvae.arguments.scalars import plain, switch, whole

__all__ = ["CheckedArguments", "Only", "idle", "like_defaults", "refuse_unused", "widths"]


class Only(NamedTuple):
    """What an argument needs of another one to have a use.

    Attributes:
        argument: the name of the other one.
        values: those of its values with which there is a use; None: all but its default.
    """

    argument: str
    values: tuple[Any, ...] | None = None


class CheckedArguments:
    """A class whose constructors, its own and those of its subclasses, check their arguments: of the kinds of their
    defaults, with Python's own numbers in place of numpy's, and none without use."""

    unused: ClassVar[Mapping[str, str]] = {}
    """Arguments that a class inherits and has no use for, each with the reason, as the end of a sentence."""
    used_with: ClassVar[Mapping[str, Only]] = {}
    """Arguments that have a use with some values of another argument alone; those of bases hold as well."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _checked(cls.__init__)


def _checked(constructor: Callable) -> Callable:
    parameters = inspect.signature(constructor).parameters
    names = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]

    @functools.wraps(constructor)
    def __init__(self: CheckedArguments, *args: Any, **options: Any) -> None:
        given = dict(zip(names[1:], args, strict=False))
        if len(given) < len(args) or given.keys() & options.keys():
            constructor(self, *args, **options)  # which Python refuses
        options = like_defaults(type(self), given | options)
        refuse_unused(type(self), options, self.unused)
        constructor(self, **options)
        # Once the values that decide are known to be any that there are.
        refuse_unused(type(self), options, idle(type(self), options, parameters))

    # Keras reads arguments without looking behind what is wrapped.
    __init__.__signature__ = inspect.signature(constructor)
    return __init__


def like_defaults(made: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with Python's own numbers, each checked to be of the kind that its default is.

    Ranges are for constructors to know; here 2.5 layers, a width of NaN, or "no" for False end, of which some would
    otherwise mean something else without a word. What has no default, or None, or a text, is left to the constructor.

    Args:
        made: the class whose constructor takes the arguments, with those of its bases.
        options: arguments by name.

    Raises:
        ValueError: an argument of another kind.
    """
    defaults = _defaults(made)
    return {name: _like(name, plain(value), defaults.get(name)) for name, value in options.items()}


def refuse_unused(made: type[CheckedArguments], options: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    """Raises ValueError where an argument without use, of which there is a reason, is given another value than its
    default."""
    defaults = _defaults(made)
    told: dict[str, list[str]] = {}
    for name, why in reasons.items():
        if name in options and options[name] != defaults[name]:
            told.setdefault(why, []).append(f"`{name}`")
    if told:
        parts = [f"{', '.join(names)}, {why}" for why, names in told.items()]
        which = "it" if sum(map(len, told.values())) == 1 else "them"
        raise ValueError(
            f"{made.__name__.removesuffix('Cell')} has no use for {'; nor for '.join(parts)}: leave {which} out."
        )


def idle(
    made: type[CheckedArguments], options: Mapping[str, Any], names: Collection[str] | None = None
) -> dict[str, str]:
    """Arguments that the values of others leave without use (`used_with`), each with the reason.

    Args:
        made: the class.
        options: arguments that were given.
        names: others that have their defaults; None: all others.
    """
    defaults, found = _defaults(made), {}
    for one in reversed(made.__mro__):
        for name, (other, values) in vars(one).get("used_with", {}).items():
            if other not in options and names is not None and other not in names:
                continue
            value = options.get(other, defaults[other])
            used = value != defaults[other] if values is None else value in values
            if not used:
                wanted = "another value" if values is None else " or ".join(map(repr, values))
                found[name] = f"which is read where `{other}` is {wanted}, and it is {value!r}"
    return found


def _defaults(made: type) -> dict[str, Any]:
    """Defaults of all named arguments of a class and of its bases, the class itself first."""
    found: dict[str, Any] = {}
    for one in made.__mro__:
        if "__init__" in vars(one):
            for name, parameter in inspect.signature(one.__init__).parameters.items():
                found.setdefault(name, parameter.default)
    return found


def _like(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        return switch(name, value)
    if isinstance(default, int):
        return whole(name, value)
    if isinstance(default, float):
        return _finite(name, value)
    if isinstance(default, tuple) and all(isinstance(item, int) for item in default):
        return widths(name, value)
    return value


def _finite(name: str, value: Any) -> Any:
    if isinstance(value, bool | str) or not isinstance(value, int | float) or not math.isfinite(value):
        # NaN among numbers that constructors compare passes every comparison that refuses what is too small.
        raise ValueError(f"`{name}` must be a finite number, got {value!r}.")
    return value


def widths(name: str, value: Any) -> tuple[int, ...]:
    """A sequence of whole numbers from 1 on, as Python's own; ValueError for anything else."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        raise ValueError(f"`{name}` must be a sequence of whole numbers such as (8,), got {value!r}.")
    return tuple(whole(f"{name}[{i}]", item, at_least=1) for i, item in enumerate(value))
