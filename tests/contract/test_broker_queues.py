"""Queues: every message at least once, in order, lent until it is settled."""

import pytest

from broker.base import Message, Queue, QueueCount, Session
from broker.errors import SubscriptionLost
from tests.contract.backends import Backend, bodies, take, take_one, until_counted


async def declared(session: Session, name: str) -> str:
    await session.declare(Queue(name))
    return name


async def publish_all(session: Session, queue: str, count: int) -> list[bytes]:
    sent = [f"{number}".encode() for number in range(count)]
    for body in sent:
        await session.publish(Message(body), routing_key=queue)
    return sent


async def test_a_message_arrives_with_all_it_carries(session: Session, name: str) -> None:
    # Given
    queue = await declared(session, name)
    sent = Message(
        b"\x00body\xff",
        type="TrainRequest",
        message_id="message-1",
        correlation_id="request-1",
        user_id="guest",
        content_type="application/octet-stream",
        headers={"text": "Käse", "small": 7, "negative": -1, "large": 2**40, "largest": 2**63 - 1, "least": -(2**63)},
    )

    # When
    await session.publish(sent, routing_key=queue)
    delivery = await take_one(await session.consume(queue, prefetch=1))

    # Then
    assert (delivery.message, delivery.exchange, delivery.routing_key) == (sent, "", queue)


@pytest.mark.parametrize("body", [b"", b"bytes", bytearray(b"array"), memoryview(b"0123456789")[2:5]])
async def test_a_body_may_be_any_buffer(session: Session, name: str, body: bytes) -> None:
    queue = await declared(session, name)

    await session.publish(Message(body), routing_key=queue)

    delivery = await take_one(await session.consume(queue, prefetch=1))
    assert delivery.message.body == bytes(body)


async def test_a_body_may_be_reused_once_publish_has_returned(session: Session, name: str) -> None:
    # Given
    queue = await declared(session, name)
    body = bytearray(b"first")
    await session.publish(Message(body), routing_key=queue)

    # When
    body[:] = b"other"

    # Then
    delivery = await take_one(await session.consume(queue, prefetch=1))
    assert delivery.message.body == b"first"


async def test_a_message_without_an_id_gets_one(session: Session, name: str) -> None:
    queue = await declared(session, name)

    await session.publish(Message(b""), routing_key=queue)

    delivery = await take_one(await session.consume(queue, prefetch=1))
    assert delivery.message.message_id != ""


async def test_messages_come_in_the_order_they_were_published(session: Session, name: str) -> None:
    queue = await declared(session, name)

    sent = await publish_all(session, queue, 50)

    assert await bodies(await session.consume(queue, prefetch=10), 50) == sent


async def test_when_publish_has_returned_the_message_is_in_the_queue(session: Session, name: str) -> None:
    queue = await declared(session, name)

    await session.publish(Message(b""), routing_key=queue)

    assert await session.count(queue) == QueueCount(messages=1, consumers=0)


async def test_an_acknowledged_message_is_gone(backend: Backend, session: Session, name: str) -> None:
    # Given
    queue = await declared(session, name)
    await publish_all(session, queue, 1)
    delivery = await take_one(await session.consume(queue, prefetch=1))

    # When
    await delivery.ack()
    await session.close()

    # Then
    await until_counted(await backend.connect(), queue, QueueCount(messages=0, consumers=0))


async def test_a_first_delivery_is_not_flagged_as_redelivered(session: Session, name: str) -> None:
    queue = await declared(session, name)

    await publish_all(session, queue, 1)

    assert not (await take_one(await session.consume(queue, prefetch=1))).redelivered


async def test_a_message_put_back_comes_again_flagged_as_redelivered(session: Session, name: str) -> None:
    # Given
    queue = await declared(session, name)
    await publish_all(session, queue, 1)
    subscription = await session.consume(queue, prefetch=1)

    # When
    await (await take_one(subscription)).nack()

    # Then
    again = await take_one(subscription)
    assert (again.message.body, again.redelivered) == (b"0", True)


