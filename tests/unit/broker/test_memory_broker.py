"""What is special about the broker in memory: threads, names, and faults to order."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.base import Delivery, Message, Queue, Session
from broker.connect import open_session
from broker.errors import ConnectionLost
from broker.memory import Chaos, MemoryBroker

PATIENCE_S = 20.0

Program = Callable[[], Coroutine[Any, Any, None]]


async def publish_all(session: Session, queue: str, bodies: list[bytes]) -> None:
    for body in bodies:
        await session.publish(Message(body), routing_key=queue)


async def drained(session: Session, queue: str) -> list[Delivery]:
    """Everything that is in the queue now."""
    count = (await session.count(queue)).messages
    subscription = await session.consume(queue, prefetch=10_000)
    return [await anext(subscription) for _ in range(count)]


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


async def test_chaos_may_deliver_a_message_twice() -> None:
    session = MemoryBroker(chaos=Chaos(Random(1), duplicate=1.0)).connect()
    await session.declare(Queue("q"))

    await publish_all(session, "q", [b"0", b"1"])

    assert [delivery.message.body for delivery in await drained(session, "q")] == [b"0", b"0", b"1", b"1"]


async def test_chaos_may_lose_the_session_after_the_broker_did_what_was_asked() -> None:
    # Given
    broker = MemoryBroker(chaos=Chaos(Random(1), cut=0.5))
    outcomes = set()

    # When
    for number in range(50):
        session = broker.connect()
        try:
            await session.declare(Queue(f"q{number}"))
            await session.publish(Message(b""), routing_key=f"q{number}")
            told = "arrived"
        except ConnectionLost:
            told = "lost"
        outcomes.add((told, await messages_in(broker, f"q{number}")))

    # Then
    assert outcomes == {("arrived", 1), ("lost", 1), ("lost", 0)}


async def messages_in(broker: MemoryBroker, queue: str) -> int:
    """How many there are, asked until chaos allows an answer."""
    while True:
        session = broker.connect()
        try:
            await session.declare(Queue(queue))
            return (await session.count(queue)).messages
        except ConnectionLost:
            continue


SENT = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 999)), max_size=30)


@given(sent=SENT, seed=st.integers())
@settings(deadline=None)
def test_overtaking_keeps_each_senders_order_and_loses_nothing(sent: list[tuple[int, int]], seed: int) -> None:
    async def run() -> None:
        # Given
        broker = MemoryBroker(chaos=Chaos(Random(seed), overtake=0.5))
        senders = [broker.connect() for _ in range(3)]
        await senders[0].declare(Queue("q"))

        # When
        for sender, number in sent:
            await senders[sender].publish(Message(b"%d:%d" % (sender, number)), routing_key="q")

        # Then
        found = [bytes(delivery.message.body) for delivery in await drained(broker.connect(), "q")]
        for sender in range(3):
            prefix = b"%d:" % sender
            assert [body for body in found if body.startswith(prefix)] == [
                b"%d:%d" % (sender, number) for who, number in sent if who == sender
            ]
        assert len(found) == len(sent)

    asyncio.run(run())


@given(seed=st.integers())
@settings(deadline=None, max_examples=30)
def test_under_all_faults_at_once_every_message_arrives_at_least_once(seed: int) -> None:
    async def run() -> None:
        # Given
        broker = MemoryBroker(chaos=Chaos(Random(seed), duplicate=0.2, overtake=0.3, cut=0.1))
        bodies = [b"%d" % number for number in range(20)]

        # When
        for body in bodies:
            await until_confirmed(broker, body)
        arrived = await consume_until(broker, set(bodies))

        # Then
        assert arrived == set(bodies)

    asyncio.run(run())


async def until_confirmed(broker: MemoryBroker, body: bytes) -> None:
    while True:
        session = broker.connect()
        try:
            await session.declare(Queue("q"))
            await session.publish(Message(body), routing_key="q")
        except ConnectionLost:
            continue
        return


async def consume_until(broker: MemoryBroker, wanted: set[bytes]) -> set[bytes]:
    """Consume over as many sessions as it takes; a body counts once it is acknowledged."""
    arrived: set[bytes] = set()
    async with asyncio.timeout(PATIENCE_S):
        while arrived < wanted:
            try:
                subscription = await broker.connect().consume("q", prefetch=3)
                while arrived < wanted:
                    delivery = await anext(subscription)
                    arrived.add(bytes(delivery.message.body))
                    await delivery.ack()
            except ConnectionLost:
                continue
    return arrived
