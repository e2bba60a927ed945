"""Human motion: positions of joints, x [T, 3 J]."""

import os
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from tfdvae.data.archives import read_array, read_flat, sequences_of
from tfdvae.data.files import finite_float32, named_damage, require_file
from tfdvae.data.motion_asf import read_amc, read_asf
from tfdvae.data.sequences import Sequences, Splits, from_arrays, windows
from tfdvae.data.splitting import Scaled, check_disjoint, loader_of, split_by_ratio

__all__ = ["H36M_PARENTS", "Motions", "load_motion", "read_motions", "read_skeleton", "scaled_motion"]

H36M_PARENTS = (
    *(-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14),
    *(12, 16, 17, 18, 19, 20, 19, 22, 12, 24, 25, 26, 27, 28, 27, 30),
)
"""Parent of each of the 32 joints of H3.6M; -1 for the root, the pelvis."""

_EXPECTED = "{train,test}_joints [N, J, 3], their {...}_len [sequences], and perhaps joint_scale_m and parent"
_H36M_VALID, _H36M_TEST = "S5", "S11"


class Motions(NamedTuple):
    """Recorded motions as they are in the files.

    Attributes:
        positions: float32 arrays [T_i, J, 3], mm.
        names: one per motion.
        groups: one per motion: the subject, or the action where a file does not tell subjects.
        splits: one per motion: "train", "valid" or "test", or "" where the files have no split.
        parents: of the joints, or None where the files do not say.
    """

    positions: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    groups: tuple[str, ...]
    splits: tuple[str, ...]
    parents: tuple[int, ...] | None


def scaled_motion(
    path: str | os.PathLike,
    num_frames: int | None = 50,
    shift: int = 2,
    held_out_shift: int | None = None,
    step: int = 2,
    centre: bool = True,
    unit_mm: float = 1000.0,
    valid_subjects: str | None = None,
    test_subjects: str | None = None,
    valid_ratio: float = 0.15,
    test_ratio: float = 0.15,
    split_seed: int = 0,
    limit: int | None = None,
    verbose: int = 1,
) -> Scaled:
    """Joint positions, x [T, 3 J] with x, y, z of the first joint first, as Girin et al. (2021), section 13.2.2: every
    second frame, positions relative to the root joint (the pelvis) of the same frame, sequences of 50 frames that begin
    every two frames.

    The survey's observation has a standard deviation of 1 mm. Frames here are in metres by default, where networks
    learn better; `identity_gaussian` with scale 0.001 is the same density up to a constant.

    The split is by subject where files tell subjects: the given ones; else S5 and S11 (the survey's) where they exist;
    else by ratio. An archive without a validation set gives every seventh (`valid_ratio`) training motion of each
    action to it.

    Args:
        path: one of the layouts of `read_motions`.
        num_frames: frames per sequence, T, in all splits; None for whole motions.
        shift: frames from the beginning of one training sequence to the next.
        held_out_shift: the same for validation and test; num_frames by default, so that each frame counts once. (The
            survey has 2 there too.)
        step: keep every step-th frame.
        centre: subtract the position of the first joint from all joints.
        unit_mm: millimetres that are 1 in x.
        valid_subjects, test_subjects: comma-separated names.
        valid_ratio, test_ratio, split_seed: of the split by ratio.
        limit: at most so many motions of each split, to try things out.
        verbose: 1 shows a progress bar while files are read, 0 shows nothing.

    Returns:
        `Scaled` with unit "mm": `restore` gives millimetres.

    Raises:
        FileNotFoundError: no such file or folder, or no motion in it.
        ValueError: a damaged file, which is named; NaN; subjects that do not exist or are in two splits; motions that
            are all shorter than a sequence; options out of range.
    """
    for name, value in (("shift", shift), ("held_out_shift", held_out_shift), ("step", step), ("limit", limit)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}.")
    if not unit_mm > 0.0:
        raise ValueError(f"unit_mm must be above 0; got {unit_mm}.")
    motions = read_motions(path, verbose)
    parts = _parts(motions, valid_subjects, test_subjects, valid_ratio, test_ratio, split_seed)

    def frames(i: int) -> np.ndarray:
        x = motions.positions[i][::step]
        # Differences of finite numbers may overflow, and so may a quotient.
        with np.errstate(over="ignore", invalid="ignore"):
            x = (x - x[:, :1] if centre else x) / np.float32(unit_mm)
        return finite_float32(x, f"{path}: {motions.names[i]}, centred and scaled,").reshape(len(x), -1)

    held_out = held_out_shift or num_frames
    shifts = dict(zip(Splits._fields, (shift, held_out, held_out), strict=True))
    splits = {
        split: _cut(motions, indices[:limit], frames, num_frames, shifts[split]) for split, indices in parts.items()
    }
    features = splits["train"].features
    found = Splits(**splits).described(
        features=tuple(f"joint {i // 3} {'xyz'[i % 3]}" for i in range(features)),
        units=("mm",),
        shift=(0.0,),
        scale=(unit_mm,),
        origin=f"motions of {Path(path).name}",
    )
    return Scaled(found, np.zeros(features, np.float32), np.full(features, unit_mm, np.float32), "mm")


