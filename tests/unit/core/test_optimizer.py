"""The optimizer's step in closed form, and its state."""

from typing import Any

import numpy as np
import pytest

from fl.core.data_info import DataInfo
from fl.core.dataset import Batch
from fl.core.model.sklearn import SklearnSGDModel
from fl.core.optimizer import Optimizer, OptiModule, Scheduler
from fl.core.optimizer.momentum import MomentumModule
from fl.core.vector import NumpyVector, Vector
from fl.errors import ConfigError


def vector(*values: float, dtype: str = "float64") -> NumpyVector:
    return NumpyVector.from_arrays({"w": np.array(values, dtype)})


def gradients(n: int = 6, dtype: str = "float64") -> list[NumpyVector]:
    rng = np.random.default_rng(0)
    return [vector(*rng.normal(size=3), dtype=dtype) for _ in range(n)]


def run(optimizer: Optimizer, steps: list[NumpyVector], weights: NumpyVector) -> NumpyVector:
    for step in steps:
        weights = weights - optimizer.compute_updates(weights, step)
    return weights


def assert_close(left: NumpyVector, right: NumpyVector) -> None:
    np.testing.assert_allclose(left.flat, right.flat, rtol=1e-12)


def test_a_step_is_the_learning_rate_times_the_gradient() -> None:
    assert Optimizer(0.5).compute_updates(vector(9, 9), vector(1, -2)) == vector(0.5, -1)


def test_weight_decay_is_not_multiplied_by_the_learning_rate() -> None:
    assert Optimizer(0.5, 0.25).compute_updates(vector(4, 8), vector(1, -2)) == vector(0.5 + 1, -1 + 2)


@pytest.mark.parametrize("lrate", [1, 0.1, 3])
def test_the_learning_rate_may_be_an_integer(lrate: float) -> None:
    assert Optimizer(lrate).compute_updates(vector(0.0), vector(2.0)) == vector(2.0 * lrate)


@pytest.mark.parametrize("lrate", [0, -0.1, float("nan"), float("inf"), True, None])
def test_a_learning_rate_that_is_no_rate_is_refused(lrate: Any) -> None:
    with pytest.raises(ConfigError, match=r"lrate is .*: use a number above 0"):
        Optimizer(lrate)


def test_a_negative_weight_decay_is_refused() -> None:
    with pytest.raises(ConfigError, match="w_decay is -1"):
        Optimizer(0.1, -1)


def test_lasso_adds_the_sign_of_the_weights() -> None:
    optimizer = Optimizer(1.0, regularizers=[("lasso", {"alpha": 0.5})])
    assert optimizer.compute_updates(vector(3, -2, 0), vector(1, 1, 1)) == vector(1.5, 0.5, 1)


def test_ridge_adds_twice_the_weights() -> None:
    optimizer = Optimizer(1.0, regularizers=[("ridge", {"alpha": 0.5})])
    assert optimizer.compute_updates(vector(3, -2), vector(1, 1)) == vector(4, -1)


def test_fedprox_adds_the_way_from_the_rounds_start_from_the_first_step_on() -> None:
    optimizer = Optimizer(1.0, regularizers=[("fedprox", {"alpha": 0.5})])
    optimizer.start_round(vector(1, 1))
    assert optimizer.compute_updates(vector(3, -1), vector(1, 1)) == vector(2, 0)


def test_fedprox_without_a_rounds_start_is_an_error() -> None:
    with pytest.raises(ConfigError, match="call start_round first"):
        Optimizer(1.0, regularizers=["fedprox"]).compute_updates(vector(1), vector(1))


