"""Bulk bytes over streams: written once, read by many, and never other than announced."""

import asyncio
import hashlib
import os
import threading
from dataclasses import replace
from typing import Any

import pytest

from broker import blob
from broker.base import Binding, Exchange, Message, Session, Stream
from broker.blob import BlobRef
from broker.errors import BadBlob, Late, NotFound
from tests.contract.backends import PATIENCE_S, Backend

CHUNK = 1000


def ref_to(stream: str, data: bytes) -> BlobRef:
    return BlobRef(stream, len(data), -(-len(data) // CHUNK), hashlib.sha256(data).digest())


async def put(session: Session, stream: str, data: bytes) -> BlobRef:
    return await blob.put(session, stream, data, chunk_bytes=CHUNK)


async def append_chunk(session: Session, stream: str, index: int, body: bytes) -> None:
    await session.publish(Message(body, type="chunk", headers={"chunk": index}), routing_key=stream)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 20 * CHUNK + 7])
async def test_what_was_put_is_what_one_gets(session: Session, name: str, size: int) -> None:
    data = os.urandom(size)

    ref = await put(session, name, data)

    assert await blob.get(session, ref) == data


async def test_a_reference_announces_size_chunks_and_digest(session: Session, name: str) -> None:
    data = os.urandom(2 * CHUNK + 1)

    ref = await put(session, name, data)

    assert ref == BlobRef(stream=name, size=2 * CHUNK + 1, chunks=3, sha256=hashlib.sha256(data).digest())


async def test_chunks_of_the_default_size_arrive(session: Session, name: str) -> None:
    data = os.urandom(3 * 1024 * 1024 + 1)

    ref = await blob.put(session, name, data)

    assert (ref.chunks, bytes(await blob.get(session, ref))) == (4, data)


async def test_data_may_be_a_view_of_numbers(session: Session, name: str) -> None:
    numbers: Any = memoryview(bytearray(os.urandom(8 * CHUNK))).cast("d")

    ref = await put(session, name, numbers)

    assert await blob.get(session, ref) == bytes(numbers)


async def test_a_blob_is_read_into_memory_that_is_there_already(session: Session, name: str) -> None:
    data = os.urandom(3 * CHUNK)
    ref = await put(session, name, data)
    target = bytearray(3 * CHUNK)

    await blob.get(session, ref, into=target)

    assert target == data


async def test_memory_of_another_size_is_refused(session: Session, name: str) -> None:
    ref = await put(session, name, b"four")

    with pytest.raises(BadBlob, match="4 bytes are announced, 5 were expected"):
        await blob.get(session, ref, into=bytearray(5))


async def test_many_read_while_it_is_written(backend: Backend, session: Session, name: str) -> None:
    # Given
    data = os.urandom(50 * CHUNK)
    await session.declare(Stream(name))
    reading = [
        asyncio.ensure_future(blob.get(await backend.connect(), ref_to(name, data), timeout_s=PATIENCE_S))
        for _ in range(3)
    ]

    # When
    await blob.write(session, name, data, chunk_bytes=CHUNK)

    # Then
    assert await asyncio.gather(*reading) == [data] * 3


async def test_who_reads_before_the_digest_is_known_learns_which_it_is(
    backend: Backend, session: Session, name: str
) -> None:
    # Given
    data, target = os.urandom(50 * CHUNK), bytearray(50 * CHUNK)
    await session.declare(Stream(name))
    reader = await backend.connect()
    reading = asyncio.ensure_future(
        blob.get_unproven(reader, blob.unproven(name, data, CHUNK), into=target, timeout_s=PATIENCE_S)
    )

    # When
    ref = await blob.write(session, name, data, chunk_bytes=CHUNK)

    # Then
    assert await reading == ref
    assert target == data


async def test_fewer_bytes_than_announced_are_found_out_without_a_digest(session: Session, name: str) -> None:
    await put(session, name, bytes(2 * CHUNK))
    announced = blob.unproven(name, bytes(2 * CHUNK + 1), CHUNK + 1)

    with pytest.raises(BadBlob, match="2 chunks hold 2000 bytes, 2001 were announced"):
        await blob.get_unproven(session, announced, into=bytearray(2 * CHUNK + 1))


async def test_writing_twice_is_read_once(session: Session, name: str) -> None:
    data = os.urandom(5 * CHUNK)
    await put(session, name, data)

    ref = await put(session, name, data)

    assert await blob.get(session, ref) == data


async def test_a_writer_that_died_and_began_again_is_read_right(session: Session, name: str) -> None:
    # Given
    data = os.urandom(5 * CHUNK)
    await session.declare(Stream(name))
    for index in range(3):
        await append_chunk(session, name, index, data[index * CHUNK : (index + 1) * CHUNK])

    # When
    ref = await put(session, name, data)

    # Then
    assert await blob.get(session, ref) == data


