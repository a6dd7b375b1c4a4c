"""Bulk bytes over write-once streams: published once, read by any number, checked by digest."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from broker.base import Message, Session, Stream
from broker.errors import BadBlob, Late, NotFound, Retryable, TooLarge, Unroutable

CHUNK_BYTES: Final = 1024 * 1024
"""Near the best for RabbitMQ, and far below the 16 MiB that a message may have."""

CHUNK_TYPE: Final = "chunk"
INDEX: Final = "chunk"
EDITION: Final = "edition"
OCTETS: Final = "application/octet-stream"

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Where bulk bytes are, and how to know that they are whole: `sha256` is their digest, 32 bytes.

    It is empty as long as nobody knows it: the bytes are still being written.
    """

    stream: str
    size: int
    chunks: int
    sha256: bytes
    edition: int = 0
    """Which of those in the stream is meant, where it was written to again as the first had come to harm."""


async def put(
    session: Session, stream: str, data: Bytes, *, chunk_bytes: int = CHUNK_BYTES, max_bytes: int | None = None
) -> BlobRef:
    """Declare a stream and write `data` to it; return once the broker has confirmed every chunk."""
    await session.declare(Stream(stream, max_bytes=max_bytes))
    return await write(session, stream, data, chunk_bytes=chunk_bytes)


async def write(
    session: Session,
    stream: str,
    data: Bytes,
    *,
    exchange: str = "",
    routing_key: str | None = None,
    edition: int = 0,
    chunk_bytes: int = CHUNK_BYTES,
) -> BlobRef:
    """Write `data` to a stream that somebody else declared, as clients do, who may not declare any.

    `exchange` and `routing_key` lead to the stream where the writer may not publish to it directly. `data` must not
    change until this returns. Writing the same bytes twice to one stream is harmless; others are another `edition`.
    Raises `Unroutable` if the stream is gone, and `Retryable` while it is only not up yet.
    """
    digest = hashlib.sha256()
    n_bytes = n_chunks = 0

    def chunks() -> Iterator[Message]:
        nonlocal n_bytes, n_chunks
        for message in cut(data, chunk_bytes, edition=edition):
            yield message
            digest.update(message.body)  # while it is on its way
            n_bytes, n_chunks = n_bytes + len(message.body), n_chunks + 1

    try:
        await session.publish_all(chunks(), exchange=exchange, routing_key=routing_key or stream)
    except Unroutable as unroutable:
        try:
            await session.count(stream)
        except NotFound:
            raise unroutable from None
        raise Retryable(f"{stream} was not up, or nothing leads to it: write it again") from unroutable
    return BlobRef(stream, n_bytes, n_chunks, digest.digest(), edition)


def cut(data: Bytes, chunk_bytes: int = CHUNK_BYTES, *, edition: int = 0) -> Iterator[Message]:
    """The numbered chunks of `data`, as views of it."""
    view = memoryview(data).cast("B")
    told = {EDITION: edition} if edition else {}
    for index, start in enumerate(range(0, len(view), chunk_bytes)):
        piece = view[start : start + chunk_bytes]
        yield Message(piece, type=CHUNK_TYPE, content_type=OCTETS, headers={INDEX: index, **told})


