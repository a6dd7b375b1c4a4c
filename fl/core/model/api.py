"""What a model promises."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from fl.core.data_info import DataInfo
from fl.core.dataset.api import Batch
from fl.core.device import DevicePolicy
from fl.core.registry import Registered, Registry
from fl.core.vector import Array, NumpyVector, Vector


class Model(Registered, ABC, register=False):
    """A model with a loss: weights in, gradients and predictions out.

    `raw` is the model's output before it becomes a prediction: what its loss is a function of.
    """

    registry: ClassVar[Registry["Model"]] = Registry("model", {"sklearn-sgd": "fl.core.model.sklearn:SklearnSGDModel"})

    @classmethod
    def initial_weights(cls, config: Mapping[str, Any], data_info: DataInfo) -> NumpyVector | None:
        """The weights a run starts from, where config and data info say them and no framework is needed.

        None when only the framework can tell; they then come with the run. Raises `ModelError`.
        """
        del config, data_info
        return None

    @abstractmethod
    def initialize(self, data_info: DataInfo) -> None:
        """Make the weights fit the data. Raises `ModelError` when the data info lacks something or does not fit."""

    @abstractmethod
    def get_weights(self, trainable: bool = False) -> Vector:
        """A copy of all weights, or of those that training changes."""

    @abstractmethod
    def set_weights(self, weights: Vector, trainable: bool = False) -> None:
        """Copy weights in. Raises `ValueError` naming the first tensor that differs."""

    @abstractmethod
    def compute_batch_gradients(
        self, batch: Batch, max_norm: float | None = None, *, per_tensor: bool = False
    ) -> Vector:
        """Mean over the batch of each sample's gradient, times its weight; zero for an empty batch.

        With `max_norm`, each sample's gradient is clipped to that norm, over all tensors or over each by itself,
        after it is multiplied by its weight. The layout is that of the trainable weights. Raises `DataError`.
        """

    @abstractmethod
    def apply_updates(self, updates: Vector) -> None:
        """Take updates off the trainable weights."""

    @abstractmethod
    def forward(self, batch: Batch) -> Any:
        """The raw output for each sample."""

    @abstractmethod
    def loss_function(self, y_true: Array, raw: Any) -> Array:
        """Loss of each sample, of shape (n,), before sample weights and without penalties. Raises `DataError`."""

    @abstractmethod
    def to_predictions(self, raw: Any) -> Array:
        """What metrics compare with the truth: values, a probability of the positive class, or scores by class."""

    def compute_batch_predictions(self, batch: Batch) -> tuple[Array | None, Array, Array | None]:
        """`(y_true, y_pred, weights)` of a batch."""
        return batch.y, self.to_predictions(self.forward(batch)), batch.weights

    def update_device_policy(self, policy: DevicePolicy | None = None) -> None:
        """Move to where `policy`, or the process's policy, says; models that know no GPU stay on the CPU."""
