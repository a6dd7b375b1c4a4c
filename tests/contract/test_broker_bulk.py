"""Bulk: many messages in order to a stream, and a stream's records to whoever waits for them in a thread."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

import pytest

from broker.base import Binding, Exchange, Message, Session, Stream
from broker.errors import ConnectionLost, Late, NotFound, TooLarge, Unroutable
from tests.contract.backends import PATIENCE_S, Backend
from tests.rabbit_tools import MAX_MESSAGE_BYTES


def numbered(n: int) -> list[Message]:
    return [Message(number.to_bytes(4), type="number", headers={"number": number}) for number in range(n)]


def endless(under_way: threading.Event) -> Iterator[Message]:
    """Says when it has given some."""
    for number in count():
        if number == 20:
            under_way.set()
        yield Message(bytes(10_000))


def noting(came: threading.Event) -> Callable[[Message], bool]:
    """Takes all records, and says when one has come."""

    def take(_: Message) -> bool:
        came.set()
        return False

    return take


async def poured(session: Session, stream: str, n: int) -> list[Message]:
    """The first records of a stream, copied."""
    found: list[Message] = []

    def take(record: Message) -> bool:
        found.append(Message(bytes(record.body), type=record.type, headers=record.headers))
        return len(found) == n

    async with asyncio.timeout(PATIENCE_S):
        await session.pour(stream, take)
    return found


async def test_what_is_published_at_once_is_poured_in_order_with_all_it_says(session: Session, name: str) -> None:
    await session.declare(Stream(name))

    await session.publish_all(numbered(100), routing_key=name)

    found = await poured(session, name, 100)
    assert [(one.body, one.type, one.headers["number"]) for one in found] == [
        (number.to_bytes(4), "number", number) for number in range(100)
    ]


@pytest.mark.parametrize("n_bytes", [0, 1, 131_063, 131_064, 131_065, MAX_MESSAGE_BYTES])
async def test_a_body_of_any_size_comes_as_it_was(session: Session, name: str, n_bytes: int) -> None:
    # Given
    await session.declare(Stream(name))
    body = bytes(index % 251 for index in range(n_bytes))

    # When
    await session.publish_all([Message(body), Message(body[:100])], routing_key=name)

    # Then
    assert [one.body for one in await poured(session, name, 2)] == [body, body[:100]]


async def test_messages_are_made_while_earlier_ones_are_on_their_way(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    made_in = set()

    def messages() -> Iterator[Message]:
        for message in numbered(3):
            made_in.add(threading.current_thread())
            yield message

    # When
    await session.publish_all(messages(), routing_key=name)

    # Then
    assert threading.main_thread() not in made_in


async def test_a_reader_gets_what_is_written_after_it_began(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    reading = asyncio.create_task(poured(session, name, 20))

    # When
    for message in numbered(20):
        await session.publish_all([message], routing_key=name)

    # Then
    assert [one.body for one in await reading] == [one.body for one in numbered(20)]


async def test_many_write_and_read_at_a_time(session: Session, name: str) -> None:
    # Given
    streams = [f"{name}-{place}" for place in range(6)]
    await session.declare(*map(Stream, streams))

    # When
    reading = [asyncio.create_task(poured(session, stream, 50)) for stream in streams]
    await asyncio.gather(*(session.publish_all(numbered(50), routing_key=stream) for stream in streams))

    # Then
    for found in await asyncio.gather(*reading):
        assert [one.body for one in found] == [one.body for one in numbered(50)]


async def test_a_reader_may_stop_early_and_read_again(session: Session, name: str) -> None:
    await session.declare(Stream(name))
    await session.publish_all(numbered(100), routing_key=name)

    assert [len(await poured(session, name, n)) for n in (1, 30, 2)] == [1, 30, 2]


async def test_bulk_goes_through_an_exchange(session: Session, name: str) -> None:
    await session.declare(Exchange(name), Stream(f"{name}-to"), Binding(f"{name}-to", name, "run.alice.u"))

    await session.publish_all(numbered(3), exchange=name, routing_key="run.alice.u")

    assert len(await poured(session, f"{name}-to", 3)) == 3


async def test_bulk_that_no_queue_takes_is_returned(session: Session, name: str) -> None:
    await session.declare(Exchange(name))

    for exchange in ("", name):
        with pytest.raises(Unroutable):
            await session.publish_all(numbered(20), exchange=exchange, routing_key=f"{name}-nowhere")


async def test_bulk_to_an_exchange_that_is_missing_is_refused(session: Session, name: str) -> None:
    with pytest.raises(NotFound):
        await session.publish_all(numbered(20), exchange=name, routing_key="x")


async def test_a_message_beyond_the_limit_is_refused_and_the_session_lives(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))

    # When
    with pytest.raises(TooLarge):
        await session.publish_all([Message(bytes(MAX_MESSAGE_BYTES + 1)), *numbered(20)], routing_key=name)

    # Then
    await session.publish_all(numbered(1), routing_key=name)


async def test_pouring_a_stream_that_is_missing_is_refused(session: Session, name: str) -> None:
    with pytest.raises(NotFound):
        await session.pour(name, lambda _: True)


async def test_a_stream_that_is_deleted_ends_its_readers(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    await session.publish_all(numbered(1), routing_key=name)
    begun = threading.Event()
    reading = asyncio.create_task(session.pour(name, noting(begun), timeout_s=3600.0))
    await asyncio.to_thread(begun.wait)

    # When
    await session.delete(name)

    # Then
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(NotFound):
            await reading


async def test_what_does_not_come_in_time_is_late(session: Session, name: str) -> None:
    await session.declare(Stream(name))

    with pytest.raises(Late, match=r"nothing came within 0\.1 s"):
        await session.pour(name, lambda _: True, timeout_s=0.1)


async def test_what_a_reader_raises_is_raised_and_the_session_lives(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    await session.publish_all(numbered(50), routing_key=name)

    def refuse(_: Message) -> bool:
        raise ValueError("enough")

    # When
    with pytest.raises(ValueError, match="enough"):
        await session.pour(name, refuse)

    # Then
    assert len(await poured(session, name, 50)) == 50


async def test_what_making_a_message_raises_is_raised_and_the_session_lives(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))

    def messages() -> Iterator[Message]:
        yield from numbered(20)
        raise ValueError("no more")

    # When
    with pytest.raises(ValueError, match="no more"):
        await session.publish_all(messages(), routing_key=name)

    # Then
    await session.publish_all(numbered(1), routing_key=name)


async def test_bulk_on_its_way_raises_when_its_session_is_cut(backend: Backend, session: Session, name: str) -> None:
    # Given one that writes without end, and one that waits for what does not come
    await session.declare(Stream(name), Stream(f"{name}-still"))
    under_way = threading.Event()

    calls = [
        asyncio.create_task(session.publish_all(endless(under_way), routing_key=name)),
        asyncio.create_task(session.pour(f"{name}-still", lambda _: False, timeout_s=3600.0)),
    ]
    await asyncio.to_thread(under_way.wait)

    # When
    backend.cut(session)

    # Then
    async with asyncio.timeout(PATIENCE_S):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await session.wait_lost()
    assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 2


async def test_bulk_is_refused_on_a_lost_session(backend: Backend, session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    await session.publish_all(numbered(3), routing_key=name)

    # When
    backend.cut(session)
    async with asyncio.timeout(PATIENCE_S):
        await session.wait_lost()

    # Then
    for call in (session.publish_all(numbered(1), routing_key=name), session.pour(name, lambda _: True)):
        with pytest.raises(ConnectionLost):
            await call


async def test_bulk_that_is_cancelled_ends_and_the_session_lives(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    under_way = threading.Event()

    writing = asyncio.create_task(session.publish_all(endless(under_way), routing_key=name))
    reading = asyncio.create_task(session.pour(name, lambda _: False, timeout_s=3600.0))
    await asyncio.to_thread(under_way.wait)

    # When
    writing.cancel()
    reading.cancel()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait({writing, reading})

    # Then
    assert (writing.cancelled(), reading.cancelled()) == (True, True)
    await session.publish_all(numbered(1), routing_key=name)
    assert len(await poured(session, name, 1)) == 1


@pytest.mark.parametrize("what", ["publish", "pour"])
async def test_bulk_on_its_way_ends_when_its_session_is_closed(session: Session, name: str, what: str) -> None:
    # Given
    await session.declare(Stream(name))
    await session.publish_all(numbered(1), routing_key=name)
    under_way = threading.Event()
    calls = {
        "publish": partial(session.publish_all, endless(under_way), routing_key=name),
        "pour": partial(session.pour, name, noting(under_way), timeout_s=3600.0),
    }
    call = asyncio.create_task(calls[what]())
    await asyncio.to_thread(under_way.wait)

    # When
    await session.close()

    # Then
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ConnectionLost):
            await call
