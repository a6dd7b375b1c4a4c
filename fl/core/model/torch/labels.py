"""Targets as a loss of torch takes them."""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import numpy as np
from torch import nn

from fl.core.data_info import Label
from fl.core.model.torch.inputs import as_array
from fl.core.vector import Array
from fl.errors import DataError


class Target(Enum):
    """What a loss compares outputs with."""

    INDEX = "the index of a class"
    BINARY = "0 or 1, or a probability"
    SIGN = "-1 or 1"
    INTEGER = "whole numbers"
    VALUE = "values"
    ANY = "whatever its author thought of"


TARGETS: Final[dict[type[nn.Module], Target]] = {
    nn.CrossEntropyLoss: Target.INDEX,
    nn.NLLLoss: Target.INDEX,
    nn.MultiMarginLoss: Target.INDEX,
    nn.BCELoss: Target.BINARY,
    nn.BCEWithLogitsLoss: Target.BINARY,
    nn.SoftMarginLoss: Target.SIGN,
    nn.HingeEmbeddingLoss: Target.SIGN,
    nn.MultiLabelMarginLoss: Target.INTEGER,
}


def target_of(loss: nn.Module) -> Target:
    """By its class, or the class it derives from; other losses of torch compare values."""
    known = next((target for kind, target in TARGETS.items() if isinstance(loss, kind)), None)
    if known is not None:
        return known
    return Target.VALUE if type(loss).__module__.startswith("torch.nn.") else Target.ANY


class Labels:
    """Turns the labels of a dataset into numbers: the place of each among the sorted classes, where they are known."""

    def __init__(self, loss: nn.Module, classes: Sequence[Label] | None = None) -> None:
        self.target = target_of(loss)
        self.ignored: int | None = getattr(loss, "ignore_index", None)
        # values stay values, also where a dataset was asked to expose them as classes
        mapped = classes is not None and self.target not in {Target.VALUE, Target.INTEGER}
        self.classes = np.asarray(sorted(classes)) if mapped and classes is not None else None
        self._in_order = self.classes is not None and self.classes.tolist() == list(range(len(self.classes)))

    def encode(self, y: Any) -> Array:
        """Numbers, of the same shape. Raises `DataError` naming a label that is no class."""
        if y is None:
            raise DataError("these samples have no target: name one when the dataset is made")
        labels = as_array(y)
        if labels.dtype.kind in "OUS" and self.classes is None:
            raise DataError(
                f"label {labels.reshape(-1)[:1].tolist()[0]!r} is no number, and the data info tells no classes: "
                "give expose_classes=True to the dataset of every client"
            )
        if labels.dtype.kind == "f" and self._are_indices(labels):
            labels = _whole(labels)
        if self.classes is not None and not self._in_order:
            labels = self._places(labels)
        elif self.target is Target.BINARY or (self.target is Target.SIGN and self.classes is not None):
            self._check_range(labels, 0, 1)
        return labels * 2 - 1 if self.target is Target.SIGN and self.classes is not None else labels

    def check_index(self, labels: Array, n_classes: int) -> None:
        """Raise `DataError` naming a label that is not among the first `n_classes` numbers."""
        # read as unsigned, a negative number is a large one
        if labels.dtype == np.int64 and labels.size and labels.view(np.uint64).max() < n_classes:
            return
        self._check_range(labels[labels != self.ignored], 0, n_classes - 1)

    def _are_indices(self, labels: Array) -> bool:
        """Whether floats can only be labels; a row for each sample may hold probabilities."""
        one_each = labels.ndim == 1 or labels.shape[1:] == (1,)
        return one_each and (self.target is Target.INDEX or (self.target is Target.ANY and self.classes is not None))

    def _places(self, labels: Array) -> Array:
        assert self.classes is not None, "asked only where classes are known"
        if labels.dtype.kind == "O":
            labels = np.asarray(labels.tolist())
        if (labels.dtype.kind in "US") != (self.classes.dtype.kind == "U"):
            raise self._unknown(labels.reshape(-1)[0])
        places = np.minimum(np.searchsorted(self.classes, labels), len(self.classes) - 1)
        known = self.classes[places] == labels
        if not known.all():
            ignored = labels == self.ignored
            if not (known | ignored).all():
                raise self._unknown(labels[~(known | ignored)][0])
            places[ignored] = self.ignored
        return places

    def _check_range(self, labels: Array, least: int, most: int) -> None:
        outside = (labels < least) | (labels > most)
        if outside.any():
            strange = labels[outside].tolist()[0]
            if self.classes is not None:
                raise self._unknown(strange)
            raise DataError(
                f"label {strange!r} is not within {least} and {most}, as this model and loss need: give "
                "expose_classes=True to the dataset of every client, and labels are numbered in their order"
            )

    def _unknown(self, label: Any) -> DataError:
        classes = [] if self.classes is None else self.classes.tolist()
        shown = label.item() if isinstance(label, np.generic) else label
        return DataError(f"label {shown!r} is none of the classes {classes}: was it in the data info of its site?")


def _whole(labels: Array) -> Array:
    whole = (labels == np.round(labels)) & (np.abs(labels) < 2.0**53)
    if not whole.all():
        raise DataError(
            f"label {labels[~whole].tolist()[0]!r} is not a whole number, and this loss compares with classes: "
            "give labels, or a loss of values such as torch.nn.MSELoss()"
        )
    return labels.astype(np.int64)
