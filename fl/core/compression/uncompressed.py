"""Vectors as they are."""

from collections.abc import Iterator

from fl.core.compression.api import CellwiseCompression
from fl.core.compression.cells import Bytes, Cell, exact_cells, read_exact, write_exact
from fl.core.layout import FLOATS, Layout
from fl.core.vector import Array, NumpyVector


class Uncompressed(CellwiseCompression):
    """The bytes of `NumpyVector.pack`. Without integer tensors, encoding and decoding share memory and copy nothing."""

    name = "none"
    lossless = True

    def encode(self, vector: NumpyVector) -> memoryview:
        return vector.pack()

    def decode(self, layout: Layout, payload: Bytes) -> NumpyVector:
        return NumpyVector.unpack(layout, payload)

    def float_nbytes(self, trainable: Layout) -> int:
        return FLOATS[trainable.float_dtype] * trainable.float_size

    def cells_of(self, trainable: Layout) -> Iterator[Cell]:
        return exact_cells(0, trainable.float_size, trainable.float_dtype)

    def squeeze(self, values: Array, into: memoryview) -> None:
        write_exact(values, into)

    def expand(self, cell: Cell, data: memoryview, dtype: str) -> Array:
        return read_exact(data, dtype)
