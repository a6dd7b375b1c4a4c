"""Metrics that are a weighted mean over samples: Σ weight·value / Σ weight."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from fl.core.metrics.api import Metric, Result, State, ratio, share
from fl.core.metrics.numbers import paired
from fl.core.vector import Array
from fl.errors import DataError


class WeightedMean(Metric, register=False):
    """The mean of a value that each sample has."""

    largest: ClassVar[float | None] = None
    """No sample's value is below 0 or above this; None where there is no telling."""

    @abstractmethod
    def values(self, y_true: Array, y_pred: Array) -> Array:
        """One value a sample, of shape (n,)."""

    def zero(self) -> State:
        return {"n": np.zeros(()), "total": np.zeros(()), "weight": np.zeros(())}

    def bounds(self, *, loss: float) -> Mapping[str, float] | None:
        del loss
        return None if self.largest is None else {"total": self.largest, "weight": 1.0}

    def measure(self, y_true: Array, y_pred: Array, weights: Array) -> State:
        return {"total": weights @ self.values(y_true, y_pred), "weight": weights.sum()}

    def compute(self, state: State) -> Result:
        if self.largest is None:
            return {self.name: float(ratio(state["total"], state["weight"]))}
        return {self.name: self.largest * float(share(state["total"], self.largest * state["weight"]))}


class MeanSquaredError(WeightedMean):
    """Mean of (y_true - y_pred)², over a sample's outputs and then over samples."""

    name = "mse"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        true, predicted = paired(self.name, y_true, y_pred)
        return np.asarray(((true - predicted) ** 2).mean(axis=1))


class MeanAbsoluteError(WeightedMean):
    """Mean of |y_true - y_pred|, over a sample's outputs and then over samples."""

    name = "mae"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        true, predicted = paired(self.name, y_true, y_pred)
        return np.asarray(np.abs(true - predicted).mean(axis=1))


class Loss(WeightedMean):
    """Mean loss: Σ weight·loss / Σ weight. `y_pred` is each sample's loss, and `y_true` is not looked at."""

    name = "loss"
    of_losses = True

    def bounds(self, *, loss: float) -> Mapping[str, float]:
        return {"total": loss, "weight": 1.0}

    def values(self, y_true: Array, y_pred: Array) -> Array:
        del y_true
        if y_pred.ndim != 1:
            raise DataError(f"loss: one loss a sample is needed, but they have shape {y_pred.shape}")
        return y_pred
