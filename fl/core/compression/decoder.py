"""Payloads that come in chunks of any length, decoded while they come."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from fl.core.compression.cells import Bytes, Cell, exact_cells, read_exact
from fl.core.layout import Layout, Role
from fl.core.vector import Array, NumpyVector

if TYPE_CHECKING:
    from fl.core.compression.api import Compression

Piece: TypeAlias = tuple[int, Array]
"""The place of the first of some floats, and the floats."""


class Section(NamedTuple):
    """What comes next in a payload, and what to do with it."""

    nbytes: int
    read: Callable[[memoryview], Piece | None]


class Decoder:
    """One payload on its way: chunks go in, floats come out in order, and no more than a cell is kept between.

    Nothing that came out counts before `finish` has returned, and after an error the decoder is of no more use.
    """

    def __init__(self, compression: "Compression", layout: Layout) -> None:
        self._compression = compression
        self._layout = layout
        self._nbytes = compression.nbytes(layout)
        self._n_fed = 0
        self._begun = bytearray()
        """The beginning of a part whose end is in the next chunk."""
        self._head = self._tail = b""
        self._parts = self._plan()
        self._part = next(self._parts, None)

    def check_whole(self, payload: Bytes) -> None:
        """Raise `ValueError` unless the payload is as long as that of these tensors."""
        nbytes = memoryview(payload).nbytes
        if nbytes != self._nbytes:
            raise ValueError(f"{self._what()}: {nbytes} came")

    def feed(self, chunk: Bytes) -> Iterator[Piece]:
        """The floats that are complete with this chunk, to be used before `chunk` changes; take all of them.

        Raises `ValueError` for a payload that goes on after its end, or that no encoder writes.
        """
        rest = memoryview(chunk).cast("B")
        self._n_fed += len(rest)
        if self._n_fed > self._nbytes:
            raise ValueError(f"{self._what()}: at least {self._n_fed} came")
        while self._part is not None:
            data, rest = self._next(self._part.nbytes, rest)
            if data is None:
                return
            piece = self._part.read(data)
            if piece is not None:
                yield piece
            self._part = next(self._parts, None)

    def finish(self) -> tuple[Array, ...]:
        """The integer tensors, in layout order. Raises `ValueError` for a payload that is too short."""
        if self._n_fed < self._nbytes:
            raise ValueError(f"{self._what()}: {self._n_fed} came")
        return NumpyVector.unpack(Layout(self._layout.other_specs), self._tail).others

    def _plan(self) -> Iterator[Section]:
        """Each part is asked for when those before it have been read."""
        trainable = self._layout.select(Role.TRAINABLE)
        dtype = self._layout.float_dtype
        yield Section(self._compression.head_nbytes(trainable), self._keep_head)
        for cell in self._compression.cells(trainable, self._head):
            yield Section(cell.nbytes, partial(self._expand, cell))
        for cell in exact_cells(trainable.float_size, self._layout.float_size, dtype):
            yield Section(cell.nbytes, partial(self._read, cell))
        yield Section(sum(spec.nbytes for spec in self._layout.other_specs), self._keep_tail)

    def _next(self, nbytes: int, chunk: memoryview) -> tuple[memoryview | None, memoryview]:
        """The next part, a view of the chunk where that has all of it; None where it has not. And what is left."""
        missing = nbytes - len(self._begun)
        mine, rest = chunk[:missing], chunk[missing:]
        if len(mine) == missing and not self._begun:
            return mine, rest
        self._begun += mine
        if len(mine) < missing:
            return None, rest
        whole, self._begun = self._begun, bytearray()
        return memoryview(whole), rest

    def _expand(self, cell: Cell, data: memoryview) -> Piece:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is for the receiver to refuse
            return cell.start, self._compression.expand(cell, data, self._layout.float_dtype)

    def _read(self, cell: Cell, data: memoryview) -> Piece:
        return cell.start, read_exact(data, self._layout.float_dtype)

    def _keep_head(self, data: memoryview) -> None:
        self._head = bytes(data)

    def _keep_tail(self, data: memoryview) -> None:
        self._tail = bytes(data)

    def _what(self) -> str:
        return f"{self._compression.name}: these tensors take {self._nbytes} bytes"
