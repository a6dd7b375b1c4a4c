"""What is special about the broker in memory: threads and names."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from broker.base import Message, Queue
from broker.connect import open_session
from broker.errors import ConnectionLost
from broker.memory import MemoryBroker
from tests.unit.broker.memory_queue import drained, publish_all

PATIENCE_S = 20.0

Program = Callable[[], Coroutine[Any, Any, None]]


def in_thread(program: Program) -> threading.Thread:
    thread = threading.Thread(target=lambda: asyncio.run(program()))
    thread.start()
    return thread


async def test_sessions_of_several_threads_share_a_queue() -> None:
    # Given
    broker = MemoryBroker()
    session = broker.connect()
    await session.declare(Queue("q"))

    async def publish() -> None:
        await publish_all(broker.connect(), "q", [b"%d" % number for number in range(500)])

    # When
    subscription = await session.consume("q", prefetch=10)
    threads = [in_thread(publish) for _ in range(3)]
    counted: Counter[bytes] = Counter()
    async with asyncio.timeout(PATIENCE_S):
        while counted.total() < 1500:
            delivery = await anext(subscription)
            await delivery.ack()
            counted[bytes(delivery.message.body)] += 1

    # Then
    assert counted == Counter({b"%d" % number: 3 for number in range(500)})
    for thread in threads:
        thread.join()


async def test_a_session_may_be_cut_from_another_thread() -> None:
    # Given
    broker = MemoryBroker()
    session = broker.connect()
    await session.declare(Queue("q"))
    waiting = asyncio.ensure_future(anext(await session.consume("q", prefetch=1)))
    await asyncio.sleep(0)

    # When
    threading.Thread(target=broker.cut, args=(session,)).start()

    # Then
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ConnectionLost, match="cut"):
            await waiting


async def test_a_thread_that_ends_without_closing_its_session_loses_nothing() -> None:
    # Given
    broker = MemoryBroker()
    session = broker.connect()
    await session.declare(Queue("q"))

    async def consume_and_die() -> None:
        await broker.connect().consume("q", prefetch=10)

    thread = in_thread(consume_and_die)
    await asyncio.to_thread(thread.join)

    # When
    await publish_all(session, "q", [b"0", b"1"])

    # Then
    async with asyncio.timeout(PATIENCE_S):
        subscription = await session.consume("q", prefetch=10)
        assert [(await anext(subscription)).message.body for _ in range(2)] == [b"0", b"1"]


async def test_a_name_means_the_same_broker_everywhere_in_the_process() -> None:
    # Given
    one, other = [await open_session("memory://shared-by-name", name="test") for _ in range(2)]

    # When
    await one.declare(Queue("q"))
    await one.publish(Message(b"here"), routing_key="q")

    # Then
    assert [delivery.message.body for delivery in await drained(other, "q")] == [b"here"]
    MemoryBroker.forget("shared-by-name")


async def test_a_forgotten_broker_is_a_new_one() -> None:
    # Given
    session = await open_session("memory://forgotten", name="test")
    await session.declare(Queue("q"))

    # When
    MemoryBroker.forget("forgotten")
    again = await open_session("memory://forgotten", name="test")
    await again.declare(Queue("q", delivery_limit=1))

    # Then
    with pytest.raises(ConnectionLost):
        await session.count("q")
    MemoryBroker.forget("forgotten")


async def test_the_user_of_a_session_comes_from_its_url() -> None:
    session = await open_session("memory://al%40ice:secret@users", name="test")

    assert session.user == "al@ice"
    MemoryBroker.forget("users")


async def test_cutting_all_loses_every_session() -> None:
    # Given
    broker = MemoryBroker()
    sessions = [broker.connect() for _ in range(3)]

    # When
    broker.cut_all()

    # Then
    for session in sessions:
        with pytest.raises(ConnectionLost):
            await session.count("any")
