"""A node killed at any moment: what was declared is declared, what was confirmed is there, and nothing is "gone"."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from broker import blob
from broker.base import Binding, Exchange, Message, Queue, Session, Stream, Subscription
from broker.connect import open_session
from broker.local import LocalRabbit
from broker.retry import Backoff, keep_connected
from tests.contract.backends import PATIENCE_S, bodies
from tests.rabbit_tools import age

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(300)]

T = TypeVar("T")

KILLS = 2
"""Each is a start of a node, which takes most of the time."""


@pytest.fixture(scope="module")
def node() -> Iterator[LocalRabbit]:
    with LocalRabbit() as node:
        age(node)
        yield node


async def after_crash(node: LocalRabbit, work: Callable[[Session], Awaitable[T]]) -> T:
    """Kill the node, start it again, and do `work` there, as often as it is told to try again; other errors fail."""
    node.kill()
    node.start()

    def quiet(*_: object) -> None: ...

    async with asyncio.timeout(5 * PATIENCE_S):
        return await keep_connected(
            lambda: open_session(node.url, name="contract"),
            work,
            rng=random.Random(0),
            on_trouble=quiet,
            backoff=Backoff(first_s=0.02, most_s=0.05),
        )


async def bodies_up_to(subscription: Subscription, last: bytes) -> list[bytes]:
    """The bodies of all that is delivered up to the last, each once: what was not confirmed may come twice."""
    found: list[bytes] = []
    while last not in found:
        found += await bodies(subscription, 1)
    return list(dict.fromkeys(found))


def number(count: int) -> list[bytes]:
    return [b"%d" % each for each in range(count)]


@pytest.mark.parametrize("time", range(KILLS))
async def test_what_was_declared_and_confirmed_just_before_a_crash_is_there_after_it(
    node: LocalRabbit, name: str, time: int
) -> None:
    # Given
    queue, stream = Queue(f"{name}-queue-{time}"), Stream(f"{name}-stream-{time}")
    bindings = Binding(queue.name, name, "queue"), Binding(stream.name, name, "stream")
    session = await open_session(node.url, name="contract")
    await session.declare(Exchange(name), queue, stream, *bindings)
    for body in number(3):
        await session.publish(Message(body), exchange=name, routing_key="stream")
        await session.publish(Message(body), exchange=name, routing_key="queue")

    # When
    async def look(session: Session) -> list[list[bytes]]:
        await session.count(stream.name)  # tells to try again until the stream is up, and the binding leads somewhere
        for item in bindings:
            await session.publish(Message(b"3"), exchange=name, routing_key=item.key)
        opened = (await session.consume(queue.name, prefetch=1), await session.read(stream.name))
        return [await bodies_up_to(each, b"3") for each in opened]

    found = await after_crash(node, look)

    # Then
    assert found == [number(4), number(4)]


async def test_a_stream_that_is_not_up_yet_after_a_crash_is_never_taken_for_gone(node: LocalRabbit, name: str) -> None:
    # Given
    streams = [Stream(f"{name}-{number}") for number in range(20)]
    session = await open_session(node.url, name="contract")
    await session.declare(Exchange(name), *streams, *(Binding(stream.name, name, stream.name) for stream in streams))

    # When
    async def use(session: Session) -> int:
        for stream in reversed(streams):
            await session.declare(stream)
            await blob.write(session, stream.name, b"bulk", exchange=name, routing_key=stream.name)
            await session.publish(Message(b"record"), routing_key=stream.name)
            await bodies_up_to(await session.read(stream.name), b"record")
        return len(streams)

    used = await after_crash(node, use)

    # Then
    assert used == 20
