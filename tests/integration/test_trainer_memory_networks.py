"""Networks in memory that a daemon and its trainer share: no framework computes in it, or keeps what lies there."""

from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

from fl.client.config import DeviceConfig
from fl.client.desk import Desk
from fl.client.learner import Data, Learner, Shared, shared_seed
from fl.client.round_states import RecalledStates
from fl.client.setup import new_setup, new_site
from fl.client.shared_memory import SharedMemory
from fl.client.site import Site
from fl.client.state import NoState
from fl.client.trainer import ThreadTrainer
from fl.core.dataset import InMemoryDataset
from fl.core.device import DevicePolicy
from fl.core.model import Model
from fl.core.model.tensorflow import TensorflowModel
from fl.core.model.torch import TorchModel
from fl.core.vector import SHARED, NumpyVector, Role
from fl.run.spec import RunSpec
from fl.wire.bulk import INLINE_BYTES
from fl.wire.messages_pb2 import EvaluateReply
from tests.integration.trainer_parts import asked

WIDTH = 300


def torch_model() -> Model:
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Linear(4, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)
    )
    module[2].requires_grad_(False)
    return TorchModel(module, nn.CrossEntropyLoss())


def keras_model() -> Model:
    start = keras.initializers.GlorotUniform
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(WIDTH, kernel_initializer=start(seed=1)),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(WIDTH, activation="relu", kernel_initializer=start(seed=2)),
            keras.layers.Dense(WIDTH, kernel_initializer=start(seed=3)),
        ]
    )
    model.layers[2].trainable = False
    return TensorflowModel(model, keras.losses.SparseCategoricalCrossentropy(from_logits=True))


MODELS = {"torch": torch_model, "tensorflow": keras_model}


def data() -> Data:
    rng = np.random.default_rng(0)
    y = np.arange(32) % WIDTH
    return Data(InMemoryDataset(rng.normal(size=(32, 4)).astype(np.float32), y))


def spec_of(model: Model) -> RunSpec:
    training: dict[str, Any] = {"batch_size": 8, "shuffle": True, "n_epoch": 2}
    tables = {
        "name": "net",
        "model": {"kind": model.name, "config": model.get_config()},
        "optim": {"client_opt": 0.05},
        "run": {"rounds": 1, "register": 1, "seed": 3, "training": training},
    }
    return RunSpec.parse(tables, "test")


async def site() -> Site:
    """Trainers in threads, in memory as with processes: the same pages call after call."""

    async def start() -> ThreadTrainer:
        return ThreadTrainer(Desk(data(), memory=SharedMemory.create()))

    setup = new_setup("ant", None, None, device=DeviceConfig(gpu=False), share_metrics=True)
    return await new_site(setup, start=start, state=NoState())


def alone(model: Model, start: NumpyVector) -> Learner:
    """The same client with vectors of its own, and no daemon."""
    return Learner(
        spec_of(model),
        Shared(data().train.get_data_specs(), start.layout.select(*SHARED), start.select(Role.FIXED)),
        data(),
        seed=shared_seed(3, "ant"),
        run="",
        device=DevicePolicy(gpu=False),
        states=RecalledStates(),
    )


@pytest.mark.parametrize("framework", MODELS)
async def test_a_network_learns_the_same_bits_from_shared_memory(memory_url: str, framework: str) -> None:
    # Given parameters, statistics, and tensors that no round changes, all too big for a message
    model = MODELS[framework]()
    start = model.get_weights().to_numpy()
    weights = start.select(*SHARED)
    assert min(weights.layout.nbytes, start.select(Role.FIXED).layout.nbytes) > INLINE_BYTES
    other = weights * 0.5
    by_itself = alone(model, start)
    expected = by_itself.train(1, weights.copy()).update
    loss = by_itself.evaluate(other, counted=1).loss_sum

    # When it trains, and evaluates other weights, in the pages that have held the first ones and their update
    async with asked(memory_url, await site(), spec=spec_of(model), start=start) as asker:
        trained = await asker.train(await asker.keep(weights, "w1"))
        update = await asker.update(trained)
        evaluated = await asker.evaluate(await asker.keep(other, "w2"))

    # Then
    assert update == expected
    assert isinstance(evaluated, EvaluateReply)
    assert evaluated.loss_sum == loss


@pytest.mark.parametrize("framework", MODELS)
def test_an_update_may_take_the_place_of_the_weights(framework: str) -> None:
    # Given
    model = MODELS[framework]()
    start = model.get_weights().to_numpy()
    weights = start.select(*SHARED).copy()
    expected = alone(model, start).train(1, weights).update
    # When
    learner = alone(model, start)
    update = learner.train(1, weights, in_place=True).update
    # Then it is where they were, has the same bits, and the model does not notice
    assert update.flat is weights.flat
    assert update == expected
    again = start.select(*SHARED)
    assert learner.train(1, again, counted=0).update == expected
