"""Which modules are refused where samples are to be clipped, since these see each other, and which are not."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn

from fl.core.data_info import DataInfo
from fl.core.dataset.api import Batch
from fl.core.model.torch import TorchModel
from fl.core.model.torch.tensors import BufferPolicy
from fl.errors import ModelError
from tests.unit.core.clipping_zoo import ZOO, Composed, headed, last_state
from tests.unit.core.torch_zoo import CROSS, on_cpu


@pytest.fixture(autouse=True)
def cpu() -> Iterator[None]:
    with on_cpu():
        yield


class Centred(nn.Module):
    """Takes the mean of the batch off each sample."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


class CentredInTraining(Centred):
    """Does so in training only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if self.training else x


def forgetful_encoder() -> nn.Module:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8), 1, enable_nested_tensor=False)
    return headed(encoder, inputs=30)


MIXING: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "1": (lambda: nn.Sequential(nn.Linear(6, 4), Centred(), nn.Dropout(), nn.Linear(4, 3)), (6,), "Centred"),
    "2": (lambda: nn.Sequential(nn.Linear(6, 4), nn.Tanh(), CentredInTraining(), nn.Linear(4, 3)), (6,), "Centred"),
    "layers.0": (lambda: last_state(nn.GRU(6, 4)), (5, 6), "GRU"),
    "0.layers.0.self_attn": (forgetful_encoder, (5, 6), "MultiheadAttention"),
}
"""By the path of the layer that mixes: the module, the shape of a sample, and the layer's class."""
NORMS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "batch norm": (lambda: nn.BatchNorm1d(4), "GroupNorm"),
    "batch norm without running statistics": (lambda: nn.BatchNorm1d(4, track_running_stats=False), "GroupNorm"),
    "instance norm": (lambda: nn.InstanceNorm1d(4, track_running_stats=True), "track_running_stats=False"),
}


def initialized(module: nn.Module, shape: tuple[int, ...], *, buffers: BufferPolicy = "average") -> TorchModel:
    model = TorchModel(module, CROSS, buffers=buffers)
    model.initialize(DataInfo(n_samples=10, input_shape=(10, *shape)))
    return model


def batch_of(shape: tuple[int, ...], n: int) -> Batch:
    return Batch(np.random.default_rng(0).normal(size=(n, *shape)), np.zeros(n, np.int64))


@pytest.mark.parametrize("path", MIXING)
def test_the_first_layer_that_mixes_samples_is_named_before_a_run(path: str) -> None:
    make, shape, kind = MIXING[path]
    with pytest.raises(ModelError, match=rf"layer '{path}' \({kind}.*mixes the samples"):
        initialized(make(), shape).check_separate()


@pytest.mark.parametrize("path", MIXING)
def test_and_on_the_first_batch(path: str) -> None:
    make, shape, _ = MIXING[path]
    with pytest.raises(ModelError, match=rf"layer '{path}'.*mixes the samples"):
        TorchModel(make(), CROSS).compute_batch_gradients(batch_of(shape, 5), 1.0)


def test_a_module_that_mixes_in_its_own_pass_is_told_so() -> None:
    module = Composed(lambda layers, x: layers[0](x.roll(1, 0)), nn.Linear(6, 3))
    with pytest.raises(ModelError, match="the module's own forward mixes the samples"):
        initialized(module, (6,)).check_separate()


def test_a_layer_that_is_forgotten_gets_the_remedy() -> None:
    with pytest.raises(ModelError, match="batch_first=True may be missing"):
        initialized(last_state(nn.LSTM(6, 4)), (5, 6)).check_separate()


@pytest.mark.parametrize("name", NORMS)
def test_statistics_over_samples_are_refused_with_the_remedy(name: str) -> None:
    make, remedy = NORMS[name]
    model = initialized(headed(make(), inputs=12), (4, 3))
    with pytest.raises(ModelError, match=rf"layer '0' \(\w+1d\).*{remedy}"):
        model.check_separate()


@pytest.mark.parametrize("name", ["batch norm", "instance norm"])
def test_statistics_that_are_frozen_are_not_refused(name: str) -> None:
    model = initialized(headed(NORMS[name][0](), inputs=12), (4, 3), buffers="frozen")
    model.check_separate()
    model.compute_batch_gradients(batch_of((4, 3), 4), 1.0)


@pytest.mark.parametrize("name", ZOO)
def test_no_module_is_refused_whose_samples_keep_to_themselves(name: str) -> None:
    module = ZOO[name].make()
    initialized(module, ZOO[name].shape).check_separate()


def test_time_may_come_first_within_a_module() -> None:
    flattened = Composed(
        lambda layers, x: layers[0](x.transpose(0, 1).reshape(-1, 6)).reshape(5, -1, 3).mean(0), nn.Linear(6, 3)
    )
    initialized(flattened, (5, 6)).check_separate()


def test_dropout_is_no_mixing() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.LSTM(6, 4, num_layers=2, dropout=0.5, batch_first=True))
    headed_module = Composed(lambda layers, x: layers[1](layers[0](x)[0][:, -1]), module, nn.Linear(4, 3))
    initialized(headed_module, (5, 6)).check_separate()


def test_looking_leaves_the_model_as_it_was() -> None:
    model = initialized(headed(nn.Dropout(0.5), inputs=6), (6,))
    before, state = model.get_weights().to_numpy(), torch.get_rng_state()
    model.check_separate()
    assert model.get_weights().to_numpy() == before
    assert torch.equal(torch.get_rng_state(), state)
