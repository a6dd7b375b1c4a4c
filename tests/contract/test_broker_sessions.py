"""A lost session: everything that waits on it raises, and a new one goes on where it stopped."""

import asyncio

import pytest

from broker.base import Message, Queue, QueueCount, Session, Stream
from broker.errors import ConnectionLost
from tests.contract.backends import PATIENCE_S, Backend, bodies, take, take_one, until_counted


async def cut_and_noticed(backend: Backend, session: Session) -> None:
    backend.cut(session)
    async with asyncio.timeout(PATIENCE_S):
        await session.wait_lost()


async def test_pending_iteration_raises_when_its_session_is_cut(backend: Backend, session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    waiting = asyncio.ensure_future(anext(await session.consume(name, prefetch=1)))
    await until_counted(session, name, QueueCount(messages=0, consumers=1))

    # When
    await cut_and_noticed(backend, session)

    # Then
    with pytest.raises(ConnectionLost):
        await waiting


async def test_a_pending_iteration_raises_when_the_session_is_closed(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    waiting = asyncio.ensure_future(anext(await session.consume(name, prefetch=1)))

    # When
    await session.close()

    # Then
    with pytest.raises(ConnectionLost):
        await waiting


async def test_every_call_raises_on_a_lost_session(backend: Backend, session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))

    # When
    await cut_and_noticed(backend, session)

    # Then
    for call in (
        session.declare(Queue(name)),
        session.delete(name),
        session.publish(Message(b""), routing_key=name),
        session.consume(name, prefetch=1),
        session.read(name),
        session.count(name),
    ):
        with pytest.raises(ConnectionLost):
            await call


async def test_publishes_on_their_way_raise_or_arrive_when_the_session_is_cut(
    backend: Backend, session: Session, name: str
) -> None:
    # Given
    await session.declare(Stream(name))
    publishes = [asyncio.ensure_future(session.publish(Message(bytes(200_000)), routing_key=name)) for _ in range(50)]
    await asyncio.wait(publishes, return_when=asyncio.FIRST_COMPLETED)

    # When
    await cut_and_noticed(backend, session)
    async with asyncio.timeout(PATIENCE_S):
        outcomes = await asyncio.gather(*publishes, return_exceptions=True)

    # Then
    assert {type(outcome) for outcome in outcomes} <= {type(None), ConnectionLost}


async def test_settling_on_a_lost_session_raises(backend: Backend, session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    await session.publish(Message(b""), routing_key=name)
    delivery = await take_one(await session.consume(name, prefetch=1))

    # When
    await cut_and_noticed(backend, session)

    # Then
    for settle in (delivery.ack, delivery.nack, delivery.reject):
        with pytest.raises(ConnectionLost):
            await settle()


@pytest.mark.parametrize("how", ["closed", "cut"])
async def test_a_new_session_gets_what_the_lost_one_had_not_settled(
    backend: Backend, session: Session, name: str, how: str
) -> None:
    # Given
    await session.declare(Queue(name))
    for body in (b"0", b"1", b"2"):
        await session.publish(Message(body), routing_key=name)
    await take(await session.consume(name, prefetch=2), 2)

    # When
    if how == "cut":
        await cut_and_noticed(backend, session)
    else:
        await session.close()

    # Then
    again = await take(await (await backend.connect()).consume(name, prefetch=3), 3)
    assert [(each.message.body, each.redelivered) for each in again] == [(b"0", True), (b"1", True), (b"2", False)]


async def test_what_was_published_before_a_cut_is_there_after(backend: Backend, session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    await session.publish(Message(b"safe"), routing_key=name)

    # When
    await cut_and_noticed(backend, session)

    # Then
    assert await bodies(await (await backend.connect()).consume(name, prefetch=1), 1) == [b"safe"]


async def test_losing_one_session_leaves_others_alone(backend: Backend, session: Session, name: str) -> None:
    # Given
    other = await backend.connect()
    await other.declare(Queue(name))
    subscription = await other.consume(name, prefetch=1)

    # When
    await cut_and_noticed(backend, session)
    await other.publish(Message(b"alive"), routing_key=name)

    # Then
    assert await bodies(subscription, 1) == [b"alive"]


async def test_closing_a_session_ends_waiting_for_its_loss(session: Session) -> None:
    waiting = asyncio.ensure_future(session.wait_lost())

    await session.close()

    async with asyncio.timeout(PATIENCE_S):
        await waiting


async def test_closing_is_harmless_when_repeated_and_after_a_loss(backend: Backend, session: Session) -> None:
    # Given
    await cut_and_noticed(backend, session)

    # When
    await session.close()
    await session.close()

    # Then
    with pytest.raises(ConnectionLost):
        await session.count("any")


async def test_closing_a_subscription_after_a_loss_is_harmless(backend: Backend, session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    subscription = await session.consume(name, prefetch=1)
    await cut_and_noticed(backend, session)

    # When
    await subscription.close()

    # Then
    with pytest.raises(ConnectionLost):
        await anext(subscription)


async def test_a_cancelled_wait_for_a_delivery_loses_none(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    subscription = await session.consume(name, prefetch=1)
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    waiting.cancel()

    # When
    await session.publish(Message(b"kept"), routing_key=name)

    # Then
    assert await bodies(subscription, 1) == [b"kept"]


async def test_cancelling_a_call_cancels_it(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    waiting = asyncio.ensure_future(anext(await session.consume(name, prefetch=1)))
    await asyncio.sleep(0)

    # When
    waiting.cancel()

    # Then
    with pytest.raises(asyncio.CancelledError):
        await waiting
