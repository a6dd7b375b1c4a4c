"""Whole runs of networks: which tensors travel, and what becomes of those that are not trained."""

from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

from fl.client.learner import Data, Learner, Shared, shared_seed
from fl.client.round_states import RecalledStates
from fl.core.dataset import InMemoryDataset
from fl.core.device import DevicePolicy
from fl.core.model import Model
from fl.core.model.tensorflow import TensorflowModel
from fl.core.model.torch import TorchModel
from fl.core.vector import SHARED, NumpyVector, Role
from fl.run.events import RunInitialised, Status
from fl.run.spec import RunSpec
from fl.wire.tensors import open_parcel, read_layout
from tests.integration.world import of_kind, run_here


def torch_model(buffers: str) -> Model:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    module[3].requires_grad_(False)
    return TorchModel(module, nn.CrossEntropyLoss(), buffers=buffers)  # type: ignore[arg-type]  # one of its words


def keras_model(buffers: str) -> Model:
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(6, kernel_initializer=keras.initializers.GlorotUniform(seed=1)),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(5, activation="relu", kernel_initializer=keras.initializers.GlorotUniform(seed=2)),
            keras.layers.Dense(3, kernel_initializer=keras.initializers.GlorotUniform(seed=3)),
        ]
    )
    model.layers[2].trainable = False
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return TensorflowModel(model, loss, buffers=buffers)  # type: ignore[arg-type]  # one of its words


MODELS = {"torch": torch_model, "tensorflow": keras_model}


def data(seed: int) -> Data:
    rng = np.random.default_rng(seed)
    y = np.arange(32) % 3
    x = rng.normal(size=(32, 4)) + y[:, None] + seed
    return Data(InMemoryDataset(x.astype(np.float32), y, expose_classes=True))


def spec_of(model: Model, *, rounds: int = 1) -> RunSpec:
    return RunSpec.parse(
        {
            "name": "net",
            "model": {"kind": model.name, "config": model.get_config()},
            "optim": {"client_opt": 0.05, "server_opt": {"lrate": 0.5, "modules": ["adam"]}},
            "run": {
                "rounds": rounds,
                "register": 2,
                "seed": 3,
                "training": {"batch_size": 8, "shuffle": True, "n_epoch": 2},
            },
        },
        "test",
    )


DATA = {"ant": data(0), "bee": data(1)}


async def run(url: str, model: Model, *, rounds: int = 1) -> tuple[NumpyVector, list[Any]]:
    outcome, records = await run_here(url, spec_of(model, rounds=rounds), DATA, weights=model.get_weights().to_numpy())
    assert outcome.status is Status.FINISHED, outcome.reason
    assert outcome.weights is not None
    return outcome.weights, records


@pytest.mark.parametrize("framework", MODELS)
async def test_frozen_parameters_travel_once_and_are_in_what_the_run_leaves(memory_url: str, framework: str) -> None:
    model = MODELS[framework]("average")
    start = model.get_weights().to_numpy()

    weights, records = await run(memory_url, model, rounds=2)

    # Then rounds carry what is trained or averaged
    (initialised,) = of_kind(records, RunInitialised)
    assert read_layout(open_parcel(initialised.weights).layout).roles == SHARED
    # And the run leaves all tensors of the model, the frozen ones as they were
    assert weights.layout == start.layout
    assert weights.select(Role.FIXED) == start.select(Role.FIXED)
    assert weights.select(Role.TRAINABLE) != start.select(Role.TRAINABLE)
    # And the model takes them
    model.set_weights(weights)


@pytest.mark.parametrize("framework", MODELS)
async def test_statistics_are_averaged_and_not_the_servers_optimizers_business(memory_url: str, framework: str) -> None:
    model = MODELS[framework]("average")
    start = model.get_weights().to_numpy()
    # Given what each client makes of the statistics by itself
    alone = [_buffers_after_a_round(model, name, start) for name in DATA]

    weights, _ = await run(memory_url, model)

    np.testing.assert_allclose(weights.select(Role.BUFFER).flat, np.mean(alone, axis=0), rtol=1e-5)


def _buffers_after_a_round(model: Model, name: str, start: NumpyVector) -> np.ndarray:
    spec, shared = spec_of(model), start.select(*SHARED)
    learner = Learner(
        spec,
        Shared(DATA[name].train.get_data_specs(), shared.layout, start.select(Role.FIXED)),
        DATA[name],
        seed=shared_seed(3, name),
        run="",
        device=DevicePolicy(gpu=False),
        states=RecalledStates(),
    )
    return np.asarray((shared - learner.train(1, shared).update).select(Role.BUFFER).flat)


@pytest.mark.parametrize("framework", MODELS)
async def test_local_statistics_stay_at_their_site(memory_url: str, framework: str) -> None:
    model = MODELS[framework]("local")

    weights, records = await run(memory_url, model, rounds=2)

    (initialised,) = of_kind(records, RunInitialised)
    assert read_layout(open_parcel(initialised.weights).layout).roles == (Role.TRAINABLE,)
    assert weights.select(Role.FIXED) == model.get_weights().to_numpy().select(Role.FIXED)


@pytest.mark.parametrize("framework", MODELS)
async def test_networks_come_to_the_same_bits_over_both_brokers(
    memory_url: str, rabbit_url: str, framework: str
) -> None:
    model = MODELS[framework]("average")

    embedded, _ = await run(memory_url, model, rounds=2)
    through_rabbitmq, _ = await run(rabbit_url, model, rounds=2)

    assert embedded == through_rabbitmq
