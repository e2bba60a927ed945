"""What the table `refine` measures, on few chords made here."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.helpers import smoke
from tfdvae import random
from tfdvae.bounds import log_weight
from tfdvae.data import pad
from tfdvae.types import Batch
from trainers import building, loading
from trainers.scoring import Scores
from trainers.tables import TABLES, Finished, refining

SMALL = {"SEQUENCES": 2, "STEPS": 2, "RATE": 0.3, "PATHS": 3, "MANY": 4, "CHUNK": 2}


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("model", ["vrnn", pytest.param("srnn", marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_parts_of_the_gap(model: str, rolls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        monkeypatch.setattr(refining, name, value)
    config = smoke("pianoroll", model, rolls)
    run = Finished(
        config, building.build_model(config), loading.load_splits(config.data), Scores(model, "", "", 2, 9, 4)
    )
    building.build_for(run.model, config, run.splits.train)
    found = TABLES["refine"].measure(run)
    test = run.splits.test.take(range(2))
    batch = pad(test.by_length())
    given = run.model.tensors(batch)
    seed = random.fold_in(random.make_seed(0), "new paths")

    def by_new_paths(moves: dict) -> float:
        return float(tf.reduce_sum(log_weight(run.model.moved_terms(Batch(*given), moves, seed, 3)))) / 3 / frames

    frames, options = test.num_frames, {"steps": 2, "learning_rate": 0.3, "seed": 0}
    refined = {"refined": run.model.refine(**batch, **options)}
    assert ("refined by frame" in found) == (model == "vrnn")
    if model == "vrnn":
        refined["refined by frame"] = run.model.refine(**batch, **options, by="frame")
    still = tf.nest.map_structure(tf.zeros_like, refined["refined"].moves)
    for name, moves in {"ELBO": still, **{name: y.moves for name, y in refined.items()}}.items():
        assert found[name] == pytest.approx(by_new_paths(moves), rel=1e-5)
    many = run.model.log_prob(**batch, num_samples=4, chunk=2, seed=0)
    assert found["IWAE-4"] == pytest.approx(np.sum(many) / frames, rel=1e-5)
    for name in refined:
        part = (found[name] - found["ELBO"]) / (found["IWAE-4"] - found["ELBO"])
        assert found[f"{name}, % of the gap"] == pytest.approx(100.0 * part, rel=1e-4)
    names = {column.name.replace("1000", "4") for column in TABLES["refine"].columns}
    assert set(found) <= names and (set(found) == names) == (model == "vrnn")
