"""Torch models: losses sample by sample, labels, and predictions."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fl.core.data_info import DataInfo
from fl.core.dataset.api import Batch
from fl.core.model.torch import TorchModel
from fl.errors import DataError, ModelError
from tests.unit.core.torch_zoo import CROSS, make, on_cpu


@pytest.fixture(autouse=True)
def cpu() -> Iterator[None]:
    with on_cpu():
        yield


@pytest.mark.parametrize("make_loss", [nn.CrossEntropyLoss, nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.MultiMarginLoss])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_losss_reduction_is_that_of_one_sample(make_loss: Any, reduction: str) -> None:
    loss, raw = make_loss(reduction=reduction), torch.randn(5, 3)
    classes = make_loss in {nn.CrossEntropyLoss, nn.MultiMarginLoss}
    y = torch.tensor([0, 2, 1, 1, 0]) if classes else torch.randn(5, 3)
    model = TorchModel(nn.Linear(2, 3), make_loss(reduction=reduction))
    expected = [loss(raw[i : i + 1], y[i : i + 1]).item() for i in range(5)]
    np.testing.assert_allclose(model.loss_function(y.numpy(), raw), expected, rtol=1e-6)


def test_positions_to_ignore_are_left_out_of_a_samples_mean() -> None:
    loss, raw, y = nn.CrossEntropyLoss(ignore_index=0), torch.randn(4, 3, 5), torch.randint(0, 3, (4, 5))
    y[:, 0] = 1
    model = TorchModel(nn.Linear(2, 3), loss)
    expected = [loss(raw[i : i + 1], y[i : i + 1]).item() for i in range(4)]
    np.testing.assert_allclose(model.loss_function(y.numpy(), raw), expected, rtol=1e-6)


class Scalar(nn.Module):
    def forward(self, raw: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((raw - y) ** 2).mean()


def test_a_loss_without_a_value_for_each_sample_is_refused_with_advice() -> None:
    with pytest.raises(ModelError, match=r"loss Scalar gives \(\) for 2 samples.*`reduction`"):
        TorchModel(nn.Linear(6, 1), Scalar()).initialize(DataInfo(9, input_shape=(0, 6)))


class Learning(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


def test_a_loss_that_learns_is_refused() -> None:
    with pytest.raises(ModelError, match="make them part of the model"):
        TorchModel(nn.Linear(6, 1), Learning())


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
@pytest.mark.parametrize("raw_shape", [(2,), (2, 1)])
def test_a_column_and_a_row_of_targets_are_compared_and_not_broadcast(
    shape: tuple[int, ...], raw_shape: tuple[int, ...]
) -> None:
    model = TorchModel(nn.Linear(2, 1), nn.MSELoss())
    y, raw = np.array([1.5, 3.0]).reshape(shape), torch.tensor([0.5, 1.0]).reshape(raw_shape)
    assert model.loss_function(y, raw).tolist() == [1.0, 4.0]


def test_targets_of_another_width_are_refused() -> None:
    with pytest.raises(DataError, match=r"targets of shape \(2, 3\) do not fit outputs of shape \(2, 1\)"):
        TorchModel(nn.Linear(2, 1), nn.MSELoss()).loss_function(np.zeros((2, 3)), torch.zeros(2, 1))


@pytest.mark.parametrize("classes", [("no", "yes"), (1, 2), (-1, 1), (0, 1)])
def test_a_loss_of_signs_sees_them(classes: tuple[int | str, ...]) -> None:
    # the loss is log(1 + exp(-s)) for the second class, and log(1 + exp(s)) for the first
    model = TorchModel(nn.Linear(6, 1), nn.SoftMarginLoss())
    model.initialize(DataInfo(9, input_shape=(0, 6), classes=classes))
    losses = model.loss_function(np.array(classes), torch.tensor([[2.0], [2.0]]))
    np.testing.assert_allclose(losses, np.log1p(np.exp([2.0, -2.0])), rtol=1e-6)


@pytest.mark.parametrize(
    ("classes", "labels"), [(("a", "b", "c"), ["a", "z"]), ((0, 1, 2), [0, 7]), ((0, 1, 2), [0, -1]), (None, [1, 3])]
)
def test_a_label_that_is_no_class_is_named(classes: Any, labels: list[Any]) -> None:
    model = TorchModel(make("mlp"), CROSS)
    model.initialize(DataInfo(9, input_shape=(0, 6), classes=classes))
    for max_norm in (None, 1.0) if classes else (None,):
        with pytest.raises(DataError, match=f"label {labels[1]!r} is "):
            model.compute_batch_gradients(Batch(np.zeros((2, 6)), np.array(labels)), max_norm)


def test_a_label_beyond_a_binary_losss_is_named() -> None:
    with pytest.raises(DataError, match=r"label 2 is not within 0 and 1.*expose_classes=True"):
        TorchModel(nn.Linear(6, 1), nn.BCEWithLogitsLoss()).loss_function(np.array([1, 2]), torch.zeros(2, 1))


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_labels_that_are_whole_floats_are_labels(shape: tuple[int, ...]) -> None:
    model, raw = TorchModel(make("mlp"), CROSS), torch.randn(3, 3)
    floats = np.array([0.0, 2.0, 1.0]).reshape(shape)
    assert (model.loss_function(floats, raw) == model.loss_function(np.array([0, 2, 1]), raw)).all()


def test_labels_that_are_other_floats_are_named() -> None:
    with pytest.raises(DataError, match=r"label 0.5 is not a whole number"):
        TorchModel(make("mlp"), CROSS).loss_function(np.array([1.0, 0.5]), torch.zeros(2, 3))


def test_cross_entropy_takes_probabilities_by_class() -> None:
    raw, y = torch.randn(4, 3), torch.rand(4, 3)
    expected = nn.CrossEntropyLoss(reduction="none")(raw, y)
    np.testing.assert_allclose(TorchModel(make("mlp"), CROSS).loss_function(y.numpy(), raw), expected)


def test_text_without_known_classes_is_refused_with_advice() -> None:
    with pytest.raises(DataError, match=r"label 'cat' is no number.*expose_classes=True"):
        TorchModel(make("mlp"), CROSS).loss_function(np.array(["cat"]), torch.zeros(1, 3))


def test_samples_without_a_target_are_refused() -> None:
    with pytest.raises(DataError, match="no target"):
        TorchModel(make("mlp"), CROSS).compute_batch_gradients(Batch(np.zeros((2, 6))))


def test_a_label_beyond_the_models_outputs_is_told_when_clipping_too() -> None:
    with pytest.raises(DataError, match="not among those that the model tells apart: Target 7"):
        TorchModel(make("mlp"), CROSS).compute_batch_gradients(Batch(np.zeros((1, 6)), np.array([7])), 1.0)


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize("n", [1, 3])
def test_as_many_targets_as_samples_are_needed(n: int, max_norm: float | None) -> None:
    with pytest.raises(DataError, match=rf"targets of shape \({n},\) came with 2 samples"):
        TorchModel(make("mlp"), CROSS).compute_batch_gradients(Batch(np.zeros((2, 6)), np.zeros(n, int)), max_norm)


def test_as_many_weights_as_samples_are_needed() -> None:
    with pytest.raises(DataError, match="3 sample weights came with 2 samples"):
        TorchModel(make("mlp"), CROSS).compute_batch_gradients(Batch(np.zeros((2, 6)), np.zeros(2, int), np.ones(3)))


def test_scores_are_probabilities_by_class() -> None:
    model = TorchModel(nn.Linear(2, 3), CROSS)
    scores = model.to_predictions(torch.tensor([[0.0, np.log(2), 0.0]]))
    np.testing.assert_allclose(scores, [[0.25, 0.5, 0.25]], rtol=1e-6)


def test_a_binary_prediction_is_the_probability_of_the_second_class() -> None:
    model = TorchModel(nn.Linear(2, 1), nn.BCEWithLogitsLoss())
    np.testing.assert_allclose(model.to_predictions(torch.tensor([[0.0], [np.log(3)]])), [0.5, 0.75], rtol=1e-6)


def test_other_predictions_are_the_outputs() -> None:
    assert TorchModel(nn.Linear(2, 1), nn.MSELoss()).to_predictions(torch.tensor([[3.0]])).tolist() == [3.0]
