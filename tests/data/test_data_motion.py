"""Joint positions from archives, from folders of arrays, and from skeletons and angles written here."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.data.motion_files import AMC, ASF
from tfdvae.data import DATASETS, SCALED, load_motion, read_motions, read_skeleton, scaled_motion
from tfdvae.data.motion import H36M_PARENTS
from tfdvae.data.motion_asf import positions, read_amc, read_asf

MM = 25.4 / 0.5


def archive(path: Path, **changes) -> Path:
    rng = np.random.default_rng(0)
    arrays = {"parent": np.array([-1, 0, 1, 0]), "joint_scale_m": np.float32(1e-4)}
    for split, lengths in (("train", [40, 31, 44, 50, 60, 70, 35]), ("test", [42, 80])):
        arrays[f"{split}_joints"] = rng.integers(-9000, 9000, (sum(lengths), 4, 3)).astype(np.int16)
        arrays[f"{split}_len"] = np.array(lengths)
        arrays[f"{split}_name"] = np.array([f"{split}{i}" for i in range(len(lengths))])
        arrays[f"{split}_action"] = np.arange(len(lengths)) % 2
    np.savez(path, **{key: value for key, value in (arrays | changes).items() if value is not None})
    return path


def folder(root: Path, subjects: tuple[str, ...], joints: int = 32, flat: bool = False) -> Path:
    rng = np.random.default_rng(1)
    for subject in subjects:
        (root / subject).mkdir(parents=True)
        for action in ("eating_1", "walking_2"):
            x = rng.normal(size=(23, joints, 3)).astype(np.float32) * 300.0
            np.save(root / subject / f"{action}.npy", x.reshape(23, -1) if flat else x)
    return root


@pytest.fixture
def cmu(tmp_path: Path) -> Path:
    for subject in ("07", "16", "35"):
        (tmp_path / "cmu" / subject).mkdir(parents=True)
        (tmp_path / "cmu" / subject / f"{subject}.asf").write_text(ASF)
        for number in (1, 2):
            (tmp_path / "cmu" / subject / f"{subject}_{number:02d}.amc").write_text(AMC)
    return tmp_path / "cmu"


def test_an_archive_in_metres_and_centred(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.npz")
    raw = np.load(path)
    found = scaled_motion(path, num_frames=10, shift=3, step=2)
    first = raw["test_joints"][0:42:2].astype(np.float64) * 1e-4
    first = (first - first[:, :1]).reshape(21, 12)
    assert [x.names for x in found.splits][2][:3] == ("test0[0:10]", "test0[10:20]", "test1[0:10]")
    np.testing.assert_allclose(found.splits.test.x[1], first[10:20], atol=1e-6)
    np.testing.assert_allclose(found.restore(found.splits.test.x[0]), first[:10] * 1000.0, atol=1e-3)
    assert found.unit == "mm" and set(found.scale) == {1000.0}
    # Every seventh of each action is validated on, and the others begin a window every three frames.
    assert {name.partition("[")[0] for name in found.splits.valid.names} == {"train6"}
    assert [n for n in found.splits.train.names if n.startswith("train0")] == [
        f"train0[{a}:{a + 10}]" for a in (0, 3, 6, 9)
    ]
    whole = load_motion(path, num_frames=None, centre=False, step=1, unit_mm=1.0, limit=1)
    np.testing.assert_allclose(whole.train.x[0].reshape(-1, 4, 3), raw["train_joints"][:40] * 0.1, rtol=1e-5)
    assert read_skeleton(path) == (-1, 0, 1, 0)
    assert DATASETS["motion"] is load_motion and SCALED["motion"] is scaled_motion


@pytest.mark.parametrize("flat", [False, True])
def test_subjects_as_the_survey_has_them(tmp_path: Path, flat: bool) -> None:
    root = folder(tmp_path / "h36m", ("S1", "S5", "S6", "S11"), flat=flat)
    splits = load_motion(root, num_frames=5, verbose=0)
    subjects = [{name.partition("/")[0] for name in part.names} for part in splits]
    assert subjects == [{"S1", "S6"}, {"S5"}, {"S11"}]
    assert splits.train.features == 96 and read_skeleton(root) == H36M_PARENTS
    x = np.load(root / "S11" / "eating_1.npy").reshape(23, 32, 3)[::2] / 1000.0
    np.testing.assert_allclose(splits.test.x[0], (x - x[:, :1])[:5].reshape(5, 96), atol=1e-5)
    other = load_motion(root, num_frames=5, valid_subjects="S11", test_subjects="S5, S6", verbose=0)
    assert {name.partition("/")[0] for name in other.test.names} == {"S5", "S6"}


def test_other_subjects_by_ratio_with_their_own_skeleton(tmp_path: Path) -> None:
    root = folder(tmp_path / "m", ("a", "b", "c", "d"), joints=3)
    np.save(root / "parents.npy", np.array([-1, 0, 1]))
    splits = load_motion(root, num_frames=5, verbose=0)
    subjects = [{name.partition("/")[0] for name in part.names} for part in splits]
    assert [len(names) for names in subjects] == [2, 1, 1] and len(set.union(*subjects)) == 4
    assert read_skeleton(root) == (-1, 0, 1)
    (root / "parents.npy").unlink()
    with pytest.raises(ValueError, match="does not say how joints are connected"):
        read_skeleton(root)


def test_the_32_joints_of_h36m_are_one_tree() -> None:
    assert len(H36M_PARENTS) == 32
    assert all(parent < child for child, parent in enumerate(H36M_PARENTS)) and H36M_PARENTS.count(-1) == 1


def test_forward_kinematics_by_hand(cmu: Path) -> None:
    rig = read_asf(cmu / "07" / "07.asf")
    assert [bone.name for bone in rig.bones] == ["root", "thigh", "shin"]
    assert rig.mm_per_unit == MM and rig.parents.tolist() == [-1, 0, 1]
    x = read_amc(cmu / "07" / "07_01.amc", rig) / MM
    # The leg hangs down.
    np.testing.assert_allclose(x[0], [[1, 10, 0], [1, 7, 0], [1, 5, 0]], atol=1e-5)
    # A turn by 90 degrees about z lifts it along x, which the root's turn about y carries to -z.
    np.testing.assert_allclose(x[1], [[1, 10, 0], [1, 10, -3], [1, 10, -5]], atol=1e-5)
    # The bone's own x axis is the world's y, since its axes are turned by 90 degrees about z: no movement.
    np.testing.assert_allclose(x[2], [[0, 0, 0], [0, -3, 0], [0, -5, 0]], atol=1e-5)


def test_rotations_keep_bones_and_follow_scipy(cmu: Path) -> None:
    from scipy.spatial.transform import Rotation

    rig = read_asf(cmu / "07" / "07.asf")
    rng = np.random.default_rng(2)
    angles, shifts = rng.uniform(-3, 3, (9, 3, 3)), rng.normal(size=(9, 3))
    angles[:, 2] = 0.0
    x = positions(rig, angles, shifts) / MM
    np.testing.assert_allclose(np.linalg.norm(x[:, 1] - x[:, 0], axis=-1), 3.0, rtol=1e-5)
    root, own = Rotation.from_euler("xyz", angles[:, 0]), Rotation.from_euler("xyz", angles[:, 1])
    axis = Rotation.from_euler("xyz", [0, 0, 90], degrees=True)
    turned = root * axis * own * axis.inv()
    np.testing.assert_allclose(x[:, 1], shifts + turned.apply([0, -3, 0]), atol=1e-5)
    np.testing.assert_allclose(x[:, 2], shifts + turned.apply([0, -5, 0]), atol=1e-5)


def test_the_cmu_database_is_split_by_subject(cmu: Path) -> None:
    splits = load_motion(cmu, num_frames=None, step=1, test_subjects="16", valid_subjects="35", verbose=0)
    assert [part.names for part in splits] == [
        ("07/07_01", "07/07_02"),
        ("35/35_01", "35/35_02"),
        ("16/16_01", "16/16_02"),
    ]
    assert read_skeleton(cmu) == (-1, 0, 1)
    np.testing.assert_allclose(splits.test.x[0][1] * 1000.0 / MM, [0, 0, 0, 0, 0, -3, 0, 0, -5], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("16/16_01.amc", "", "it has no frame"),
        ("16/16_01.amc", AMC.replace("thigh 0 90", "thigh 0"), "thigh has 1 numbers in frame 2, not 2"),
        ("16/16_01.amc", AMC.replace("thigh 0 90", "thigh 0 x"), "could not convert"),
        ("16/16_01.amc", AMC.replace("thigh 90 0\n", ""), "frame 3 does not give the angles"),
        ("16/16_01.amc", AMC.replace("thigh 90 0", "thigh 90 0\nfoot 1"), "frame 3 does not give the angles"),
        ("16/16_01.amc", AMC.replace("0 90\n", "0 nan\n"), "it holds NaN or infinity"),
        ("16/16.asf", ASF[:400], "it is damaged"),
        ("16/16.asf", ASF.replace("direction 0 -1 0", "direction 0 0"), "expected three numbers"),
        ("16/16.asf", "nothing", "it is damaged"),
    ],
)
def test_a_damaged_file_of_the_cmu_database_is_named(cmu: Path, name: str, text: str, message: str) -> None:
    (cmu / name).write_text(text)
    with pytest.raises(ValueError, match=f"{re.escape(Path(name).name)} is no .*{re.escape(message)}"):
        read_motions(cmu, verbose=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_joints": None}, r"m\.npz has no test_joints"),
        ({"test_joints": np.zeros((122, 4, 2))}, r"m\.npz: test_joints has dtype float64 and shape \[122, 4, 2\]"),
        (
            {"test_joints": np.full((122, 4, 3), np.nan)},
            r"m\.npz: test_joints holds NaN or infinity, first in sequence 0",
        ),
        ({"test_joints": np.zeros((122, 5, 3))}, r"different numbers of joints, \[4, 5\]"),
        ({"parent": np.array([-1, 0, 7, 0])}, r"parents must be from -1 \(the root\) to 3"),
        ({"parent": np.array([-1, 0])}, r"expected the parent of each of 4 joints, got \[2\]"),
        ({"joint_scale_m": np.float32(0)}, "joint_scale_m must be above 0"),
        ({"test_name": np.array(["a"])}, "names or actions are not as many as sequences"),
    ],
)
def test_archives_that_hold_something_else(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_motion(archive(tmp_path / "m.npz", **changes))


def test_folders_and_options_that_mean_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no motion in"):
        load_motion(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_motion(tmp_path / "none.npz")
    path = archive(tmp_path / "m.npz")
    for options, message in (
        ({"step": 0}, "step must be at least 1"),
        ({"unit_mm": 0.0}, "unit_mm must be above 0"),
        ({"num_frames": 400}, "No sequence has 400 frames"),
        ({"test_subjects": "S1"}, "this file has its own split"),
        ({"valid_ratio": 0.9}, "valid_ratio must be between 0 and 0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            load_motion(path, **options)
    root = folder(tmp_path / "m", ("a", "b", "c"), joints=3)
    for options, message in (
        ({"valid_subjects": "a"}, "both valid_subjects and test_subjects"),
        ({"valid_subjects": "a", "test_subjects": "z"}, "There is no subject 'z': expected one of a, b, c"),
        ({"valid_subjects": "a", "test_subjects": "a,b"}, "Subject 'a' is both in valid and in test"),
        ({"valid_subjects": "a,b", "test_subjects": "c"}, "nothing is left to train on"),
    ):
        with pytest.raises(ValueError, match=message):
            load_motion(root, verbose=0, **options)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((5, 4, 3)), "has 4 joints, .* has 3"),
        (np.zeros((5, 8)), r"expected positions \[T, J, 3\] or \[T, 3 J\]; got float64 \[5, 8\]"),
        (np.full((5, 9), np.inf), "holds NaN or infinity"),
        (np.array([{}], object), "cannot be read"),
    ],
)
def test_a_damaged_array_is_named(tmp_path: Path, x: np.ndarray, message: str) -> None:
    root = folder(tmp_path / "m", ("a", "b", "c"), joints=3)
    np.save(root / "c" / "walking_2.npy", x)
    with pytest.raises(ValueError, match=rf"walking_2\.npy.*{message}"):
        load_motion(root, verbose=0)


@pytest.mark.slow
def test_the_cmu_archive(tfdvae_data: Path) -> None:
    path = tfdvae_data / "cmu_mocap" / "cmu_mocap_60hz.npz"
    found = scaled_motion(path)
    assert [part.num_sequences for part in found.splits] == [4300, 34, 61]
    assert found.splits.train.features == 114
    motions = [{name.partition("[")[0] for name in part.names} for part in found.splits]
    assert len(motions[1]) <= 12 and not motions[0] & motions[1]
    bones = [(i, parent) for i, parent in enumerate(read_skeleton(path)) if parent >= 0]
    x = np.concatenate(found.splits.train.x).reshape(-1, 38, 3)
    child, parent = np.transpose(bones)
    lengths = np.linalg.norm(x[:, child] - x[:, parent], axis=-1)
    assert np.ptp(lengths, axis=0).max() < 5e-4
