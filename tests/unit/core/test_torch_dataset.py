"""Datasets of torch."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset as Items
from torch.utils.data import IterableDataset, TensorDataset

from fl.core.data_info import DataInfo
from fl.core.dataset import Batching, Dataset
from fl.core.dataset.torch_dataset import TorchDataset
from fl.core.model.torch import TorchModel
from fl.core.optimizer import Optimizer
from fl.core.training import Effort, train_round
from fl.errors import ConfigError, DataError
from tests.unit.core.torch_zoo import on_cpu

X = torch.arange(12.0).reshape(6, 2)
Y = torch.tensor([0, 1, 2, 0, 1, 2])
W = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0, 2.0])

SOURCE = """\
import torch
from torch.utils.data import TensorDataset

def digits(n=4):
    return TensorDataset(torch.zeros(n, 3), torch.arange(n) % 2)

def padded(n=4):
    return [torch.ones(i + 1) for i in range(n)], lambda items: torch.nn.utils.rnn.pad_sequence(items, True)
"""


class Listed(Items[Any]):
    """Items from a list."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Any:
        return self.items[place]


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "datalab.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with on_cpu():
        yield
    sys.modules.pop("datalab", None)


def test_items_may_be_features_alone() -> None:
    batch = TorchDataset(Listed(list(X))).take(slice(1, 3))
    assert batch.x.tolist() == X[1:3].tolist()
    assert (batch.y, batch.weights) == (None, None)


def test_items_may_have_a_target_and_a_weight() -> None:
    batch = TorchDataset(Listed(list(zip(X, Y, W, strict=True)))).take(np.array([4, 0]))
    assert (batch.x.tolist(), batch.y.tolist(), batch.weights.tolist()) == (X[[4, 0]].tolist(), [1, 0], [1.0, 1.0])


@pytest.mark.parametrize("index", [slice(1, 4), np.array([5, 5, 0]), np.array([], np.int64)])
def test_a_dataset_of_tensors_is_read_as_its_items_are(index: Any) -> None:
    whole, one_by_one = TorchDataset(TensorDataset(X, Y)), TorchDataset(Listed(list(zip(X, Y, strict=True))))
    assert torch.equal(whole.take(index).x, one_by_one.take(index).x)
    assert np.array_equal(whole.take(index).y, one_by_one.take(index).y)


def test_several_inputs_stay_several() -> None:
    batch = TorchDataset(Listed([({"a": x, "b": 2 * x}, y) for x, y in zip(X, Y, strict=True)])).take(slice(0, 2))
    assert batch.x["b"].tolist() == (2 * X[:2]).tolist()
    assert batch.n_samples == 2


def test_an_empty_batch_of_several_inputs_has_their_shapes() -> None:
    batch = TorchDataset(Listed([((x, y), y) for x, y in zip(X, Y, strict=True)])).take(np.array([], np.int64))
    assert [tuple(part.shape) for part in batch.x] == [(0, 2), (0,)]
    assert batch.n_samples == 0


def test_a_target_may_be_text() -> None:
    dataset = TorchDataset(Listed([(x, "odd" if i % 2 else "even") for i, x in enumerate(X)]), expose_classes=True)
    assert dataset.get_data_specs().classes == ("even", "odd")


def test_items_of_different_shapes_are_brought_together_by_a_function() -> None:
    items = Listed([torch.ones(2), torch.ones(3)])
    dataset = TorchDataset(items, lambda parts: nn.utils.rnn.pad_sequence(parts, batch_first=True))
    assert dataset.take(slice(0, 2)).x.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_items_of_different_shapes_without_that_function_are_refused_with_advice() -> None:
    with pytest.raises(DataError, match=r"items of Listed do not make a batch: .*collate_fn"):
        TorchDataset(Listed([torch.ones(2), torch.ones(3)])).take(slice(0, 2))


def test_what_leaves_the_site_is_as_little_as_asked_for() -> None:
    assert TorchDataset(TensorDataset(X, Y)).get_data_specs() == DataInfo(6, n_features=2, input_shape=(0, 2))


def test_classes_and_data_type_are_told_when_asked_for() -> None:
    specs = TorchDataset(TensorDataset(X, Y), expose_classes=True, expose_data_type=True).get_data_specs()
    assert (specs.classes, specs.data_type) == ((0, 1, 2), "float32")


def test_images_tell_their_shape() -> None:
    specs = TorchDataset(TensorDataset(torch.zeros(3, 1, 8, 8))).get_data_specs()
    assert (specs.n_features, specs.input_shape) == (None, (0, 1, 8, 8))


@pytest.mark.parametrize(
    ("items", "message"),
    [(list(X), "no target to take classes of"), (list(zip(X, X[:, 0] + 0.5, strict=True)), "not whole")],
)
def test_classes_that_are_not_there_cannot_be_exposed(items: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TorchDataset(Listed(items), expose_classes=True)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(X)


@pytest.mark.parametrize(("dataset", "message"), [(Stream(), "no length"), (Listed([]), "no items")])
def test_a_dataset_that_cannot_be_drawn_from_is_refused(dataset: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TorchDataset(dataset)


def test_items_of_four_parts_are_refused() -> None:
    with pytest.raises(DataError, match="have 4 parts"):
        TorchDataset(Listed([(1, 2, 3, 4)])).take(slice(0, 1))


def test_a_dataset_from_a_factory_is_built_again_from_its_description() -> None:
    dataset = TorchDataset.from_factory("datalab:digits", {"n": 5}, expose_classes=True)
    description = dataset.describe()
    assert description is not None
    assert Dataset.load(description).get_data_specs() == dataset.get_data_specs()
    assert Dataset.load(description).describe() == description


def test_a_factory_may_give_a_function_that_makes_batches() -> None:
    assert TorchDataset.from_factory("datalab:padded").take(slice(0, 2)).x.tolist() == [[1, 0], [1, 1]]


def test_a_dataset_from_objects_has_no_description() -> None:
    assert TorchDataset(TensorDataset(X)).describe() is None


def test_arguments_of_a_factory_must_fit_into_json() -> None:
    with pytest.raises(ConfigError, match="values JSON can carry"):
        TorchDataset.from_factory("datalab:digits", {"n": {1}})


@pytest.mark.parametrize("poisson", [False, True])
def test_a_round_is_trained_on_it_and_the_same_again_gives_the_same_bits(poisson: bool) -> None:
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        model, dataset = TorchModel(nn.Linear(2, 3), nn.CrossEntropyLoss()), TorchDataset(TensorDataset(X, Y, W))
        model.initialize(dataset.get_data_specs())
        batching = Batching(2, shuffle=not poisson, poisson=poisson)
        rng = np.random.default_rng(3)
        train_round(model, Optimizer(0.01), dataset, effort=Effort(3), batching=batching, rng=rng, clock=lambda: 0.0)
        ends.append(model.get_weights().to_numpy())
    assert ends[0] == ends[1]


def test_without_a_generator_each_epoch_draws_anew() -> None:
    dataset = TorchDataset(TensorDataset(torch.arange(100.0)[:, None]))
    first, second = (next(dataset.generate_batches(100, shuffle=True)).x[:, 0].tolist() for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second)
