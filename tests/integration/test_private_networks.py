"""Networks in private runs: they are trained with noise, and refused where they would give samples away."""

from typing import Any

import keras
import pytest
import torch
from torch import nn

from fl.core.model import Model
from fl.core.model.tensorflow import TensorflowModel
from fl.core.model.torch import TorchModel
from fl.run.events import ClientsReady, Status
from fl.run.spec import RunSpec
from tests.integration.test_framework_runs import DATA, spec_of
from tests.integration.world import of_kind, run_here


def torch_model(*middle: nn.Module, buffers: Any = "average") -> Model:
    torch.manual_seed(1)
    return TorchModel(
        nn.Sequential(nn.Linear(4, 6), *middle, nn.ReLU(), nn.Linear(6, 3)), nn.CrossEntropyLoss(), buffers=buffers
    )


def keras_model(*middle: keras.layers.Layer, buffers: Any = "average") -> Model:
    layers = [keras.layers.Input((4,)), keras.layers.Dense(6), *middle, keras.layers.Dense(3)]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return TensorflowModel(keras.Sequential(layers), loss, buffers=buffers)


def private(model: Model) -> RunSpec:
    tables = spec_of(model, rounds=2).model_dump(by_alias=True)
    run = {**tables["run"], "privacy": {"budget": (8.0, 1e-3), "sclip_norm": 1.0}}
    return RunSpec.parse({**tables, "run": run}, "test")


@pytest.mark.parametrize("model", [torch_model, keras_model])
async def test_a_network_is_trained_with_noise(memory_url: str, model: Any) -> None:
    made = model()

    outcome, records = await run_here(memory_url, private(made), DATA, weights=made.get_weights().to_numpy())

    assert outcome.status is Status.FINISHED, outcome.reason
    assert [client for client, _ in of_kind(records, ClientsReady)[0].terms] == ["ant", "bee"]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: torch_model(nn.BatchNorm1d(6)), "statistics of the data, and would leave this site without noise"),
        (lambda: torch_model(nn.BatchNorm1d(6), buffers="local"), "layer '1' (BatchNorm1d)"),
        (
            lambda: torch_model(nn.Unflatten(1, (3, 2)), nn.InstanceNorm1d(3, track_running_stats=True), nn.Flatten()),
            "statistics of the data, and would leave this site without noise",
        ),
        (lambda: keras_model(keras.layers.BatchNormalization()), "statistics of the data"),
        (lambda: keras_model(keras.layers.BatchNormalization(name="norm"), buffers="local"), "layer 'norm'"),
    ],
    ids=[
        "torch, averaged",
        "torch, at each site",
        "instances with statistics",
        "Keras, averaged",
        "Keras, at each site",
    ],
)
async def test_a_network_that_would_give_samples_away_is_refused_by_every_site(
    memory_url: str, model: Any, reason: str
) -> None:
    made = model()

    outcome, records = await run_here(memory_url, private(made), DATA, weights=made.get_weights().to_numpy())

    assert outcome.status is Status.FAILED
    failed = of_kind(records, ClientsReady)[0].failed
    assert [note.client for note in failed] == ["ant", "bee"]
    assert all(reason in note.reason for note in failed), failed[0].reason


async def test_statistics_that_nobody_changes_disturb_nobody(memory_url: str) -> None:
    made = torch_model(nn.BatchNorm1d(6), buffers="frozen")

    outcome, _ = await run_here(memory_url, private(made), DATA, weights=made.get_weights().to_numpy())

    assert outcome.status is Status.FINISHED, outcome.reason
