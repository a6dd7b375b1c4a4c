"""What a batch's samples become before a Keras model sees them."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from fl.core.vector import Array
from fl.errors import DataError, ModelError

Shape = tuple[int | None, ...]


class Inputs:
    """Takes samples apart into checked arrays, and puts them together as the model takes them.

    Keras's own models say how many inputs they have, their names, shapes and dtypes. A subclassed model takes what
    the first batch has, integers as int64 and floats as `dtype`.
    """

    def __init__(self, model: Any, dtype: str) -> None:
        specs = _specs(model)
        self._names = [spec.name for spec in specs]
        self._shapes: list[Shape] = [tuple(spec.shape[1:]) for spec in specs]
        self._dtypes = [spec.dtype for spec in specs]
        self._dtype = dtype
        self._structure = _structure(model) if specs else None

    def flatten(self, x: Any) -> list[Array]:
        """The arrays of a batch, each of shape (n, ...). Raises `DataError` in words."""
        parts = self._parts(x)
        return [self._checked(part, place) for place, part in enumerate(parts)]

    def pack(self, tensors: list[Any]) -> Any:
        """What `flatten` took apart, as the model takes it."""
        return tensors[0] if self._structure is None else keras.tree.pack_sequence_as(self._structure, tensors)

    def blank(self, shape: Shape | None) -> list[Array]:
        """One sample of zeros as `flatten` gives it; none where nothing tells its shape.

        `shape` is that of the data's samples, where these are one array. Lengths that are open otherwise are 4.
        """
        if not self._shapes:
            return [] if shape is None else self.flatten(np.zeros((1, *(length or 4 for length in shape))))
        shapes = [shape] if shape is not None and len(self._shapes) == 1 else self._shapes
        return [
            np.zeros((1, *(length or 4 for length in one)), dtype)
            for one, dtype in zip(shapes, self._dtypes, strict=True)
        ]

    def fits(self, shape: Shape) -> None:
        """Raise `ModelError` unless samples of one array, of this shape without the batch's axis, fit."""
        if not self._shapes:
            return
        if len(self._shapes) > 1 or not _matches(shape, self._shapes[0]):
            raise ModelError(
                f"the model takes samples of shape {_shown(self._shapes)}, but those of the data have shape {shape}"
            )

    def _parts(self, x: Any) -> list[Any]:
        if isinstance(x, Mapping):
            return self._by_name(x)
        parts = list(x) if isinstance(x, tuple | list) else [x]
        if self._structure is None:
            self._structure = tuple(range(len(parts))) if isinstance(x, tuple | list) else 0
        elif self._shapes and len(parts) != len(self._shapes):
            raise DataError(f"the model takes {len(self._shapes)} inputs a sample, but these samples have {len(parts)}")
        return parts

    def _by_name(self, x: Mapping[str, Any]) -> list[Any]:
        if self._structure is None:
            self._structure = dict.fromkeys(sorted(x), 0)
        names = sorted(self._structure) if isinstance(self._structure, Mapping) else self._names
        if set(names) != set(x):
            raise DataError(f"the model's inputs are named {', '.join(names)}, but the samples have {', '.join(x)}")
        return [x[name] for name in names]

    def _checked(self, part: Any, place: int) -> Array:
        array = np.asarray(part.toarray() if hasattr(part, "tocsr") else part)
        if array.dtype.kind not in "fiub":
            raise DataError(f"samples hold {array.dtype} where numbers are needed: encode them as numbers")
        if self._shapes and not _matches(array.shape[1:], self._shapes[place]):
            name = f" for input {self._names[place]!r}" if len(self._shapes) > 1 else ""
            raise DataError(
                f"samples of shape {array.shape[1:]} do not fit a model that takes {self._shapes[place]}{name}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError("samples have values that are NaN or infinite: fill or drop them")
        dtype = self._dtypes[place] if self._shapes else self._dtype if array.dtype.kind == "f" else "int64"
        return array if array.dtype.name == dtype else array.astype(dtype)


def _specs(model: Any) -> list[Any]:
    """Keras's descriptions of a model's inputs; empty for a subclassed model."""
    try:
        return list(model.inputs or ())
    except (AttributeError, ValueError):  # which of the two depends on Keras's version
        return []


def _structure(model: Any) -> Any:
    try:
        return model.input
    except (AttributeError, ValueError):  # likewise
        return model.inputs[0]


def _matches(shape: Shape, wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(
        right is None or left == right for left, right in zip(shape, wanted, strict=True)
    )


def _shown(shapes: list[Shape]) -> str:
    return " and ".join(map(str, shapes))
