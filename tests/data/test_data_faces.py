"""Faces that see the same film: what the process says of their moments, what is missing, and how they are asked for."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from tfdvae.data import DATASETS, SIMULATIONS, Splits, load_faces, simulate_faces
from tfdvae.data.simulated import faces

SMALL = {"num_train": 3, "num_valid": 2, "num_test": 4, "length": 6, "num_factors": 2}


def test_shapes_and_what_is_known_of_them(tmp_path: Path) -> None:
    splits, truth, constants = simulate_faces(**SMALL, missing_rate=0.5, seed=3, cache_dir=tmp_path)
    whole = simulate_faces(**SMALL, missing_rate=0.0, seed=3, cache_dir=tmp_path).splits
    for split, count in (("train", 3), ("valid", 2), ("test", 4)):
        part, complete = getattr(splits, split), getattr(whole, split)
        assert part.lengths.tolist() == [6] * count and part.u is None
        x, observed, y = np.stack(part.x), np.stack(part.observed), np.stack(complete.x)
        assert x.shape == observed.shape == (count, 6, 68) and x.dtype == np.float32 and complete.observed is None
        # Frames are missing as a whole, and the others are those of the complete data.
        np.testing.assert_array_equal(observed, observed[..., :1] & np.ones(68, bool))
        np.testing.assert_array_equal(x, np.where(observed, y, 0.0))
        assert truth[split].shape == (count, 6, 4) and constants[split].shape == (count, 2)
        np.testing.assert_array_equal(truth[split][..., 2:], np.tile(truth["train"][:1, :, 2:], [count, 1, 1]))
    assert 0.0 < np.mean(np.concatenate([np.stack(part.observed).ravel() for part in splits])) < 1.0
    about = splits.train.description
    assert about.units == ("halves of a face's width",) and "seed 3" in about.origin
    assert DATASETS["faces"] is load_faces and SIMULATIONS["faces"] is simulate_faces
    loaded = load_faces(**SMALL, missing_rate=0.5, seed=3, cache_dir=tmp_path)
    assert type(loaded) is Splits
    np.testing.assert_array_equal(np.stack(loaded.test.x), np.stack(splits.test.x))


def test_moments_are_those_of_the_process(tmp_path: Path) -> None:
    """U is N(0, I), z is N(U * V, process_scale^2), frames have noise_scale about the face that z makes."""
    options = {"process_scale": 0.3, "noise_scale": 0.1, "missing_rate": 0.25, "length": 5, "num_factors": 3}
    found = simulate_faces(4000, 1, 1, cache_dir=tmp_path, **options)
    u, truth = found.constants["train"].astype(float), found.truth["train"].astype(float)
    z, times = truth[..., :3], truth[..., 3:]
    observed = np.stack(found.splits.train.observed)
    assert np.all(times > 0.0)
    apart = (z - u[:, None] * times) / 0.3
    seen = observed[..., 0].astype(float)
    expected = {
        "U": (u[:, :, None] * u[:, None], np.eye(3)),
        "z": (np.einsum("btk,btl->bkl", apart, apart) / 5, np.eye(3)),
        "seen": (seen, 0.75),
        "pairs": (seen[:, 1:] * seen[:, :-1], 0.75**2),
    }
    for name, (values, mean) in expected.items():
        error = values.std(axis=0) / len(values) ** 0.5
        assert np.all(np.abs(values.mean(axis=0) - mean) < 5 * error), name
    face, moves = faces._face()
    noise = (np.stack(found.splits.train.x) - face - np.tanh(z) @ moves[:3])[observed] / 0.1
    assert abs(noise.mean()) < 5 / noise.size**0.5
    assert abs(np.square(noise).mean() - 1.0) < 5 * (2 / noise.size) ** 0.5


def test_the_film_is_smooth_and_log_normal() -> None:
    noise = np.random.default_rng(0).standard_normal((20, 40_000))
    smooth = faces._smooth(noise, 2.0)
    np.testing.assert_allclose(np.square(smooth).mean(axis=1), 1.0, atol=5 * (2 / 40_000) ** 0.5)
    # Two windows apart by a frame overlap by exp(-1 / (4 lifetime^2)) in the middle of a film.
    np.testing.assert_allclose((smooth[9] * smooth[10]).mean(), np.exp(-1.0 / 16.0), atol=0.03)
    np.testing.assert_array_equal(faces._smooth(noise, 0.0), noise)


def test_expressions_move_landmarks_of_their_own() -> None:
    face, moves = faces._face()
    assert face.shape == (68,) and moves.shape == (4, 68)
    moved = np.abs(moves.reshape(4, 34, 2)).max(axis=2) > 0.0
    np.testing.assert_array_equal(np.flatnonzero(moved[0]), np.arange(12))
    np.testing.assert_array_equal(np.flatnonzero(moved[2]), np.arange(24, 34))
    assert not moved[3, :12].any() and np.linalg.matrix_rank(moves) == 4
    lips = face.reshape(34, 2)[[3, 9], 1] + moves[0].reshape(34, 2)[[3, 9], 1]
    assert lips[0] - lips[1] > 2.5 * (face.reshape(34, 2)[3, 1] - face.reshape(34, 2)[9, 1])


def test_every_argument_makes_other_data_which_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [p for p in inspect.signature(simulate_faces).parameters if p not in ("cache_dir", "missing_rate")]
    options = {p: inspect.signature(simulate_faces).parameters[p].default for p in names} | SMALL
    first = simulate_faces(**options, cache_dir=tmp_path)
    assert not any(np.array_equal(first.constants["train"][0], first.constants[s][0]) for s in ("valid", "test"))
    for number, name in enumerate(names, 2):
        other = {**options, name: options[name] + 1 if isinstance(options[name], int) else options[name] * 0.9}
        simulate_faces(**other, cache_dir=tmp_path)
        assert len(list(tmp_path.iterdir())) == number, name
    monkeypatch.setattr(faces, "_smooth", lambda *_: pytest.fail("simulated although it is cached"))
    again = simulate_faces(**options, cache_dir=tmp_path)
    np.testing.assert_array_equal(np.stack(again.splits.train.x), np.stack(first.splits.train.x))
    np.testing.assert_array_equal(again.constants["test"], first.constants["test"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length must be an integer of at least 1; got 0"),
        ({"num_factors": 5}, "num_factors must be at most 4, one per expression; got 5"),
        ({"noise_scale": -1.0}, "noise_scale must be a finite number of at least 0; got -1.0"),
        ({"missing_rate": 1.0}, "missing_rate must be below 1, which leaves nothing to see; got 1.0"),
    ],
)
def test_bad_arguments(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_faces(**SMALL | options, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())