def test_regularizers_come_before_modules() -> None:
    # Given momentum over two steps, whose memory must hold the regularized gradient
    optimizer = Optimizer(1.0, regularizers=[("ridge", {"alpha": 0.5})], modules=[("momentum", {"beta": 0.5})])
    optimizer.compute_updates(vector(2.0), vector(1.0))
    # Then the second step is 0.5·(1 + 2) + (1 + 4)
    assert optimizer.compute_updates(vector(4.0), vector(1.0)) == vector(6.5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_the_sum_of_decaying_gradients(nesterov: bool) -> None:
    optimizer = Optimizer(1.0, modules=[MomentumModule(0.9, nesterov)])
    steps = gradients()
    for t, gradient in enumerate(steps):
        velocity = sum((steps[i].flat * 0.9 ** (t - i) for i in range(t + 1)), np.zeros(3))
        expected = gradient.flat + 0.9 * velocity if nesterov else velocity
        np.testing.assert_allclose(optimizer.compute_updates(gradient, gradient).flat, expected, rtol=1e-12)


@pytest.mark.parametrize("reset", [False, True])
def test_momentum_lives_on_to_the_next_round_unless_told_otherwise(reset: bool) -> None:
    optimizer = Optimizer(1.0, modules=[("momentum", {"beta": 0.5, "round_reset": reset})])
    for _ in range(2):
        optimizer.start_round(vector(0.0))
        update = optimizer.compute_updates(vector(0.0), vector(1.0))
    assert update == vector(1.0 if reset else 1.5)


@pytest.mark.parametrize("beta", [-0.1, 1.0, float("nan")])
def test_a_momentum_that_would_not_decay_is_refused(beta: float) -> None:
    with pytest.raises(ConfigError, match="beta is"):
        MomentumModule(beta)


def test_a_state_is_set_whole_or_not_at_all() -> None:
    # Given a state whose second module is broken
    optimizer = Optimizer(0.1, modules=["momentum", ("momentum", {"beta": 0.5})])
    run(optimizer, gradients(2), vector(0, 0, 0))
    before = optimizer.get_state()
    broken = Optimizer(0.1, modules=["momentum", ("momentum", {"beta": 0.5})]).get_state()
    broken["modules"][1][1] = {"speed": None}
    # When it is set
    with pytest.raises(ValueError, match=r"state of 'momentum' has the fields \['speed'\]"):
        optimizer.set_state(broken)
    # Then the first module is as it was, too
    assert optimizer.get_state() == before


def test_a_state_of_other_modules_is_refused() -> None:
    with pytest.raises(ValueError, match=r"modules \['momentum'\] does not fit one with \[\]"):
        Optimizer(0.1).set_state(Optimizer(0.1, modules=["momentum"]).get_state())


@pytest.mark.parametrize(
    "spec", ["momentum", ("momentum", {}), ["momentum", {}], {"name": "momentum"}, MomentumModule()]
)
def test_a_plug_in_is_given_as_name_pair_table_or_instance(spec: Any) -> None:
    assert isinstance(Optimizer(0.1, modules=[spec]).modules[0], MomentumModule)


def test_an_unknown_option_of_an_optimizer_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown option 'lrat'; did you mean 'lrate'"):
        Optimizer.from_config({"lrat": 0.1})


def test_a_learning_rate_may_follow_a_schedule_of_steps_and_rounds() -> None:
    class Halving(Scheduler, register=False):
        name = "halving"

        def value(self, *, step: int, round_: int) -> float:
            return 8.0 / 2.0**step / 10.0**round_

    optimizer, rates = Optimizer(Halving()), []
    for _ in range(2):
        optimizer.start_round(vector(0.0))
        rates += [optimizer.compute_updates(vector(0.0), vector(1.0)).flat[0] for _ in range(2)]
    assert rates == [8.0, 4.0, 0.2, 0.1]


def test_a_training_step_takes_the_update_off_the_models_weights() -> None:
    model = SklearnSGDModel.from_parameters("regressor", penalty=None)
    model.initialize(DataInfo(1, 2))
    batch = Batch(np.array([[3.0, 4.0]]), np.array([1.0]))
    Optimizer(0.5).run_train_step(model, batch)
    # the gradient of the squared error at zero weights is -y·(x, 1)
    assert model.get_weights().flat.tolist() == [1.5, 2.0, 0.5]


def test_a_training_step_may_clip_each_samples_gradient() -> None:
    model = SklearnSGDModel.from_parameters("regressor", penalty=None)
    model.initialize(DataInfo(1, 2))
    batch = Batch(np.array([[4.0, 8.0]]), np.array([1.0]))
    Optimizer(1.0).run_train_step(model, batch, sclip=0.9)
    np.testing.assert_allclose(model.get_weights().flat, [0.4, 0.8, 0.1])


class Shared(OptiModule, register=False):
    """Sends the sum of its gradients, and takes away what it is sent."""

    name = "shared"
    aux_name = "shared"

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def run(self, gradients: Vector) -> Vector:
        return gradients

    def process_aux_var(self, aux: Any) -> None:
        self.seen.append(aux)


def test_auxiliary_variables_reach_the_module_of_their_name() -> None:
    module = Shared()
    Optimizer(0.1, modules=[module]).process_aux_var({"shared": {"c": 1.0}})
    assert module.seen == [{"c": 1.0}]


def test_auxiliary_variables_of_no_module_are_refused() -> None:
    with pytest.raises(ValueError, match="'scaffold' came, but no module"):
        Optimizer(0.1, modules=["momentum"]).process_aux_var({"scaffold": {}})


def test_a_module_with_nothing_to_send_sends_nothing() -> None:
    assert Optimizer(0.1, modules=[Shared(), "momentum"]).collect_aux_var() == {}


def test_two_modules_cannot_share_a_name_for_auxiliary_variables() -> None:
    with pytest.raises(ConfigError, match="under one name"):
        Optimizer(0.1, modules=[Shared(), Shared()])
