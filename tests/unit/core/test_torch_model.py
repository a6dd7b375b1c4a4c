"""Torch models: weights and their roles, buffers, rounds, precision and devices."""

import copy
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fl.core.data_info import DataInfo
from fl.core.device import DevicePolicy
from fl.core.layout import Role
from fl.core.model.torch import TorchModel
from fl.core.optimizer import Optimizer
from fl.core.state import pack_state, unpack_state
from fl.core.vector import NumpyVector
from fl.errors import ConfigError
from tests.unit.core.torch_zoo import CROSS, ZOO, make, on_cpu, samples


@pytest.fixture(autouse=True)
def cpu() -> Iterator[None]:
    with on_cpu():
        yield


def normed(buffers: Any = "average") -> TorchModel:
    """A model with BatchNorm and a frozen bias."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3)).double()
    module[3].bias.requires_grad_(False)
    return TorchModel(module, CROSS, buffers=buffers)


def train(model: TorchModel, steps: int = 3) -> None:
    for _ in range(steps):
        Optimizer(0.1).run_train_step(model, samples((6,)))


def roles(model: TorchModel) -> dict[str, Role]:
    return {spec.name: spec.role for spec in model.get_weights().layout.specs}


def test_tensors_come_by_role() -> None:
    assert roles(normed()) == {
        "0.weight": Role.TRAINABLE,
        "0.bias": Role.TRAINABLE,
        "1.weight": Role.TRAINABLE,
        "1.bias": Role.TRAINABLE,
        "3.weight": Role.TRAINABLE,
        "1.running_mean": Role.BUFFER,
        "1.running_var": Role.BUFFER,
        "3.bias": Role.FIXED,
        "1.num_batches_tracked": Role.FIXED,
    }


@pytest.mark.parametrize("policy", ["local", "frozen"])
def test_statistics_that_are_not_shared_are_sent_once(policy: str) -> None:
    assert roles(normed(policy))["1.running_mean"] is Role.FIXED


@pytest.mark.parametrize("name", ZOO)
def test_weights_written_are_those_read(name: str) -> None:
    model, other = (TorchModel(make(name, seed), CROSS) for seed in (0, 1))
    other.set_weights(model.get_weights().to_numpy())
    assert other.get_weights().to_numpy() == model.get_weights().to_numpy()


@pytest.mark.parametrize("kept", [(Role.TRAINABLE,), (Role.TRAINABLE, Role.BUFFER), (Role.FIXED,)])
def test_tensors_of_some_roles_are_written_and_the_rest_stays(kept: tuple[Role, ...]) -> None:
    model, source = normed(), normed()
    train(source)
    before, given = model.get_weights(), source.get_weights().select(*kept)
    model.set_weights(given.to_numpy())
    after = model.get_weights().arrays()
    for name, role in roles(model).items():
        expected = source.get_weights() if role in kept else before
        assert torch.equal(after[name], expected.arrays()[name])


def test_weights_read_are_a_copy() -> None:
    model = normed()
    before = model.get_weights()
    saved = before.to_numpy().copy()
    train(model)
    assert before.to_numpy() == saved


def test_the_view_of_the_trainable_weights_follows_them() -> None:
    model = normed()
    view = model.trainable_view()
    train(model)
    assert view.to_numpy() == model.get_weights(trainable=True).to_numpy()


def test_weights_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"tensor '0.weight' differs"):
        normed().set_weights(NumpyVector.from_arrays({"0.weight": np.zeros((4, 5))}), trainable=True)


def test_the_users_module_and_loss_stay_as_they_are() -> None:
    module, loss = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), nn.CrossEntropyLoss()
    before = {name: item.clone() for name, item in module.state_dict().items()}
    model = TorchModel(module, loss, buffers="frozen")
    train(model)
    assert all(torch.equal(item, before[name]) for name, item in module.state_dict().items())
    assert all(item.grad is None for item in module.parameters())
    assert (loss.reduction, module.training, module[1].training) == ("mean", True, True)


def test_a_copy_of_a_model_trains_by_itself() -> None:
    # Given a model that has trained, clipped and plain, and its copy
    model = TorchModel(make("mlp"), CROSS)
    model.initialize(DataInfo(9, n_features=6))
    model.compute_batch_gradients(samples((6,)), 1.0)
    before, twin = model.get_weights().to_numpy(), copy.deepcopy(model)
    # When both train the same way, the copy first
    train(twin)
    assert model.get_weights().to_numpy() == before
    train(model)
    # Then they come to the same weights
    assert twin.get_weights().to_numpy() == model.get_weights().to_numpy() != before
    mine, its = (one.compute_batch_gradients(samples((6,)), 1.0).to_numpy().flat for one in (model, twin))
    assert np.array_equal(mine, its)


def test_averaged_statistics_change_with_training_and_travel() -> None:
    model = normed()
    before = model.get_weights().arrays()["1.running_mean"]
    train(model)
    assert not torch.equal(model.get_weights().arrays()["1.running_mean"], before)


def test_frozen_statistics_stay_what_they_were() -> None:
    model = normed("frozen")
    before = model.get_weights().select(Role.FIXED).to_numpy()
    train(model)
    assert model.get_weights().select(Role.FIXED).to_numpy() == before


def test_statistics_of_a_site_come_back_from_its_state() -> None:
    # Given a model that has trained, and another that has not
    model, other = normed("local"), normed("local")
    train(model)
    # When the other takes its state, as it is stored
    other.set_state(unpack_state(pack_state(model.get_state())))
    # Then it has its statistics and its counter
    assert other.get_weights().select(Role.FIXED).to_numpy() == model.get_weights().select(Role.FIXED).to_numpy()


def test_a_state_of_another_model_is_refused_and_changes_nothing() -> None:
    model = normed("local")
    state = model.get_state()
    wrong = {"buffers": {**state["buffers"], "1.running_var": np.zeros(7)}}
    wrong["buffers"]["1.running_mean"] = np.ones(4)
    with pytest.raises(ValueError, match=r"'1.running_var' has shape \(4,\), but the state's has \(7,\)"):
        model.set_state(wrong)
    assert not model.get_state()["buffers"]["1.running_mean"].any()


def test_a_model_without_buffers_keeps_no_state() -> None:
    assert TorchModel(make("mlp"), CROSS).get_state() == {}


class Replacing(nn.Module):
    """Replaces its buffer where others write into theirs."""

    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("cache", torch.zeros(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean = self.mean + x.mean(0)
        scores: torch.Tensor = self.head(x - self.mean)
        return scores


def test_a_buffer_that_is_replaced_travels_like_one_that_is_written_into() -> None:
    model, batch = TorchModel(Replacing().double(), CROSS), samples((6,))
    model.compute_batch_gradients(batch)
    np.testing.assert_allclose(model.get_weights().to_numpy().arrays()["mean"], batch.x.mean(0))


def test_a_buffer_that_is_replaced_can_be_written() -> None:
    model, batch = TorchModel(Replacing().double(), CROSS), samples((6,))
    start = model.get_weights()
    expected = model.forward(batch)
    model.compute_batch_gradients(batch)
    model.set_weights(start)
    assert torch.equal(model.forward(batch), expected)


def test_buffers_that_a_state_dict_leaves_out_are_left_out() -> None:
    assert "cache" not in TorchModel(Replacing(), CROSS).get_weights().layout.names


def test_the_same_round_again_gives_the_same_bits() -> None:
    ends = []
    for _ in range(2):
        model = normed()
        model.start_round(np.random.default_rng(5))
        train(model)
        ends.append(model.get_weights().to_numpy())
    assert ends[0] == ends[1]


def test_another_round_draws_otherwise() -> None:
    ends = []
    for round_ in range(2):
        model = normed()
        model.start_round(np.random.default_rng(round_))
        train(model)
        ends.append(model.get_weights().to_numpy())
    assert ends[0] != ends[1]


def test_evaluation_drops_nothing() -> None:
    model = normed()
    model.compute_batch_gradients(samples((6,)))
    assert torch.equal(model.forward(samples((6,))), model.forward(samples((6,))))


@pytest.mark.parametrize("max_norm", [None, 10.0])
def test_autocast_computes_in_bfloat16_and_keeps_gradients_as_they_are(max_norm: float | None) -> None:
    plain, model = TorchModel(make("mlp").float(), CROSS), TorchModel(make("mlp").float(), CROSS, autocast="bfloat16")
    batch = samples((6,))
    expected, found = (one.compute_batch_gradients(batch, max_norm).to_numpy().flat for one in (plain, model))
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < 0.02


# torch's own compiler imports a module that warns of its age
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_a_compiled_model_computes_the_same_and_its_statistics_too() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    plain, model = TorchModel(module, CROSS), TorchModel(module, CROSS, compile=True)
    train(plain)
    train(model)
    ends = [one.get_weights().to_numpy() for one in (plain, model)]
    np.testing.assert_allclose(ends[0].flat, ends[1].flat, atol=1e-6)


@pytest.mark.parametrize("policy", [DevicePolicy(gpu=False)] + [DevicePolicy()] * torch.cuda.is_available())
def test_a_model_moves_with_all_it_has_and_goes_on(policy: DevicePolicy) -> None:
    model = normed()
    train(model)
    before = model.get_weights().to_numpy()
    model.update_device_policy(policy)
    assert model.get_weights().to_numpy() == before
    train(model)
    assert model.get_weights().device.type == ("cuda" if policy.gpu else "cpu")


def test_a_gpu_that_torch_does_not_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"H{index}")
    with pytest.raises(ConfigError, match=r"torch sees no GPU of idx=2; those that it sees: 0 \(H0\), 1 \(H1\)"):
        TorchModel(make("mlp"), CROSS).update_device_policy(DevicePolicy(idx=2))


def test_without_a_gpu_a_policy_that_wants_one_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    TorchModel(make("mlp"), CROSS).update_device_policy(DevicePolicy())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