load_motion = loader_of(scaled_motion, "load_motion")


def read_motions(path: str | os.PathLike, verbose: int = 1) -> Motions:
    """All motions of a file or folder, in one of three layouts:

    - an `.npz` archive with {train,test}_joints [N, J, 3], the frames of all motions below each other, and {...}_len;
      perhaps valid_joints and valid_len, {...}_name, {...}_action (indices in `actions`), `joint_scale_m` (metres per
      unit, 0.001 by default) and `parent` [J];
    - a folder SUBJECT/NAME.npy, as of H3.6M, each file an array [T, J, 3] or [T, 3 J] in mm; perhaps a file
      parents.npy [J] in the folder itself;
    - a folder of the CMU database, SUBJECT/SUBJECT.asf and SUBJECT/SUBJECT_NUMBER.amc.

    Raises:
        FileNotFoundError: no such file or folder, or no motion in it.
        ValueError: a damaged file, which is named; NaN; motions with different numbers of joints.
    """
    path = Path(path)
    if not path.is_dir():
        return _read_archive(require_file(path))
    skeletons = {file.parent: file for file in sorted(path.rglob("*.asf"))}
    files = sorted(path.rglob("*.amc") if skeletons else (f for f in path.glob("*/**/*.npy")))
    if not files:
        raise FileNotFoundError(f"There is no motion in {path}: expected SUBJECT/*.npy, or SUBJECT/*.asf and *.amc.")
    bar = keras.utils.Progbar(len(files), unit_name="motion", verbose=verbose)
    rigs = {folder: read_asf(file) for folder, file in skeletons.items()}
    positions = []
    for i, file in enumerate(files):
        if skeletons and file.parent not in rigs:
            raise ValueError(f"{file} has no skeleton: expected an .asf file beside it.")
        positions.append(read_amc(file, rigs[file.parent]) if skeletons else _read_array(file))
        if positions[i].shape[1] != positions[0].shape[1]:
            raise ValueError(f"{file} has {positions[i].shape[1]} joints, {files[0]} has {positions[0].shape[1]}.")
        bar.update(i + 1, finalize=i + 1 == len(files))
    names = [file.relative_to(path).with_suffix("").as_posix() for file in files]
    parents = _folder_parents(path, positions[0].shape[1])
    if rigs:
        trees = {tuple(rig.parents.tolist()) for rig in rigs.values()}
        if len(trees) > 1:
            raise ValueError(f"The skeletons in {path} have {len(trees)} different trees of joints; expected one.")
        parents = trees.pop()
    groups = [name.partition("/")[0] if "/" in name else name.partition("_")[0] for name in names]
    return Motions(tuple(positions), tuple(names), tuple(groups), ("",) * len(files), parents)


def read_skeleton(path: str | os.PathLike) -> tuple[int, ...]:
    """Parent of each joint, -1 for the root, as `plot_skeletons` needs it.

    Raises:
        ValueError: the files do not say, and the joints are not H3.6M's 32; whatever else `read_motions` raises.
    """
    parents = read_motions(path, verbose=0).parents
    if parents is None:
        raise ValueError(f"{path} does not say how joints are connected: give `parent` in an archive, or parents.npy.")
    return parents


def _read_archive(path: Path) -> Motions:
    arrays = read_flat(path, _EXPECTED)
    with named_damage(path, f"cannot be read: expected {_EXPECTED}"):
        return _motions_of(arrays, path)


def _motions_of(arrays: dict[str, np.ndarray], path: Path) -> Motions:
    scale = float(arrays.get("joint_scale_m", np.float32(0.001))) * 1000.0
    if not (np.isfinite(scale) and scale > 0.0):
        raise ValueError(f"{path}: joint_scale_m must be above 0; it is {scale / 1000.0}.")
    positions, names, groups, splits = [], [], [], []
    for split in (split for split in Splits._fields if split != "valid" or "valid_joints" in arrays):
        part = sequences_of(arrays, path, split, "joints", [(None, 3)])
        own = [f"{split}_{i}" for i in range(len(part))]
        kinds = arrays.get(f"{split}_action", np.zeros(len(part), int))
        with np.errstate(over="ignore"):
            scaled = [x * np.float32(scale) for x in part]
        positions += [finite_float32(x, f"{path}: sequence {i} of {split}, in mm,") for i, x in enumerate(scaled)]
        names += [str(name) for name in arrays.get(f"{split}_name", own)]
        groups += [str(kind) for kind in kinds]
        splits += [split] * len(part)
    if not len(names) == len(groups) == len(positions):
        raise ValueError(f"{path}: names or actions are not as many as sequences.")
    joints = {x.shape[1] for x in positions}
    if len(joints) > 1:
        raise ValueError(f"{path}: the splits have different numbers of joints, {sorted(joints)}.")
    parents = _checked_parents(arrays["parent"], joints.pop(), path) if "parent" in arrays else None
    return Motions(tuple(positions), tuple(names), tuple(groups), tuple(splits), parents)


