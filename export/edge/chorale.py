"""Music from an exported model, frame by frame, as a MIDI file.

python -m export.edge.chorale --model bach.tflite --out song.mid --length 64 --seed 1
python -m export.edge.chorale --model bach.tflite --out song.mid --prime begun.mid --prime_frames 32

A prime is music whose beginning the model continues, and opens the file that is written: a MIDI file, or a piano-roll
`[T, 88]` with column = MIDI note - 21 in an .npy file or an .npz archive that holds one array or the array "x".
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from export import program
from export.edge.files import load_arrays
from export.edge.known import Known
from export.edge.midi import KEYS, names, read_midi, write_midi
from export.edge.stream import Stream

__all__ = ["continue_roll", "read_prime", "run"]


def continue_roll(
    stream: Stream,
    length: int,
    prime: np.ndarray | None = None,
    tell: Callable[[int, np.ndarray, float], None] | None = None,
) -> np.ndarray:
    """Draws frames one by one, after those of a prime.

    Args:
        stream: of a model of 88 keys, before its first frame.
        length: how many to draw.
        prime: `[T, 88]`; they are pushed first.
        tell: called for each drawn frame, with its place in the roll, the frame and the seconds that it took.

    Returns:
        `[T + length, 88]`, the prime included.

    Raises:
        ValueError: a model of other frames, or one whose files cannot take in a prime.
    """
    if stream.features != KEYS:
        raise ValueError(
            f"A piano has {KEYS} keys, the model in {stream.path} has frames of {stream.features} features."
        )
    if length < 1:
        raise ValueError(f"`length` must be at least 1, got {length}.")
    roll = [] if prime is None else list(prime)
    for frame in roll:
        stream.push(frame)
    for _ in range(length):
        begin = time.perf_counter()
        frame = stream.generate(1)[0]
        took = time.perf_counter() - begin
        if tell is not None:
            tell(len(roll), frame, took)
        roll.append(frame)
    return np.stack(roll)


def read_prime(path: str, frames: int | None = None, steps_per_quarter: int = 1) -> np.ndarray:
    """The first frames `[frames, 88]` of a MIDI file or a piano-roll, all by default.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no piano-roll, or shorter.
    """
    try:
        content = read_midi(path, steps_per_quarter) if path.endswith((".mid", ".midi")) else _load(path)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as .mid, .npy, or .npz with 'x': {error}") from error
    if content.ndim != 2 or content.shape[1] != KEYS or not np.isin(content, (0, 1)).all():
        raise ValueError(f"{path} must hold a roll [T, {KEYS}] of 0 and 1, got {content.dtype}{list(content.shape)}.")
    if frames is not None and not 1 <= frames <= len(content):
        raise ValueError(f"The prime in {path} has {len(content)} frames, so take from 1 to that many, not {frames}.")
    return content[:frames].astype(np.float32)


def _load(path: str) -> np.ndarray:
    content = load_arrays(path)
    return content["x"] if len(content) != 1 else next(iter(content.values()))


def main(given: argparse.Namespace) -> int:
    program.check_new(given.out, given.overwrite)
    stream = Stream(given.model, seed=given.seed)
    steps = _steps_per_quarter(stream.known, given.steps_per_quarter)
    prime = read_prime(given.prime, given.prime_frames, steps) if given.prime else None
    if given.prime_frames is not None and prime is None:
        raise ValueError("--prime_frames needs a --prime.")
    seconds = []

    def tell(place: int, frame: np.ndarray, took: float) -> None:
        seconds.append(took)
        if not given.quiet:
            print(f"{place:5} {1e3 * took:8.3f} ms  {names(frame)}", flush=True)

    roll = continue_roll(stream, given.length, prime, tell)
    write_midi(given.out, roll, steps, given.tempo)
    first = "" if prime is None else f"{len(prime)} frames of {given.prime} and "
    median, slowest = 1e3 * np.median(seconds), 1e3 * max(seconds)
    print(f"{given.out}: {first}{given.length} drawn, {median:.3f} ms each (median; slowest {slowest:.3f})")
    return 0


def _steps_per_quarter(known: Known, given: int | None) -> int:
    """Frames per quarter note: what was asked for, which must be the model's, or the model's, or 1.

    Raises:
        ValueError: the model has another one.
    """
    if known.frame_period is None or known.time_unit != "quarter note":
        return 1 if given is None else given
    own = round(1.0 / known.frame_period)
    if given not in (None, own):
        raise ValueError(f"The model has {own} frames per quarter note: leave out --steps_per_quarter {given}.")
    return own


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.edge.chorale", description=__doc__.partition("\n")[0])
    found.add_argument("--model", required=True, help="a .tflite file with 'generate_step'")
    found.add_argument("--out", required=True, help="the MIDI file")
    found.add_argument("--length", type=int, default=64, help="frames to draw (default: 64)")
    found.add_argument("--seed", type=int, default=0, help="another seed draws other music (default: 0)")
    found.add_argument("--prime", help="a .mid, .npy or .npz file to continue")
    found.add_argument("--prime_frames", type=int, help="frames of it (default: all)")
    found.add_argument("--steps_per_quarter", type=int, help="frames per quarter note (default: the model's, or 1)")
    found.add_argument("--tempo", type=float, default=80.0, help="quarter notes per minute (default: 80)")
    found.add_argument("--overwrite", action="store_true", help="replace --out where it exists")
    found.add_argument("--quiet", action="store_true", help="do not print every frame")
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
