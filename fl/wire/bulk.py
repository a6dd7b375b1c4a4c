"""Vectors across the broker: inline where they are small, else as a blob."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from broker import blob
from broker.base import Session, Stream
from broker.blob import BlobRef
from broker.errors import BadBlob
from broker.threads import in_thread
from fl.core.compression import Compression
from fl.core.vector import Array, NumpyVector, TakeFloats
from fl.errors import BadMessage
from fl.tasks import together
from fl.wire.tensors import (
    NONE,
    blob_ref,
    check_compression,
    enclosed,
    read_inline,
    read_layout,
    referring,
    tag,
    unpack,
)
from fl.wire.tensors_pb2 import Tensors

INLINE_BYTES: Final = 256 * 1024
"""Up to here a vector travels inside its message."""

NEXT_CHUNK_S: Final = 30.0
"""How long the broker may take over the next chunk: a blob is whole, or being written, when anybody is told of it."""

Announce = Callable[[BlobRef], Coroutine[Any, Any, None]]
"""Tells somebody of a blob that is only now being written: what refers to it has no digest."""


async def tell_nobody(_: BlobRef) -> None:
    """Whoever reads it hears of it when it is whole."""


async def ship(
    session: Session,
    vector: NumpyVector,
    stream: str,
    compression: Compression = NONE,
    *,
    inline_bytes: int = INLINE_BYTES,
    announce: Announce = tell_nobody,
) -> Tensors:
    """Tensors that anybody may read: inline, or safe in `stream` once this returns.

    `announce` is called when there is such a stream, and goes on beside the writing.
    """
    name = tag(compression)
    if compression.nbytes(vector.layout) <= inline_bytes:
        return enclosed(vector.layout, compression.encode(vector), name)
    # A stream of that name can only hold a part of the same bytes, left by a process that was killed.
    await session.delete(stream)
    payload = await in_thread(compression.encode, vector)
    await session.declare(Stream(stream))
    async with together() as group:
        group.create_task(announce(blob.unproven(stream, payload)))
        ref = await blob.write(session, stream, payload)
    return referring(vector.layout, ref, name)


async def fetch(session: Session, tensors: Tensors, compression: Compression = NONE) -> NumpyVector:
    """The vector, wherever its bytes are.

    Raises `BadMessage` when they are gone or not what was announced, and `broker.errors.Late`.
    """
    ref = checked_ref(tensors, compression)
    if ref is None:
        return read_inline(tensors, compression)
    try:
        data = await blob.get(session, ref, timeout_s=NEXT_CHUNK_S)
    except BadBlob as error:
        raise BadMessage(str(error)) from None
    return await in_thread(unpack, tensors, data, compression)


async def pour(
    session: Session, tensors: Tensors, take: TakeFloats, compression: Compression = NONE
) -> tuple[Array, ...]:
    """Hand over the floats part by part, in order, each time with the place of the first; return the other tensors.

    `take` runs in a thread. **What it was given counts only when this returns.** Raises as `fetch` does.
    """
    ref = checked_ref(tensors, compression)
    if ref is None:
        vector = read_inline(tensors, compression)
        await in_thread(take, 0, vector.flat)
        return vector.others
    decoder = compression.decoder(read_layout(tensors.layout))

    def feed(_: int, chunk: memoryview) -> None:
        for start, values in decoder.feed(chunk):
            take(start, values)

    try:
        await blob.pour(session, ref, feed, timeout_s=NEXT_CHUNK_S)
        return decoder.finish()
    except (BadBlob, ValueError) as error:
        raise BadMessage(str(error)) from None


def checked_ref(tensors: Tensors, compression: Compression = NONE) -> BlobRef | None:
    """Where the bulk lies; None when it is inline. Raises `BadMessage` when it cannot be that of these tensors."""
    check_compression(tensors, compression)
    ref = announced_ref(tensors)
    if ref is not None and ref.size != compression.nbytes(read_layout(tensors.layout)):
        raise _misannounced(ref)
    return ref


def announced_ref(tensors: Tensors) -> BlobRef | None:
    """Likewise, for whoever carries bytes on and cannot know how many there are where they are compressed."""
    ref = blob_ref(tensors)
    if ref is None:
        return None
    is_plain = not tensors.compression
    if ref.sha256 != tensors.digest or (is_plain and ref.size != read_layout(tensors.layout).nbytes):
        raise _misannounced(ref)
    return ref


def _misannounced(ref: BlobRef) -> BadMessage:
    return BadMessage(f"tensors: the blob in {ref.stream} is announced with another digest or size than they have")
