"""The largest changes only, each exactly."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import numpy as np

from fl.core.compression.api import Compression
from fl.core.compression.cells import CELL, Bytes, Cell
from fl.core.compression.selection import largest
from fl.core.layout import FLOATS, Layout
from fl.core.vector import Array
from fl.errors import ConfigError

PLACE_NBYTES: Final = 2
"""A place within a cell, whose start is known: so vectors may have any number of floats."""
COUNT_NBYTES: Final = 2


class TopK(Compression):
    """Of n floats the ⌈share·n⌉ with the largest |value|, over all tensors, and zeros for the others.

    Of two with the same size the first is kept. Meant for updates with error feedback (Stich et al. 2018, sparsified
    SGD with memory): weights without their small values are no weights.

    The head says how many floats of each cell are kept, as little-endian uint16. A cell is their places in it,
    ascending uint16, and then their values.
    """

    name = "topk"
    for_weights = False

    def __init__(self, share: float = 0.1) -> None:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise ConfigError(f"{self.name}: share is {share!r}: use a number above 0 and up to 1")
        self.share = share

    def n_kept(self, trainable: Layout) -> int:
        # as written: 0.07 of 100 floats are 7, where floats make it 7.000000000000001, and the next whole number 8
        return math.ceil(Fraction(str(self.share)) * trainable.float_size)

    def head_nbytes(self, trainable: Layout) -> int:
        return -(-trainable.float_size // CELL) * COUNT_NBYTES

    def float_nbytes(self, trainable: Layout) -> int:
        return self.head_nbytes(trainable) + self.n_kept(trainable) * _kept_nbytes(trainable.float_dtype)

    def compress(self, values: Array, trainable: Layout, into: memoryview) -> None:
        counts = np.frombuffer(into[: self.head_nbytes(trainable)], "<u2")
        at = counts.nbytes
        if not values.size:
            return
        for number, (start, places) in enumerate(largest(values, self.n_kept(trainable))):
            counts[number] = places.size
            kept = values[start : start + CELL][places]
            for items in (places.astype("<u2"), kept.astype(kept.dtype.newbyteorder("<"), copy=False)):
                into[at : at + items.nbytes] = items.view(np.uint8).data
                at += items.nbytes

    def cells(self, trainable: Layout, head: Bytes) -> Iterator[Cell]:
        counts = np.frombuffer(head, "<u2").tolist()
        if sum(counts) != self.n_kept(trainable):
            raise ValueError(
                f"{self.name}: the head announces {sum(counts)} floats, but {self.n_kept(trainable)} of "
                f"{trainable.float_size} are to be kept"
            )
        for number, count in enumerate(counts):
            start = number * CELL
            size = min(CELL, trainable.float_size - start)
            yield Cell(start, size, count * _kept_nbytes(trainable.float_dtype))

    def expand(self, cell: Cell, data: memoryview, dtype: str) -> Array:
        count = data.nbytes // _kept_nbytes(dtype)
        places = np.frombuffer(data[: count * PLACE_NBYTES], "<u2")
        if (places[1:] <= places[:-1]).any():
            raise ValueError(f"{self.name}: the cell at float {cell.start} names a place twice, or not in order")
        if count and places[-1] >= cell.size:
            raise ValueError(
                f"{self.name}: the cell at float {cell.start} has {cell.size} floats, and names place {places[-1]}"
            )
        values = np.zeros(cell.size, dtype)
        values[places] = np.frombuffer(data[count * PLACE_NBYTES :], np.dtype(dtype).newbyteorder("<"))
        return values


def _kept_nbytes(dtype: str) -> int:
    return PLACE_NBYTES + FLOATS[dtype]
