"""Faults to order in the broker in memory: all that a real one may do, and no more."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.base import Message, Queue, QueueCount, Stream
from broker.chaos import ByChance, Fault, Schedule, Strike
from broker.errors import ConnectionLost, Retryable, SubscriptionLost, Unreachable
from broker.memory import MemoryBroker
from tests.faults import virtual_time
from tests.faults.virtual_time import VirtualTimeLoop
from tests.unit.broker.memory_queue import drained, publish_all

PATIENCE_S = 20.0

Program = Callable[[], Coroutine[Any, Any, None]]


async def test_chaos_may_deliver_a_message_twice() -> None:
    twice = [Strike(Fault.DUPLICATE, at) for at in range(2)]
    session = MemoryBroker(chaos=Schedule(twice)).connect()
    await session.declare(Queue("q"))

    await publish_all(session, "q", [b"0", b"1"])

    assert [delivery.message.body for delivery in await drained(session, "q")] == [b"0", b"0", b"1", b"1"]


async def test_chaos_may_lose_the_session_after_the_broker_did_what_was_asked() -> None:
    # Given
    broker = MemoryBroker(chaos=ByChance(Random(1), {Fault.CUT_BEFORE: 0.2, Fault.CUT_AFTER: 0.2}))
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


async def test_a_schedule_counts_the_chances_for_each_fault_and_strikes_at_those_named() -> None:
    schedule = Schedule([Strike(Fault.CUT, 1, 7), Strike(Fault.LAG, 0)])

    answers = [schedule.strikes(fault) for fault in (Fault.CUT, Fault.LAG, Fault.CUT, Fault.LAG)]

    assert answers == [None, 0, 7, None]
    assert schedule.struck == [Strike(Fault.LAG, 0), Strike(Fault.CUT, 1, 7)]


async def test_what_is_delayed_on_its_way_keeps_the_order_of_its_sender() -> None:
    # Given
    session = MemoryBroker(chaos=Schedule([Strike(Fault.LATE, 1, 2)])).connect()
    await session.declare(Queue("q"))

    # When
    await asyncio.gather(*(session.publish(Message(b"%d" % number), routing_key="q") for number in range(3)))

    # Then
    assert [delivery.message.body for delivery in await drained(session, "q")] == [b"0", b"1", b"2"]


async def test_a_call_whose_answer_is_slow_is_done_before_its_caller_knows() -> None:
    # Given
    schedule = Schedule([Strike(Fault.SLOW, 1, 5)])
    broker = MemoryBroker(chaos=schedule)
    session = broker.connect()
    await session.declare(Queue("q"))

    # When
    publishing = asyncio.ensure_future(session.publish(Message(b""), routing_key="q"))
    while not schedule.struck:
        await asyncio.sleep(0)

    # Then
    assert (await broker.connect().count("q")).messages == 1
    assert not publishing.done()
    await publishing


async def test_a_subscription_that_is_taken_back_ends_alone_and_what_it_held_comes_again() -> None:
    # Given
    broker = MemoryBroker(chaos=Schedule([Strike(Fault.TAKE_BACK, 0)]))
    session = broker.connect()
    await session.declare(Queue("q"))
    await session.publish(Message(b"held"), routing_key="q")
    subscription = await session.consume("q", prefetch=1)
    delivery = await anext(subscription)

    # When
    broker.stir()

    # Then
    with pytest.raises(SubscriptionLost):
        await delivery.ack()
    with pytest.raises(SubscriptionLost):
        await anext(subscription)
    (again,) = await drained(session, "q")
    assert (again.message.body, again.redelivered) == (b"held", True)


async def test_readers_of_streams_hold_nothing_that_could_be_taken_back() -> None:
    # Given
    broker = MemoryBroker(chaos=Schedule([Strike(Fault.TAKE_BACK, 0)]))
    session = broker.connect()
    await session.declare(Stream("s"))
    await session.publish(Message(b"here"), routing_key="s")
    records = await session.read("s")
    await anext(records)

    # When
    broker.stir()
    await session.publish(Message(b"next"), routing_key="s")

    # Then
    assert (await anext(records)).message.body == b"next"


async def test_a_ghost_keeps_what_it_holds_until_the_broker_notices() -> None:
    # Given
    broker = MemoryBroker(chaos=Schedule())
    lost, other = broker.connect(), broker.connect()
    await lost.declare(Queue("q"))
    await lost.publish(Message(b"held"), routing_key="q")
    await anext(await lost.consume("q", prefetch=1))
    waiting = asyncio.ensure_future(anext(await other.consume("q", prefetch=1)))

    # When
    broker.leave_ghost(lost, 0.05)

    # Then
    with pytest.raises(ConnectionLost):
        await lost.count("q")
    assert await other.count("q") == QueueCount(messages=0, consumers=1)
    async with asyncio.timeout(PATIENCE_S):
        assert (await waiting).message.body == b"held"


async def test_chaos_may_refuse_a_connection() -> None:
    broker = MemoryBroker(chaos=Schedule([Strike(Fault.REFUSE, 0)]))

    with pytest.raises(Unreachable):
        broker.connect()
    await broker.connect().declare(Queue("q"))


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.GHOST])
async def test_one_session_is_lost_unasked(fault: Fault) -> None:
    # Given
    broker = MemoryBroker(chaos=Schedule([Strike(fault, 0, 1)]))
    one, other = broker.connect(), broker.connect()

    # When
    broker.stir()

    # Then
    with pytest.raises(ConnectionLost):
        await other.declare(Queue("q"))
    await one.declare(Queue("q"))


async def test_all_sessions_are_lost_as_when_the_broker_is_started_again() -> None:
    # Given
    broker = MemoryBroker(chaos=Schedule([Strike(Fault.CUT_ALL, 0)]))
    sessions = [broker.connect() for _ in range(2)]

    # When
    broker.stir()

    # Then
    for session in sessions:
        with pytest.raises(ConnectionLost):
            await session.declare(Queue("q"))


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
        broker = MemoryBroker(chaos=ByChance(Random(seed), {Fault.OVERTAKE: 0.5}))
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


RARELY = {Fault.CUT: 0.01, Fault.GHOST: 0.01, Fault.TAKE_BACK: 0.01, Fault.CUT_ALL: 0.001}
RATES = dict.fromkeys(Fault, 0.05) | RARELY


@given(seed=st.integers())
@settings(deadline=None, max_examples=30)
def test_under_all_faults_at_once_every_message_arrives_at_least_once(seed: int) -> None:
    async def run(loop: VirtualTimeLoop) -> None:
        # Given
        broker = MemoryBroker(chaos=ByChance(Random(seed), RATES))
        loop.on_step = broker.stir
        bodies = [b"%d" % number for number in range(20)]

        # When
        for body in bodies:
            await until_confirmed(broker, body)
        arrived = await consume_until(broker, set(bodies))

        # Then
        assert arrived == set(bodies)

    virtual_time.run(run, most_s=3600.0)


async def until_confirmed(broker: MemoryBroker, body: bytes) -> None:
    while True:
        try:
            session = broker.connect()
            await session.declare(Queue("q"))
            await session.publish(Message(body), routing_key="q")
        except Retryable:
            continue
        return


async def consume_until(broker: MemoryBroker, wanted: set[bytes]) -> set[bytes]:
    """Consume over as many sessions as it takes."""
    arrived: set[bytes] = set()
    while arrived < wanted:
        try:
            session = broker.connect()
            async with await session.consume("q", prefetch=3) as subscription:
                while arrived < wanted:
                    delivery = await anext(subscription)
                    arrived.add(bytes(delivery.message.body))
                    await delivery.ack()
        except Retryable:
            continue
    return arrived
