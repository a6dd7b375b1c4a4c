"""The synchronous side keeps the same promises on the real broker."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from broker.access import Permissions
from broker.base import Binding, Exchange, Message, Queue, QueueCount, Stream
from broker.blocking import BlockingBroker
from broker.connect import open_session
from broker.errors import (
    AccessRefused,
    ConnectionLost,
    Fatal,
    NotFound,
    TooLarge,
    TopologyConflict,
    Unreachable,
    Unroutable,
)
from broker.local import LocalRabbit
from broker.processes import free_ports
from broker.topology import MARKER
from tests.contract.backends import take_one
from tests.rabbit_tools import MAX_MESSAGE_BYTES

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def broker(rabbit: LocalRabbit) -> Iterator[BlockingBroker]:
    with BlockingBroker(rabbit.url) as broker:
        yield broker


def test_a_stream_is_read_up_to_now(broker: BlockingBroker, name: str) -> None:
    # Given
    broker.declare(Stream(name))
    for number in range(200):
        broker.publish(Message(b"%d" % number), routing_key=name)

    # When
    read = [message.body for message in broker.read(name)]

    # Then
    assert read == [b"%d" % number for number in range(200)]


def test_what_is_appended_after_the_call_is_not_read(broker: BlockingBroker, name: str) -> None:
    # Given
    broker.declare(Stream(name))
    broker.publish(Message(b"before"), routing_key=name)

    # When
    reading = broker.read(name)
    broker.publish(Message(b"after"), routing_key=name)

    # Then
    assert [message.body for message in reading] == [b"before"]


def test_an_empty_stream_has_nothing_to_read(broker: BlockingBroker, name: str) -> None:
    broker.declare(Stream(name))

    assert list(broker.read(name)) == []


def test_markers_of_others_are_not_among_the_messages(broker: BlockingBroker, name: str) -> None:
    # Given
    broker.declare(Stream(name))
    broker.publish(Message(b"", type=MARKER, message_id=secrets.token_hex(8)), routing_key=name)
    broker.publish(Message(b"record"), routing_key=name)

    # When
    list(broker.read(name))
    read = [message.body for message in broker.read(name)]

    # Then
    assert read == [b"record"]


def test_a_reader_that_stops_early_leaves_no_consumer(broker: BlockingBroker, name: str) -> None:
    # Given
    broker.declare(Stream(name))
    for _ in range(3):
        broker.publish(Message(b""), routing_key=name)

    # When
    with closing(broker.read(name)) as reading:
        next(reading)

    # Then
    assert broker.count(name).consumers == 0


def test_a_stream_deleted_while_it_is_read_is_not_found(broker: BlockingBroker, name: str) -> None:
    # Given
    broker.declare(Stream(name))
    for _ in range(1000):
        broker.publish(Message(b""), routing_key=name)
    reading = broker.read(name)
    next(reading)

    # When
    broker.delete(name)

    # Then
    with pytest.raises(NotFound, match="deleted while it was read"):
        list(reading)


async def test_it_talks_to_the_asynchronous_side(rabbit: LocalRabbit, broker: BlockingBroker, name: str) -> None:
    # Given
    sent = Message(
        memoryview(b"body"), type="odd", message_id="1", correlation_id="2", user_id="guest", headers={"a": 2**40}
    )
    broker.declare(Exchange(name), Queue(f"{name}-queue"), Binding(f"{name}-queue", name, "a.*"))

    # When
    broker.publish(sent, exchange=name, routing_key="a.b")

    # Then
    session = await open_session(rabbit.url, name="contract")
    delivery = await take_one(await session.consume(f"{name}-queue", prefetch=1))
    await session.close()
    assert (delivery.message, delivery.routing_key) == (sent, "a.b")


async def test_it_reads_what_the_other_side_wrote(rabbit: LocalRabbit, broker: BlockingBroker, name: str) -> None:
    # Given
    sent = Message(b"body", type="odd", message_id="1", correlation_id="2", user_id="guest", headers={"a": -1})
    session = await open_session(rabbit.url, name="contract")
    await session.declare(Stream(name))

    # When
    await session.publish(sent, routing_key=name)
    await session.close()

    # Then
    (read,) = broker.read(name)
    assert (read.body, read.type, read.message_id, read.headers["a"]) == (b"body", "odd", "1", -1)


def test_publish_returns_when_the_message_is_in_the_queue(broker: BlockingBroker, name: str) -> None:
    broker.declare(Queue(name))

    broker.publish(Message(b""), routing_key=name)

    assert broker.count(name) == QueueCount(messages=1, consumers=0)


def test_a_message_for_nobody_is_unroutable(broker: BlockingBroker, name: str) -> None:
    with pytest.raises(Unroutable, match=name):
        broker.publish(Message(b""), routing_key=name)


def test_a_missing_exchange_is_not_found(broker: BlockingBroker, name: str) -> None:
    with pytest.raises(NotFound, match=name):
        broker.publish(Message(b""), exchange=name, routing_key="any")


def test_counting_what_is_missing_is_not_found(broker: BlockingBroker, name: str) -> None:
    with pytest.raises(NotFound, match=name):
        broker.count(name)


def test_reading_a_missing_stream_is_not_found(broker: BlockingBroker, name: str) -> None:
    with pytest.raises(NotFound, match=name):
        broker.read(name)


def test_deleting_what_is_missing_is_harmless(broker: BlockingBroker, name: str) -> None:
    broker.delete(name)

    broker.ping()


def test_another_declaration_conflicts(broker: BlockingBroker, name: str) -> None:
    broker.declare(Queue(name))

    with pytest.raises(TopologyConflict, match=name):
        broker.declare(Stream(name))


def test_both_sides_declare_alike(broker: BlockingBroker, name: str) -> None:
    # Given
    items = (Exchange(name), Queue(f"{name}-queue", dead_letter=name, delivery_limit=3), Stream(f"{name}-log", 10**7))
    broker.declare(*items)

    # When
    broker.declare(*items, Binding(f"{name}-queue", name))

    # Then
    assert broker.count(f"{name}-queue") == QueueCount(messages=0, consumers=0)


def test_a_message_beyond_the_limit_is_too_large(broker: BlockingBroker, name: str) -> None:
    broker.declare(Queue(name))

    with pytest.raises(TooLarge):
        broker.publish(Message(bytes(MAX_MESSAGE_BYTES + 1)), routing_key=name)


def test_it_lives_on_after_a_refusal(broker: BlockingBroker, name: str) -> None:
    # Given
    broker.declare(Queue(name))
    with pytest.raises(AccessRefused):
        broker.publish(Message(b"", user_id="mallory"), routing_key=name)

    # When
    broker.publish(Message(b""), routing_key=name)

    # Then
    assert broker.count(name).messages == 1


def test_after_the_broker_closed_the_connection_every_call_raises(rabbit: LocalRabbit, name: str) -> None:
    # Given
    rabbit.add_user(name, "secret", Permissions(".*", ".*", ".*"))
    broker = BlockingBroker(rabbit.url_of(name, "secret"))
    broker.ping()

    # When
    rabbit.ctl("close_all_user_connections", name, "test")

    # Then
    with pytest.raises(ConnectionLost):
        broker.ping()
    broker.close()


def test_nobody_there_is_unreachable() -> None:
    (port,) = free_ports(1)

    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
        BlockingBroker(f"amqp://127.0.0.1:{port}/")


def test_the_host_that_answers_is_found_among_those_that_do_not(rabbit: LocalRabbit) -> None:
    dead = ",".join(f"127.0.0.1:{port}" for port in free_ports(3))

    with BlockingBroker(rabbit.url.replace("@", f"@{dead},")) as broker:
        broker.ping()


def test_nobody_there_names_every_host_that_was_tried() -> None:
    one, other = free_ports(2)

    with pytest.raises(Unreachable) as caught:
        BlockingBroker(f"amqp://127.0.0.1:{one},127.0.0.1:{other}/")

    assert [str(port) in str(caught.value) for port in (one, other)] == [True, True]


def test_who_does_not_answer_in_time_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        with pytest.raises(Unreachable, match=r"within 0\.3 s"):
            BlockingBroker(f"amqp://127.0.0.1:{port}/", timeout_s=0.3)


def test_a_wrong_password_is_refused_and_not_shown(rabbit: LocalRabbit) -> None:
    with pytest.raises(AccessRefused, match="user 'guest' on vhost '/'") as caught:
        BlockingBroker(rabbit.url_of("guest", "hunter2"))

    assert "hunter2" not in str(caught.value)


def test_a_missing_vhost_is_refused(rabbit: LocalRabbit) -> None:
    with pytest.raises(AccessRefused, match="vhost 'missing'"):
        BlockingBroker(f"{rabbit.url}missing")


def test_the_embedded_broker_has_no_blocking_side() -> None:
    with pytest.raises(Fatal, match="open_session"):
        BlockingBroker("memory://here")
