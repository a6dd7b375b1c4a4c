"""Values that are combined over clients: updates, what optimizers exchange, metrics' states.

Law: `merge` is associative and commutative up to the rounding of float64, so merging parts and finishing gives what
the whole would have given. One fold serves them all, and a secure aggregation can sum them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from fl.core.vector import Array, NumpyVector, Vector, check_same, chunks

Addend = Vector | Array | float


class Mergeable(Protocol):
    """A part of a sum over clients."""

    def merge(self, other: Self) -> Self:
        """Both parts as one; neither is changed. Raises `ValueError` when they do not fit together."""

    def finish(self) -> Any:
        """What the sum is for."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Named vectors, arrays or numbers that are added name by name."""

    fields: Mapping[str, Addend]

    def merge(self, other: "Sum") -> "Sum":
        if self.fields.keys() != other.fields.keys():
            odd = sorted(self.fields.keys() ^ other.fields.keys())
            raise ValueError(f"parts of one sum must have the same fields, but only one of them has {', '.join(odd)}")
        return Sum({name: _add(name, value, other.fields[name]) for name, value in self.fields.items()})

    def finish(self) -> Mapping[str, Addend]:
        return self.fields


class PartwiseSum(Mergeable, Protocol):
    """A sum of updates whose result can be had a part at a time, in the place of a whole vector more."""

    @property
    def total(self) -> NumpyVector:
        """What was summed, in float64."""

    @property
    def weight(self) -> float:
        """Zero where nobody did anything, and there is no result."""

    def at(self, part: slice) -> Array:
        """The result in that part of the floats, in float64."""


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """Σ weight·vector in float64 and Σ weight: what a weighted mean needs to know of its parts."""

    total: NumpyVector
    weight: float
    dtype: str
    """Of the vectors that were summed, and of the mean."""

    def merge(self, other: Self) -> Self:
        check_same(self.total.layout, other.total.layout)
        return replace(self, total=self.total + other.total, weight=self.weight + other.weight)

    def at(self, part: slice) -> Array:
        """The weighted mean in that part of the floats, in float64; `weight` must not be zero."""
        return np.divide(self.total.flat[part], self.weight)

    def finish(self) -> NumpyVector | None:
        """The weighted mean; None when all weights are zero, and there is nothing to take a mean of."""
        if not self.weight:
            return None
        result = NumpyVector.zeros(self.total.layout.with_float_dtype(self.dtype))
        for part in chunks(result.flat.size):
            result.flat[part] = self.at(part)
        return result


def _add(name: str, left: Any, right: Any) -> Addend:
    if not isinstance(left, Vector) and np.shape(left) != np.shape(right):
        raise ValueError(f"field {name!r} has shape {np.shape(left)} in one part and {np.shape(right)} in another")
    total: Addend = left + right
    return total
