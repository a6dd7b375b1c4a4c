"""What a payload is cut into: cells, each of which gives some floats by itself."""

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from fl.core.layout import FLOATS
from fl.core.vector import Array

CELL: Final = 1 << 14
"""Floats of a cell: few enough that they and what is computed from them stay in the cache."""

EXACT_CELL: Final = 1 << 16
"""Of those that travel as they are, and cost nothing to decode: as many as a sum takes at a time."""

Bytes: TypeAlias = bytes | bytearray | memoryview


class Cell(NamedTuple):
    """A part of a payload that is decoded by itself."""

    start: int
    """The first of its floats, in the whole vector."""
    size: int
    """Floats, at least one."""
    nbytes: int
    """In the payload."""


def even_cells(start: int, stop: int, *, item_nbytes: int, most: int = CELL) -> Iterator[Cell]:
    """Cells for the floats from `start` to `stop`, each of which takes `item_nbytes`."""
    for first in range(start, stop, most):
        size = min(most, stop - first)
        yield Cell(first, size, size * item_nbytes)


def exact_cells(start: int, stop: int, dtype: str) -> Iterator[Cell]:
    """Cells of floats that travel as they are."""
    return even_cells(start, stop, item_nbytes=FLOATS[dtype], most=EXACT_CELL)


def read_exact(data: Bytes, dtype: str) -> Array:
    """Floats that travelled as they are, as a view of `data`."""
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))


def write_exact(values: Array, into: memoryview) -> None:
    """The values' little-endian bytes."""
    np.frombuffer(into, values.dtype.newbyteorder("<"))[:] = values


def saturated(values: Array, largest: float) -> Array:
    """Finite values beyond ±`largest` as that, so that no rounding makes an infinity of them.

    Infinities stay what they are, for the receiver to see that training diverged; every NaN becomes numpy's own.
    """
    if max(float(values.max()), -float(values.min())) <= largest:  # not so where there is a NaN
        return values
    kept = np.where(np.isinf(values), values, np.clip(values, -largest, largest))
    kept[np.isnan(kept)] = np.nan
    return kept
