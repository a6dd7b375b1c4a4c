"""A broker that runs out of memory or disk takes no messages: everybody waits, is told so, and goes on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from broker import blob
from broker.base import Message, Queue, Session, Stream
from broker.blocking import BlockingBroker
from broker.connect import open_session
from broker.errors import Retryable
from broker.local import LocalRabbit
from tests.contract.backends import PATIENCE_S, bodies, until
from tests.rabbit_tools import alarm

pytestmark = pytest.mark.rabbitmq

HEARTBEAT_S = 1


@pytest.fixture(scope="module")
def node() -> Iterator[LocalRabbit]:
    """A node of its own: an alarm stops everybody who publishes."""
    with LocalRabbit() as node:
        yield node


class Heard(list[str | None]):
    """What a session was told."""

    async def until(self, *expected: str | None) -> None:
        async def heard() -> bool:
            return tuple(self) == expected

        await until(heard)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def session(node: LocalRabbit, heard: Heard) -> AsyncIterator[Session]:
    """One that notes in `heard` what it is told."""
    session = await open_session(node.url, name="contract", heartbeat_s=HEARTBEAT_S, on_blocked=heard.append)
    yield session
    await session.close()


@pytest.mark.parametrize(("what", "reason"), [("memory", "low on memory"), ("disk", "low on disk")])
async def test_whoever_publishes_is_told_of_an_alarm_and_of_its_end(
    node: LocalRabbit, session: Session, heard: Heard, name: str, what: str, reason: str
) -> None:
    # Given
    await session.declare(Queue(name))

    # When
    async with alarm(node, what):
        publishing = asyncio.create_task(session.publish(Message(b"kept"), routing_key=name))
        await heard.until(reason)

    # Then
    await heard.until(reason, None)
    await publishing
    assert await bodies(await session.consume(name, prefetch=1), 1) == [b"kept"]


async def test_a_blocked_session_with_bulk_on_its_way_is_not_lost(
    node: LocalRabbit, session: Session, heard: Heard, name: str
) -> None:
    # Given
    await session.declare(Stream(name))
    data = bytes(64 * blob.CHUNK_BYTES)

    # When
    async with alarm(node, "memory"):
        writing = asyncio.create_task(blob.write(session, name, data))
        await heard.until("low on memory")
        # The library has room for 10 heartbeats, and gives up a connection that it waits 3 * (heartbeat + 1) s for.
        with suppress(TimeoutError):
            async with asyncio.timeout(20 * HEARTBEAT_S):
                await session.wait_lost()

    # Then
    async with asyncio.timeout(PATIENCE_S):
        ref = await writing
    assert await blob.get(session, ref) == data


async def test_a_blocked_command_ends_and_says_what_to_do(node: LocalRabbit, name: str) -> None:
    # Given
    broker = BlockingBroker(node.url, blocked_timeout_s=0.5)
    broker.declare(Queue(name))

    # When / Then
    async with alarm(node, "memory"):
        # It takes the first message, and reads no more soon after.
        with pytest.raises(Retryable, match="free some there"):
            for _ in range(100):
                await asyncio.to_thread(broker.publish, Message(b""), routing_key=name)
    broker.close()


async def test_a_command_that_is_blocked_for_a_moment_goes_on(
    node: LocalRabbit, session: Session, heard: Heard, name: str
) -> None:
    # Given
    broker = BlockingBroker(node.url)
    broker.declare(Queue(name))

    # When
    async with alarm(node, "disk"):
        publishing = asyncio.create_task(asyncio.to_thread(broker.publish, Message(b"kept"), routing_key=name))
        watching = asyncio.create_task(session.publish(Message(b"other"), routing_key=name))
        await heard.until("low on disk")

    # Then
    await asyncio.gather(publishing, watching)
    assert broker.count(name).messages == 2
    broker.close()
