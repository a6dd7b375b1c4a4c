"""Streams: an append-only log that any number of readers read from its first record."""

import asyncio

import pytest

from broker.base import Binding, Exchange, Message, Queue, Session, Stream
from broker.errors import NotFound
from tests.contract.backends import Backend, bodies, take, take_one


async def append(session: Session, stream: str, *records: bytes) -> None:
    for record in records:
        await session.publish(Message(record), routing_key=stream)


async def test_a_reader_gets_every_record_from_the_first(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    records = [f"{number}".encode() for number in range(100)]
    await append(session, name, *records)

    # When
    read = await bodies(await session.read(name), 100)

    # Then
    assert read == records


async def test_reading_takes_nothing_away(session: Session, name: str) -> None:
    await session.declare(Stream(name))
    await append(session, name, b"a", b"b")

    await bodies(await session.read(name), 2)

    assert await bodies(await session.read(name), 2) == [b"a", b"b"]


async def test_many_readers_each_get_all_while_it_is_written(backend: Backend, session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    await append(session, name, b"before")
    readers = [await (await backend.connect()).read(name) for _ in range(4)]

    # When
    reading = [asyncio.ensure_future(bodies(reader, 11)) for reader in readers]
    records = [f"{number}".encode() for number in range(10)]
    await append(session, name, *records)

    # Then
    assert await asyncio.gather(*reading) == [[b"before", *records]] * 4


async def test_a_reader_has_credit_for_prefetch_records_only(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    await append(session, name, *[b"%d" % number for number in range(10)])
    reader = await session.read(name, prefetch=3)
    held = await take(reader, 3)
    waiting = asyncio.ensure_future(anext(reader))

    # When
    # Another reader sees all ten, so the first could have been served long ago.
    await bodies(await session.read(name), 10)
    served_without_credit = waiting.done()
    for delivery in held:
        await delivery.ack()

    # Then
    assert (served_without_credit, (await waiting).message.body) == (False, b"3")


async def test_putting_a_record_back_only_gives_credit(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    await append(session, name, b"a", b"b")
    reader = await session.read(name, prefetch=1)

    # When
    await (await take_one(reader)).nack()

    # Then
    assert await bodies(reader, 1) == [b"b"]


async def test_a_stream_takes_what_an_exchange_routes_to_it(session: Session, name: str) -> None:
    # Given
    await session.declare(Exchange(name), Stream(f"{name}-log"), Binding(f"{name}-log", name, "*.log"))

    # When
    await session.publish(Message(b"record"), exchange=name, routing_key="run.log")

    # Then
    delivery = await take_one(await session.read(f"{name}-log"))
    assert (delivery.exchange, delivery.routing_key, delivery.redelivered) == (name, "run.log", False)


async def test_a_marker_of_ones_own_is_the_end_of_what_was_there(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    await append(session, name, b"a", b"b", b"c")
    await session.publish(Message(b"", type="marker", message_id="mine"), routing_key=name)

    # When
    read = []
    async for delivery in await session.read(name):
        await delivery.ack()
        if delivery.message.message_id == "mine":
            break
        read.append(delivery.message.body)

    # Then
    assert read == [b"a", b"b", b"c"]


async def test_deleting_a_stream_ends_its_readers_quietly(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    await append(session, name, b"a")
    reader = await session.read(name)
    await bodies(reader, 1)
    waiting = asyncio.ensure_future(anext(reader))

    # When
    await session.delete(name)

    # Then
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_deleting_a_queue_ends_its_consumers_quietly(backend: Backend, session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    subscription = await (await backend.connect()).consume(name, prefetch=1)
    waiting = asyncio.ensure_future(anext(subscription))

    # When
    await session.delete(name)

    # Then
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_settling_a_delivery_of_a_deleted_queue_is_harmless(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    await append(session, name, b"a")
    subscription = await session.consume(name, prefetch=1)
    delivery = await take_one(subscription)

    # When
    await session.delete(name)
    assert [each async for each in subscription] == []
    await delivery.ack()

    # Then
    with pytest.raises(NotFound):
        await session.count(name)


async def test_a_limited_stream_forgets_its_oldest_records(session: Session, name: str) -> None:
    # Given
    limit = 4 * 1024 * 1024
    await session.declare(Stream(name, max_bytes=limit))

    # When
    await append(session, name, *[b"%04d" % number + bytes(1024 * 1024 - 4) for number in range(20)])

    # Then
    reader = await session.read(name, prefetch=1)
    assert bytes((await take_one(reader)).message.body[:4]) > b"0000"


async def test_a_limited_stream_keeps_at_least_what_its_limit_allows(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name, max_bytes=10 * 1024 * 1024))

    # When
    await append(session, name, *[b"%d" % number + bytes(1024 * 1024) for number in range(8)])

    # Then
    assert [body[:1] for body in await bodies(await session.read(name), 8)] == [b"%d" % number for number in range(8)]
