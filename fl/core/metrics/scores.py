"""Metrics of the scores that a model gives to each class."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fl.core.data_info import Label
from fl.core.metrics.labels import classes, places, scores_by_class
from fl.core.metrics.mean import WeightedMean
from fl.core.vector import Array
from fl.errors import ConfigError, DataError

TOLERANCE = 1e-2
"""How far probabilities of a sample may be from adding up to 1: what half precision makes of a softmax."""


class _OfScores(WeightedMean, register=False):
    """A value of each sample's scores and its class's place among them."""

    def __init__(self, labels: Sequence[Label] | None = None) -> None:
        """`labels` are the classes, sorted as the columns are; without them, a class is the number of its column."""
        self.labels = None if labels is None else classes(self.name, labels)

    def get_config(self) -> dict[str, Any]:
        return {"labels": None if self.labels is None else list(self.labels)}

    def by_class(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """The column of each sample's class, of shape (n,), and scores of shape (n, classes)."""
        scores = scores_by_class(self.name, y_pred, self.labels)
        return places(self.name, y_true, self.labels or range(scores.shape[1])), scores


class LogLoss(_OfScores):
    """Mean of -log p, with p the probability that was given to the true class.

    `y_pred` holds probabilities: of each class, of shape (n, classes), or of the second of two, of shape (n,). They
    are taken to be no nearer to 0 and 1 than their dtype's epsilon, so that one sure mistake does not make all
    infinite.
    """

    name = "log-loss"
    largest: ClassVar[float | None] = -math.log(np.finfo(np.float64).eps)
    """36, of probabilities in float64; of coarser ones it is less."""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        places_, probabilities = self.by_class(y_true, y_pred)
        epsilon = float(np.finfo(probabilities.dtype).eps)
        probabilities = probabilities.astype(np.float64)
        if np.any(
            (probabilities < 0) | (probabilities > 1) | (abs(probabilities.sum(axis=1) - 1) > TOLERANCE)[:, None]
        ):
            raise DataError(
                f"{self.name}: predictions are no probabilities that add up to 1 for each sample: "
                "make the model end in a softmax or a sigmoid"
            )
        given = probabilities[np.arange(len(places_)), places_]
        return np.asarray(-np.log(given.clip(epsilon, 1 - epsilon)))


class TopKAccuracy(_OfScores):
    """Share of samples whose true class is among the `k` of highest score.

    Of equal scores, that of the class which comes first is the higher one: for k = 1 this is the plain accuracy, and
    a model that scores all classes alike is right as often as chance has it.
    """

    name = "top-k-accuracy"
    largest: ClassVar[float | None] = 1.0

    def __init__(self, k: int = 5, labels: Sequence[Label] | None = None) -> None:
        super().__init__(labels)
        if not isinstance(k, int) or k < 1:
            raise ConfigError(f"{self.name}: k is {k!r}: use a whole number of at least 1")
        self.k = k

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k, **super().get_config()}

    def values(self, y_true: Array, y_pred: Array) -> Array:
        places_, scores = self.by_class(y_true, y_pred)
        own = scores[np.arange(len(places_)), places_][:, None]
        comes_first = np.arange(scores.shape[1]) < places_[:, None]
        better = (scores > own) | ((scores == own) & comes_first)
        return np.asarray((better.sum(axis=1) < self.k) & ~np.isnan(own[:, 0]), np.float64)
