"""Labels of a classifier as the ±1 targets of its one-vs-rest rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fl.core.data_info import Label
from fl.core.vector import Array
from fl.errors import DataError


class SignedLabels:
    """Maps labels to ±1, by classes that are sorted: two classes share one row, which is +1 for the second.

    Raises `DataError` for fewer than two classes.
    """

    def __init__(self, classes: Sequence[Label], dtype: npt.DTypeLike) -> None:
        if len(classes) < 2:
            raise DataError(f"one-class data: a classifier needs at least two classes, but all there is is {classes}")
        self.classes = np.asarray(sorted(classes))
        self.rows = 1 if len(classes) == 2 else len(classes)
        self._signs = np.array([-1, 1], dtype)

    def encode(self, labels: Any) -> Array:
        """Targets of shape (n, rows). Raises `DataError` naming a label that is no class."""
        labels = np.asarray(labels).reshape(-1)
        if labels.dtype.kind == "O":
            labels = np.asarray(labels.tolist())
        if len(self.classes) > 2:
            return self._encode_many(labels)
        positive = labels == self.classes[1]
        known = np.count_nonzero(positive) + np.count_nonzero(labels == self.classes[0])
        if known != labels.size:
            raise self._unknown(labels)
        targets: Array = self._signs[positive.view(np.int8)][:, None]
        return targets

    def _encode_many(self, labels: Array) -> Array:
        if labels.dtype.kind == "O" or (labels.dtype.kind == "U") != (self.classes.dtype.kind == "U"):
            raise self._unknown(labels)
        row = np.minimum(np.searchsorted(self.classes, labels), len(self.classes) - 1)
        if not (self.classes[row] == labels).all():
            raise self._unknown(labels)
        signs: Array = np.full((labels.size, self.rows), -1, self._signs.dtype)
        signs[np.arange(labels.size), row] = 1
        return signs

    def _unknown(self, labels: Array) -> DataError:
        classes = self.classes.tolist()
        strange = next((label for label in labels.tolist() if label not in classes), labels.tolist()[:1])
        return DataError(f"label {strange!r} is none of the classes {classes}: was it in the data info of its site?")
