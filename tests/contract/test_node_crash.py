"""A node killed at any moment: what was declared is declared, what was confirmed is there, and nothing is "gone"."""

from collections.abc import Awaitable, Iterator

import pytest

from broker import blob
from broker.base import Binding, Exchange, Message, Queue, Session, Stream
from broker.connect import open_session
from broker.errors import Retryable
from broker.local import LocalRabbit
from tests.contract.backends import bodies, until
from tests.rabbit_tools import age

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(300)]

KILLS = 3
"""Each is a start of a node, which takes most of the time."""


@pytest.fixture(scope="module")
def node() -> Iterator[LocalRabbit]:
    with LocalRabbit() as node:
        age(node)
        yield node


async def comes(call: Awaitable[object]) -> bool:
    """Whether a call succeeds, or is told to try again; whatever else it raises fails the test."""
    try:
        await call
    except Retryable:
        return False
    return True


async def until_each_came(session: Session, stream: Stream, *, exchange: str) -> None:
    """Declare and write to a stream in each way there is."""
    await until(lambda: comes(session.declare(stream)))
    await until(lambda: comes(blob.write(session, stream.name, b"bulk", exchange=exchange, routing_key=stream.name)))
    await until(lambda: comes(session.publish(Message(b"record"), routing_key=stream.name)))


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
    node.kill()
    node.start()

    # Then
    session = await open_session(node.url, name="contract")
    await until(lambda: comes(session.count(stream.name)))
    for item in bindings:
        await session.publish(Message(b"3"), exchange=name, routing_key=item.key)
    in_queue = await bodies(await session.consume(queue.name, prefetch=1), 4)
    in_stream = await bodies(await session.read(stream.name), 4)
    await session.close()
    assert (in_queue, in_stream) == (number(4), number(4))


async def test_a_stream_that_is_not_up_yet_after_a_crash_is_never_taken_for_gone(node: LocalRabbit, name: str) -> None:
    # Given
    streams = [Stream(f"{name}-{number}") for number in range(20)]
    session = await open_session(node.url, name="contract")
    await session.declare(Exchange(name), *streams, *(Binding(stream.name, name, stream.name) for stream in streams))

    # When
    node.kill()
    node.start()

    # Then
    session = await open_session(node.url, name="contract")
    for stream in reversed(streams):
        await until_each_came(session, stream, exchange=name)
        assert await bodies(await session.read(stream.name), 2) == [b"bulk", b"record"]
    await session.close()
