"""What a broker refuses, and that a refusal leaves the session and its neighbours alone."""

import asyncio

import pytest

from broker.base import Binding, Exchange, Message, Queue, QueueCount, Session, Stream
from broker.errors import AccessRefused, NotFound, TooLarge, TopologyConflict
from tests.contract.backends import bodies
from tests.rabbit_tools import MAX_MESSAGE_BYTES


async def test_declaring_the_same_again_is_harmless(session: Session, name: str) -> None:
    # Given
    items = (
        Exchange(name),
        Exchange(f"{name}-all", "fanout"),
        Queue(f"{name}-queue", dead_letter=name, delivery_limit=5),
        Queue(f"{name}-shared", single_active=False),
        Stream(f"{name}-stream", max_bytes=10_000_000),
        Binding(f"{name}-queue", name, "a.*"),
    )
    await session.declare(*items)
    await session.publish(Message(b"kept"), routing_key=f"{name}-queue")

    # When
    await session.declare(*items)

    # Then
    assert await session.count(f"{name}-queue") == QueueCount(messages=1, consumers=0)


@pytest.mark.parametrize(
    "other",
    [
        Queue("", delivery_limit=6, dead_letter="dead"),
        Queue("", delivery_limit=5),
        Queue("", delivery_limit=5, dead_letter="dead", single_active=False),
        Stream(""),
    ],
)
async def test_declaring_a_queue_otherwise_than_it_is_conflicts(session: Session, name: str, other: Queue) -> None:
    # Given
    await session.declare(Queue(name, delivery_limit=5, dead_letter="dead"))
    changed = type(other)(**{**{slot: getattr(other, slot) for slot in other.__slots__}, "name": name})

    # When / Then
    with pytest.raises(TopologyConflict, match=name):
        await session.declare(changed)


async def test_declaring_a_stream_otherwise_than_it_is_conflicts(session: Session, name: str) -> None:
    await session.declare(Stream(name, max_bytes=10_000_000))

    with pytest.raises(TopologyConflict, match=name):
        await session.declare(Stream(name, max_bytes=20_000_000))


async def test_declaring_an_exchange_of_another_kind_conflicts(session: Session, name: str) -> None:
    await session.declare(Exchange(name, "topic"))

    with pytest.raises(TopologyConflict, match=name):
        await session.declare(Exchange(name, "fanout"))


async def test_the_session_lives_on_after_a_conflict(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    with pytest.raises(TopologyConflict):
        await session.declare(Stream(name))

    # When
    await session.declare(Queue(f"{name}-other"))

    # Then
    assert await session.count(f"{name}-other") == QueueCount(messages=0, consumers=0)


async def test_a_binding_of_a_missing_queue_is_not_found(session: Session, name: str) -> None:
    await session.declare(Exchange(name))

    with pytest.raises(NotFound, match="missing"):
        await session.declare(Binding(f"{name}-missing", name))


async def test_a_binding_to_a_missing_exchange_is_not_found(session: Session, name: str) -> None:
    await session.declare(Queue(name))

    with pytest.raises(NotFound, match="missing"):
        await session.declare(Binding(name, f"{name}-missing"))


async def test_consuming_a_missing_queue_is_not_found(session: Session, name: str) -> None:
    with pytest.raises(NotFound, match=name):
        await session.consume(name, prefetch=1)


async def test_reading_a_missing_stream_is_not_found(session: Session, name: str) -> None:
    with pytest.raises(NotFound, match=name):
        await session.read(name)


async def test_counting_a_missing_queue_is_not_found(session: Session, name: str) -> None:
    with pytest.raises(NotFound, match=name):
        await session.count(name)


async def test_deleting_what_does_not_exist_is_harmless(session: Session, name: str) -> None:
    await session.declare(Queue(name))
    await session.delete(name)

    await session.delete(name)

    with pytest.raises(NotFound):
        await session.count(name)


async def test_nobody_can_publish_in_anothers_name(session: Session, name: str) -> None:
    await session.declare(Queue(name))

    with pytest.raises(AccessRefused, match="mallory"):
        await session.publish(Message(b"", user_id="mallory"), routing_key=name)


async def test_a_session_knows_its_user(session: Session) -> None:
    assert session.user == "guest"


async def test_a_message_of_the_maximum_size_is_taken(session: Session, name: str) -> None:
    await session.declare(Queue(name))

    await session.publish(Message(bytes(MAX_MESSAGE_BYTES)), routing_key=name)

    assert await session.count(name) == QueueCount(messages=1, consumers=0)


async def test_a_larger_message_is_too_large(session: Session, name: str) -> None:
    await session.declare(Queue(name))

    with pytest.raises(TooLarge, match=str(MAX_MESSAGE_BYTES + 1)):
        await session.publish(Message(bytes(MAX_MESSAGE_BYTES + 1)), routing_key=name)


@pytest.mark.parametrize("key", ["k" * 256, "ä" * 128])
async def test_a_routing_key_beyond_255_bytes_is_too_large(session: Session, key: str) -> None:
    with pytest.raises(TooLarge, match="255 bytes"):
        await session.publish(Message(b""), routing_key=key)


@pytest.mark.parametrize("value", [1.5, None, 2**63, b"bytes", ["list"]])
async def test_a_header_is_text_or_an_integer(session: Session, name: str, value: str) -> None:
    with pytest.raises(TypeError, match="mine"):
        await session.publish(Message(b"", headers={"mine": value}), routing_key=name)


async def test_a_refused_message_does_not_harm_those_on_their_way_beside_it(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    good = [Message(b"%02d" % number) for number in range(20)]
    bad = Message(b"", user_id="mallory")

    # When
    outcomes = await asyncio.gather(
        *[session.publish(message, routing_key=name) for message in [*good[:10], bad, *good[10:]]],
        return_exceptions=True,
    )

    # Then
    refused = [type(outcome) for outcome in outcomes if outcome is not None]
    count = (await session.count(name)).messages
    arrived = set(await bodies(await session.consume(name, prefetch=1), count))
    assert (refused, arrived) == ([AccessRefused], {message.body for message in good})


async def test_each_of_two_returned_messages_of_one_id_is_reported(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    message = Message(b"", message_id="same")
    keys = [f"{name}-nowhere", name, f"{name}-nowhere"]

    # When
    outcomes = await asyncio.gather(
        *[session.publish(message, routing_key=key) for key in keys], return_exceptions=True
    )

    # Then
    assert [outcome is None for outcome in outcomes] == [False, True, False]
