"""What a model promises."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from fl.core.data_info import DataInfo
from fl.core.dataset.api import Batch
from fl.core.device import DevicePolicy
from fl.core.registry import Registered, Registry
from fl.core.vector import Array, NumpyVector, Vector

UNBOUNDED: Final = (
    "a sample's gradient is not finite, so that nothing bounds it: its features, target or weight may be NaN, infinite "
    "or huge, or the weights have grown beyond all measure, for which a lower learning rate helps"
)
"""What to say where gradients were to be clipped."""


class Model(Registered, ABC, register=False):
    """A model with a loss: weights in, gradients and predictions out.

    `raw` is the model's output before it becomes a prediction: what its loss is a function of.
    """

    registry: ClassVar[Registry["Model"]] = Registry(
        "model",
        {
            "sklearn-sgd": "fl.core.model.sklearn:SklearnSGDModel",
            "tensorflow": "fl.core.model.tensorflow.model:TensorflowModel",
            "torch": "fl.core.model.torch:TorchModel",
        },
    )
    shares_generator: ClassVar[bool] = False
    """Whether training draws from a random generator of the whole process, so that models there train in turn."""

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
        """A copy of all tensors, with their roles in the layout, or of the trainable ones alone."""

    @abstractmethod
    def set_weights(self, weights: Vector, trainable: bool = False) -> None:
        """Copy in all tensors or, where `weights` has only some of the roles, all tensors of these roles.

        `trainable` says that they must be the trainable ones. Raises `ValueError` naming the first that differs.
        """

    def start_round(self, rng: np.random.Generator) -> None:
        """From here on, whatever the model itself draws, as dropout does, derives from `rng`."""

    def get_state(self) -> dict[str, Any]:
        """What this site's model keeps from round to round and sends to nobody, such as its own statistics."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `get_state` gave. Raises `ValueError` when it is not this model's."""
        if state:
            raise ValueError(f"model {self.name!r} keeps no state, but got {', '.join(state)}")

    @abstractmethod
    def compute_batch_gradients(
        self, batch: Batch, max_norm: float | None = None, *, per_tensor: bool = False
    ) -> Vector:
        """Mean over the batch of each sample's gradient, times its weight; zero for an empty batch.

        With `max_norm`, each sample's gradient is clipped to that norm, over all tensors or over each by itself,
        after it is multiplied by its weight. The layout is that of the trainable weights. Raises `DataError`, also
        where a gradient that is to be clipped is not finite.

        The vector may be a buffer of the model, which the next call overwrites: who keeps it, copies it.
        """

    def check_separate(self) -> None:
        """Look, before a run clips, whether the samples of a batch keep to themselves, as clipping needs.

        Call it after `initialize`. Raises `ModelError` naming the layer through which they see each other.
        """

    @abstractmethod
    def apply_updates(self, updates: Vector) -> None:
        """Take updates off the trainable weights."""

    def trainable_view(self) -> Vector:
        """The trainable weights, to be read at once: memory may be the model's, and change with the next update."""
        return self.get_weights(trainable=True)

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
