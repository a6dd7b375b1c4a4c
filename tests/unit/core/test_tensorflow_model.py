"""Keras models: weights and their roles, precision, predictions, devices and threads."""

import threading
from typing import Any

import keras
import numpy as np
import pytest

from fl.core.data_info import DataInfo
from fl.core.dataset import Batch
from fl.core.device import DevicePolicy
from fl.core.layout import Role
from fl.core.model.tensorflow import TensorflowModel
from fl.core.optimizer import Optimizer
from fl.core.vector import Array, NumpyVector
from fl.errors import ConfigError, ModelError
from tests.unit.core import tensorflow_zoo as zoo
from tests.unit.core.tensorflow_zoo import LOGITS, ZOO, model_of, sequential

layers = keras.layers


def numbers(model: TensorflowModel, *roles: Role) -> dict[str, Array]:
    vector = model.get_weights()
    return (vector.select(*roles) if roles else vector).to_numpy().arrays()


# --- weights


@pytest.mark.parametrize(("buffers", "role"), [("average", Role.BUFFER), ("local", Role.FIXED), ("frozen", Role.FIXED)])
def test_statistics_have_the_role_that_their_policy_gives_them(buffers: Any, role: Role) -> None:
    model = ZOO["batch norm"].model(buffers=buffers)
    roles = {spec.name: spec.role for spec in model.get_weights().layout.specs}
    assert roles["norm/moving_mean"] == roles["norm/moving_variance"] == role
    assert roles["norm/gamma"] == Role.TRAINABLE


def test_everything_in_a_frozen_layer_is_fixed() -> None:
    model = model_of("frozen base")
    fixed, trainable = numbers(model, Role.FIXED), model.get_weights(trainable=True).layout
    assert len(fixed) == 6
    assert [spec.shape for spec in trainable.specs] == [(5, 3), (3,)]


@pytest.mark.parametrize("role", [Role.TRAINABLE, Role.BUFFER])
def test_weights_of_one_role_leave_the_others_alone(role: Role) -> None:
    model = model_of("batch norm")
    before = numbers(model)
    part = model.get_weights().select(role)
    model.set_weights(part + 1.0)
    for name, array in numbers(model).items():
        np.testing.assert_allclose(array, before[name] + (1.0 if name in part.layout.names else 0.0), rtol=1e-6)


def test_weights_that_are_read_do_not_change_with_the_model() -> None:
    model = model_of("mlp")
    weights = model.get_weights()
    before = weights.to_numpy().copy()
    Optimizer(0.1).run_train_step(model, ZOO["mlp"].batch())
    assert weights.to_numpy() == before


def test_weights_that_are_not_the_trainable_ones_are_refused_where_those_are_meant() -> None:
    model = model_of("batch norm")
    with pytest.raises(ValueError, match="norm/moving_mean"):
        model.set_weights(model.get_weights(), trainable=True)


def test_local_statistics_are_the_models_state() -> None:
    # Given a site whose statistics moved
    case = ZOO["batch norm"]
    model, other = case.model(buffers="local"), case.model(buffers="local")
    model.compute_batch_gradients(case.batch())
    # When another model goes on from its state
    other.set_state(model.get_state())
    # Then it has those statistics, and no other weight
    np.testing.assert_array_equal(numbers(other)["norm/moving_mean"], numbers(model)["norm/moving_mean"])
    assert not np.array_equal(other.get_weights(trainable=True).flat, model.get_weights(trainable=True).flat)


@pytest.mark.parametrize("buffers", ["average", "frozen"])
def test_other_policies_leave_a_model_no_state(buffers: Any) -> None:
    model = ZOO["batch norm"].model(buffers=buffers)
    assert model.get_state() == {}
    with pytest.raises(ValueError, match="not that of this tensorflow model"):
        model.set_state({"buffers": model.get_weights()})