def unproven(stream: str, data: Bytes, chunk_bytes: int = CHUNK_BYTES) -> BlobRef:
    """What refers to `data` before its digest is known, for those who read it while it is being written."""
    n_bytes = memoryview(data).nbytes
    return BlobRef(stream, n_bytes, -(-n_bytes // chunk_bytes), sha256=b"")


def ref_of(stream: str, data: Bytes, chunk_bytes: int = CHUNK_BYTES) -> BlobRef:
    """What refers to `data` once its chunks are in `stream`."""
    return replace(unproven(stream, data, chunk_bytes), sha256=hashlib.sha256(data).digest())


async def pour(
    session: Session, ref: BlobRef, take: Callable[[int, memoryview], None], *, timeout_s: float = 60.0
) -> None:
    """Hand each chunk to `take`, with the place of its first byte, in order, also while they are still being written.

    `take` runs in a thread, while the next chunks are on their way. Raises `BadBlob` for anything but the announced
    bytes and for a stream that is missing or deleted meanwhile, and `Late` when the next chunk does not come within
    `timeout_s`. **The digest is known to be right only when this returns**: until then the chunks are what somebody
    claims.
    """
    found = await _read(session, ref, take, timeout_s=timeout_s)
    if found != ref.sha256:
        raise BadBlob(f"{ref.stream}: SHA-256 is {found.hex()}, announced was {ref.sha256.hex()}")


async def _read(session: Session, ref: BlobRef, take: Callable[[int, memoryview], None], *, timeout_s: float) -> bytes:
    """As `pour` does, but return the digest of what came, whatever was announced."""
    digest = hashlib.sha256()
    index = size = 0

    def digest_and_take(message: Message) -> bool:
        """Goes over repetitions of earlier chunks, and over other editions."""
        nonlocal index, size
        found = _index(message, ref)
        if found is not None and found > index:
            raise BadBlob(f"{ref.stream}: chunk {found} came where chunk {index} of {ref.chunks} belongs")
        if found == index:
            chunk = memoryview(message.body)
            start, size = size, size + len(chunk)
            if size > ref.size:
                raise BadBlob(f"{ref.stream}: chunk {index} goes beyond the {ref.size} bytes announced")
            digest.update(chunk)
            take(start, chunk)
            index += 1
        return index == ref.chunks

    try:
        if ref.chunks:
            await session.pour(ref.stream, digest_and_take, timeout_s=timeout_s)
    except Late as error:
        raise Late(f"{ref.stream}: chunk {index} of {ref.chunks} did not come within {timeout_s:g} s") from error
    except NotFound as error:
        if not index:
            raise BadBlob(f"{ref.stream}: there is no such stream, it was deleted or never written") from error
        raise BadBlob(f"{ref.stream}: deleted before chunk {index} of {ref.chunks} was read") from error
    except TooLarge as error:
        raise BadBlob(f"{ref.stream}: {error}") from error
    if size != ref.size:
        raise BadBlob(f"{ref.stream}: {ref.chunks} chunks hold {size} bytes, {ref.size} were announced")
    return digest.digest()


async def get(
    session: Session, ref: BlobRef, *, into: bytearray | memoryview | None = None, timeout_s: float = 60.0
) -> memoryview:
    """Read a whole blob, into `into` where given, and return a view of it. Raises as `pour` does.

    Without `into` this reserves the memory that `ref` asks for: check `ref.size` first if others wrote it.
    """
    target = memoryview(bytearray(ref.size) if into is None else into).cast("B")
    await pour(session, ref, _keeper(ref, target), timeout_s=timeout_s)
    return target


async def get_unproven(
    session: Session, ref: BlobRef, *, into: bytearray | memoryview, timeout_s: float = 60.0
) -> BlobRef:
    """Read a blob whose digest is not known yet, into `into`, and return what refers to the bytes that came.

    Raises as `pour` does, but for a digest. **They are not known to be right before somebody announces the same.**
    """
    keep = _keeper(ref, memoryview(into).cast("B"))
    return replace(ref, sha256=await _read(session, ref, keep, timeout_s=timeout_s))


def _keeper(ref: BlobRef, target: memoryview) -> Callable[[int, memoryview], None]:
    """Puts chunks where they belong. Raises `BadBlob` for a `target` of another size."""
    if len(target) != ref.size:
        raise BadBlob(f"{ref.stream}: {ref.size} bytes are announced, {len(target)} were expected")

    def keep(start: int, chunk: memoryview) -> None:
        target[start : start + len(chunk)] = chunk

    return keep


async def delete(session: Session, ref: BlobRef) -> None:
    """Delete a blob; readers in the middle of it get `BadBlob`. One that is gone already is no error."""
    await session.delete(ref.stream)


def _index(message: Message, ref: BlobRef) -> int | None:
    """None for a chunk of another edition."""
    index = message.headers.get(INDEX)
    if message.headers.get(EDITION, 0) != ref.edition:
        return None
    if message.type != CHUNK_TYPE or not isinstance(index, int):
        raise BadBlob(f"{ref.stream}: holds a message of type {message.type!r} that is no numbered chunk")
    return index
