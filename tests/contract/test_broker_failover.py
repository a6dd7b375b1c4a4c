"""A queue with a single active consumer: one gets everything, and another takes over when it goes."""

import asyncio

import pytest

from broker.base import Message, Queue, QueueCount, Session
from tests.contract.backends import Backend, bodies, take, until_counted


async def publish_all(session: Session, queue: str, count: int) -> list[bytes]:
    sent = [f"{number}".encode() for number in range(count)]
    for body in sent:
        await session.publish(Message(body), routing_key=queue)
    return sent


async def test_of_several_consumers_one_gets_all_deliveries(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    active = await session.consume(name, prefetch=1)
    standby = await session.consume(name, prefetch=10)

    # When
    sent = await publish_all(session, name, 5)

    # Then
    waiting = asyncio.ensure_future(anext(standby))
    assert await bodies(active, 5) == sent
    assert not waiting.done()
    waiting.cancel()


@pytest.mark.parametrize("how", ["closed", "cut"])
async def test_the_standby_takes_over_what_the_active_consumer_left(backend: Backend, name: str, how: str) -> None:
    # Given
    publisher, leader, successor = [await backend.connect() for _ in range(3)]
    await publisher.declare(Queue(name))
    sent = await publish_all(publisher, name, 4)
    active = await leader.consume(name, prefetch=2)
    standby = await successor.consume(name, prefetch=10)
    await take(active, 2)

    # When
    if how == "cut":
        backend.cut(leader)
    else:
        await leader.close()

    # Then
    assert await bodies(standby, 4) == sent


async def test_what_is_taken_over_is_flagged_as_redelivered(backend: Backend, name: str) -> None:
    # Given
    leader, successor = [await backend.connect() for _ in range(2)]
    await leader.declare(Queue(name))
    await publish_all(leader, name, 2)
    active = await leader.consume(name, prefetch=1)
    standby = await successor.consume(name, prefetch=10)
    await take(active)

    # When
    backend.cut(leader)

    # Then
    assert [delivery.redelivered for delivery in await take(standby, 2)] == [True, False]


async def test_closing_only_the_active_subscription_hands_over_as_well(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    active = await session.consume(name, prefetch=1)
    standby = await session.consume(name, prefetch=1)
    await publish_all(session, name, 1)
    await take(active)

    # When
    await active.close()

    # Then
    assert await bodies(standby, 1) == [b"0"]


async def test_a_standby_that_goes_changes_nothing(backend: Backend, session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    active = await session.consume(name, prefetch=1)
    gone = await backend.connect()
    await gone.consume(name, prefetch=1)

    # When
    backend.cut(gone)
    await publish_all(session, name, 1)

    # Then
    assert await bodies(active, 1) == [b"0"]


async def test_nothing_is_lost_over_a_chain_of_crashes(backend: Backend, session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    sent = await publish_all(session, name, 10)
    settled: list[bytes] = []

    # When
    for round_ in range(4):
        worker = await backend.connect()
        done, _ = await take(await worker.consume(name, prefetch=3), 2)
        settled.append(bytes(done.message.body))
        await done.ack()
        # The broker has the acknowledgement when it has lent another message in its place.
        await until_counted(session, name, QueueCount(messages=6 - round_, consumers=1))
        backend.cut(worker)
        await until_counted(session, name, QueueCount(messages=9 - round_, consumers=0))

    # Then
    rest = await bodies(await session.consume(name, prefetch=1), 6)
    assert sorted(settled + rest) == sent
