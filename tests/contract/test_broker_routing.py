"""Topic and fanout exchanges, and what happens to messages that lead nowhere."""

import pytest

from broker.base import Binding, Exchange, Message, Queue, QueueCount, Session
from broker.errors import NotFound, Unroutable
from broker.patterns import matches
from tests.contract.backends import bodies, take_one

KEYS = ["", "run", "run.alice", "run.alice.train", "run.bob.train", "run.alice.train.chunk", "other.alice.train"]
PATTERNS = ["#", "*", "run", "run.#", "run.*.*", "*.alice.*", "*.alice.#", "#.train", "#.alice.#", "run.#.chunk", "#.#"]


async def bound(session: Session, name: str, *patterns: str) -> str:
    """A queue that gets what matches any of the patterns on the exchange `name`."""
    queue = f"{name}-queue"
    await session.declare(Exchange(name), Queue(queue), *[Binding(queue, name, pattern) for pattern in patterns])
    return queue


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_topic_exchange_routes_as_patterns_match(session: Session, name: str, pattern: str) -> None:
    # Given
    queue = await bound(session, name, pattern)

    # When
    taken = []
    for key in KEYS:
        try:
            await session.publish(Message(key.encode()), exchange=name, routing_key=key)
        except Unroutable:
            continue
        taken.append(key.encode())

    # Then
    assert taken == [key.encode() for key in KEYS if matches(pattern, key)]
    assert await bodies(await session.consume(queue, prefetch=1), len(taken)) == taken


async def test_a_queue_with_two_bindings_that_match_gets_a_message_once(session: Session, name: str) -> None:
    queue = await bound(session, name, "run.#", "#.train")

    await session.publish(Message(b""), exchange=name, routing_key="run.train")

    assert await session.count(queue) == QueueCount(messages=1, consumers=0)


async def test_every_queue_that_matches_gets_a_copy(session: Session, name: str) -> None:
    # Given
    queues = [f"{name}-{number}" for number in range(3)]
    await session.declare(Exchange(name), *[Queue(queue) for queue in queues])
    await session.declare(*[Binding(queue, name, "*.train") for queue in queues])

    # When
    await session.publish(Message(b"all"), exchange=name, routing_key="run.train")

    # Then
    for queue in queues:
        assert await bodies(await session.consume(queue, prefetch=1), 1) == [b"all"]


async def test_a_fanout_exchange_ignores_keys(session: Session, name: str) -> None:
    # Given
    await session.declare(Exchange(name, "fanout"), Queue(f"{name}-queue"), Binding(f"{name}-queue", name, "never"))

    # When
    await session.publish(Message(b"all"), exchange=name, routing_key="else")

    # Then
    assert (await take_one(await session.consume(f"{name}-queue", prefetch=1))).routing_key == "else"


async def test_a_message_for_nobody_is_unroutable(session: Session, name: str) -> None:
    with pytest.raises(Unroutable, match=name):
        await session.publish(Message(b""), routing_key=name)


async def test_the_session_lives_on_after_an_unroutable_message(session: Session, name: str) -> None:
    # Given
    with pytest.raises(Unroutable):
        await session.publish(Message(b""), routing_key=name)

    # When
    await session.declare(Queue(name))
    await session.publish(Message(b"now"), routing_key=name)

    # Then
    assert await bodies(await session.consume(name, prefetch=1), 1) == [b"now"]


async def test_bindings_go_with_their_queue(session: Session, name: str) -> None:
    # Given
    queue = await bound(session, name, "#")

    # When
    await session.delete(queue)

    # Then
    with pytest.raises(Unroutable):
        await session.publish(Message(b""), exchange=name, routing_key="any")


async def test_publishing_to_a_missing_exchange_says_so(session: Session, name: str) -> None:
    with pytest.raises(NotFound, match=name):
        await session.publish(Message(b""), exchange=name, routing_key="any")
