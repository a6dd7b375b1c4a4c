"""Vectors across the broker: inline where they are small, else as a blob."""

from typing import Final

from broker import blob
from broker.base import Session
from broker.errors import BadBlob
from fl.core.vector import NumpyVector
from fl.errors import BadMessage
from fl.wire.tensors import blob_ref, inline, read_inline, read_layout, referring, unpack
from fl.wire.tensors_pb2 import Tensors

INLINE_BYTES: Final = 256 * 1024
"""Up to here a vector travels inside its message."""

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
    ref = blob_ref(tensors)
    if ref is None:
        return read_inline(tensors)
    if ref.sha256 != tensors.digest or ref.size != read_layout(tensors.layout).nbytes:
        raise BadMessage(f"tensors: the blob in {ref.stream} is announced with another digest or size than they have")
    try:
        return unpack(tensors, await blob.get(session, ref, timeout_s=NEXT_CHUNK_S))
    except BadBlob as error:
        raise BadMessage(str(error)) from None
