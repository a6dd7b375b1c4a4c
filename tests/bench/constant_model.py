"""A model whose training adds a constant: what a round then costs is moving weights, and adding up.

Processes of ours find it as they find any other package's, by an entry point (`installed`).
"""

from pathlib import Path

import numpy as np

from fl.core.data_info import DataInfo
from fl.core.dataset import Batch
from fl.core.registry import PLUGIN_GROUP
from fl.core.vector import Array, NumpyVector, Vector
from fl.model import Model
from tests.bench.constants import gradients_of, weights_of

RATE = 0.01
"""Of the clients' optimizers."""


class ConstantModel(Model):
    """Its gradient is the same on every batch. There is nothing to predict."""

    name = "bench-constant"

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self._weights = NumpyVector.from_arrays({name: np.zeros_like(one) for name, one in weights_of(n_bytes).items()})
        self._gradients = NumpyVector.from_arrays(dict(gradients_of(n_bytes)))

    def initialize(self, data_info: DataInfo) -> None:
        """Nothing depends on the data."""

    def get_weights(self, trainable: bool = False) -> NumpyVector:
        return self._weights.copy()  # all of them are trainable

    def trainable_view(self) -> NumpyVector:
        return self._weights

    def set_weights(self, weights: Vector, trainable: bool = False) -> None:
        self._weights = self._weights.like(weights).copy()

    def compute_batch_gradients(
        self, batch: Batch, max_norm: float | None = None, *, per_tensor: bool = False
    ) -> NumpyVector:
        return self._gradients

    def apply_updates(self, updates: Vector) -> None:
        self._weights -= self._weights.like(updates)

    def forward(self, batch: Batch) -> Array:
        return np.zeros(batch.n_samples)

    def loss_function(self, y_true: Array, raw: Array) -> Array:
        return np.zeros(len(y_true))

    def to_predictions(self, raw: Array) -> Array:
        return raw


def installed(folder: Path) -> Path:
    """Make a distribution of this module in `folder`, which is to be on the path of processes that need the model."""
    info = folder / "fluffle_bench-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fluffle-bench\nVersion: 0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[{PLUGIN_GROUP}]\nbench = {ConstantModel.__module__}\n", "utf-8")
    return folder
