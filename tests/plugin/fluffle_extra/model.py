"""A model: weights in, gradients and predictions out."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fl.core.data_info import DataInfo
from fl.core.vector import Array, NumpyVector, Vector
from fl.dataset import Batch
from fl.errors import ModelError
from fl.model import Model


class PoissonRegression(Model):
    """Counts whose rate is exp(coef·x + intercept). `raw` is the rate's logarithm, and the prediction is the rate."""

    name = "poisson-regression"

    def __init__(self) -> None:
        self._weights: NumpyVector | None = None

    @classmethod
    def initial_weights(cls, config: Mapping[str, Any], data_info: DataInfo) -> NumpyVector:
        """Zeros. With this method a run needs no weights to be submitted; workers then need this package too."""
        model = cls.from_config(config)
        model.initialize(data_info)
        return model.get_weights()

    def initialize(self, data_info: DataInfo) -> None:
        if data_info.n_features is None:
            raise ModelError(f"{self.name} needs the number of features: use a dataset that tells it")
        self._weights = NumpyVector.from_arrays({"coef": np.zeros(data_info.n_features), "intercept": np.zeros(1)})

    def get_weights(self, trainable: bool = False) -> NumpyVector:
        return self._known().copy()  # all of them are trainable

    def set_weights(self, weights: Vector, trainable: bool = False) -> None:
        self._weights = self._known().like(weights).copy()

    def apply_updates(self, updates: Vector) -> None:
        self._weights = self._known() - updates

    def compute_batch_gradients(
        self, batch: Batch, max_norm: float | None = None, *, per_tensor: bool = False
    ) -> NumpyVector:
        slopes = np.exp(self.forward(batch)) - batch.y
        if batch.weights is not None:
            slopes = slopes * batch.weights
        per_sample = [slopes[:, None] * batch.x, slopes[:, None]]  # by tensor, each of shape (n, elements)
        if max_norm is not None:
            per_sample = _clipped(per_sample, max_norm, per_tensor=per_tensor)
        total = np.concatenate([part.sum(axis=0) for part in per_sample])
        return NumpyVector(self._known().layout, total / max(len(slopes), 1))

    def forward(self, batch: Batch) -> Array:
        weights = self._known().arrays()
        raw: Array = batch.x @ weights["coef"] + weights["intercept"]
        return raw

    def loss_function(self, y_true: Array, raw: Array) -> Array:
        losses: Array = np.exp(raw) - y_true * raw  # -log of the probability, up to what no weight changes
        return losses

    def to_predictions(self, raw: Array) -> Array:
        return np.asarray(np.exp(raw))

    def _known(self) -> NumpyVector:
        if self._weights is None:
            raise ModelError(f"{self.name} has no weights yet: call initialize with the data info first")
        return self._weights


def _clipped(per_sample: list[Array], max_norm: float, *, per_tensor: bool) -> list[Array]:
    """Each sample's gradient, no longer than `max_norm`: over all tensors together, or in each."""
    norms = [np.linalg.norm(part, axis=1, keepdims=True) for part in per_sample]
    if not per_tensor:
        norms = [np.hypot(*norms)] * len(norms)
    return [part * (max_norm / np.maximum(norm, max_norm)) for part, norm in zip(per_sample, norms, strict=True)]
