"""Metrics of classes, all from one confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fl.core.data_info import Label
from fl.core.metrics.api import Metric, Result, State, ratio
from fl.core.vector import Array
from fl.errors import ConfigError, DataError


class BinaryClassification(Metric):
    """Accuracy, precision, recall, f-score and the confusion matrix [[tn, fp], [fn, tp]] of two classes.

    A sample is predicted positive when `y_pred`, the probability of `label`, is above `thresh`. Models of this
    package give the probability of the second of their sorted classes: make that the `label`.
    """

    name = "binary-classif"

    def __init__(self, thresh: float = 0.5, label: Label = 1) -> None:
        self.thresh = thresh
        self.label = label

    def get_config(self) -> dict[str, Any]:
        return {"thresh": self.thresh, "label": self.label}

    def zero(self) -> State:
        return {"n": np.zeros(()), "confusion": np.zeros((2, 2))}

    def measure(self, y_true: Array, y_pred: Array, weights: Array) -> State:
        y_true, y_pred = _one_each(self.name, y_true), _one_each(self.name, y_pred)
        if y_true.size and isinstance(y_true.tolist()[0], str) != isinstance(self.label, str):
            raise DataError(
                f"{self.name}: label={self.label!r} can be none of the true labels, which are like "
                f"{y_true.tolist()[0]!r}: give the positive one as label"
            )
        return {"confusion": _confusion(y_true == self.label, y_pred > self.thresh, weights, size=2)}

    def compute(self, state: State) -> Result:
        scores = _scores(state["confusion"])
        positive = {name: float(scores[name][1]) for name in ("precision", "recall", "f-score")}
        return {"accuracy": _accuracy(state["confusion"]), **positive, "confusion": state["confusion"]}


class MultiClassification(Metric):
    """Accuracy, the confusion matrix, and precision, recall and f-score of each class.

    Classes are in sorted order: in the results, and in the columns of `y_pred` where it holds scores of shape
    (n, classes); it may hold predicted labels instead, of shape (n,). Rows of the matrix are true classes.
    """

    name = "multi-classif"

    def __init__(self, labels: Sequence[Label]) -> None:
        if len(set(labels)) < 2 or len({isinstance(label, str) for label in labels}) > 1:
            raise ConfigError(f"{self.name}: labels are {list(labels)}: give at least two, all numbers or all text")
        self.labels = sorted(set(labels))

    def get_config(self) -> dict[str, Any]:
        return {"labels": list(self.labels)}

    def zero(self) -> State:
        return {"n": np.zeros(()), "confusion": np.zeros((len(self.labels), len(self.labels)))}

    def measure(self, y_true: Array, y_pred: Array, weights: Array) -> State:
        predicted = self._winners(y_pred) if y_pred.ndim == 2 and y_pred.shape[1] > 1 else self._places(y_pred)
        return {"confusion": _confusion(self._places(y_true), predicted, weights, size=len(self.labels))}

    def compute(self, state: State) -> Result:
        confusion = state["confusion"]
        return {"accuracy": _accuracy(confusion), **_scores(confusion), "confusion": confusion}

    def _winners(self, scores: Array) -> Array:
        if scores.shape[1] != len(self.labels):
            raise DataError(f"{self.name}: scores of {scores.shape[1]} classes, but the labels are {self.labels}")
        return np.asarray(scores.argmax(axis=1))

    def _places(self, labels: Array) -> Array:
        place = {label: index for index, label in enumerate(self.labels)}
        values = _one_each(self.name, labels).tolist()
        strange = [value for value in values if value not in place]
        if strange:
            raise DataError(f"{self.name}: {strange[0]!r} is none of the labels {self.labels}")
        return np.array([place[value] for value in values], dtype=np.intp)


def _confusion(true: Array, predicted: Array, weights: Array, *, size: int) -> Array:
    """Σ of weights by true class (rows) and predicted class (columns)."""
    cells = np.asarray(true, np.intp) * size + np.asarray(predicted, np.intp)
    return np.bincount(cells, weights, minlength=size * size).reshape(size, size)


def _accuracy(confusion: Array) -> float:
    return float(ratio(np.trace(confusion), confusion.sum()))


def _scores(confusion: Array) -> dict[str, Array]:
    """Of each class: tp/(tp + fp), tp/(tp + fn) and 2·tp/(2·tp + fp + fn)."""
    hits, predicted, true = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    return {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, true),
        "f-score": ratio(2 * hits, predicted + true),
    }


def _one_each(name: str, values: Array) -> Array:
    if values.size != len(values):
        raise DataError(f"{name}: one value a sample is needed, but they have shape {values.shape}")
    return values.reshape(-1)
