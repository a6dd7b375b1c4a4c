"""Targets as a loss of torch takes them."""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import numpy as np
from torch import nn

from fl.core.data_info import Label
from fl.core.model.numbering import Numbering
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
    """Turns a dataset's labels into numbers, by `Numbering` where the classes are known and the loss compares classes.

    `n_outputs` is the number of classes that outputs may score, where it is known. Raises `ModelError` for more
    classes than the loss could tell apart.
    """

    def __init__(self, loss: nn.Module, classes: Sequence[Label] | None = None, n_outputs: int | None = None) -> None:
        self.target = target_of(loss)
        self.n_outputs = 2 if self.target in {Target.BINARY, Target.SIGN} else n_outputs
        self._ignored: int | None = getattr(loss, "ignore_index", None)
        self._numbering: Numbering | None = None
        # values stay values, also where a dataset was asked to expose them as classes
        if classes is not None and self.target not in {Target.VALUE, Target.INTEGER}:
            self._numbering = Numbering(classes, n_outputs=self.n_outputs, ignored=self._ignored)
            if self.n_outputs is not None and self.target is not Target.ANY:
                self._numbering.check_room(self.n_outputs)

    def encode(self, y: Any) -> Array:
        """Numbers, of the same shape. Raises `DataError` naming a label that is no class."""
        if y is None:
            raise DataError("these samples have no target: name one when the dataset is made")
        labels, numbering = as_array(y), self._numbering
        if labels.dtype.kind in "OUS" and numbering is None:
            raise DataError(
                f"label {labels.reshape(-1)[:1].tolist()[0]!r} is no number, and the data info tells no classes: "
                "give expose_classes=True to the dataset of every client"
            )
        if labels.dtype.kind == "f" and self._are_indices(labels):
            labels = _whole(labels)
        if numbering is not None:
            labels = numbering.encode(labels)
        if self.target is Target.BINARY or (self.target is Target.SIGN and numbering is not None):
            self._check_range(labels, 0, 1)
        return labels * 2 - 1 if self.target is Target.SIGN and numbering is not None else labels

    def check_index(self, labels: Array, n_classes: int) -> None:
        """Raise `DataError` naming a label that is not among the first `n_classes` numbers."""
        # read as unsigned, a negative number is a large one
        if labels.dtype == np.int64 and labels.size and labels.view(np.uint64).max() < n_classes:
            return
        self._check_range(labels[labels != self._ignored], 0, n_classes - 1)

    def _are_indices(self, labels: Array) -> bool:
        """Whether floats can only be labels; a row for each sample may hold probabilities."""
        one_each = labels.ndim == 1 or labels.shape[1:] == (1,)
        return one_each and (self.target is Target.INDEX or (self.target is Target.ANY and self._numbering is not None))

    def _check_range(self, labels: Array, least: int, most: int) -> None:
        outside = (labels < least) | (labels > most)
        if outside.any():
            strange = labels[outside].tolist()[0]
            if self._numbering is not None:
                raise self._numbering.unknown(strange)
            raise DataError(
                f"label {strange!r} is not within {least} and {most}, as this model and loss need: give "
                "expose_classes=True to the dataset of every client, and labels are numbered in their order"
            )


def _whole(labels: Array) -> Array:
    whole = (labels == np.round(labels)) & (np.abs(labels) < 2.0**53)
    if not whole.all():
        raise DataError(
            f"label {labels[~whole].tolist()[0]!r} is not a whole number, and this loss compares with classes: "
            "give labels, or a loss of values such as torch.nn.MSELoss()"
        )
    return labels.astype(np.int64)
