"""The simulated data as data sets: shapes, seeds, cache, arguments, and how configs name them."""

import inspect
import sys

import numpy as np
import pytest

from tfdvae.data import (
    DATASETS,
    Splits,
    load_ball_in_box,
    load_bouncing_balls,
    load_cart_pole,
    load_pendulum,
    simulate_ball_in_box,
    simulate_bouncing_balls,
    simulate_cart_pole,
    simulate_pendulum,
)
from tfdvae.data.simulated import balls, pendulum, shared

SIMULATE = {
    "ball_in_box": simulate_ball_in_box,
    "bouncing_balls": simulate_bouncing_balls,
    "cart_pole": simulate_cart_pole,
    "pendulum": simulate_pendulum,
}
LOAD = {
    "ball_in_box": load_ball_in_box,
    "bouncing_balls": load_bouncing_balls,
    "cart_pole": load_cart_pole,
    "pendulum": load_pendulum,
}
STATE = {"ball_in_box": (4,), "bouncing_balls": (3, 4), "cart_pole": (4,), "pendulum": (2,)}
SMALL = {"num_train": 4, "num_valid": 2, "num_test": 3, "length": 5, "resolution": 9, "verbose": 0}
EACH = pytest.mark.parametrize("name", sorted(SIMULATE))


def same(first: Splits, second: Splits) -> bool:
    return all(
        np.array_equal(np.stack(a.x), np.stack(b.x))
        and (a.u is None) == (b.u is None)
        and (a.u is None or np.array_equal(np.stack(a.u), np.stack(b.u)))
        for a, b in zip(first, second, strict=True)
    )


@EACH
def test_shapes_and_ranges(tmp_path, name):
    splits, truth, _ = SIMULATE[name](**SMALL, cache_dir=tmp_path)
    for split, count in (("train", 4), ("valid", 2), ("test", 3)):
        sequences = getattr(splits, split)
        assert sequences.lengths.tolist() == [5] * count
        assert all(x.shape == (5, 81) and x.dtype == np.float32 for x in sequences.x)
        assert all(x.min() >= 0 and x.max() <= 1 and (x.max(axis=1) > 0.3).all() for x in sequences.x)
        assert truth[split].shape == (count, 5, *STATE[name]) and truth[split].dtype == np.float32
    if name in ("cart_pole", "pendulum"):
        assert [u.shape for u in splits.train.u] == [(5, 1)] * 4
        assert all(u.dtype == np.float32 for u in splits.train.u)
    else:
        assert splits.train.u is None
    if name == "ball_in_box":
        assert all(np.isin(x, (0, 1)).all() for x in splits.train.x)


@EACH
def test_the_loader_returns_the_splits_of_the_simulation(tmp_path, name):
    assert DATASETS[name] is LOAD[name]
    splits = LOAD[name](**SMALL, cache_dir=tmp_path)
    assert type(splits) is Splits
    assert same(splits, SIMULATE[name](**SMALL, cache_dir=tmp_path).splits)
    ours, theirs = inspect.signature(LOAD[name]), inspect.signature(SIMULATE[name])
    assert ours.parameters == theirs.parameters and ours.return_annotation is Splits
    assert LOAD[name].__name__ == f"load_{name}"


def test_the_sizes_of_the_papers():
    sizes = {
        name: [inspect.signature(load).parameters[key].default for key in ("num_train", "length", "resolution")]
        for name, load in LOAD.items()
        if name != "cart_pole"
    }
    assert sizes == {"bouncing_balls": [4000, 100, 30], "pendulum": [500, 15, 16], "ball_in_box": [5000, 20, 32]}


def test_truth_is_what_the_pictures_show(tmp_path):
    options = {**SMALL, "resolution": 30, "cache_dir": tmp_path}
    pixels = np.arange(30) + 0.5

    def centre(images):
        images = images.reshape(*images.shape[:2], 30, 30)
        weights = images.sum(axis=(2, 3))
        return np.stack([images.sum(axis=axis) @ pixels / weights for axis in (2, 3)], axis=-1)

    for split in Splits._fields:
        splits, truth, _ = simulate_bouncing_balls(**options, num_balls=1)
        np.testing.assert_allclose(centre(np.stack(getattr(splits, split).x)) / 3, truth[split][:, :, 0, :2], atol=0.05)
        splits, truth, _ = simulate_ball_in_box(**options)
        np.testing.assert_allclose(centre(np.stack(getattr(splits, split).x)), truth[split][..., :2], atol=0.5)
        splits, truth, _ = simulate_pendulum(**options)
        bob = centre(np.stack(getattr(splits, split).x)) / 10 - 1.5
        angle = truth[split][..., 0]
        np.testing.assert_allclose(bob, np.stack([np.sin(angle), -np.cos(angle)], axis=-1), atol=0.03)