async def test_a_blob_may_reach_its_stream_through_an_exchange(session: Session, name: str) -> None:
    # Given
    data = os.urandom(3 * CHUNK)
    await session.declare(Exchange(name), Stream(f"{name}-bulk"), Binding(f"{name}-bulk", name, "run.alice.u.1"))

    # When
    ref = await blob.write(session, f"{name}-bulk", data, exchange=name, routing_key="run.alice.u.1", chunk_bytes=CHUNK)

    # Then
    assert await blob.get(session, ref) == data


async def test_a_deleted_blob_is_a_bad_one(session: Session, name: str) -> None:
    ref = await put(session, name, b"data")

    await blob.delete(session, ref)

    with pytest.raises(BadBlob, match="no such stream"):
        await blob.get(session, ref)


async def test_deleting_a_blob_twice_is_harmless(session: Session, name: str) -> None:
    ref = await put(session, name, b"data")
    await blob.delete(session, ref)

    await blob.delete(session, ref)

    with pytest.raises(NotFound):
        await session.count(name)


async def test_deleting_the_stream_under_a_reader_ends_it_at_once(
    backend: Backend, session: Session, name: str
) -> None:
    # Given
    await session.declare(Stream(name))
    await append_chunk(session, name, 0, bytes(CHUNK))
    reader = await backend.connect()
    begun = threading.Event()
    ref = ref_to(name, bytes(2 * CHUNK))
    waiting = asyncio.ensure_future(blob.pour(reader, ref, lambda *_: begun.set(), timeout_s=3600.0))
    await asyncio.to_thread(begun.wait)

    # When
    await session.delete(name)

    # Then
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(BadBlob, match="deleted before chunk 1 of 2"):
            await waiting


async def test_a_chunk_that_does_not_come_is_named(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    await append_chunk(session, name, 0, bytes(CHUNK))

    # When / Then
    with pytest.raises(Late, match=r"chunk 1 of 3 did not come within 0\.2 s"):
        await blob.get(session, ref_to(name, bytes(3 * CHUNK)), timeout_s=0.2)


async def test_a_gap_between_chunks_is_named(session: Session, name: str) -> None:
    await session.declare(Stream(name))
    await append_chunk(session, name, 1, bytes(CHUNK))

    with pytest.raises(BadBlob, match="chunk 1 came where chunk 0 of 2 belongs"):
        await blob.get(session, ref_to(name, bytes(2 * CHUNK)))


async def test_other_bytes_of_the_same_size_are_found_out(session: Session, name: str) -> None:
    ref = await put(session, name, bytes(2 * CHUNK))

    with pytest.raises(BadBlob, match="SHA-256"):
        await blob.get(session, replace(ref, sha256=hashlib.sha256(b"other").digest()))


async def test_more_bytes_than_announced_are_found_out(session: Session, name: str) -> None:
    ref = await put(session, name, bytes(2 * CHUNK))

    with pytest.raises(BadBlob, match="chunk 1 goes beyond the 1999 bytes announced"):
        await blob.get(session, replace(ref, size=2 * CHUNK - 1))


async def test_fewer_bytes_than_announced_are_found_out(session: Session, name: str) -> None:
    ref = await put(session, name, bytes(2 * CHUNK))

    with pytest.raises(BadBlob, match="2 chunks hold 2000 bytes, 2001 were announced"):
        await blob.get(session, replace(ref, size=2 * CHUNK + 1))


async def test_a_message_that_is_no_chunk_is_found_out(session: Session, name: str) -> None:
    await session.declare(Stream(name))
    await session.publish(Message(b"", type="TrainRequest"), routing_key=name)

    with pytest.raises(BadBlob, match="type 'TrainRequest'"):
        await blob.get(session, ref_to(name, bytes(CHUNK)))


async def test_a_reader_that_stops_early_leaves_no_subscription(session: Session, name: str) -> None:
    ref = await put(session, name, bytes(3 * CHUNK))

    def stop(_: int, chunk: memoryview) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        await blob.pour(session, ref, stop)

    assert (await session.count(name)).consumers == 0


async def test_a_reader_that_is_cancelled_is_done_with_its_memory(session: Session, name: str) -> None:
    # Given a reader that works on a chunk
    ref = await put(session, name, bytes(3 * CHUNK))
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def take(_: int, chunk: memoryview) -> None:
        begun.set()
        go_on.wait()
        done.set()

    reading = asyncio.ensure_future(blob.pour(session, ref, take))
    await asyncio.to_thread(begun.wait)

    # When
    reading.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    await asyncio.wait({reading})

    # Then
    assert (reading.cancelled(), done.is_set()) == (True, True)
