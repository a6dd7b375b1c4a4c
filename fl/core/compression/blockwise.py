"""One byte per float, and a scale for each block of them."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from fl.core.compression.api import CellwiseCompression
from fl.core.compression.cells import CELL, Cell, saturated
from fl.core.layout import Layout, Role
from fl.core.optimizer import options
from fl.core.vector import Array, NumpyVector
from fl.errors import ConfigError

LEVELS: Final = 127
SCALE_NBYTES: Final = 4
LARGEST: Final = float(np.finfo(np.float32).max)
LARGEST_SCALE: Final = np.nextafter(np.float32(LARGEST / LEVELS), np.float32(0))
"""Of which 127 are a finite float32, also when rounded."""
SMALLEST_SCALE: Final = np.finfo(np.float32).tiny
"""Below it a scale would have too few bits for its levels to be where they should."""


class Int8(CellwiseCompression):
    """q = round(v / s) as an int8, with s = max|v| / 127 of its block: within s/2 of each value, up to rounding.

    Blocks are of `block` floats and end where their tensor does, so that no tensor's scale is another's. A block
    whose values are all below 127·2⁻¹²⁶ is zeros. Finite values beyond float32's range become its largest.

    A cell is some blocks of one length: of each its scale, a little-endian float32, and its levels.
    """

    name = "int8"
    largest = LARGEST

    def __init__(self, block: int = 1024) -> None:
        options.counts(self.name, 1, block=block)
        if block > CELL:
            raise ConfigError(f"{self.name}: block is {block}: use a whole number from 1 to {CELL}")
        self.block = block

    def float_nbytes(self, trainable: Layout) -> int:
        n_blocks = sum(-(-size // self.block) for size in trainable.float_sizes)
        return trainable.float_size + n_blocks * SCALE_NBYTES

    def cells_of(self, trainable: Layout) -> Iterator[Cell]:
        start = 0
        for size in trainable.float_sizes:
            stop = start + size
            whole = stop - size % self.block
            per_cell = CELL - CELL % self.block
            for first in range(start, whole, per_cell):
                yield _cell(first, min(per_cell, whole - first), self.block)
            if whole < stop:
                yield _cell(whole, stop - whole, stop - whole)
            start = stop

    def encode(self, vector: NumpyVector) -> memoryview:
        """Raises `ValueError` naming a tensor with values that are NaN or infinite."""
        name = vector.select(Role.TRAINABLE).first_nonfinite()
        if name is not None:
            raise ValueError(f"{self.name}: tensor {name!r} has values that are NaN or infinite: no scale fits them")
        return super().encode(vector)

    def squeeze(self, values: Array, into: memoryview) -> None:
        blocks = saturated(values, LARGEST).astype("float32", copy=False).reshape(_n_blocks(len(values), into), -1)
        records = np.frombuffer(into, _record(blocks.shape[1]))
        peaks = np.maximum(blocks.max(axis=1), -blocks.min(axis=1))
        scales = np.minimum(peaks / np.float32(LEVELS), LARGEST_SCALE)
        scales[scales < SMALLEST_SCALE] = 0
        levels = blocks / np.where(scales, scales, np.float32(1))[:, None]
        records["scale"] = scales
        records["levels"] = np.rint(levels, out=levels)

    def expand(self, cell: Cell, data: memoryview, dtype: str) -> Array:
        records = np.frombuffer(data, _record(cell.size // _n_blocks(cell.size, data)))
        scales = records["scale"]
        fits = (scales >= 0) & (scales <= LARGEST_SCALE)
        if not fits.all():
            scale = scales[fits.argmin()]
            raise ValueError(f"{self.name}: a block of the cell at float {cell.start} has the scale {scale}")
        values = records["levels"].astype("float32")
        values *= scales[:, None]
        return values.reshape(-1).astype(dtype, copy=False)


def _cell(start: int, size: int, block: int) -> Cell:
    return Cell(start, size, size + size // block * SCALE_NBYTES)


def _n_blocks(size: int, data: memoryview) -> int:
    """Blocks of a cell of `size` floats."""
    return (data.nbytes - size) // SCALE_NBYTES


def _record(length: int) -> np.dtype[np.void]:
    return np.dtype([("scale", "<f4"), ("levels", "i1", (length,))])
