"""Two bytes per float: the upper half of a float32, or IEEE's half precision."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Final

import numpy as np

from fl.core.compression.api import CellwiseCompression
from fl.core.compression.cells import Cell, even_cells, read_exact, saturated, write_exact
from fl.core.layout import Layout
from fl.core.vector import Array

HALF: Final = "float16"
"""Floats of a model in half precision are small enough: they travel as they are."""

LARGEST_BFLOAT16: Final = float.fromhex("0x1.fep127")
LARGEST_FLOAT16: Final = 65504.0


class _Half(CellwiseCompression, register=False):
    """Each float by itself, rounded to nearest, ties to even.

    Finite values too large for the format become its largest, and not infinity: error feedback then sends the rest
    later, where an infinity would spoil the sum over all clients. Infinities and NaN stay.
    """

    @abstractmethod
    def narrow(self, values: Array) -> Array:
        """Items of 2 bytes. Encoding what they decode to gives them again."""

    @abstractmethod
    def widen(self, items: Array) -> Array:
        """Floats of 4 bytes or fewer, exactly what the items stand for."""

    def float_nbytes(self, trainable: Layout) -> int:
        return 2 * trainable.float_size

    def cells_of(self, trainable: Layout) -> Iterator[Cell]:
        return even_cells(0, trainable.float_size, item_nbytes=2)

    def squeeze(self, values: Array, into: memoryview) -> None:
        write_exact(values if values.dtype == HALF else self.narrow(values), into)

    def expand(self, cell: Cell, data: memoryview, dtype: str) -> Array:
        if dtype == HALF:
            return read_exact(data, HALF)
        return self.widen(np.frombuffer(data, "<u2")).astype(dtype, copy=False)


class Bfloat16(_Half):
    """float32 without the lower half of its bits: the same range, within 2⁻⁸ of each value.

    Below float32's normal numbers, within 2⁻¹³⁴. float64 is rounded to float32 first.
    """

    name = "bf16"
    largest = LARGEST_BFLOAT16

    def narrow(self, values: Array) -> Array:
        bits = saturated(values, self.largest).astype("float32", copy=False).view("uint32")
        # to nearest: add half of the last place that is kept, or a hair less where that place is even
        rounded = bits >> 16
        rounded &= 1
        rounded += 0x7FFF
        rounded += bits
        rounded >>= 16
        return rounded.astype("uint16")

    def widen(self, items: Array) -> Array:
        bits = items.astype("uint32")
        bits <<= 16
        return bits.view("float32")


class Float16(_Half):
    """IEEE 754 binary16: within 2⁻¹¹ of each value from 2⁻¹⁴ to 65504, and within 2⁻²⁵ of smaller ones."""

    name = "fp16"
    largest = LARGEST_FLOAT16

    def narrow(self, values: Array) -> Array:
        return saturated(values, self.largest).astype("float16").view("uint16")

    def widen(self, items: Array) -> Array:
        return items.view("<f2").astype("float32")
