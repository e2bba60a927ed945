import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdvae.data import batches, from_arrays, steps_per_epoch
from tfdvae.data.batching import shuffled


def labelled(lengths, inputs=None):
    """Sequences whose every value is their own index plus one."""
    return from_arrays(
        [np.full((length, 2), i + 1) for i, length in enumerate(lengths)],
        u=None if inputs is None else [np.full((length, inputs), -i - 1) for i, length in enumerate(lengths)],
    )


def labels(dataset):
    """Per batch, the indices of its sequences."""
    return [(batch["x"][:, 0, 0].astype(int) - 1).tolist() for batch in dataset.as_numpy_iterator()]


LENGTHS = np.random.default_rng(3).integers(1, 60, size=23).tolist()


@settings(deadline=None, max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=15),
    batch_size=st.integers(1, 6),
    buckets=st.none() | st.integers(1, 20),
    seed=st.none() | st.integers(0, 5),
    multiple_of=st.none() | st.integers(1, 7),
)
@pytest.mark.slow
def test_each_epoch_holds_each_sequence_once(lengths, batch_size, buckets, seed, multiple_of):
    sequences = labelled(lengths, inputs=1)
    steps = steps_per_epoch(sequences, batch_size)
    options = {"seed": seed, "buckets": buckets, "multiple_of": multiple_of, "epochs": 2}
    dataset = batches(sequences, batch_size, **options)
    assert int(dataset.cardinality()) == 2 * steps
    seen = list(dataset.as_numpy_iterator())
    assert len(seen) == 2 * steps
    for epoch in (seen[:steps], seen[steps:]):
        indices = []
        for batch in epoch:
            who = batch["x"][:, 0, 0].astype(int) - 1
            indices += who.tolist()
            assert batch["mask"].sum(axis=1).tolist() == [lengths[i] for i in who]
            assert batch["mask"].shape[1] % (multiple_of or 1) == 0
            assert batch["mask"].shape[1] - max(lengths[i] for i in who) < (multiple_of or 1)
            expected = np.where(batch["mask"], who[:, None] + 1, 0)
            np.testing.assert_array_equal(batch["x"], np.repeat(expected[..., None], 2, axis=-1))
            np.testing.assert_array_equal(batch["u"], -expected[..., None])
        assert sorted(indices) == list(range(len(lengths)))


@pytest.mark.parametrize("buckets", [None, 3])
def test_a_resumed_run_sees_what_it_would_have_seen(buckets):
    sequences = labelled(LENGTHS)
    steps = steps_per_epoch(sequences, 4)
    whole = labels(batches(sequences, 4, seed=7, epochs=6, buckets=buckets))
    assert labels(batches(sequences, 4, seed=7, epochs=range(2, 6), buckets=buckets)) == whole[2 * steps :]
    assert labels(batches(sequences, 4, seed=7, epochs=6, buckets=buckets)) == whole
    assert labels(batches(sequences, 4, seed=8, epochs=6, buckets=buckets)) != whole
    epochs = [whole[i : i + steps] for i in range(0, len(whole), steps)]
    assert all(a != b for i, a in enumerate(epochs) for b in epochs[:i])


def test_without_a_seed_the_order_is_the_stored_one():
    sequences = labelled(LENGTHS)
    flat = [i for batch in labels(batches(sequences, 4)) for i in batch]
    assert flat == list(range(len(LENGTHS)))
    assert labels(batches(sequences, 4, seed=1, shuffle=False)) == labels(batches(sequences, 4))


def test_buckets_bring_similar_lengths_together():
    rng = np.random.default_rng(0)
    sequences = labelled(rng.integers(1, 200, size=128).tolist())
    padded = {
        buckets: sum(int(tf.size(batch["mask"])) for batch in batches(sequences, 8, seed=0, buckets=buckets))
        for buckets in (None, 4, 16)
    }
    frames = sequences.num_frames
    assert padded[None] > 1.5 * frames
    assert padded[4] < 1.3 * frames
    assert padded[16] < 1.1 * frames


def test_buckets_do_not_fix_the_order_of_lengths():
    sequences = labelled(range(1, 41))
    firsts = [batch[0] for batch in labels(batches(sequences, 4, seed=0, buckets=10))]
    assert firsts != sorted(firsts)
    kept = labels(batches(sequences, 4, buckets=10))
    assert kept == [list(range(i, i + 4)) for i in range(0, 40, 4)]


