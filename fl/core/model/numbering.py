"""How labels become the numbers that a loss takes: one rule for every framework."""

from collections.abc import Sequence

import numpy as np

from fl.core.data_info import Label
from fl.core.vector import Array
from fl.errors import DataError, ModelError


class Numbering:
    """Labels stay as they are where each class is the index of an output, else become their places among the classes.

    Classes are sorted for that, so text works, and a binary loss, whose `n_outputs` is 2, sees 0 and 1. Where
    `n_outputs` is None, not known before the model runs, only the classes 0, 1, 2 … stay as they are. A label that
    the loss ignores is no class, unless it is the index of an output, and always stays.
    """

    def __init__(self, classes: Sequence[Label], *, n_outputs: int | None = None, ignored: int | None = None) -> None:
        limit = len(classes) if n_outputs is None else n_outputs
        void = None if ignored is None or 0 <= ignored < limit else ignored
        self.classes: list[Label] = sorted(label for label in classes if label != void)
        self._ignored = ignored
        self.maps = any(isinstance(label, str) or not 0 <= label < limit for label in self.classes)
        """Whether labels become places."""
        self._sorted = np.asarray(self.classes)

    def check_room(self, n_outputs: int) -> None:
        """Raise `ModelError` where outputs that tell `n_outputs` classes apart are too few."""
        n_classes = len(self.classes)
        if n_classes > n_outputs:
            listed = ", ".join(map(repr, self.classes[:10])) + ", …" * (n_classes > 10)
            raise ModelError(
                f"the data has {n_classes} classes ({listed}), but the model and its loss tell {n_outputs} apart: give "
                f"the model's last layer {n_classes} outputs, and a loss for as many"
            )

    def encode(self, labels: Array) -> Array:
        """Numbers of the same shape. Raises `DataError` naming a label that has no place, or is text among numbers."""
        if labels.dtype.kind == "O":
            labels = np.asarray(labels.tolist())
        if labels.size and (labels.dtype.kind == "U") != (self._sorted.dtype.kind == "U"):
            raise self.unknown(labels.reshape(-1)[0])
        if not self.maps:
            return labels
        places = np.minimum(np.searchsorted(self._sorted, labels), len(self._sorted) - 1)
        known = self._sorted[places] == labels
        if not known.all():
            ignored = labels == self._ignored
            if not (known | ignored).all():
                raise self.unknown(labels[~(known | ignored)][0])
            places[ignored] = self._ignored
        return places

    def unknown(self, label: object) -> DataError:
        """What to say of a label that is no class."""
        shown = label.item() if isinstance(label, np.generic) else label
        return DataError(f"label {shown!r} is none of the classes {self.classes}: was it in the data info of its site?")
