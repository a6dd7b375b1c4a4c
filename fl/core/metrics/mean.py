"""Metrics that are a weighted mean over samples: Σ weight·value / Σ weight."""

from abc import abstractmethod

import numpy as np

from fl.core.metrics.api import Metric, Result, State, ratio
from fl.core.vector import Array
from fl.errors import DataError


class WeightedMean(Metric, register=False):
    """The mean of a value that each sample has."""

    @abstractmethod
    def values(self, y_true: Array, y_pred: Array) -> Array:
        """One value a sample, of shape (n,)."""

    def zero(self) -> State:
        return {"n": np.zeros(()), "total": np.zeros(()), "weight": np.zeros(())}

    def measure(self, y_true: Array, y_pred: Array, weights: Array) -> State:
        return {"total": weights @ self.values(y_true, y_pred), "weight": weights.sum()}

    def compute(self, state: State) -> Result:
        return {self.name: float(ratio(state["total"], state["weight"]))}


class MeanSquaredError(WeightedMean):
    """Mean of (y_true - y_pred)², over a sample's outputs and then over samples."""

    name = "mse"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray((_difference(self.name, y_true, y_pred) ** 2).mean(axis=1))


class MeanAbsoluteError(WeightedMean):
    """Mean of |y_true - y_pred|, over a sample's outputs and then over samples."""

    name = "mae"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(np.abs(_difference(self.name, y_true, y_pred)).mean(axis=1))


class Loss(WeightedMean):
    """Mean loss: Σ weight·loss / Σ weight. `y_pred` is each sample's loss, and `y_true` is not looked at."""

    name = "loss"
    of_losses = True

    def values(self, y_true: Array, y_pred: Array) -> Array:
        del y_true
        if y_pred.ndim != 1:
            raise DataError(f"loss: one loss a sample is needed, but they have shape {y_pred.shape}")
        return y_pred


def _difference(name: str, y_true: Array, y_pred: Array) -> Array:
    """Of shape (n, outputs). Shapes must be the same but for axes of length 1: broadcasting would hide a mistake."""
    if y_true.dtype.kind not in "fiub":
        raise DataError(f"{name} measures numbers, but the true values are {y_true.dtype}: use a metric of classes")
    shapes = [tuple(length for length in array.shape[1:] if length != 1) for array in (y_true, y_pred)]
    if shapes[0] != shapes[1]:
        raise DataError(f"{name}: true values of shape {y_true.shape} and predictions of shape {y_pred.shape} differ")
    size = (len(y_true), int(np.prod(shapes[0])))
    return np.asarray(y_true.reshape(size) - y_pred.reshape(size).astype(np.float64))
