"""Skeletons and motions of the CMU Graphics Lab Motion Capture Database: Acclaim files .asf and .amc.

The format is Acclaim's: angles of each joint are about its own axes, and a bone hangs at the end of its parent,

    R_bone = R_parent C M C^-1,    position_bone = position_parent + length R_bone direction,

where M turns by the angles of the motion and C by the bone's `axis`.
"""

import math
import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tfdvae.data.files import finite_float32, named_damage, require_file

__all__ = ["MAX_JOINTS", "Bone", "Rig", "read_amc", "read_asf"]

MAX_JOINTS = 256
"""How many a skeleton may have; the database's have 31. Each frame of a motion takes memory for all of them, even for
those that it says nothing about."""

_MM_PER_INCH = 25.4
_AXES = {"rx": 0, "ry": 1, "rz": 2}


class Bone(NamedTuple):
    """A bone of a rig; its joint is at its far end.

    Attributes:
        name: as in the motion files.
        parent: index in `Rig.bones`; -1 for the root.
        offset: from the parent's joint in the pose without angles, float64 [3], in units of the file.
        axis: C, float64 [3, 3].
        dof: the columns of a motion, such as ("rx", "rz").
        order: in which rotations are done, such as "xyz".
    """

    name: str
    parent: int
    offset: np.ndarray
    axis: np.ndarray
    dof: tuple[str, ...]
    order: str


class Rig(NamedTuple):
    """A skeleton; parents precede their children and the root comes first.

    Attributes:
        bones: one per joint.
        mm_per_unit: of lengths and root positions.
        degrees: whether the axes are given in degrees.
    """

    bones: tuple[Bone, ...]
    mm_per_unit: float
    degrees: bool

    @property
    def parents(self) -> np.ndarray:
        """int [J], -1 for the root."""
        return np.array([bone.parent for bone in self.bones])


def read_asf(path: str | os.PathLike) -> Rig:
    """The skeleton of an .asf file. Its unit of length is 1 / `length` inches, as the database states.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no skeleton, or is damaged: among others numbers that are not finite, a bone without
            a direction, a hierarchy that is no tree below the root, or more than `MAX_JOINTS` joints. Names the file.
    """
    path = require_file(path)
    with named_damage(path, "is no Acclaim skeleton (.asf), or it is damaged"):
        sections = _sections(path.read_text())
        units = {words[0]: words[1] for words in sections["units"] if len(words) > 1}
        degrees = units.get("angle", "deg").startswith("deg")
        root = {words[0]: words[1:] for words in sections["root"]}
        dof = _freedoms(root["order"])
        first = Bone(
            "root",
            -1,
            _numbers(root.get("position", ["0"] * 3)),
            _rotation(_numbers(root.get("orientation", ["0"] * 3)), _order(root["axis"][0]), degrees),
            dof,
            "".join(name[1] for name in dof if name in _AXES),
        )
        bones = _tree(first, _bones(sections["bonedata"], degrees), sections["hierarchy"])
        return Rig(bones, _MM_PER_INCH / _above_zero("the unit of length", units.get("length", "1")), degrees)


def read_amc(path: str | os.PathLike, rig: Rig) -> np.ndarray:
    """Positions of all joints, float32 [T, J, 3] in mm, of an .amc file of that skeleton.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no motion, is damaged, belongs to another skeleton, or places joints where float32
            does not reach. Names the file.
    """
    path = require_file(path)
    with named_damage(path, "is no motion (.amc) of its skeleton, or it is damaged"):
        return positions(rig, *_angles(path.read_text(), rig))


