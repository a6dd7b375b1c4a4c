"""Keras models: samples, targets, losses and dtypes, and what people are told of those that do not fit."""

import json
from typing import Any

import keras
import numpy as np
import pytest

from fl.core.data_info import DataInfo
from fl.core.dataset import Batch
from fl.core.model.tensorflow import TensorflowModel
from fl.errors import DataError, ModelError
from tests.unit.core import tensorflow_zoo as zoo
from tests.unit.core.tensorflow_zoo import ZOO, BatchLoss, model_of, sequential

layers = keras.layers


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed"])
def test_dtypes_that_are_no_vector_are_refused_with_advice(dtype: str) -> None:
    first, second = (dtype, dtype) if dtype == "bfloat16" else ("float64", "float32")
    model = sequential(layers.Dense(2, dtype=first), layers.Dense(1, dtype=second), shape=(3,))
    with pytest.raises(ModelError, match="dtype policy"):
        TensorflowModel(model, "mse")


def test_samples_of_another_shape_than_the_models_are_a_model_error_that_names_both() -> None:
    with pytest.raises(ModelError, match=r"takes samples of shape \(4,\), but those of the data have shape \(7,\)"):
        ZOO["mlp"].model().initialize(DataInfo(9, 7, (0, 7)))


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.ones((2, 5)), r"samples of shape \(5,\) do not fit a model that takes \(4,\)"),
        (np.full((2, 4), np.nan), "NaN or infinite"),
        (np.full((2, 4), "a"), "numbers are needed"),
        ((np.ones((2, 4)), np.ones((2, 4))), "takes 1 inputs a sample, but these samples have 2"),
    ],
)
def test_samples_that_do_not_fit_are_a_data_error_in_words(x: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        model_of("mlp").compute_batch_gradients(Batch(x, np.zeros(2, np.int64)))


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (np.array([0, 3]), "label 3 is out of range: the model tells 3 classes"),
        (np.array([0, -1]), "label -1 is out of range"),
        (np.array([0.5, 1.0]), "label .*0.5.* is no class"),
        (np.array(["a", "b"]), "expose_classes=True"),
        (np.zeros((2, 2), np.int64), r"targets of shape \(2,\) do not fit outputs of shape \(3,\)"),
        (np.zeros(3, np.int64), "targets of shape"),
        (None, "no target"),
    ],
)
def test_targets_that_do_not_fit_are_a_data_error_in_words(y: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        model_of("mlp").compute_batch_gradients(Batch(np.ones((2, 4)), y))


def test_one_hot_targets_are_made_of_labels_and_taken_as_they_are() -> None:
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model, sparse = TensorflowModel(zoo.mlp(), loss), ZOO["mlp"].batch()
    raw = model.forward(sparse)
    np.testing.assert_allclose(
        model.loss_function(sparse.y, raw), model.loss_function(np.eye(3)[sparse.y], raw), rtol=1e-6
    )


def test_two_labels_in_words_are_the_two_sides_of_a_hinge_loss() -> None:
    model = TensorflowModel(sequential(layers.Dense(1, activation="sigmoid"), shape=(4,)), "hinge")
    raw = model.forward(Batch(np.eye(4)))
    expected = model.loss_function(np.array([0, 1, 1, 0]), raw)
    model.initialize(DataInfo(9, 4, (0, 4), ("no", "yes")))
    np.testing.assert_allclose(model.loss_function(np.array(["no", "yes", "yes", "no"]), raw), expected)


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_one_output_is_compared_with_its_own_target_only(shape: tuple[int, ...]) -> None:
    model = TensorflowModel(sequential(layers.Dense(1), shape=(4,)), "mse")
    losses = model.loss_function(np.arange(5.0).reshape(shape), model.forward(Batch(np.zeros((5, 4)))))
    np.testing.assert_allclose(losses, np.arange(5.0) ** 2)


def test_a_loss_of_a_whole_batch_is_refused() -> None:
    with pytest.raises(ModelError, match="one for each sample"):
        TensorflowModel(sequential(layers.Dense(2), shape=(4,)), BatchLoss()).compute_batch_gradients(
            Batch(np.ones((3, 4)), np.ones((3, 2)))
        )


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(keras.losses.Huber(delta=0.5), 0.5 * (3 - 0.25)), (keras.losses.BinaryFocalCrossentropy(gamma=0.0), np.log(2))],
)
def test_the_options_of_a_loss_reach_every_site(loss: Any, expected: float) -> None:
    # Keras leaves Huber's delta out of its config
    config = TensorflowModel(sequential(layers.Dense(1), shape=(4,)), loss).get_config()
    model = TensorflowModel.from_config(json.loads(json.dumps(config)))
    y, raw = (3, 0.0) if isinstance(loss, keras.losses.Huber) else (1, 0.5)
    np.testing.assert_allclose(model.loss_function(np.array([y]), np.array([[raw]], np.float32)), expected, rtol=1e-5)


def test_a_loss_nobody_knows_is_refused() -> None:
    with pytest.raises(ModelError, match="none of Keras's"):
        TensorflowModel(zoo.mlp(), "sparse_catgorical")


def test_a_loss_over_steps_is_the_mean_over_those_that_are_not_masked() -> None:
    # Given a model that tells something of every step, and samples padded after two
    steps = sequential(layers.Masking(), layers.LSTM(2, return_sequences=True), layers.Dense(1), shape=(4, 2))
    model = TensorflowModel(steps, "mse")
    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    x[:, 2:] = 0
    raw = model.forward(Batch(x))
    # Then only those two count
    expected = np.square(np.asarray(raw)[:, :2, 0]).mean(axis=1)
    np.testing.assert_allclose(model.loss_function(np.zeros((3, 4, 1)), raw), expected, rtol=1e-5)


def test_several_outputs_are_refused() -> None:
    x = keras.Input((3,))
    with pytest.raises(ModelError, match="several outputs"):
        TensorflowModel(keras.Model(x, [layers.Dense(1)(x), layers.Dense(1)(x)]), "mse")


def test_inputs_may_come_by_name_or_in_order() -> None:
    model, batch = model_of("two inputs"), ZOO["two inputs"].batch()
    named = Batch({"right": batch.x[1], "left": batch.x[0]})
    np.testing.assert_array_equal(model.forward(named), model.forward(batch))
    with pytest.raises(DataError, match="inputs are named left, right, but the samples have left, wrong"):
        model.forward(Batch({"left": batch.x[0], "wrong": batch.x[1]}))
