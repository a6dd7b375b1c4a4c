"""Runs of ant and bee, who have data like each other's, and cat, whose data may be bad."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import keras
import numpy as np
import torch
from torch import nn

from fl.client.learner import Data
from fl.core.data_info import DataInfo
from fl.core.dataset import Dataset, InMemoryDataset
from fl.core.dataset.api import Batch
from fl.core.model import Model
from fl.core.model.sklearn import SklearnSGDModel
from fl.core.model.tensorflow import TensorflowModel
from fl.core.model.torch import TorchModel
from fl.core.vector import Array
from fl.main.outcome import Outcome
from fl.run.events import ClientResult, Kind, Note, Record, RoundCommitted
from fl.run.spec import RunSpec
from tests.integration.world import of_kind, run_here

FEATURES: Final = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
LABELS: Final = np.arange(30) % 3


def sklearn_model() -> Model:
    return SklearnSGDModel.from_parameters("classifier", loss="log_loss")


def torch_model(n_features: int = 4) -> Model:
    torch.manual_seed(1)
    return TorchModel(nn.Sequential(nn.Linear(n_features, 5), nn.ReLU(), nn.Linear(5, 3)), nn.CrossEntropyLoss())


def keras_model(n_features: int = 4) -> Model:
    layers = [
        keras.layers.Input((n_features,)),
        keras.layers.Dense(5, activation="relu", kernel_initializer=keras.initializers.GlorotUniform(seed=1)),
        keras.layers.Dense(3, kernel_initializer=keras.initializers.GlorotUniform(seed=2)),
    ]
    return TensorflowModel(keras.Sequential(layers), keras.losses.SparseCategoricalCrossentropy(from_logits=True))


MODELS: dict[str, Callable[[], Model]] = {"sklearn": sklearn_model, "torch": torch_model, "tensorflow": keras_model}
NETWORKS: dict[str, Callable[[int], Model]] = {"torch": torch_model, "tensorflow": keras_model}


class Claiming(InMemoryDataset, register=False):
    """Tells of classes 0 to 2, whatever its labels are."""

    def get_data_specs(self) -> DataInfo:
        return replace(super().get_data_specs(), classes=(0, 1, 2))


class Empty(Dataset, register=False):
    """Has no samples."""

    name = "empty"
    n_samples = 0

    def get_data_specs(self) -> DataInfo:
        return DataInfo(0, n_features=4, classes=(0, 1, 2))

    def take(self, index: "slice | Array") -> Batch:
        return Batch(FEATURES[:0][index], LABELS[:0][index])

    def describe(self) -> None:
        return None


def dataset(x: Any = FEATURES, y: Any = LABELS, *, expose_classes: bool = True) -> Dataset:
    return InMemoryDataset(x, y, expose_classes=expose_classes)


GOOD: Final = Data(dataset())


def spec_of(model: Model, *, lrate: float = 0.05, metrics: tuple[Any, ...] = (), **changes: Any) -> RunSpec:
    """Two rounds with three clients, of which two are enough; `changes` go to the run's table."""
    run = {"rounds": 2, "register": 3, "min_replies": 2, "seed": 3, "training": {"batch_size": 8}, **changes}
    tables = {"name": "bad", "optim": {"client_opt": lrate}, "run": run, "metrics": list(metrics)}
    return RunSpec.parse({**tables, "model": {"kind": model.name, "config": model.get_config()}}, "test")


async def run(
    url: str, model: Model, cat: Data, *, spec: RunSpec | None = None, others: Data = GOOD
) -> tuple[Outcome, list[Record]]:
    """A run of ant and bee, who are alike, and cat."""
    weights = None if isinstance(model, SklearnSGDModel) else model.get_weights().to_numpy()
    return await run_here(url, spec or spec_of(model), {"ant": others, "bee": others, "cat": cat}, weights=weights)


def commits(records: list[Record], kind: Kind) -> list[RoundCommitted]:
    return [one for one in of_kind(records, RoundCommitted) if one.kind is kind]


def names(results: tuple[ClientResult, ...]) -> list[str]:
    return [one.client for one in results]


def is_told(notes: tuple[Note, ...], client: str, word: str) -> bool:
    """Whether this client alone is told, in one line of words for people."""
    (note,) = notes
    return note.client == client and word in note.reason and "\n" not in note.reason and "Traceback" not in note.reason
