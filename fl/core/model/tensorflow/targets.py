"""What a dataset's targets become before a loss of Keras sees them, and its outputs before a metric does."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

import numpy as np

from fl.core.data_info import Label
from fl.core.model.numbering import Numbering
from fl.core.vector import Array
from fl.errors import DataError


class Task(Enum):
    """How a loss reads its targets."""

    INDEX = auto()
    """The index of a class."""
    ONE_HOT = auto()
    """A share of each class."""
    BINARY = auto()
    """The probability of the second class."""
    SIGN = auto()
    """0 or 1, or -1 or 1."""
    VALUE = auto()
    """The output itself."""
    OTHER = auto()
    """Unknown: targets are left as they are."""


class Targets:
    """Encodes targets for a loss: labels by `Numbering`, where the classes are known and the loss compares classes.

    `n_outputs` is the length of the output's last axis, None where it is not known; `dtype` that of the weights.
    Raises `ModelError` for more classes than the loss could tell apart.
    """

    def __init__(
        self,
        task: Task,
        *,
        dtype: str,
        n_outputs: int | None = None,
        classes: Sequence[Label] | None = None,
        ignored: int | None = None,
    ) -> None:
        self._task = task
        self._dtype = dtype
        self._room = 2 if task in {Task.BINARY, Task.SIGN} else n_outputs
        self._ignored = ignored
        self._numbering: Numbering | None = None
        # values stay values, also where a dataset was asked to expose them as classes
        if classes is not None and task is not Task.VALUE:
            self._numbering = Numbering(classes, n_outputs=self._room, ignored=ignored)
            if self._room is not None and task is not Task.OTHER:
                self._numbering.check_room(self._room)

    def encode(self, y: Any) -> Array:
        """Raises `DataError` naming a label that is none, or for what is no target."""
        if y is None:
            raise DataError("these samples have no target: name one when the dataset is made")
        y = np.asarray(y)
        if y.dtype.kind == "O":
            y = np.asarray(y.tolist())
        if self._numbering is not None:
            y = self._numbering.encode(y)
        elif y.dtype.kind not in "fiub":
            raise DataError(
                f"targets are text, such as {y.ravel()[:1].tolist()}, and the classes are not known: give "
                "expose_classes=True to the dataset of every client, or encode the labels as numbers"
            )
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise DataError("targets have values that are NaN or infinite: fill or drop them")
        return self._encoded(y)

    def _encoded(self, y: Array) -> Array:
        if self._task is Task.INDEX:
            return self._checked(y).astype(np.int64, copy=False)
        if self._task is Task.ONE_HOT:
            return self._one_hot(y)
        if self._task is Task.BINARY and y.size and (y.min() < 0 or y.max() > 1):
            raise DataError(f"label {_worst(y, 0, 1)!r} is neither 0 nor 1, nor a share between them")
        if self._task is Task.SIGN and y.size and (y.min() < -1 or y.max() > 1):
            raise DataError(f"label {_worst(y, -1, 1)!r} is none of -1, 0 and 1")
        if self._task is Task.OTHER and self._numbering is not None and self._numbering.maps:
            return y.astype(np.int64, copy=False)
        return y.astype(self._dtype, copy=False)

    def _one_hot(self, y: Array) -> Array:
        """Of shape (n, classes); what has that shape already is taken for shares of the classes."""
        if self._room is None or (y.ndim > 1 and y.shape[-1] == self._room and self._room > 1):
            return y.astype(self._dtype, copy=False)
        if y.ndim > 1 and y.shape[-1] == 1:
            y = y[..., 0]
        hot: Array = np.eye(self._room, dtype=self._dtype)[self._checked(y).astype(np.intp, copy=False)]
        return hot

    def _checked(self, y: Array) -> Array:
        """Whole numbers that are indices of outputs."""
        if y.size == 0:
            return y
        if y.dtype.kind == "f" and (y != np.round(y)).any():
            raise DataError(f"label {y[y != np.round(y)].ravel()[0]!r} is no class: classes are whole numbers or text")
        if self._room is None or (y.min() >= 0 and y.max() < self._room):
            return y
        strange = y[((y < 0) | (y >= self._room)) & (y != self._ignored)]
        if strange.size:
            raise DataError(
                f"label {strange.ravel()[0].item()!r} is out of range: the model tells {self._room} classes, "
                f"0 to {self._room - 1}"
            )
        return y


def predictions(raw: Any, task: Task, *, from_logits: bool) -> Array:
    """What metrics compare: values; probabilities of the second class, of shape (n,); or scores of shape (n, classes).

    Outputs of a hinge loss are decision values, and go through a sigmoid to be above .5 for the second class.
    """
    values = np.asarray(raw)
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if task is Task.SIGN or (task is Task.BINARY and from_logits):
        values = np.exp(-np.logaddexp(0, -values))
    elif task in {Task.INDEX, Task.ONE_HOT} and from_logits:
        values = np.exp(values - values.max(axis=-1, keepdims=True, initial=-np.inf))
        values /= values.sum(axis=-1, keepdims=True)
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _worst(y: Array, low: int, high: int) -> Any:
    return y[(y < low) | (y > high)].ravel()[0].item()
