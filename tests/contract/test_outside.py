"""`tfdvae.testing.check_model` passes a model that somebody else wrote, and says what is wrong with broken ones."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import keras
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

import tfdvae
from tests import turns
from tests.contract.outside_model import PARENTS, SIZES, StateSpaceCell, StateSpaceModel
from tfdvae import testing
from trainers import building

SHORT = [
    *("trajectory", "modes", "densities", "gradients", "arguments", "config", "config of the cell", "half-steps"),
    *("parents", "ways through the cell", "states", "streaming", "generated steps", "mixtures"),
]
"""The fast ones: broken models differ from the good one there."""


@pytest.mark.slow
def test_a_model_from_outside_passes() -> None:
    testing.check_model(StateSpaceModel, SIZES, parents=PARENTS, u_dim=2)


@pytest.mark.parametrize(("u_dim", "context_dim"), turns.params([(0, 0), (2, 3), (0, 3)], always=()))
def test_so_it_does_undriven_and_with_a_context(u_dim: int, context_dim: int) -> None:
    checks = [*SHORT, "masked terms", "masked verbs", "missing values"]
    testing.check_model(StateSpaceModel, SIZES, parents=PARENTS, u_dim=u_dim, context_dim=context_dim, checks=checks)


@pytest.mark.slow
def test_a_model_of_pictures_passes_without_a_table() -> None:
    testing.check_model(StateSpaceModel, SIZES, x_dim=(2, 3, 1), checks=SHORT)


@pytest.mark.slow
def test_a_model_without_a_cell_passes() -> None:
    sizes = {"latent_dim": 3, "encoding_dim": 2, "num_mixtures": 4, "units": 5}
    testing.check_model(tfdvae.KVAE, sizes, checks=SHORT)
    with pytest.raises(ValueError, match="`parents` needs a model with a cell, which KVAE is not"):
        testing.check_model(tfdvae.KVAE, sizes, parents=PARENTS, checks=[])


@keras.saving.register_keras_serializable(package="outside")
class ToldCell(StateSpaceCell):
    """It is told which frames hold anything, and its posterior reads the frames alone, as its default `embed` gives."""

    told_presence = True

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        super().build_parts(x_dim - 1, u_dim)


class ToldModel(tfdvae.RecurrentDVAE):
    """See `ToldCell`."""

    cell_class = ToldCell


@pytest.mark.slow
def test_a_cell_that_is_told_presence_meets_frames_without_that_column() -> None:
    testing.check_model(ToldModel, SIZES, u_dim=2, checks=["trajectory", "half-steps", "ways through the cell"])


@keras.saving.register_keras_serializable(package="outside")
class LeakingCell(StateSpaceCell):
    """At frame t its state, and with it the prior, has seen x_{t+1}."""

    def initial_state(self, batch_size: Any) -> dict:
        return {**super().initial_state(batch_size), "peek": self.zeros(batch_size, 1)}

    def embed(self, x: tf.Tensor) -> tf.Tensor:
        return super().embed(tf.roll(x, -2, axis=1) if x.shape.rank == 3 else x)

    def encode(self, given: Any) -> tf.Tensor:
        return given.x

    def absorb_u(self, state: dict, c: Any) -> dict:
        opened = super().absorb_u(state, c)
        return {**opened, "h": opened["h"] + state["peek"]}

    def absorb_x(self, state: dict, e: tf.Tensor) -> dict:
        return {**state, "peek": tf.reduce_mean(e, axis=-1, keepdims=True)}


@keras.saving.register_keras_serializable(package="outside")
class ForgetfulCell(StateSpaceCell):
    """Its config leaves `hidden` out."""

    def get_config(self) -> dict:
        return {k: v for k, v in super().get_config().items() if k != "hidden"}


@keras.saving.register_keras_serializable(package="outside")
class MistakenCell(StateSpaceCell):
    """Its prior reads x_{t-1}, and its `previous` says x_t, which is only seen by the fast way through the cell."""

    prior_reads = ("h", "before")

    def initial_state(self, batch_size: Any) -> dict:
        return {**super().initial_state(batch_size), "before": self.zeros(batch_size, self.x_dim)}

    def prior(self, state: dict) -> Any:
        return super().prior({"h": state["h"] + tf.reduce_mean(state["before"], axis=-1, keepdims=True)})

    def absorb_x(self, state: dict, e: tf.Tensor) -> dict:
        return {**state, "before": e}

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> dict:
        return {**super().previous(e, latents), "before": e}


@keras.saving.register_keras_serializable(package="outside")
class StoppedCell(StateSpaceCell):
    """A stopped gradient hides that the prior sees x before t."""

    def initial_state(self, batch_size: Any) -> dict:
        return {**super().initial_state(batch_size), "seen": self.zeros(batch_size, self.x_dim)}

    def absorb_u(self, state: dict, c: Any) -> dict:
        hidden = tf.stop_gradient(1e-3 * tf.reduce_sum(state["seen"], axis=-1, keepdims=True))
        return super().absorb_u({**state, "z": state["z"] + hidden}, c)

    def absorb_x(self, state: dict, e: tf.Tensor) -> dict:
        return {**state, "seen": e}


@keras.saving.register_keras_serializable(package="outside")
class LaggingCell(StateSpaceCell):
    """Its posterior has a recurrence over x of its own, which `encode_state` does not name: drawn frames pass it by."""

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        super().build_parts(x_dim, u_dim)
        self.encoder_rnn = self.recurrent("encoder_rnn")
        self.encoder_rnn.build((None, x_dim))
        self.posterior_net = self.mlp(self.hidden, "posterior_of_both")
        self.posterior_net.build((None, 2 * self.units))
        self.posterior_head = self.head("posterior_head_of_both", self.z_posterior)
        self.posterior_head.build((None, self.posterior_net.output_dim(2 * self.units)))

    def initial_state(self, batch_size: Any) -> dict:
        return {**super().initial_state(batch_size), **self.rnn_state(self.encoder_rnn, batch_size, "g_")}

    def encode(self, given: Any) -> tf.Tensor:
        return self.encoder_rnn(given.x)

    def encode_step(self, state: dict, x: tf.Tensor, c: Any, e: Any) -> tuple[dict, tf.Tensor]:
        state = self.step_rnn(self.encoder_rnn, state, x, "g_")
        return state, state["g_h"]


@keras.saving.register_keras_serializable(package="outside")
class NamingCell(LaggingCell):
    """The same, and names it."""

    encode_state = ("g_h", "g_memory")


@keras.saving.register_keras_serializable(package="outside")
class HastyCell(StateSpaceCell):
    """Its latents hang on nothing, but its recurrence takes z_{t-1} frame by frame, and it says it need not."""

    draws_at_once = True

    @property
    def latents(self) -> tuple[tfdvae.Latent, ...]:
        return (self.latent("z", self.z_prior, self.z_posterior, prior=None),)


def model_of(cell: type[StateSpaceCell]) -> type[tfdvae.RecurrentDVAE]:
    model = type(cell.__name__.replace("Cell", "Model"), (tfdvae.RecurrentDVAE,), {"cell_class": cell})
    return keras.saving.register_keras_serializable(package="outside")(model)


def failure(cell: type[StateSpaceCell], checks: list[str] = SHORT, parents: dict | None = PARENTS) -> str:
    with pytest.raises(AssertionError) as caught:
        testing.check_model(model_of(cell), SIZES, parents=parents, checks=checks)
    return str(caught.value)


@pytest.mark.slow
def test_a_prior_that_sees_the_future_is_found() -> None:
    text = failure(LeakingCell)
    assert text.startswith("LeakingModel fails ")
    assert "non-zero derivatives of p(z_t | .) with respect to x_s; links from frame s to frame t" in text
    assert "[parents]" in text and "not in the graph: " in text and "2->1" in text
    assert "[streaming] latents of `step`, and of the sequence" in text


@pytest.mark.slow
def test_an_argument_that_the_config_forgets_is_found() -> None:
    text = failure(ForgetfulCell)
    assert "[arguments] the argument `hidden` of StateSpaceCell is missing in `get_config`" in text
    assert "[config]" in text


@pytest.mark.slow
def test_a_wrong_previous_is_found() -> None:
    sees = {**PARENTS["z"], "prior": {**PARENTS["z"]["prior"], "x": "previous"}}
    text = failure(MistakenCell, parents={**PARENTS, "z": sees})
    assert "[parents]" not in text
    assert "[half-steps] prior of 'z' by the half-steps, and by the model" in text
    assert "[streaming]" in text


def test_a_stopped_gradient_does_not_hide_a_parent() -> None:
    text = failure(StoppedCell, ["parents"])
    assert "fails 1 of 1 checks" in text
    assert "NaN of p(z_t | .) with respect to x_s; links from frame s to frame t that are not in the" in text


@pytest.mark.slow
def test_a_posterior_that_misses_drawn_frames_is_found() -> None:
    checks = ["half-steps", "streaming", "generated steps", "mixtures"]
    text = failure(LaggingCell, checks)
    assert "fails 1 of 4 checks" in text
    assert "[mixtures] the state's 'g_h' after frame 0 of a mixture, which was drawn, and the same frames given" in text
    testing.check_model(model_of(NamingCell), SIZES, u_dim=2, checks=checks)


@pytest.mark.slow
def test_frames_that_cannot_be_drawn_at_once_are_found() -> None:
    text = failure(HastyCell, ["half-steps", "generation"], parents=None)
    assert "fails 1 of 2 checks" in text
    assert "[generation] frames drawn in a graph, and eagerly" in text


def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="`checks` are names among trajectory, .*; got speed"):
        testing.check_model(StateSpaceModel, SIZES, checks=["speed"])
    with pytest.raises(ValueError, match="must have the entries x, z, got x"):
        testing.check_model(StateSpaceModel, SIZES, parents={"x": {}}, checks=[])


def test_a_registered_model_is_known_by_its_name() -> None:
    register = tfdvae.models.register("state_space")
    options = {"name": "state_space", "observation": "gaussian", "observation_options": {}, "precision": "float32"}
    try:
        assert register(StateSpaceModel) is StateSpaceModel and register(StateSpaceModel) is StateSpaceModel
        assert type(tfdvae.MODELS["state_space"](**SIZES)) is StateSpaceModel
        model = building.build_model(ConfigDict({"model": {**options, **SIZES}, "seed": 3}))
        assert type(model) is StateSpaceModel and model.cell.hidden == SIZES["hidden"]
        with pytest.raises(ValueError, match="is taken or is no identifier: models are "):
            register(tfdvae.VRNN)
    finally:
        del tfdvae.MODELS["state_space"]
    with pytest.raises(ValueError, match="is taken or is no identifier"):
        tfdvae.models.register("vrnn")(StateSpaceModel)
    with pytest.raises(ValueError, match="Only a subclass of tfdvae.DVAE can be registered, got .*StateSpaceCell"):
        tfdvae.models.register("cell")(StateSpaceCell)


@pytest.mark.slow
def test_the_tests_cost_nothing_where_they_are_not_used() -> None:
    code = "import sys, tfdvae; assert 'tfdvae.testing' not in sys.modules"
    code += "; import tfdvae.testing; assert 'pytest' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