@EACH
def test_seeds_and_splits_differ(tmp_path, name):
    counts = {"num_train": 2, "num_valid": 2, "num_test": 2, "length": 3, "resolution": 12, "verbose": 0}
    _, first, _ = SIMULATE[name](**counts, cache_dir=tmp_path / "a")
    _, again, _ = SIMULATE[name](**counts, cache_dir=tmp_path / "b")
    _, other, _ = SIMULATE[name](**counts, cache_dir=tmp_path / "a", seed=1)
    assert all(np.array_equal(first[split], again[split]) for split in first)
    arrays = [*first.values(), *other.values()]
    assert all(not np.isclose(a, b).any(axis=1).all() for i, a in enumerate(arrays) for b in arrays[:i])


def forbidden(*args, **kwargs):
    raise AssertionError("simulated although it is cached")


@EACH
def test_the_cache_is_used_and_gives_the_same(tmp_path, monkeypatch, name):
    fresh = SIMULATE[name](**SMALL, cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.name.startswith(name.replace("_", "-")) and file.suffix == ".npz"
    monkeypatch.setattr(balls, "bounce", forbidden)
    monkeypatch.setattr(pendulum, "_swing", forbidden)
    cached = SIMULATE[name](**SMALL, cache_dir=tmp_path)
    assert same(fresh.splits, cached.splits)
    assert all(np.array_equal(fresh.truth[split], cached.truth[split]) for split in fresh.truth)


@EACH
def test_every_argument_has_its_own_cache(tmp_path, name):
    names = [p for p in inspect.signature(SIMULATE[name]).parameters if p not in ("cache_dir", "verbose")]
    options = {p: inspect.signature(SIMULATE[name]).parameters[p].default for p in names} | SMALL
    SIMULATE[name](**options, cache_dir=tmp_path)
    for number, argument in enumerate(names, 2):
        value = options[argument]
        changed = value - 1 if argument == "num_balls" else value + 1 if isinstance(value, int) else value or (3.0, 6.0)
        changed = value * 0.9 if isinstance(value, float) else changed
        SIMULATE[name](**options | {argument: changed}, cache_dir=tmp_path)
        assert len(list(tmp_path.iterdir())) == number, argument
    SIMULATE[name](**options | {"verbose": 1}, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == len(names) + 1


@EACH
def test_a_damaged_cache_is_replaced(tmp_path, name):
    fresh = LOAD[name](**SMALL, cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    with np.load(file, allow_pickle=False) as archive:
        contents = dict(archive)
    damages = [
        {key: value for key, value in contents.items() if key != "valid"},
        contents | {"valid": contents["valid"].astype(np.float64)},
        contents | {"valid": contents["valid"][:, 1:]},
        contents | {"valid": np.full_like(contents["valid"], np.nan)},
        contents | {"options": np.array("{}")},
        contents | {"train": np.array([{}], dtype=object)},
    ]
    for damage in [b"", whole[:100], whole[: len(whole) // 2], b"x" * 50, *damages]:
        if isinstance(damage, bytes):
            file.write_bytes(damage)
        else:
            np.savez(file, **damage)
        with pytest.warns(UserWarning, match=r"simulated again: their cache is damaged\. .*\.npz cannot be read"):
            assert same(LOAD[name](**SMALL, cache_dir=tmp_path), fresh)
        assert [path.name for path in tmp_path.iterdir()] == [file.name]
        assert file.read_bytes()[:100] == whole[:100]


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="not cached and will be simulated again"):
        splits = load_pendulum(**SMALL, cache_dir=tmp_path / "file")
    assert splits.train.num_sequences == 4


def test_the_cache_folder_is_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDVAE_CACHE", str(tmp_path / "named"))
    load_pendulum(**SMALL)
    assert len(list((tmp_path / "named").iterdir())) == 1
    monkeypatch.delenv("TFDVAE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    load_pendulum(**SMALL)
    assert len(list((tmp_path / ".cache" / "tfdvae").iterdir())) == 1


def test_progress_is_shown_only_where_it_takes_long(tmp_path, monkeypatch, capsys):
    load_pendulum(**SMALL | {"verbose": 1}, cache_dir=tmp_path)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(shared, "_MANY_PIXELS", 9 * 5 * 81 - 1)
    load_pendulum(**SMALL, cache_dir=tmp_path)
    assert capsys.readouterr().out == ""
    load_pendulum(**SMALL | {"verbose": 1}, cache_dir=tmp_path)
    assert "9/9" in capsys.readouterr().out


@EACH
def test_chunks_leave_no_trace(tmp_path, monkeypatch, name):
    whole = LOAD[name](**SMALL, cache_dir=tmp_path)
    monkeypatch.setattr(shared, "_CHUNK", 3 * 5 * 81)
    assert same(LOAD[name](**SMALL, cache_dir=tmp_path), whole)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        *((name, {"num_valid": 0}, "num_valid must be an integer of at least 1; got 0") for name in sorted(LOAD)),
        *((name, {"length": 2.0}, "length must be an integer") for name in sorted(LOAD)),
        *((name, {"num_train": True}, "num_train must be an integer") for name in sorted(LOAD)),
        *((name, {"resolution": 0}, "resolution must be") for name in sorted(LOAD)),
        *((name, {"seed": -1}, "seed must be an integer of at least 0; got -1") for name in sorted(LOAD)),
        ("bouncing_balls", {"num_balls": 0}, "num_balls must be"),
        ("bouncing_balls", {"radius": 5.0}, r"radius must be less than half the side of the box, 5\.0; got 5\.0"),
        ("bouncing_balls", {"radius": -1}, "radius must be a finite number above 0"),
        ("bouncing_balls", {"box": float("nan")}, "box must be a finite number above 0; got nan"),
        ("bouncing_balls", {"speed": 0}, "speed must be"),
        ("bouncing_balls", {"speed": "fast"}, "speed must be a finite number above 0; got 'fast'"),
        ("bouncing_balls", {"num_balls": 40}, "40 balls of radius 1.2 do not fit a box of side 10.0"),
        ("ball_in_box", {"radius": 4.5}, "radius must be less than half"),
        ("ball_in_box", {"radius": 0.5}, r"radius must be at least 0\.71 pixels"),
        ("ball_in_box", {"min_speed": 3.5}, r"min_speed must be at most max_speed; got 3\.5 and 3\.0"),
        ("pendulum", {"interval": 0}, "interval must be a finite number above 0"),
        ("pendulum", {"interval": 1e4}, "too long for a pendulum"),
        ("pendulum", {"mass": float("inf")}, "mass must be"),
        ("pendulum", {"friction": -0.1}, "friction must be a finite number of at least 0"),
    ],
)
def test_bad_arguments(tmp_path, name, options, message):
    with pytest.raises(ValueError, match=message):
        LOAD[name](**SMALL | options, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


@EACH
def test_a_config_names_them(tmp_path, name):
    pytest.importorskip("ml_collections", reason="ml_collections is not installed")
    from configs import defaults
    from trainers import loading, settings

    config = defaults.experiment("pianoroll", "rnn", "smoke")
    options = {key: value for key, value in SMALL.items() if key != "verbose"}
    with config.unlocked():
        config.data = {**defaults.base().data.to_dict(), "name": name, "cache_dir": str(tmp_path), **options}
    settings.check(config)
    splits = loading.load_splits(config.data)
    assert same(splits, LOAD[name](**SMALL, cache_dir=tmp_path))
    with config.unlocked():
        config.data.raduis = 1.0
    with pytest.raises(ValueError, match=r"config\.data has no key 'raduis'; its keys are .*num_train"):
        settings.check(config)


@pytest.mark.slow
def test_no_optional_package_is_needed(tmp_path, monkeypatch):
    for module in ("scipy", "music21", "matplotlib"):
        monkeypatch.setitem(sys.modules, module, None)
    for load in LOAD.values():
        load(**SMALL, cache_dir=tmp_path)
