"""The ROC curve of two classes, and the area under it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fl.core.data_info import Label
from fl.core.metrics.api import Metric, Result, State, share
from fl.core.metrics.labels import positives, score_each
from fl.core.vector import Array
from fl.errors import ConfigError

FARTHEST = 1e6
"""Scores beyond this are not told apart where no bound is given."""
MOST = 100_000
"""Thresholds at most: a state holds two numbers for each."""


class BinaryRocAUC(Metric):
    """Area under the ROC curve, and the curve: "tpr" and "fpr", by descending "thresh".

    A sample is predicted positive at a threshold when its score in `y_pred` is at least that. Positives, which are
    of class `label`, and negatives are counted between thresholds, that lie

    * at most `scale` apart from `bound[0]` to `bound[1]`, or
    * without a bound, at most `scale` apart from -1 to 1, and from there on by `scale` times themselves up to a
      million, so that scores of any size are told apart as well as probabilities are.

    The thresholds depend on these options alone, and never on the data: all clients count on one grid, their states
    add up to those of the union exactly, and nothing need be interpolated. States of other options do not fit.

    Samples between two neighbouring thresholds count as tied: half right, as in the Mann-Whitney statistic. So the
    area is exactly that of scores rounded down to the grid, and off from that of the scores themselves by at most
    half the share of pairs of a positive and a negative that lie between the same thresholds.

    The curve has a point for each threshold at which it moves. The area is 0 where there is only one class. A score
    that is not a number is below all thresholds.
    """

    name = "binary-roc"

    def __init__(self, scale: float = 0.1, label: Label = 1, bound: tuple[float, float] | None = None) -> None:
        self.scale = scale
        self.label = label
        self.bound = None if bound is None else (bound[0], bound[1])
        self._thresholds = _everywhere(scale) if bound is None else _between(scale, *self.bound or ())

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale, "label": self.label, "bound": None if self.bound is None else list(self.bound)}

    def zero(self) -> State:
        cells = len(self._thresholds) + 1
        return {"n": np.zeros(()), "positives": np.zeros(cells), "negatives": np.zeros(cells)}

    def bounds(self, *, loss: float) -> Mapping[str, float]:
        del loss
        return {"positives": 1.0, "negatives": 1.0}

    def measure(self, y_true: Array, y_pred: Array, weights: Array) -> State:
        positive = positives(self.name, y_true, self.label)
        scores = score_each(self.name, y_pred).astype(np.float64)
        scores[np.isnan(scores)] = -np.inf  # else they would be sorted to the top
        cell = np.searchsorted(self._thresholds, scores, side="right")
        size = len(self._thresholds) + 1
        return {
            "positives": np.bincount(cell[positive], weights[positive], minlength=size),
            "negatives": np.bincount(cell[~positive], weights[~positive], minlength=size),
        }

    def compute(self, state: State) -> Result:
        # from the highest scores down, the last cell being that below all thresholds
        positive, negative = state["positives"][::-1], state["negatives"][::-1]
        hits, alarms = positive.cumsum(), negative.cumsum()
        right = negative @ (hits - positive / 2)
        moves = ((positive != 0) | (negative != 0))[:-1]
        return {
            "roc_auc": float(share(right, max(hits[-1], 0.0) * max(alarms[-1], 0.0))),
            "thresh": self._thresholds[::-1][moves],
            "tpr": _rising(hits)[:-1][moves],
            "fpr": _rising(alarms)[:-1][moves],
        }


def _rising(counts: Array) -> Array:
    """Of the last count, the share that each is; never less than before, also where noise has made counts negative."""
    return np.asarray(np.maximum.accumulate(share(counts, counts[-1])))


def _between(scale: float, lower: float, upper: float) -> Array:
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise ConfigError(f"binary-roc: bound is {(lower, upper)}: give the lower end and the upper end")
    steps = _steps(scale, upper - lower)
    return np.asarray(lower + (upper - lower) * np.arange(steps + 1) / steps)


def _everywhere(scale: float) -> Array:
    steps = _steps(scale, 1)
    factor = 1 + 1 / steps
    linear, beyond = np.arange(steps + 1) / steps, factor ** np.arange(1, math.log(FARTHEST, factor) + 1)
    upper = np.concatenate([linear, beyond])
    return np.concatenate([-upper[:0:-1], upper])


def _steps(scale: float, length: float) -> int:
    if not length / MOST <= scale <= length:
        raise ConfigError(
            f"binary-roc: scale is {scale}: thresholds that far apart are none, or too many, over a range of {length:g}"
        )
    return math.ceil(length / scale - 1e-9)
