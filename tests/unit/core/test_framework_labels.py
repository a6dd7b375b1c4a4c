"""Labels become the same numbers in every framework."""

from functools import cache

import keras
import numpy as np
import pytest
import torch
from torch import nn

from fl.core.data_info import DataInfo, Label
from fl.core.model import Model
from fl.core.model.numbering import Numbering
from fl.core.model.tensorflow import TensorflowModel
from fl.core.model.torch import TorchModel
from fl.core.vector import Array
from fl.errors import DataError, ModelError
from tests.unit.core.tensorflow_zoo import LOGITS, sequential

SCORES = np.log([[0.1, 0.2, 0.3, 0.4]])
"""Logits whose probabilities are those, of four classes."""


@pytest.fixture(params=["torch", "tensorflow"])
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@cache
def model_of(framework: str, loss: str, n_outputs: int) -> Model:
    """Shared by all tests: what a model knows of labels it learns when it is initialised, and then anew."""
    if framework == "torch":
        made = {"classes": nn.CrossEntropyLoss(), "binary": nn.BCEWithLogitsLoss(), "values": nn.MSELoss()}
        return TorchModel(nn.Linear(3, n_outputs), made[loss])
    named = {"classes": LOGITS, "binary": keras.losses.BinaryCrossentropy(from_logits=True), "values": "mse"}
    return TensorflowModel(sequential(keras.layers.Dense(n_outputs), shape=(3,)), named[loss])


def losses(framework: str, loss: str, raw: Array, classes: tuple[Label, ...], labels: tuple[Label, ...]) -> Array:
    """Of outputs that are all `raw`, for each of the labels, from a model that was told the classes."""
    model = model_of(framework, loss, raw.shape[1])
    model.initialize(DataInfo(9, 3, (0, 3), classes))
    outputs = np.repeat(raw, len(labels), 0).astype("float32")
    return model.loss_function(np.array(labels), torch.from_numpy(outputs) if framework == "torch" else outputs)


@pytest.mark.parametrize(
    ("n_outputs", "classes", "places"),
    [
        (4, (0, 1, 2, 3), (0, 1, 2, 3)),
        (4, (0, 2), (0, 2)),
        (4, (1, 2, 3), (1, 2, 3)),
        (3, (1, 2, 3), (0, 1, 2)),
        (4, (-5, 10, 40), (0, 1, 2)),
        (4, ("cat", "dog", "hen"), (0, 1, 2)),
        (3, ("cat", "dog", "hen"), (0, 1, 2)),
    ],
)
def test_classes_that_are_indices_of_outputs_stay_and_others_are_counted(
    framework: str, n_outputs: int, classes: tuple[Label, ...], places: tuple[int, ...]
) -> None:
    # Given outputs whose probabilities are in the ratio of 1 to 2 to 3 to 4
    raw = SCORES[:, :n_outputs]
    # Then the loss of each class is that of the output meant for it
    expected = np.log(np.exp(raw).sum()) - raw[0, list(places)]
    np.testing.assert_allclose(losses(framework, "classes", raw, classes, classes), expected, rtol=1e-5)


@pytest.mark.parametrize("classes", [(0, 1), (-1, 1), (1, 2), ("no", "yes")])
def test_a_binary_loss_sees_0_and_1_in_the_order_of_the_classes(framework: str, classes: tuple[Label, ...]) -> None:
    found = losses(framework, "binary", np.array([[2.0]]), classes, classes)
    np.testing.assert_allclose(found, np.log1p(np.exp([2.0, -2.0])), rtol=1e-5)


def test_a_loss_of_values_sees_the_labels_themselves(framework: str) -> None:
    found = losses(framework, "values", np.array([[1.0]]), (3, 5), (3, 5))
    np.testing.assert_allclose(found, [4.0, 16.0])


@pytest.mark.parametrize(
    ("loss", "n_outputs", "classes", "numbers"),
    [
        ("classes", 3, (1, 2, 3, 4), ("4 classes", "tell 3 apart")),
        ("classes", 3, ("a", "b", "c", "d"), ("4 classes", "tell 3 apart")),
        ("classes", 1, (0, 1), ("2 classes", "tell 1 apart")),
        ("binary", 1, (0, 1, 2), ("3 classes", "tell 2 apart")),
    ],
)
def test_more_classes_than_outputs_are_refused_at_the_start_with_both_numbers(
    framework: str, loss: str, n_outputs: int, classes: tuple[Label, ...], numbers: tuple[str, str]
) -> None:
    with pytest.raises(ModelError, match=f"{numbers[0]}.*{numbers[1]}"):
        losses(framework, loss, np.zeros((1, n_outputs)), classes, classes[:1])


@pytest.mark.parametrize(
    ("classes", "label"), [((0, 1, 2), 3), ((0, 1, 2), -1), ((10, 20, 30), 15), (("a", "b"), "z"), ((0, 1), "a")]
)
def test_a_label_that_is_no_class_is_named(framework: str, classes: tuple[Label, ...], label: Label) -> None:
    with pytest.raises(DataError, match=f"label {label!r} is "):
        losses(framework, "classes", np.zeros((1, 3)), classes, (label,))


def test_without_the_number_of_outputs_only_counted_classes_stay() -> None:
    assert not Numbering((0, 1, 2)).maps
    assert Numbering((0, 2)).maps


@pytest.mark.parametrize("classes", [("a", "b", "c"), (10, 20, 30)])
@pytest.mark.parametrize("shape", [(4,), (2, 2), (4, 1)])
def test_numbers_have_the_shape_of_the_labels(classes: tuple[Label, ...], shape: tuple[int, ...]) -> None:
    labels = np.array(classes)[[2, 0, 1, 2]].reshape(shape)
    np.testing.assert_array_equal(Numbering(classes, n_outputs=3).encode(labels), np.array([2, 0, 1, 2]).reshape(shape))


def test_what_a_loss_ignores_stays_and_is_no_class() -> None:
    numbering = Numbering((-100, 10, 20), n_outputs=2, ignored=-100)
    assert numbering.encode(np.array([20, -100, 10])).tolist() == [1, -100, 0]
    numbering.check_room(2)


def test_no_labels_are_no_numbers() -> None:
    assert Numbering(("a", "b")).encode(np.array([])).shape == (0,)
