"""Metrics of classes, all from one confusion matrix."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fl.core.data_info import Label
from fl.core.metrics.api import Metric, Result, State, share
from fl.core.metrics.labels import classes, places, positives, score_each, scores_by_class
from fl.core.vector import Array


class BinaryAccuracyPrecisionRecall(Metric):
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

    def bounds(self, *, loss: float) -> Mapping[str, float]:
        del loss
        return {"confusion": 1.0}

    def measure(self, y_true: Array, y_pred: Array, weights: Array) -> State:
        predicted = score_each(self.name, y_pred) > self.thresh
        return {"confusion": _confusion(positives(self.name, y_true, self.label), predicted, weights, size=2)}

    def compute(self, state: State) -> Result:
        scores = _scores(state["confusion"])
        positive = {name: float(scores[name][1]) for name in ("precision", "recall", "f-score")}
        return {"accuracy": _accuracy(state["confusion"]), **positive, "confusion": _counts(state["confusion"])}


class ConfusionMatrix(Metric):
    """How often samples of each class, by row, are predicted to be of each class, by column.

    Classes are in sorted order: in the results, and in the columns of `y_pred` where it holds scores of shape
    (n, classes); it may hold predicted labels instead, of shape (n,).
    """

    name = "confusion"

    def __init__(self, labels: Sequence[Label]) -> None:
        self.labels = classes(self.name, labels)

    def get_config(self) -> dict[str, Any]:
        return {"labels": list(self.labels)}

    def zero(self) -> State:
        return {"n": np.zeros(()), "confusion": np.zeros((len(self.labels), len(self.labels)))}

    def bounds(self, *, loss: float) -> Mapping[str, float]:
        del loss
        return {"confusion": 1.0}

    def measure(self, y_true: Array, y_pred: Array, weights: Array) -> State:
        if y_pred.ndim == 2 and y_pred.shape[1] > 1:
            predicted = scores_by_class(self.name, y_pred, self.labels).argmax(axis=1)
        else:
            predicted = places(self.name, y_pred, self.labels)
        true = places(self.name, y_true, self.labels)
        return {"confusion": _confusion(true, predicted, weights, size=len(self.labels))}

    def compute(self, state: State) -> Result:
        return {"confusion": _counts(state["confusion"])}


class MulticlassAccuracyPrecisionRecall(ConfusionMatrix):
    """Accuracy, the confusion matrix, and precision, recall and f-score of each class.

    Classes are in sorted order: in the results, and in the columns of `y_pred` where it holds scores of shape
    (n, classes); it may hold predicted labels instead, of shape (n,). Rows of the matrix are true classes.
    """

    name = "multi-classif"

    def compute(self, state: State) -> Result:
        confusion = state["confusion"]
        return {"accuracy": _accuracy(confusion), **_scores(confusion), "confusion": _counts(confusion)}


def _confusion(true: Array, predicted: Array, weights: Array, *, size: int) -> Array:
    """Σ of weights by true class (rows) and predicted class (columns)."""
    cells = np.asarray(true, np.intp) * size + np.asarray(predicted, np.intp)
    return np.bincount(cells, weights, minlength=size * size).reshape(size, size)


def _counts(confusion: Array) -> Array:
    """For people, to whom less than nobody is nobody. Sums are better taken before, as noise averages out in them."""
    return np.maximum(confusion, 0.0)


def _accuracy(confusion: Array) -> float:
    return float(share(np.trace(confusion), confusion.sum()))


def _scores(confusion: Array) -> dict[str, Array]:
    """Of each class: tp/(tp + fp), tp/(tp + fn) and 2·tp/(2·tp + fp + fn)."""
    hits, predicted, true = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    return {
        "precision": share(hits, predicted),
        "recall": share(hits, true),
        "f-score": share(2 * hits, predicted + true),
    }