async def test_with_a_delivery_limit_a_message_put_back_comes_first(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name, delivery_limit=5))
    await publish_all(session, name, 3)
    subscription = await session.consume(name, prefetch=1)

    # When
    await (await take_one(subscription)).nack()

    # Then
    assert await bodies(subscription, 3) == [b"0", b"1", b"2"]


async def test_a_delivery_can_be_settled_only_once(session: Session, name: str) -> None:
    # Given
    queue = await declared(session, name)
    await publish_all(session, queue, 2)
    subscription = await session.consume(queue, prefetch=1)
    delivery = await take_one(subscription)
    await delivery.ack()

    # When
    with pytest.raises(RuntimeError, match="settled already"):
        await delivery.nack()

    # Then
    assert await bodies(subscription, 1) == [b"1"]


async def test_no_more_than_prefetch_deliveries_are_unsettled(session: Session, name: str) -> None:
    # Given
    queue = await declared(session, name)
    await publish_all(session, queue, 5)

    # When
    await take(await session.consume(queue, prefetch=3), 3)

    # Then
    assert await session.count(queue) == QueueCount(messages=2, consumers=1)


async def test_settling_one_delivery_makes_room_for_another(session: Session, name: str) -> None:
    # Given
    queue = await declared(session, name)
    await publish_all(session, queue, 3)
    subscription = await session.consume(queue, prefetch=2)
    first, _ = await take(subscription, 2)

    # When
    await first.ack()

    # Then
    assert (await take_one(subscription)).message.body == b"2"


@pytest.mark.parametrize("prefetch", [0, -1, 65_536])
async def test_an_impossible_prefetch_is_refused(session: Session, name: str, prefetch: int) -> None:
    queue = await declared(session, name)

    with pytest.raises(ValueError, match=f"prefetch {prefetch}"):
        await session.consume(queue, prefetch=prefetch)


async def test_closing_a_subscription_gives_unsettled_deliveries_back_in_order(session: Session, name: str) -> None:
    # Given
    queue = await declared(session, name)
    sent = await publish_all(session, queue, 5)
    subscription = await session.consume(queue, prefetch=3)
    await take(subscription, 2)

    # When
    await subscription.close()

    # Then
    assert await bodies(await session.consume(queue, prefetch=5), 5) == sent


async def test_a_closed_subscription_ends_its_iteration(session: Session, name: str) -> None:
    queue = await declared(session, name)
    await publish_all(session, queue, 1)

    async with await session.consume(queue, prefetch=1) as subscription:
        pass

    assert [delivery async for delivery in subscription] == []


async def test_settling_after_the_subscription_was_closed_says_that_it_comes_again(session: Session, name: str) -> None:
    # Given
    queue = await declared(session, name)
    await publish_all(session, queue, 1)
    subscription = await session.consume(queue, prefetch=1)
    delivery = await take_one(subscription)

    # When
    await subscription.close()

    # Then
    with pytest.raises(SubscriptionLost):
        await delivery.ack()


async def test_closing_a_subscription_twice_is_harmless(session: Session, name: str) -> None:
    queue = await declared(session, name)
    subscription = await session.consume(queue, prefetch=1)
    await subscription.close()

    await subscription.close()

    await until_counted(session, queue, QueueCount(messages=0, consumers=0))


async def test_consumers_of_a_shared_queue_get_messages_in_turn(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name, single_active=False))
    one, other = [await session.consume(name, prefetch=1) for _ in range(2)]

    # When
    await publish_all(session, name, 2)

    # Then
    assert {(await take_one(subscription)).message.body for subscription in (one, other)} == {b"0", b"1"}


async def test_a_queue_counts_what_is_ready_and_who_consumes(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name, single_active=False))
    await publish_all(session, name, 4)

    # When
    for _ in range(2):
        await take(await session.consume(name, prefetch=1))

    # Then
    assert await session.count(name) == QueueCount(messages=2, consumers=2)