def positions(rig: Rig, angles: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Forward kinematics: float32 [T, J, 3] in mm.

    Args:
        angles: about x, y and z, radians [T, J, 3].
        translations: of the root, [T, 3], in units of the file.

    Raises:
        ValueError: positions that are not finite in float32.
    """
    where = np.empty(angles.shape)
    turned = np.empty((*angles.shape, 3))
    for j, bone in enumerate(rig.bones):
        local = bone.axis @ _rotation(angles[:, j], bone.order, degrees=False) @ bone.axis.T
        if bone.parent < 0:
            turned[:, j], where[:, j] = local, translations + bone.offset
        else:
            turned[:, j] = turned[:, bone.parent] @ local
            where[:, j] = where[:, bone.parent] + turned[:, j] @ bone.offset
    # Lengths add up along the limbs: sums of finite numbers may overflow, and so may their product with the unit.
    with np.errstate(over="ignore", invalid="ignore"):
        return finite_float32(where * rig.mm_per_unit, "the motion of the joints")


def _angles(text: str, rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """Angles [T, J, 3] in radians and root translations [T, 3] of a motion file."""
    lines = [line.split() for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#"]
    flags = {line[0].lower() for line in lines if line[0].startswith(":")}
    lines = [line for line in lines if not line[0].startswith(":")]
    starts = [i for i, line in enumerate(lines) if len(line) == 1 and line[0].isdigit()]
    if not starts:
        raise ValueError("it has no frame")
    number = {bone.name: j for j, bone in enumerate(rig.bones)}
    moving = {bone.name for bone in rig.bones if bone.dof}
    angles, shifts = np.zeros((len(starts), len(rig.bones), 3)), np.zeros((len(starts), 3))
    for t, (start, end) in enumerate(zip(starts, [*starts[1:], len(lines)], strict=True)):
        if {line[0] for line in lines[start + 1 : end]} != moving:
            raise ValueError(f"frame {lines[start][0]} does not give the angles of exactly the joints that move")
        for name, *values in lines[start + 1 : end]:
            bone = rig.bones[number[name]]
            if len(values) != len(bone.dof):
                raise ValueError(f"{name} has {len(values)} numbers in frame {lines[start][0]}, not {len(bone.dof)}")
            for dof, value in zip(bone.dof, map(float, values), strict=True):
                if dof in _AXES:
                    angles[t, number[name], _AXES[dof]] = value
                elif dof in ("tx", "ty", "tz") and bone.parent < 0:
                    shifts[t, "xyz".index(dof[1])] = value
                else:
                    raise ValueError(f"the freedom {dof!r} of {name!r} is not known")
    if not (np.isfinite(angles).all() and np.isfinite(shifts).all()):
        raise ValueError("it holds NaN or infinity")
    return angles if ":radians" in flags else np.deg2rad(angles), shifts


def _sections(text: str) -> dict[str, list[list[str]]]:
    """Lines, in words, below each ":keyword"."""
    sections: dict[str, list[list[str]]] = {}
    lines: list[list[str]] = []
    for words in (line.split() for line in text.splitlines()):
        if words and words[0].startswith(":"):
            lines = sections.setdefault(words[0][1:].lower(), [])
        elif words and not words[0].startswith("#"):
            lines.append(words)
    return sections


def _tree(root: Bone, found: dict[str, Bone], lines: list[list[str]]) -> tuple[Bone, ...]:
    """The bones in the order of the hierarchy, each with its parent, which precedes it.

    Raises:
        ValueError: a bone that hangs on none before it, which a cycle would need, hangs on two, or is not described;
            more than `MAX_JOINTS`.
    """
    bones, place = [root], {root.name: 0}
    for parent, *children in (words for words in lines if words[0] not in ("begin", "end")):
        if parent not in place:
            raise ValueError(f"the hierarchy hangs {' '.join(children[:3])} on {parent!r}, which hangs on nothing")
        for child in children:
            if child in place:
                raise ValueError(f"the hierarchy is no tree: {child!r} hangs on {parent!r} and was there before")
            place[child] = len(bones)
            bones.append(found[child]._replace(parent=place[parent]))
            if len(bones) > MAX_JOINTS:
                raise ValueError(f"it has more than {MAX_JOINTS} joints")
    return tuple(bones)


def _bones(lines: list[list[str]], degrees: bool) -> dict[str, Bone]:
    bones, entry = {}, {}
    for words in lines:
        if words[0] == "begin":
            entry = {}
        elif words[0] == "end":
            name, axis = entry["name"][0], entry["axis"]
            direction = _numbers(entry["direction"])
            # Of numbers up to 1, whose squares neither overflow nor vanish.
            direction = direction / _above_zero(f"the direction of {name}", np.abs(direction).max())
            order = _order(axis[3] if len(axis) > 3 else "xyz")
            bones[name] = Bone(
                name,
                -1,
                _finite(f"the length of {name}", entry["length"][0]) * direction / np.linalg.norm(direction),
                _rotation(_numbers(axis[:3]), order, degrees),
                _freedoms(entry.get("dof", ())),
                order,
            )
        else:
            entry[words[0].lower()] = words[1:]
    return bones


def _numbers(words: list[str]) -> np.ndarray:
    values = np.array([float(word) for word in words])
    if values.shape != (3,) or not np.isfinite(values).all():
        raise ValueError(f"expected three numbers, got {' '.join(words[:6])}")
    return values


def _finite(what: str, value: str | float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{what} must be a finite number, got {value}")
    return number


def _above_zero(what: str, value: str | float) -> float:
    number = _finite(what, value)
    # Its inverse must be a number as well.
    if not number > 0.0 or not math.isfinite(1.0 / number):
        raise ValueError(f"{what} must be above 0, got {value}")
    return number


def _freedoms(words: Iterable[str]) -> tuple[str, ...]:
    """The degrees of freedom of a bone, such as ("rx", "rz"), each once."""
    found = tuple(word.lower() for word in words)
    if len(set(found)) < len(found):
        raise ValueError(f"a degree of freedom occurs twice in {' '.join(found[:12])}")
    return found


def _order(word: str) -> str:
    """The order of rotations, such as "xyz": each axis at most once."""
    found = word.lower()
    if set(found) - set("xyz") or len(set(found)) < len(found):
        raise ValueError(f"an order of rotations has the letters x, y and z once each, got {word[:12]}")
    return found


def _rotation(angles: np.ndarray, order: str, degrees: bool) -> np.ndarray:
    """Matrices [..., 3, 3] of rotations about fixed axes by angles [..., 3] about x, y and z, in that order."""
    angles = np.deg2rad(angles) if degrees else angles
    cos, sin = np.cos(angles), np.sin(angles)
    result = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3))
    for letter in order:
        k = "xyz".index(letter)
        i, j = (k + 1) % 3, (k + 2) % 3
        turn = np.zeros((*angles.shape[:-1], 3, 3))
        turn[..., k, k] = 1.0
        turn[..., i, i] = turn[..., j, j] = cos[..., k]
        turn[..., j, i], turn[..., i, j] = sin[..., k], -sin[..., k]
        result = turn @ result
    return result
