"""Masking of spectrograms, where tensorflow-io is installed."""

import sys

import numpy as np
import pytest

from tfdvae.data import batches, from_arrays, masked_spectrograms


def spectrograms() -> tuple:
    rng = np.random.default_rng(0)
    return from_arrays([rng.exponential(size=(12, 9)) + 0.1 for _ in range(4)])


def test_bands_and_spans_are_zero_and_all_else_is_as_it_was() -> None:
    pytest.importorskip("tensorflow_io", reason="tensorflow-io is not installed: the extra `io`", exc_type=ImportError)
    plain = list(batches(spectrograms(), 4, epochs=20))
    masked = list(masked_spectrograms(batches(spectrograms(), 4, epochs=20), frequencies=4, times=5, seed=3))
    assert len(masked) == 20
    bands, spans = set(), set()
    for before, after in zip(plain, masked, strict=True):
        assert after["x"].shape == before["x"].shape and after["mask"].numpy().all()
        for x, y in zip(before["x"].numpy(), after["x"].numpy(), strict=True):
            columns, rows = (y == 0).all(axis=0), (y == 0).all(axis=1)
            kept = ~(columns[None, :] | rows[:, None])
            np.testing.assert_array_equal(y, np.where(kept, x, 0.0))
            bands.add(int(columns.sum()))
            spans.add(int(rows.sum()))
    assert bands == {0, 1, 2, 3} and spans == {0, 1, 2, 3, 4}


def test_what_cannot_be_masked() -> None:
    dataset = batches(spectrograms(), 2)
    for options in ({}, {"frequencies": -1, "times": 3}):
        with pytest.raises(ValueError, match="Expected frequencies or times above 0"):
            masked_spectrograms(dataset, **options)


@pytest.mark.slow
def test_without_tensorflow_io_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    with pytest.raises(ImportError, match=r"Masking spectrograms needs tensorflow_io: pip install \"tfdvae\[io\]\""):
        masked_spectrograms(batches(spectrograms(), 2), times=3)
