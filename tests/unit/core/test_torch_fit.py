"""Torch models: samples, modules and options that do not fit are told in words."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fl.core.data_info import DataInfo
from fl.core.dataset.api import Batch
from fl.core.model.torch import TorchModel
from fl.errors import ConfigError, DataError, ModelError
from tests.unit.core.torch_zoo import CROSS, make, on_cpu, samples


@pytest.fixture(autouse=True)
def cpu() -> Iterator[None]:
    with on_cpu():
        yield


@pytest.mark.parametrize("method", ["forward", "compute_batch_gradients"])
def test_samples_of_another_shape_are_told_in_words(method: str) -> None:
    model = TorchModel(make("mlp"), CROSS)
    model.initialize(DataInfo(9, input_shape=(0, 6)))
    with pytest.raises(DataError, match=r"samples of shape \(8,\), while those of the data info are of shape \(6,\)"):
        getattr(model, method)(Batch(np.zeros((2, 8)), np.zeros(2, int)))


@pytest.mark.parametrize("method", ["forward", "compute_batch_gradients"])
def test_features_that_are_nan_are_told_in_words(method: str) -> None:
    with pytest.raises(DataError, match="features that are NaN or infinite"):
        getattr(TorchModel(make("mlp"), CROSS), method)(Batch(np.full((2, 6), np.nan), np.zeros(2, int)))


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.BCEWithLogitsLoss()])
def test_targets_that_are_nan_are_told_in_words(loss: nn.Module) -> None:
    with pytest.raises(DataError, match="targets that are NaN or infinite"):
        TorchModel(nn.Linear(6, 1), loss).compute_batch_gradients(Batch(np.zeros((2, 6)), np.full(2, np.nan)))


def test_text_among_the_features_is_told_in_words() -> None:
    with pytest.raises(DataError, match="encode them as numbers"):
        TorchModel(make("mlp"), CROSS).forward(Batch(np.array([["a"] * 6])))


def test_arrays_that_torch_cannot_share_are_copied() -> None:
    model, x = TorchModel(make("mlp"), CROSS), samples((6,)).x
    locked = x.copy()
    locked.flags.writeable = False
    variants = [locked, x[::-1][::-1], x.astype(">f8"), torch.from_numpy(x)]
    assert all(torch.equal(model.forward(Batch(one)), model.forward(Batch(x))) for one in variants)


@pytest.mark.parametrize(
    ("data_info", "message"),
    [
        (DataInfo(9, input_shape=(0, 8)), r"does not run on samples of shape \(8,\)"),
        (DataInfo(9, n_features=8), r"does not run on samples of shape \(8,\)"),
        (DataInfo(9, n_features=6, classes=(0, 1, 2, 3)), r"4 classes.*tell 3 apart"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_at_the_start(data_info: DataInfo, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        TorchModel(make("mlp"), CROSS).initialize(data_info)


def test_token_embeddings_are_tried_with_whole_numbers() -> None:
    module = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))
    TorchModel(module, CROSS).initialize(DataInfo(9, input_shape=(0, 2), classes=(0, 1, 2)))


def test_trying_a_model_out_leaves_torchs_generator_as_it_was() -> None:
    model = TorchModel(make("mlp"), CROSS)
    before = torch.get_rng_state()
    model.initialize(DataInfo(9, n_features=6))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(2, 1).bfloat16(), 'model.float.*autocast="bfloat16"'),
        (nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1).double()), r"float32 \(0.weight\) and float64 \(1.weight\)"),
        (nn.Linear(2, 1).requires_grad_(False), "every parameter of this module is frozen"),
        (nn.Linear(2, 1, dtype=torch.complex64), "complex64"),
        ("a module", r"give a torch.nn.Module, not str"),
    ],
)
def test_a_module_that_cannot_be_trained_is_refused_with_advice(module: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        TorchModel(module, nn.MSELoss())


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")  # which we refuse
def test_a_lazy_module_that_never_ran_is_refused_with_advice() -> None:
    with pytest.raises(ModelError, match="run the module once on a sample"):
        TorchModel(nn.LazyLinear(2), CROSS)


@pytest.mark.parametrize("options", [{"buffers": "mean"}, {"autocast": "float16"}])
def test_options_that_do_not_exist_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"torch: {next(iter(options))} is"):
        TorchModel(make("mlp"), CROSS, **options)
