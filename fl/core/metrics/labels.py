"""What metrics read labels and scores of classes as."""

from collections.abc import Sequence

import numpy as np

from fl.core.data_info import Label
from fl.core.vector import Array
from fl.errors import ConfigError, DataError


def one_each(name: str, values: Array) -> Array:
    """Values of shape (n,); text as `str`, which TensorFlow has as bytes. Raises `DataError`."""
    if values.size != len(values):
        raise DataError(f"{name}: one value a sample is needed, but they have shape {values.shape}")
    values = values.reshape(-1)
    if values.dtype.kind in "SO":
        decoded = [value.decode() if isinstance(value, bytes) else value for value in values.tolist()]
        values = np.array(decoded, dtype=object)
    return values


def score_each(name: str, y_pred: Array) -> Array:
    """One number a sample, of shape (n,). Raises `DataError`."""
    if y_pred.dtype.kind not in "fiub":
        raise DataError(f"{name}: one score a sample is needed, but the predictions are {y_pred.dtype}")
    return one_each(name, y_pred)


def positives(name: str, y_true: Array, label: Label) -> Array:
    """Which samples are of class `label`. Raises `DataError` when that can be no label of theirs."""
    y_true = one_each(name, y_true)
    if y_true.size and isinstance(y_true.tolist()[0], str) != isinstance(label, str):
        raise DataError(
            f"{name}: label={label!r} can be none of the true labels, which are like "
            f"{y_true.tolist()[0]!r}: give the positive one as label"
        )
    return np.asarray(y_true == label)


def classes(name: str, labels: Sequence[Label]) -> list[Label]:
    """The labels, sorted. Raises `ConfigError` when they are not at least two of one kind."""
    if len(set(labels)) < 2 or len({isinstance(label, str) for label in labels}) > 1:
        raise ConfigError(f"{name}: labels are {list(labels)}: give at least two, all numbers or all text")
    return sorted(set(labels))


def places(name: str, values: Array, labels: Sequence[Label]) -> Array:
    """The index of each value in `labels`. Raises `DataError` naming one that is not there."""
    place = {label: index for index, label in enumerate(labels)}
    found = one_each(name, values).tolist()
    strange = [value for value in found if value not in place]
    if strange:
        two = len(labels) == 2 and isinstance(strange[0], float)
        advice = ": a model of two classes gives probabilities, which binary-classif takes" if two else ""
        raise DataError(f"{name}: {strange[0]!r} is none of the labels {list(labels)}{advice}")
    return np.array([place[value] for value in found], dtype=np.intp)


def scores_by_class(name: str, y_pred: Array, labels: Sequence[Label] | None) -> Array:
    """Scores of shape (n, classes), of one column a class in sorted order. Raises `DataError`.

    One score p a sample stands for 1 - p and p.
    """
    if y_pred.dtype.kind not in "fiub":
        raise DataError(f"{name}: scores of classes are needed, but the predictions are {y_pred.dtype}")
    scores = y_pred if y_pred.dtype.kind == "f" else y_pred.astype(np.float64)
    if scores.ndim == 1 or scores.shape[1:] == (1,):
        scores = scores.reshape(-1, 1)
        scores = np.concatenate([1 - scores, scores], axis=1)
    if scores.ndim != 2:
        raise DataError(f"{name}: one score a class is needed for each sample, but they have shape {y_pred.shape}")
    if labels is not None and scores.shape[1] != len(labels):
        raise DataError(f"{name}: scores of {scores.shape[1]} classes, but the labels are {list(labels)}")
    return scores