def test_dropping_the_remainder_drops_others_each_epoch():
    sequences = labelled(LENGTHS)
    dataset = batches(sequences, 5, seed=0, epochs=20, buckets=3, drop_remainder=True)
    assert steps_per_epoch(sequences, 5, drop_remainder=True) == 4
    assert dataset.element_spec["x"].shape == (5, None, 2)
    seen = labels(dataset)
    assert len(seen) == 80 and all(len(batch) == 5 for batch in seen)
    dropped = []
    for i in range(0, 80, 4):
        used = [j for batch in seen[i : i + 4] for j in batch]
        assert len(set(used)) == 20
        dropped += set(range(len(LENGTHS))) - set(used)
    assert len(set(dropped)) > 12


def test_static_shapes():
    spec = batches(labelled(LENGTHS, inputs=3), 4).element_spec
    assert spec == {
        "x": tf.TensorSpec([None, None, 2], tf.float32),
        "mask": tf.TensorSpec([None, None], tf.bool),
        "u": tf.TensorSpec([None, None, 3], tf.float32),
    }
    fixed = batches(labelled(LENGTHS), 4, pad_to=64)
    assert fixed.element_spec["x"].shape == (None, 64, 2)
    assert {batch["mask"].shape[1] for batch in fixed} == {64}
    shapes = {batch["x"].shape[1] for batch in batches(labelled(LENGTHS), 2, seed=0, multiple_of=20)}
    assert shapes <= {20, 40, 60}


class Recorder(keras.Model):
    def __init__(self):
        super().__init__()
        self.seen = []

    def record(self, x):
        self.seen.append((x[:, 0, 0].numpy().astype(int) - 1).tolist())

    def train_step(self, data):
        tf.py_function(self.record, [data["x"]], [])
        return {"loss": tf.constant(0.0)}


def test_keras_fit_walks_through_the_epochs_as_documented():
    sequences = labelled(LENGTHS)
    steps = steps_per_epoch(sequences, 4)
    model = Recorder()
    model.compile()
    data = batches(sequences, 4, seed=5, epochs=range(1, 4))
    model.fit(data, initial_epoch=1, epochs=4, steps_per_epoch=steps, shuffle=False, verbose=0)
    assert model.seen == labels(batches(sequences, 4, seed=5, epochs=4))[steps:]


def test_shuffled_arrays_come_in_the_order_of_batches_and_without_a_mask():
    x = np.tile(np.arange(1.0, 11.0, dtype="float32")[:, None, None], [1, 3, 2])
    arrays = {"x": x, "context": -x[:, 0]}
    given = shuffled(arrays, 4, seed=5, epochs=3)
    assert (given["epochs"], given["steps_per_epoch"]) == (3, 3)
    expected = batches(from_arrays(**arrays), 4, seed=5, epochs=3)
    for found, other in zip(given["x"], expected, strict=True):
        assert set(found) == {"x", "context"}
        for name, values in found.items():
            np.testing.assert_array_equal(values, other[name])
    model = Recorder()
    model.compile()
    model.fit(**given, verbose=0)
    assert model.seen == labels(expected)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"epochs": 0}, {"seed": -1}])
def test_numbers_of_shuffled_are_in_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        shuffled({"x": np.zeros([2, 3, 1])}, **{"batch_size": 1, "seed": 0, "epochs": 1} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"shuffle": True}, "needs a seed"),
        ({"seed": -1}, "seed must not be negative"),
        ({"epochs": 0}, "epochs must be"),
        ({"epochs": range(3, 3)}, "epochs must be"),
        ({"epochs": range(-1, 3)}, "epochs must be"),
        ({"buckets": 0}, "`buckets` must be at least 1"),
        ({"multiple_of": 0}, "`multiple_of` must be at least 1"),
        ({"pad_to": 8, "multiple_of": 2}, "not both"),
        ({"pad_to": 3}, "longest sequence, 5 frames; got 3"),
        ({"batch_size": 9, "drop_remainder": True}, "full batch of 9 sequences; there are 2"),
    ],
)
def test_bad_arguments_are_one_clear_error(options, message):
    with pytest.raises(ValueError, match=message):
        batches(labelled([2, 5]), **{"batch_size": 2} | options)


@pytest.mark.slow
def test_arrays_must_become_sequences_first():
    with pytest.raises(TypeError, match="from_arrays"):
        batches(np.zeros((2, 3, 4)), 2)
