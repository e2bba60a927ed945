"""What Keras' users expect of a model: verbs on batches, weights of sequences, callbacks, names, files."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

import tfdvae
from tests.gate.support import B, D, T, compiled, dataset, frames, vae, vrnn


class Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> np.ndarray:
        return frames(index)


def generator() -> Iterator[np.ndarray]:
    yield frames(0)
    yield frames(1)


@pytest.mark.slow
def test_a_new_model_takes_batches_generators_and_pydatasets() -> None:
    assert np.isfinite(compiled(vrnn()).train_on_batch(frames(), return_dict=True)["loss"])
    assert np.isfinite(compiled(vrnn()).test_on_batch(frames())).all()
    assert vrnn().predict_on_batch(frames()).shape == (B, T, D)
    expected = compiled(vae(), "sgd").fit(
        np.concatenate([frames(0), frames(1)]), batch_size=B, shuffle=False, verbose=0
    )
    for source in (generator(), ((x,) for x in generator()), ({"x": x} for x in generator()), Batches(workers=1)):
        found = compiled(vae(), "sgd").fit(source, verbose=0, shuffle=False)
        assert found.history["loss"] == pytest.approx(expected.history["loss"], rel=1e-6)
    assert compiled(vae()).predict(Batches(workers=1), verbose=0).shape == (2 * B, T, D)
    with pytest.raises(ValueError, match="it has none"):
        compiled(vae()).fit(iter([]), verbose=0)


@pytest.mark.slow
def test_first_calls_may_come_from_several_threads() -> None:
    model, errors, found = vrnn(), [], []

    def call() -> None:
        try:
            found.append(model(frames()).numpy())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all(np.array_equal(y, found[0]) for y in found)


def gradient_step(**options: Any) -> list[np.ndarray]:
    """What one step of plain gradient descent moves weights by."""
    model = compiled(vae(), keras.optimizers.SGD(1.0), clip_norm=None)
    model.build_for(D)
    before = model.get_weights()
    model.fit(**{"verbose": 0, "batch_size": B, "shuffle": False, **options})
    return [after - b for after, b in zip(model.get_weights(), before, strict=True)]


@pytest.mark.slow
def test_weights_of_sequences_weigh_the_loss() -> None:
    x, weights = frames(), np.array([2.0, 0.5, 0.0])
    each = [gradient_step(x=x, sample_weight=row) for row in np.eye(3)]
    expected = [2.0 * a + 0.5 * b for a, b, _ in zip(*each, strict=True)]
    ways = (
        {"x": x, "sample_weight": weights},
        {"x": {"x": x, "sample_weight": weights}},
        {"x": dataset({"x": x, "sample_weight": weights}), "batch_size": None},
        {"x": dataset((x, None, weights)), "batch_size": None},
        {"x": iter([(x, None, weights)]), "batch_size": None},
    )
    for way in ways:
        for found, wanted in zip(gradient_step(**way), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    model = compiled(vae())
    plain = model.evaluate(x, verbose=0, return_dict=True)
    weighed = model.evaluate(x, sample_weight=np.full(B, 3.0), verbose=0, return_dict=True)
    assert weighed["loss"] == pytest.approx(3.0 * plain["loss"], rel=1e-5)
    assert weighed["elbo_nats_per_frame"] == pytest.approx(plain["elbo_nats_per_frame"], rel=1e-6)
    history = model.fit(x, validation_data=(x, None, np.zeros(B)), verbose=0).history
    assert history["val_loss"] == [0.0]


def test_weights_that_mean_nothing_are_refused() -> None:
    model = compiled(vae())
    for weights, message in (
        (np.ones([B, T]), r"`sample_weight` of shape \[batch\] = \[3\]"),
        ([1.0, np.nan, 1.0], "`sample_weight` must be finite and not negative, got nan for sequence 1"),
        ([1.0, 1.0, -1.0], "`sample_weight` must be finite and not negative, got -1 for sequence 2"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(frames(), sample_weight=weights, verbose=0)
    with pytest.raises(ValueError, match="belong into the batches of a Dataset"):
        model.fit(dataset(frames()), sample_weight=np.ones(B), verbose=0)
    with pytest.raises(ValueError, match="no loss that `sample_weight` could weigh"):
        model.predict({"x": frames(), "sample_weight": np.ones(B)})
    for call in (model.fit, model.train_on_batch):
        with pytest.raises(ValueError, match="`class_weight` could weigh: weigh sequences by `sample_weight`"):
            call(frames(), class_weight={0: 1.0})


def test_targets_are_refused_before_the_first_epoch() -> None:
    model = compiled(vae())
    model.build_for(D)
    before = model.get_weights()
    with pytest.raises(ValueError, match="A DVAE models x itself"):
        model.fit(frames(), validation_data=(frames(), frames()), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def rows_of(model: keras.Model, **options: Any) -> str:
    lines: list[str] = []
    model.summary(print_fn=lines.append, line_length=100, **options)
    return "\n".join(lines)


def test_summaries_tell_shapes() -> None:
    model = vrnn()
    assert "?" in rows_of(model)
    model.build_for(D)
    text = rows_of(model)
    assert re.search(r"frames \(FrameIO\) .*\(None, None, 8\)", text)  # mean and log-variance of each feature
    assert re.search(r"cell \(VRNNCell\) .*\(None, None, 3\)", text)  # what the decoder ends with
    assert "?" not in text and f"{model.count_params():,}" in text
    pictures = tfdvae.VAE(2, encoder_units=(4,), decoder_units=(3,), observation="bernoulli")
    pictures.build_for((2, 3, 1), u_dim=2)
    assert re.search(r"frames \(FrameIO\) .*\(None, None, 6\)", rows_of(pictures))
    kvae = tfdvae.KVAE(2, units=3, encoder_units=(4,), decoder_units=(5,), num_mixtures=6)
    kvae.build_for(D)
    text = rows_of(kvae)
    for row in (r"encoder \(MLP\).*\(None, None, 4\)", r"decoder \(MLP\).*5\)", r"mixing \(MixingNetwork\).*6\)"):
        assert re.search(row, text), text
    inputs = keras.Input([None, D])
    assert re.search(r"vrnn\w* \(VRNN\) .*\(None, None, 4\)", rows_of(keras.Model(inputs, model(inputs))))


@pytest.mark.slow
def test_batches_of_a_pydataset_are_made_as_often_as_by_keras() -> None:
    class Batches(keras.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__(workers=1)
            self.made: list[int] = []

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            self.made.append(index)
            return frames(index)

    theirs, ours = Batches(), Batches()
    plain = keras.Sequential([keras.layers.Dense(D)])
    plain.compile(run_eagerly=True)
    plain.predict(theirs, verbose=0)
    model = compiled(vae())
    model.predict(ours, verbose=0)
    assert ours.made == theirs.made
    model.fit(ours, epochs=2, shuffle=False, verbose=0)
    assert ours.made.count(0) == theirs.made.count(0) + 1 + 2


@pytest.mark.slow
def test_names_of_metrics_are_those_of_the_values() -> None:
    for model in (vae(), vrnn()):
        model.compile(run_eagerly=True, kl_per_dimension=True)
        values = model.evaluate(frames(), verbose=0)
        named = model.evaluate(frames(), verbose=0, return_dict=True)
        assert dict(zip(model.metrics_names, values, strict=True)) == named


@pytest.mark.slow
def test_callbacks_know_which_way_is_better(tmp_path: Any) -> None:
    path = tmp_path / "best.weights.h5"
    stopping = keras.callbacks.EarlyStopping("val_elbo_nats_per_frame", patience=5)
    saving = keras.callbacks.ModelCheckpoint(path, "elbo_nats_per_frame", save_best_only=True, save_weights_only=True)
    model = compiled(vae(), keras.optimizers.Adam(0.01))
    history = model.fit(frames(), validation_data=frames(), epochs=3, verbose=0, callbacks=[stopping, saving]).history
    assert stopping.best == max(history["val_elbo_nats_per_frame"])
    assert saving.best == max(history["elbo_nats_per_frame"])


@pytest.mark.slow
def test_only_files_that_can_be_loaded_are_written(tmp_path: Any) -> None:
    model = vae()
    model.build_for(D)
    for name in ("model.h5", "model.hdf5"):
        with pytest.raises(ValueError, match="saved as '.keras'"):
            model.save(tmp_path / name)
    model.save(tmp_path / "model.keras")
    assert np.array_equal(keras.saving.load_model(tmp_path / "model.keras")(frames()), model(frames()))


@pytest.mark.slow
def test_initial_weights_follow_from_the_seed() -> None:
    for make in (vae, vrnn, lambda **options: tfdvae.KVAE(2, units=3, **options)):
        models = [make(seed=seed) for seed in (1, 1, 2)]
        for model in models:
            keras.utils.set_random_seed(id(model) % 1000)
            model.build_for(D)
        first, again, other = (model.get_weights() for model in models)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.slow
def test_numbers_of_numpy_are_numbers(tmp_path: Any) -> None:
    options = {"units": np.int32(4), "num_layers": np.int64(1), "dropout": np.float32(0.0), "seed": np.int64(3)}
    model = compiled(tfdvae.VRNN(np.int64(2), **options), beta=np.float32(0.5), clip_norm=np.float64(1.0))
    model.fit(frames(), verbose=0)
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").seed == 3