def test_a_model_that_is_given_stays_as_it_is() -> None:
    # Given a compiled model and a loss
    original, loss = zoo.batch_norm(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    original.compile("adam", loss)
    before, config = [array.copy() for array in original.get_weights()], loss.get_config()
    # When a copy of it learns
    model = TensorflowModel(original, loss, buffers="frozen")
    Optimizer(0.1).run_train_step(model, ZOO["batch norm"].batch())
    # Then nothing about it changed
    assert all(map(np.array_equal, original.get_weights(), before))
    assert all(variable.trainable for variable in original.trainable_weights)
    assert original.layers[1].trainable
    assert loss.get_config() == config


def test_a_model_with_weights_lends_them() -> None:
    original = zoo.mlp()
    for ours, theirs in zip(
        TensorflowModel(original, LOGITS).to_keras().get_weights(), original.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_an_unbuilt_model_gets_its_weights_from_the_data_info() -> None:
    model = TensorflowModel(keras.Sequential([layers.Dense(2), layers.Dense(1)]), "mse")
    with pytest.raises(ModelError, match="call initialize"):
        model.get_weights()
    model.initialize(DataInfo(9, 3, (0, 3)))
    assert [spec.shape for spec in model.get_weights().layout.specs] == [(3, 2), (2,), (2, 1), (1,)]


def test_an_unbuilt_model_without_an_input_shape_is_told_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"keras\.Input"):
        TensorflowModel(keras.Sequential([layers.Dense(2)]), "mse").initialize(DataInfo(9, 3))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_computes_in_half_and_keeps_weights_in_full(policy: str) -> None:
    model = TensorflowModel(sequential(layers.Dense(2, dtype=policy), layers.Dense(1, dtype=policy), shape=(3,)), "mse")
    batch = Batch(np.ones((4, 3)), np.ones(4))
    assert model.forward(batch).dtype == policy.removeprefix("mixed_")
    assert model.compute_batch_gradients(batch).layout.float_dtype == "float32"
    assert model.loss_function(batch.y, model.forward(batch)).dtype == np.float32
    assert model.to_predictions(model.forward(batch)).shape == (4,)


# --- predictions, devices, threads


@pytest.mark.parametrize(
    ("loss", "raw", "expected"),
    [
        (keras.losses.BinaryCrossentropy(from_logits=True), [[0.0], [np.log(3)]], [0.5, 0.75]),
        (keras.losses.BinaryCrossentropy(), [[0.25], [0.75]], [0.25, 0.75]),
        ("hinge", [[0.0], [np.log(3)]], [0.5, 0.75]),
        (LOGITS, [[0.0, np.log(3)]], [[0.25, 0.75]]),
        (keras.losses.CategoricalCrossentropy(), [[0.25, 0.75]], [[0.25, 0.75]]),
        ("mse", [[3.0], [4.0]], [3.0, 4.0]),
        ("mae", [[3.0, 4.0]], [[3.0, 4.0]]),
    ],
)
def test_predictions_are_probabilities_scores_or_values(loss: Any, raw: Any, expected: Any) -> None:
    model = TensorflowModel(sequential(layers.Dense(len(raw[0])), shape=(4,)), loss)
    np.testing.assert_allclose(model.to_predictions(np.asarray(raw)), expected, rtol=1e-6)


def test_a_gpu_that_is_not_there_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="sees no GPU of idx=7"):
        ZOO["mlp"].model().update_device_policy(DevicePolicy(gpu=True, idx=7))


def test_moving_a_model_keeps_its_weights() -> None:
    model, batch = ZOO["batch norm"].model(), ZOO["batch norm"].batch()
    before, raw = model.get_weights().to_numpy(), np.asarray(model.forward(batch))
    model._device = "elsewhere"
    model.update_device_policy(DevicePolicy(gpu=False))
    assert model.get_weights().to_numpy() == before
    np.testing.assert_allclose(model.forward(batch), raw, rtol=1e-6)


def test_models_in_several_threads_learn_as_they_do_alone() -> None:
    # Given what each model comes to alone
    config, case = model_of("dropout").get_config(), ZOO["dropout"]
    start = model_of("dropout").get_weights().to_numpy()

    def learn(seed: int) -> NumpyVector:
        model = TensorflowModel.from_config(config)
        model.set_weights(NumpyVector(model.get_weights().layout, start.flat))
        model.start_round(np.random.default_rng(seed))
        for number in range(10):
            Optimizer(0.1).run_train_step(model, case.batch(number))
        return model.get_weights().to_numpy()

    alone = [learn(seed) for seed in range(2)]
    # When they learn at the same time
    together: dict[int, NumpyVector] = {}
    threads = [threading.Thread(target=lambda seed=seed: together.update({seed: learn(seed)})) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then they come to the same
    assert [together[seed] for seed in range(2)] == alone