def _read_array(path: Path) -> np.ndarray:
    x = read_array(path, "an array of numbers")
    flat = x.ndim == 2 and x.shape[1] % 3 == 0
    if x.dtype.kind not in "iuf" or not (flat or (x.ndim == 3 and x.shape[2] == 3)) or not x.size:
        raise ValueError(f"{path}: expected positions [T, J, 3] or [T, 3 J]; got {x.dtype} {list(x.shape)}.")
    return finite_float32(x, str(path)).reshape(len(x), -1, 3)


def _folder_parents(folder: Path, joints: int) -> tuple[int, ...] | None:
    file = folder / "parents.npy"
    if file.exists():
        return _checked_parents(read_array(file, "the parents of joints"), joints, file)
    return H36M_PARENTS if joints == len(H36M_PARENTS) else None


def _checked_parents(parents: np.ndarray, joints: int, path: Path) -> tuple[int, ...]:
    if parents.shape != (joints,) or parents.dtype.kind not in "iu":
        raise ValueError(f"{path}: expected the parent of each of {joints} joints, got {list(parents.shape)}.")
    if parents.min() < -1 or parents.max() >= joints:
        raise ValueError(f"{path}: parents must be from -1 (the root) to {joints - 1}.")
    found = tuple(parents.tolist())
    rooted = {-1}
    for joint in range(joints):
        way = set()
        while joint not in rooted:
            if joint in way:
                raise ValueError(f"{path}: parents must lead to the root, and those of joint {joint} lead back to it.")
            way.add(joint)
            joint = found[joint]
        rooted |= way
    return found


def _parts(
    motions: Motions, valid: str | None, test: str | None, valid_ratio: float, test_ratio: float, seed: int
) -> dict[str, list[int]]:
    parts = {split: [i for i, own in enumerate(motions.splits) if own == split] for split in Splits._fields}
    if any(parts.values()):
        if valid is not None or test is not None:
            raise ValueError(
                "valid_subjects and test_subjects are for folders of subjects; this file has its own split."
            )
        if not parts["valid"]:
            chosen = _some_of_each(motions.groups, parts["train"], valid_ratio)
            parts |= {"train": [i for i in parts["train"] if i not in chosen], "valid": chosen}
        return parts
    subjects = set(motions.groups)
    if valid is None and test is None:
        if not {_H36M_VALID, _H36M_TEST} < subjects:
            return split_by_ratio(motions.groups, valid_ratio, test_ratio, seed, "subjects")
        valid, test = _H36M_VALID, _H36M_TEST
    if not (valid and test):
        raise ValueError("Give both valid_subjects and test_subjects, or neither.")
    held = {"valid": _names(valid), "test": _names(test)}
    unknown = sorted(set().union(*held.values()) - subjects)
    if unknown:
        raise ValueError(f"There is no subject {unknown[0]!r}: expected one of {', '.join(sorted(subjects))}.")
    if held["valid"] & held["test"]:
        raise ValueError(f"Subject {sorted(held['valid'] & held['test'])[0]!r} is both in valid and in test.")
    for split, names in held.items():
        parts[split] = [i for i, group in enumerate(motions.groups) if group in names]
    parts["train"] = [i for i, group in enumerate(motions.groups) if group not in held["valid"] | held["test"]]
    if not parts["train"]:
        raise ValueError("valid_subjects and test_subjects name all subjects: nothing is left to train on.")
    check_disjoint(parts, motions.groups, "Subject")
    return parts


def _names(text: str) -> set[str]:
    return {name.strip() for name in text.split(",") if name.strip()}


def _some_of_each(groups: tuple[str, ...], indices: list[int], share: float) -> list[int]:
    """Evenly spaced motions of each group, `share` of them, at least one altogether."""
    if not 0.0 < share < 0.5 or len(indices) < 2:
        raise ValueError(f"valid_ratio must be between 0 and 0.5 of two or more training motions; got {share}.")
    every = max(2, round(1.0 / share))
    by_group = [[i for i in indices if groups[i] == group] for group in sorted({groups[i] for i in indices})]
    chosen = sorted(i for members in by_group for i in members[every // 2 :: every])
    return chosen or indices[-1:]


def _cut(motions: Motions, indices: list[int], frames, length: int | None, shift: int | None) -> Sequences:
    whole = from_arrays([frames(i) for i in indices], names=[motions.names[i] for i in indices])
    return whole if length is None else windows(whole, length, shift, keep_short=False)
