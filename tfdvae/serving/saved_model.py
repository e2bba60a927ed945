"""SavedModel: all signatures of a model in a folder that needs neither Keras nor this package to run."""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfdvae.data.unfinished import unfinished
from tfdvae.models import DVAE
from tfdvae.serving.card import CARD, model_card
from tfdvae.serving.fields import Signature, Target, describe
from tfdvae.serving.reproducible import make_reproducible
from tfdvae.serving.signatures import declare

__all__ = ["DEFAULT", "DESCRIPTION", "about", "choose", "export_saved_model", "new_folder", "plain_errors", "target_of"]

DESCRIPTION = "signatures.json"

DEFAULT = ("serving_default", "reconstruct")
"""What a caller gets who names no signature: what the Keras model itself returns where it is called."""


def export_saved_model(
    model: DVAE, path: str | os.PathLike, signatures: Iterable[str] | None = None, merged: bool = False
) -> dict[str, Signature]:
    """Writes the signatures to a new folder, complete or not at all; `signatures.json` in it describes them and says
    which model it is (`DVAE.identity`), and the same for people as a model card, README.md.

    `reconstruct` is `serving_default` as well.

    Args:
        model: a built model.
        path: the folder to make.
        signatures: names of those to write; by default all that the model has.
        merged: in the form for a server that merges calls: one row per sequence in everything (see `Target`).

    Returns:
        What was written.

    Raises:
        ValueError: the model was never built, or has no such signature.
        FileExistsError: there is something at `path`.
        OSError: the folder cannot be written.
    """
    chosen = choose(declare(model, Target(merged=merged)), signatures, type(model).__name__)
    with new_folder(path) as folder:
        module = tf.Module(name="tfdvae")
        # Not the states of random numbers and metrics, which change without training and which no signature reads.
        module.weights = [weight.value for weight in model.weights]
        traced = {name: one.trace() for name, one in chosen.items()}
        name, shown = DEFAULT
        tf.saved_model.save(module, str(folder), {**traced, **({name: traced[shown]} if shown in traced else {})})
        make_reproducible(folder)
        text = describe(chosen, **about(model), **model.identity(), merged=merged)
        (folder / DESCRIPTION).write_text(text, encoding="utf-8")
        (folder / CARD).write_text(model_card(json.loads(text)), encoding="utf-8")
    return chosen


def target_of(description: Mapping[str, Any]) -> Target:
    """What a SavedModel was declared for, from its description."""
    return Target(merged=bool(description.get("merged", False)))


def about(model: DVAE) -> dict[str, Any]:
    """What a description says of the model itself: its name, sizes, and the names of its latents of frames."""
    return {
        "model": type(model).__name__,
        "features": model.x_dim,
        "frame_shape": model.frame_shape,
        "inputs": model.u_dim,
        "context": model.context_dim,
        "latents": [latent.name for latent in model.frame_latents],
    }


def choose(found: dict[str, Signature], names: Iterable[str] | None, model: str) -> dict[str, Signature]:
    """The named signatures out of those that a model has.

    Raises:
        ValueError: it lacks one, or none is named.
    """
    names = list(found if names is None else names)
    missing = [name for name in names if name not in found]
    if missing or not names:
        raise ValueError(
            f"{model} as configured has the signatures {', '.join(found)} in this format; "
            f"asked for {', '.join(missing) or 'none'}."
        )
    return {name: found[name] for name in found if name in names}


@contextlib.contextmanager
def new_folder(path: str | os.PathLike, otherwise: Callable[[], Path] | None = None) -> Iterator[Path]:
    """A folder beside `path` to be filled, which takes its place when all went well, and vanishes otherwise.

    What exports that were killed left in the folder around is removed (see `tfdvae.data.unfinished`).

    Args:
        path: where it goes.
        otherwise: names another place, if something came to be at `path` meanwhile; without it that is an error.

    Raises:
        FileExistsError: there is something at `path`.
        OSError: it cannot be written.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists. Name a new path, or remove it first; nothing was written.")
    try:
        with unfinished(path) as temporary:
            temporary.mkdir()
            with plain_errors(path):
                yield temporary
            while not _moved(temporary, path):
                if otherwise is None:
                    raise FileExistsError(errno.EEXIST, "another process was faster", str(path))
                path = otherwise()
    except (NotADirectoryError, FileExistsError, PermissionError) as error:
        raise type(error)(f"{path} cannot be made: {error.strerror} ({error.filename}).") from error


def _moved(folder: Path, path: Path) -> bool:
    """Moves a folder to a free place; false where it is not free."""
    try:
        folder.rename(path)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


@contextlib.contextmanager
def plain_errors(path: str | os.PathLike) -> Iterator[None]:
    """TensorFlow's own errors, such as that of a full disk, become OSError."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"{path} could not be written: {error.message}") from error
