"""What a metric promises."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fl.core.mergeable import Sum
from fl.core.registry import Registered, Registry
from fl.core.vector import Array
from fl.errors import DataError

State = dict[str, Array]
Result = dict[str, float | Array]


class Metric(Registered, ABC, register=False):
    """A measure of predictions whose state is a sum over samples.

    Law: the state of two sets of samples together is the sum of their states, so what clients measure apart and
    merge is what one would measure on all the samples at once.

    A metric says what its state is before any sample (`zero`), what samples add to it (`measure`), and what it
    amounts to (`compute`). States are float64 arrays, whose shapes depend on the metric's options and never on the
    data, and hold under "n" how many samples they are of. States of different options do not belong together.
    """

    registry: ClassVar[Registry["Metric"]] = Registry(
        "metric",
        {
            "binary-classif": "fl.core.metrics.classification:BinaryAccuracyPrecisionRecall",
            "binary-roc": "fl.core.metrics.roc:BinaryRocAUC",
            "confusion": "fl.core.metrics.classification:ConfusionMatrix",
            "log-loss": "fl.core.metrics.scores:LogLoss",
            "loss": "fl.core.metrics.mean:Loss",
            "mae": "fl.core.metrics.mean:MeanAbsoluteError",
            "mse": "fl.core.metrics.mean:MeanSquaredError",
            "multi-classif": "fl.core.metrics.classification:MulticlassAccuracyPrecisionRecall",
            "r2": "fl.core.metrics.r_squared:RSquared",
            "top-k-accuracy": "fl.core.metrics.scores:TopKAccuracy",
        },
    )
    of_losses: ClassVar[bool] = False
    """Whether what is measured is each sample's loss, which then stands in the place of `y_pred`."""
    _state: State | None = None

    @abstractmethod
    def zero(self) -> State:
        """The state of no samples."""

    @abstractmethod
    def measure(self, y_true: Array, y_pred: Array, weights: Array) -> State:
        """What samples add to the state, without "n". Raises `DataError` when shapes or labels do not fit."""

    @abstractmethod
    def compute(self, state: State) -> Result:
        """The metric's values; zeros for no samples."""

    def bounds(self, *, loss: float) -> Mapping[str, float] | None:
        """How much one sample can add to each field but "n", as a Euclidean norm; None where nobody can tell.

        It holds for a weight from 0 to 1 and a loss from `-loss` to `loss`, whatever else the sample is. Noise can hide
        a sample in what has such bounds alone, and a state that got some may have counts that are negative, or odd:
        `compute` keeps to the range of its values all the same.
        """
        del loss
        return None

    def update(self, y_true: Any, y_pred: Any, weights: Any = None) -> None:
        """Take in some samples; the first axis of each argument counts them. Raises `DataError`.

        Arguments are whatever numpy can read: arrays, lists, tensors of torch or TensorFlow on the CPU.
        """
        y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
        weights = np.ones(len(y_true)) if weights is None else np.asarray(weights, np.float64)
        if not len(y_true) == len(y_pred) == len(weights):
            raise DataError(
                f"{self.name}: {len(y_true)} true values, {len(y_pred)} predictions and {len(weights)} weights: "
                "there must be one of each for every sample"
            )
        if weights.ndim != 1:
            raise DataError(f"{self.name}: one weight a sample is needed, but they have shape {weights.shape}")
        state = {"n": np.asarray(len(y_true), np.float64), **self.measure(y_true, y_pred, weights)}
        self.merge({name: np.asarray(value, np.float64) for name, value in state.items()})

    def get_state(self) -> State:
        return dict(self.zero() if self._state is None else self._state)

    def merge(self, state: Mapping[str, Array]) -> None:
        """Add another's state to this one. Raises `ValueError` when it is of another metric, or of other labels."""
        merged = Sum(self.get_state()).merge(Sum(state)).finish()
        self._state = {name: np.asarray(value) for name, value in merged.items()}

    def result(self) -> Result:
        """The metric's values, and "n", the number of samples they are of."""
        state = self.get_state()
        return {**self.compute(state), "n": int(state["n"])}

    def reset(self) -> None:
        self._state = None


def ratio(numerator: Array, denominator: Array) -> Array:
    """Element-wise, and 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=np.asarray(denominator) != 0)


def share(part: Array, whole: Array) -> Array:
    """The ratio of a count to one that it is among: from 0 to 1, also where noise has driven them apart."""
    return np.clip(ratio(part, np.maximum(whole, 0.0)), 0.0, 1.0)
