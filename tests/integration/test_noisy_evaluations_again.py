"""Evaluations with noise at one site, without messages: what is free, what is paid for again, and who sees whom."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fl.client.evaluations import Look, NoisyEvaluations, Secret
from fl.client.learner import Data, Learner, Shared
from fl.client.privacy import Policy
from fl.client.round_states import RecalledStates
from fl.core.data_info import DataInfo
from fl.core.dataset import InMemoryDataset
from fl.core.device import DevicePolicy
from fl.core.metrics import MetricSet
from fl.core.model import Model
from fl.core.model.torch import TorchModel
from fl.core.privacy.evaluation import Telling
from fl.core.privacy.ledger import Accounts, Ledger, MemoryLedger
from fl.core.privacy.options import Budget
from fl.core.training import EvaluateResult
from fl.core.vector import Array, NumpyVector
from fl.run.spec import RunSpec
from tests.integration.world import regression

N = 30
CAP = Budget(50.0, 1e-5)
DATA = regression(0, N)


def a_spec(loss: str = "squared_error") -> RunSpec:
    config = {"kind": "regressor", "loss": loss, "penalty": None}
    run = {"rounds": 2, "training": {"batch_size": 5}}
    model = {"kind": "sklearn-sgd", "config": config}
    return RunSpec.parse({"model": model, "optim": {"client_opt": 0.1}, "run": run, "metrics": ["loss"]}, "test")


def noisy(accounts: Accounts, *, sigma: float = 2.0, bound: float = 3.0, seed: bytes = b"s" * 32) -> NoisyEvaluations:
    telling = Telling(noise_multiplier=sigma, loss_bound=bound)
    return NoisyEvaluations(telling, Policy(accounts, lambda: 0.0, CAP), Secret("r", seed))


def a_site(accounts: Accounts, spec: RunSpec | None = None, *, data: Data = DATA, **options: Any) -> Learner:
    """A site that has just been started."""
    spec = spec or a_spec()
    return Learner(
        spec,
        Shared(DATA.train.get_data_specs(), start(spec).layout),
        data,
        seed=b"t" * 32,
        run="r",
        device=DevicePolicy(gpu=False),
        states=RecalledStates(),
        noisy=noisy(accounts, **options),
    )


def start(spec: RunSpec | None = None) -> NumpyVector:
    spec = spec or a_spec()
    model = Model.registry.get(spec.model.kind).from_config(spec.model.config)
    model.initialize(DATA.train.get_data_specs())
    return model.get_weights().to_numpy()


def told(result: EvaluateResult) -> tuple[float, float, int]:
    return result.loss_sum, result.weight_sum, result.n_samples


def test_an_evaluation_that_is_done_again_after_a_restart_says_the_same_and_costs_nothing(tmp_path: Path) -> None:
    # Given a site that has evaluated, and is started again
    file = tmp_path / "ledger.jsonl"
    first = a_site(Ledger(file)).evaluate(start(), round_=1)
    # When it is asked again, in another round even
    again = a_site(Ledger(file)).evaluate(start(), round_=2)
    # Then
    assert told(again) == told(first)
    assert len(Ledger(file).lines()) == 1


OTHERS: dict[str, dict[str, Any]] = {
    "a run of another loss": {"spec": a_spec("huber")},
    "another noise": {"sigma": 3.0},
    "another bound on losses": {"bound": 4.0},
    "other data": {"data": regression(5, N)},
}


@pytest.mark.parametrize("other", OTHERS)
def test_an_evaluation_that_differs_in_anything_is_paid_for_again(other: str) -> None:
    accounts = MemoryLedger()

    a_site(accounts).evaluate(start())
    a_site(accounts, **OTHERS[other]).evaluate(start())

    assert len(accounts.lines()) == 2


def test_other_weights_have_other_noise_and_are_paid_for_again() -> None:
    # Given data of which every weight makes the same loss
    accounts = MemoryLedger()
    nothing = InMemoryDataset(np.zeros((N, 6)), np.zeros(N))
    site, other = a_site(accounts, data=Data(nothing)), start()
    other.flat[:6] = 1.0
    # When
    one, two = (site.evaluate(weights) for weights in (start(), other))
    # Then
    assert one.loss_sum != two.loss_sum
    assert len(accounts.lines()) == 2


def test_another_seed_of_the_site_is_other_noise() -> None:
    one, two = (a_site(MemoryLedger(), seed=seed * 32).evaluate(start()) for seed in (b"a", b"b"))

    assert one.loss_sum != two.loss_sum


def test_losses_have_noise_of_the_multiplier_times_the_bound_times_the_root_of_three_sums() -> None:
    # Given many samples without a loss
    nothing = Data(InMemoryDataset(np.zeros((2000, 6)), np.zeros(2000)))
    # When sites of many seeds evaluate the same
    sums = [
        a_site(MemoryLedger(), data=nothing, seed=number.to_bytes(32, "big")).evaluate(start()).loss_sum
        for number in range(400)
    ]
    # Then: the number of samples, the losses and the weights are told
    assert np.std(sums) == pytest.approx(2.0 * 3.0 * math.sqrt(3), rel=5 / math.sqrt(2 * 400))


# ---- samples that see each other ------------------------------------------------------------------------------------


class Centred(nn.Module):
    """Takes the mean of the batch off each sample."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


@pytest.mark.parametrize(("layer", "alone"), [(Centred(), True), (nn.BatchNorm1d(4), True), (nn.Tanh(), False)])
def test_samples_that_could_see_each_other_are_shown_one_by_one(layer: nn.Module, alone: bool) -> None:
    # Given a model of one layer more
    model = TorchModel(nn.Sequential(nn.Linear(6, 4), layer, nn.Linear(4, 1)), nn.MSELoss())
    model.update_device_policy(DevicePolicy(gpu=False))
    model.initialize(DataInfo(n_samples=N, input_shape=(N, 6)))
    x: Array = np.zeros((N, 6), np.float32)
    look = Look(1, "task", model.get_weights().to_numpy(), model.get_state(), InMemoryDataset(x, np.zeros((N, 1))))
    # When an evaluation of it is paid for
    paid = noisy(MemoryLedger()).pay(look, model, MetricSet([]), private=None)
    # Then
    assert paid is not None
    assert paid.alone == alone
