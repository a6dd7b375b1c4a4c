"""Dead letters: what was rejected or came back too often, with the reason beside it."""

import pytest

from broker.base import Binding, Exchange, Message, Queue, QueueCount, Session
from tests.contract.backends import Backend, take_one, until_counted


async def declared(session: Session, name: str, *, delivery_limit: int | None = None) -> tuple[str, str]:
    """A queue, and the queue that gets its dead letters."""
    queue = Queue(f"{name}-queue", dead_letter=name, delivery_limit=delivery_limit)
    dead = Queue(f"{name}-dead", single_active=False)
    await session.declare(Exchange(name, "fanout"), queue, dead, Binding(dead.name, name))
    return queue.name, dead.name


async def test_a_rejected_message_goes_to_the_dead_letters_with_the_reason(session: Session, name: str) -> None:
    # Given
    queue, dead = await declared(session, name)
    await session.publish(Message(b"bad", type="odd", headers={"mine": 1}), routing_key=queue)

    # When
    await (await take_one(await session.consume(queue, prefetch=1))).reject()

    # Then
    letter = await take_one(await session.consume(dead, prefetch=1))
    assert letter.message.headers == {
        "mine": 1,
        "x-first-death-exchange": "",
        "x-first-death-queue": queue,
        "x-first-death-reason": "rejected",
    }


async def test_a_dead_letter_keeps_its_body_type_and_routing_key(session: Session, name: str) -> None:
    # Given
    queue, dead = await declared(session, name)
    await session.publish(Message(b"bad", type="odd"), routing_key=queue)

    # When
    await (await take_one(await session.consume(queue, prefetch=1))).reject()

    # Then
    letter = await take_one(await session.consume(dead, prefetch=1))
    found = (letter.message.body, letter.message.type, letter.exchange, letter.routing_key, letter.redelivered)
    assert found == (b"bad", "odd", name, queue, False)


async def test_a_message_that_came_back_more_often_than_its_limit_is_dead(session: Session, name: str) -> None:
    # Given
    queue, dead = await declared(session, name, delivery_limit=2)
    await session.publish(Message(b"poison"), routing_key=queue)
    subscription = await session.consume(queue, prefetch=1)

    # When
    for _ in range(3):
        await (await take_one(subscription)).nack()

    # Then
    letter = await take_one(await session.consume(dead, prefetch=1))
    assert letter.message.headers["x-first-death-reason"] == "delivery_limit"


async def test_a_message_that_kills_its_consumers_dies_itself(backend: Backend, session: Session, name: str) -> None:
    # Given
    queue, dead = await declared(session, name, delivery_limit=2)
    await session.publish(Message(b"poison"), routing_key=queue)

    # When
    for _ in range(3):
        victim = await backend.connect()
        await take_one(await victim.consume(queue, prefetch=1))
        backend.cut(victim)

    # Then
    letter = await take_one(await session.consume(dead, prefetch=1))
    assert letter.message.headers["x-first-death-queue"] == queue


async def test_a_delivery_says_how_often_it_came_back(session: Session, name: str) -> None:
    # Given
    queue, _ = await declared(session, name, delivery_limit=5)
    await session.publish(Message(b""), routing_key=queue)
    subscription = await session.consume(queue, prefetch=1)

    # When
    for _ in range(2):
        await (await take_one(subscription)).nack()

    # Then
    assert (await take_one(subscription)).message.headers["x-delivery-count"] == 2


@pytest.mark.parametrize("times", [3, 30])
async def test_without_a_limit_of_its_own_a_queue_of_this_broker_gives_back_for_ever(
    session: Session, name: str, times: int
) -> None:
    # Given
    await session.declare(Queue(name))
    await session.publish(Message(b""), routing_key=name)
    subscription = await session.consume(name, prefetch=1)

    # When
    for _ in range(times):
        await (await take_one(subscription)).nack()

    # Then
    assert (await take_one(subscription)).redelivered


async def test_what_is_rejected_without_a_dead_letter_exchange_is_dropped(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    await session.publish(Message(b""), routing_key=name)
    subscription = await session.consume(name, prefetch=1)

    # When
    await (await take_one(subscription)).reject()
    await subscription.close()

    # Then
    await until_counted(session, name, QueueCount(messages=0, consumers=0))
