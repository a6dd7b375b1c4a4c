"""Vectors across the broker: inline where they are small, else as a blob."""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from broker import blob
from broker.base import Session
from broker.blob import BlobRef
from broker.errors import BadBlob
from fl.core.vector import Array, Layout, NumpyVector
from fl.errors import BadMessage
from fl.wire.tensors import blob_ref, inline, read_inline, read_layout, referring, unpack
from fl.wire.tensors_pb2 import Tensors

INLINE_BYTES: Final = 256 * 1024
"""Up to here a vector travels inside its message."""

TakeFloats: TypeAlias = Callable[[int, Array], None]

NEXT_CHUNK_S: Final = 30.0
"""How long the broker may take over the next chunk: a blob is whole before anybody is told of it."""


async def ship(session: Session, vector: NumpyVector, stream: str, *, inline_bytes: int = INLINE_BYTES) -> Tensors:
    """Tensors that anybody may read: inline, or safe in `stream` once this returns."""
    if vector.layout.nbytes <= inline_bytes:
        return inline(vector)
    # A stream of that name can only hold a part of the same bytes, left by a process that was killed.
    await session.delete(stream)
    return referring(vector.layout, await blob.put(session, stream, vector.pack()))


async def fetch(session: Session, tensors: Tensors) -> NumpyVector:
    """The vector, wherever its bytes are.

    Raises `BadMessage` when they are gone or not what was announced, and `broker.errors.Late`.
    """
    ref = checked_ref(tensors)
    if ref is None:
        return read_inline(tensors)
    try:
        return unpack(tensors, await blob.get(session, ref, timeout_s=NEXT_CHUNK_S))
    except BadBlob as error:
        raise BadMessage(str(error)) from None


async def pour(session: Session, tensors: Tensors, take: TakeFloats) -> tuple[Array, ...]:
    """Hand over the floats part by part, in order, each time with the place of the first; return the other tensors.

    `take` runs in a thread. **What it was given counts only when this returns.** Raises as `fetch` does.
    """
    ref = checked_ref(tensors)
    if ref is None:
        vector = read_inline(tensors)
        await blob.in_thread(take, 0, vector.flat)
        return vector.others
    parts = Parts(read_layout(tensors.layout), take)
    try:
        await blob.pour(session, ref, parts.take, timeout_s=NEXT_CHUNK_S)
    except BadBlob as error:
        raise BadMessage(str(error)) from None
    return parts.others


def checked_ref(tensors: Tensors) -> BlobRef | None:
    """Where the bulk lies; None when it is inline. Raises `BadMessage` when it cannot be that of these tensors."""
    ref = blob_ref(tensors)
    if ref is not None and (ref.sha256 != tensors.digest or ref.size != read_layout(tensors.layout).nbytes):
        raise BadMessage(f"tensors: the blob in {ref.stream} is announced with another digest or size than they have")
    return ref


class Parts:
    """Finds the tensors in the bytes of a vector, which come in pieces of any length: floats first, then the others."""

    def __init__(self, layout: Layout, take: TakeFloats) -> None:
        self._layout = layout
        self._dtype = np.dtype(layout.float_dtype).newbyteorder("<")
        self._end = layout.float_size * self._dtype.itemsize
        """Of the floats."""
        self._take = take
        self._rest = b""
        """The beginning of a float whose end is in the next piece."""
        self._others = bytearray()

    def take(self, start: int, piece: memoryview) -> None:
        n_float = min(max(0, self._end - start), len(piece))
        self._others += piece[n_float:]
        piece = piece[:n_float]
        if self._rest or n_float % self._dtype.itemsize:
            start, piece = start - len(self._rest), memoryview(self._rest + bytes(piece))
            whole = len(piece) - len(piece) % self._dtype.itemsize
            self._rest, piece = bytes(piece[whole:]), piece[:whole]
        if piece:
            self._take(start // self._dtype.itemsize, np.frombuffer(piece, self._dtype))

    @property
    def others(self) -> tuple[Array, ...]:
        """All but the floats, once everything has come."""
        return NumpyVector.unpack(Layout(self._layout.other_specs), self._others).others
