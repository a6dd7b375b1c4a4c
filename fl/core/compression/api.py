"""What a compression promises, and the form that all payloads have."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from fl.core.compression.cells import Bytes, Cell
from fl.core.compression.decoder import Decoder
from fl.core.layout import Layout, Role
from fl.core.registry import Registered, Registry
from fl.core.vector import Array, NumpyVector


class Compression(Registered, ABC, register=False):
    """Vectors as payloads whose length follows from the layout, and back, a cell at a time.

    Only *trainable* floats are compressed. Buffers travel as they are: a variance of BatchNorm's that a rounding
    error of its update makes negative is the end of a training. So do integers.

    A payload is a head, which most compressions have none of; the cells of the trainable floats; the other floats,
    little-endian; and the integer tensors, in layout order.

    Laws: encoding is deterministic, and depends on no number of threads; decoding in chunks of any lengths gives what
    decoding the whole gives.
    """

    registry: ClassVar[Registry["Compression"]] = Registry(
        "compression",
        {
            "bf16": "fl.core.compression.halves:Bfloat16",
            "fp16": "fl.core.compression.halves:Float16",
            "int8": "fl.core.compression.blockwise:Int8",
            "none": "fl.core.compression.uncompressed:Uncompressed",
            "topk": "fl.core.compression.topk:TopK",
        },
    )
    lossless: ClassVar[bool] = False
    """Whether decoding gives back the very values, and there is no error to feed back."""
    for_weights: ClassVar[bool] = True
    """Whether what is decoded is near enough to train from, also without what was left out."""
    largest: ClassVar[float] = math.inf
    """The largest float that is only rounded; larger ones become this one."""

    @abstractmethod
    def float_nbytes(self, trainable: Layout) -> int:
        """What head and cells of these tensors' floats take, whatever their values.

        Without a look at each cell: the layout may be one that a stranger made up, of any number of them.
        """

    @abstractmethod
    def compress(self, values: Array, trainable: Layout, into: memoryview) -> None:
        """Write head and cells for the floats of these tensors. Raises `ValueError` for values that it cannot carry."""

    def head_nbytes(self, trainable: Layout) -> int:
        """Length of what must be known before the first cell can be read."""
        return 0

    @abstractmethod
    def cells(self, trainable: Layout, head: Bytes) -> Iterator[Cell]:
        """Cells of a payload with this head: they cover the floats in order. Raises `ValueError` for a wrong head."""

    @abstractmethod
    def expand(self, cell: Cell, data: memoryview, dtype: str) -> Array:
        """The floats of one cell as a 1-D array. Raises `ValueError` where `data` is what no encoder writes."""

    def nbytes(self, layout: Layout) -> int:
        """Length of every payload for tensors of this layout."""
        return self.float_nbytes(layout.select(Role.TRAINABLE)) + _exact(layout).nbytes

    def encode(self, vector: NumpyVector) -> memoryview:
        """The payload. Raises `ValueError` for values that this compression cannot carry."""
        trainable = vector.layout.select(Role.TRAINABLE)
        exact = _exact(vector.layout)
        n_compressed = self.float_nbytes(trainable)
        payload = np.empty(n_compressed + exact.nbytes, np.uint8).data
        self.compress(vector.flat[: trainable.float_size], trainable, payload[:n_compressed])
        payload[n_compressed:] = NumpyVector(exact, vector.flat[trainable.float_size :], vector.others).pack()
        return payload

    def first_beyond(self, vector: NumpyVector) -> str | None:
        """The first tensor with values that this does more to than round them: larger than `largest`, or NaN."""
        start = 0
        for spec in vector.layout.select(Role.TRAINABLE).float_specs:
            values = vector.flat[start : start + spec.size]
            start += spec.size
            if spec.size and not max(float(values.max()), -float(values.min())) <= self.largest:
                return spec.name
        return None

    def decoder(self, layout: Layout) -> Decoder:
        """For a payload that comes in chunks."""
        return Decoder(self, layout)

    def decode(self, layout: Layout, payload: Bytes) -> NumpyVector:
        """The vector of a whole payload. Raises `ValueError` saying what is wrong with it.

        This reserves the memory that `layout` asks for, which may be far more than the payload's.
        """
        self.decoder(layout).check_whole(payload)
        return self.decode_into(np.empty(layout.float_size, layout.float_dtype), layout, payload)

    def decode_into(self, flat: Array, layout: Layout, payload: Bytes) -> NumpyVector:
        """Likewise, in memory that is there: `flat` has as many floats as the layout, of its type."""
        decoder = self.decoder(layout)
        decoder.check_whole(payload)
        for start, values in decoder.feed(payload):
            flat[start : start + len(values)] = values
        return NumpyVector(layout, flat, decoder.finish())


class CellwiseCompression(Compression, register=False):
    """Each cell of a payload follows from the floats of that cell alone, and there is no head."""

    @abstractmethod
    def cells_of(self, trainable: Layout) -> Iterator[Cell]:
        """Cells that cover the floats of these tensors in order."""

    @abstractmethod
    def squeeze(self, values: Array, into: memoryview) -> None:
        """Write the cell of these values."""

    def compress(self, values: Array, trainable: Layout, into: memoryview) -> None:
        at = 0
        for cell in self.cells_of(trainable):
            self.squeeze(values[cell.start : cell.start + cell.size], into[at : at + cell.nbytes])
            at += cell.nbytes

    def cells(self, trainable: Layout, head: Bytes) -> Iterator[Cell]:
        return self.cells_of(trainable)


def _exact(layout: Layout) -> Layout:
    """The tensors that travel as they are."""
    return Layout(tuple(spec for spec in layout.specs if not (spec.is_float and spec.role is Role.TRAINABLE)))
