"""What only a real broker does: credentials, permissions, timeouts, silence, and cancelling a consumer by itself."""

import asyncio
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

import pytest

from broker.access import Permissions
from broker.base import Binding, Exchange, Message, Queue, QueueCount, Session, Stream
from broker.connect import open_session
from broker.errors import AccessRefused, ConnectionLost, Fatal, NotFound, SubscriptionLost, Unreachable
from broker.local import LocalRabbit
from broker.processes import free_ports
from broker.rabbitmq import lines
from tests.contract.backends import PATIENCE_S, bodies, take_one, until, until_counted
from tests.rabbit_tools import MAX_CHANNELS, Cuttable, impatience

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
async def session(rabbit: LocalRabbit) -> AsyncIterator[Session]:
    session = await open_session(rabbit.url, name="contract")
    yield session
    await session.close()


@pytest.fixture(scope="module")
def client_url(rabbit: LocalRabbit) -> str:
    """A user with the permissions of a client: it reads its queue, and publishes under its name to `up` only."""
    topics = {"up": (r"^[^.]+\.{username}\..*", "^$")}
    rabbit.add_user("alice", "secret", Permissions(write="^up$", read=r"^queue\.alice$", topics=topics))
    return rabbit.url_of("alice", "secret")


@pytest.fixture
async def client(session: Session, client_url: str) -> AsyncIterator[Session]:
    await session.declare(Exchange("up"), Queue("queue.alice"), Queue("all"), Binding("all", "up"))
    client = await open_session(client_url, name="alice")
    yield client
    await client.close()


async def test_a_wrong_password_is_refused_naming_user_and_vhost(rabbit: LocalRabbit) -> None:
    with pytest.raises(AccessRefused, match="user 'guest' on vhost '/'"):
        await open_session(rabbit.url_of("guest", "hunter2"), name="contract")


async def test_no_error_shows_the_password(rabbit: LocalRabbit, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(AccessRefused) as caught:
        await open_session(rabbit.url_of("guest", "hunter2"), name="contract")

    assert "hunter2" not in str(caught.value) + caplog.text


async def test_a_missing_vhost_is_refused(rabbit: LocalRabbit) -> None:
    with pytest.raises(AccessRefused, match="vhost 'missing'"):
        await open_session(f"{rabbit.url}missing", name="contract")


async def test_nobody_there_is_unreachable() -> None:
    (port,) = free_ports(1)

    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
        await open_session(f"amqp://127.0.0.1:{port}/", name="contract")


async def test_the_host_that_answers_is_found_among_those_that_do_not(rabbit: LocalRabbit) -> None:
    # Given
    dead = ",".join(f"127.0.0.1:{port}" for port in free_ports(3))
    url = rabbit.url.replace("@", f"@{dead},")

    # When
    session = await open_session(url, name="contract")

    # Then
    assert session.user == "guest"
    await session.close()


async def test_nobody_there_names_every_host_that_was_tried() -> None:
    one, other = free_ports(2)

    with pytest.raises(Unreachable) as caught:
        await open_session(f"amqp://127.0.0.1:{one},127.0.0.1:{other}/", name="contract")

    assert [str(port) in str(caught.value) for port in (one, other)] == [True, True]


async def test_an_unknown_host_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"nowhere\.invalid:5672"):
        await open_session("amqp://nowhere.invalid/", name="contract")


async def test_who_does_not_answer_in_time_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        with pytest.raises(Unreachable, match=r"within 0\.3 s"):
            await open_session(f"amqp://127.0.0.1:{port}/", name="contract", timeout_s=0.3)


async def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Fatal, match="use amqp://, amqps:// or memory://"):
        await open_session("mqtt://127.0.0.1/", name="contract")


async def test_the_broker_shows_the_name_of_a_connection(rabbit: LocalRabbit, name: str) -> None:
    session = await open_session(rabbit.url, name=name)

    listed = await asyncio.to_thread(rabbit.ctl, "list_connections", "client_properties")

    await session.close()
    assert name in listed


async def test_a_client_publishes_under_its_own_name(client: Session, session: Session) -> None:
    await client.publish(Message(b"mine", user_id="alice"), exchange="up", routing_key="run.alice.train")

    delivery = await take_one(await session.consume("all", prefetch=1))
    await delivery.ack()
    assert (delivery.message.user_id, delivery.routing_key) == ("alice", "run.alice.train")


async def test_a_client_cannot_publish_under_anothers_name(client: Session) -> None:
    with pytest.raises(AccessRefused, match=r"run\.bob\.train"):
        await client.publish(Message(b""), exchange="up", routing_key="run.bob.train")


async def test_a_client_cannot_publish_elsewhere(client: Session) -> None:
    with pytest.raises(AccessRefused):
        await client.publish(Message(b""), routing_key="queue.alice")


async def test_a_client_cannot_declare(client: Session, name: str) -> None:
    with pytest.raises(AccessRefused, match=name):
        await client.declare(Queue(name))


async def test_a_client_cannot_consume_anothers_queue(client: Session) -> None:
    with pytest.raises(AccessRefused, match="all"):
        await client.consume("all", prefetch=1)


async def test_a_client_goes_on_after_refusals(client: Session, session: Session) -> None:
    # Given
    with pytest.raises(AccessRefused):
        await client.consume("all", prefetch=1)

    # When
    await session.publish(Message(b"request"), routing_key="queue.alice")

    # Then
    assert await bodies(await client.consume("queue.alice", prefetch=1), 1) == [b"request"]


async def test_a_session_that_the_broker_closes_is_lost(rabbit: LocalRabbit, client: Session) -> None:
    # Given
    waiting = asyncio.ensure_future(anext(await client.consume("queue.alice", prefetch=1)))

    # When
    await asyncio.to_thread(rabbit.ctl, "close_all_user_connections", "alice", "test")

    # Then
    async with asyncio.timeout(PATIENCE_S):
        await client.wait_lost()
    with pytest.raises(ConnectionLost, match="CONNECTION_FORCED"):
        await waiting


async def test_a_silent_network_is_a_lost_session(rabbit: LocalRabbit, name: str) -> None:
    # Given
    port = urlsplit(rabbit.url).port
    assert port is not None
    wire = await Cuttable(port).start()
    session = await open_session(f"amqp://guest:guest@127.0.0.1:{wire.port}/", name="contract", heartbeat_s=1)
    await session.declare(Queue(name))
    publish = session.publish(Message(b""), routing_key=name)

    # When
    wire.freeze()

    # Then
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ConnectionLost):
            await publish
    await session.close()
    await wire.stop()


async def test_closing_a_session_whose_network_is_silent_ends(rabbit: LocalRabbit) -> None:
    # Given
    port = urlsplit(rabbit.url).port
    assert port is not None
    wire = await Cuttable(port).start()
    session = await open_session(f"amqp://guest:guest@127.0.0.1:{wire.port}/", name="contract")

    # When
    wire.freeze()

    # Then
    async with asyncio.timeout(PATIENCE_S):
        await session.close()
    await wire.stop()


@pytest.fixture
async def impatient(rabbit: LocalRabbit) -> AsyncIterator[None]:
    """New channels wait a tenth of a second for acknowledgements; they look every tenth of a second."""
    async with impatience(rabbit, 100):
        yield


@pytest.mark.usefixtures("impatient")
async def test_holding_a_delivery_too_long_ends_only_that_subscription(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))
    await session.publish(Message(b"slow"), routing_key=name)
    subscription = await session.consume(name, prefetch=1)
    await take_one(subscription)

    # When
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(SubscriptionLost, match="delivery acknowledgement"):
            await anext(subscription)

    # Then
    await until_counted(session, name, QueueCount(messages=1, consumers=0))


HALF_MADE: Final = """
    Name = rabbit_misc:r(<<"/">>, queue, <<"{name}">>),
    {{ok, Stream}} = rabbit_amqqueue:lookup(Name),
    rabbit_amqqueue:internal_delete(Name, <<"guest">>),
    mnesia:dirty_write(rabbit_durable_queue, amqqueue:set_pid(Stream, none)),
    ok.
"""
"""Leave of a stream what a node leaves that is killed while it declares it: a name that nobody keeps."""
REMOVED: Final = 'mnesia:dirty_delete(rabbit_durable_queue, rabbit_misc:r(<<"/">>, queue, <<"{name}">>)).'


async def test_a_stream_that_a_crash_left_half_made_cannot_be_deleted_and_ends_no_session(
    rabbit: LocalRabbit, session: Session, name: str
) -> None:
    # Given
    await session.declare(Stream(name), Stream(f"{name}-sound"))
    await asyncio.to_thread(rabbit.ctl, "eval", HALF_MADE.format(name=name))

    # When
    await session.delete(name)

    # Then
    await session.delete(f"{name}-sound")
    with pytest.raises(NotFound):
        await session.count(f"{name}-sound")
    await asyncio.to_thread(
        rabbit.ctl,
        "eval",
        f'rabbit_amqqueue:internal_delete(rabbit_misc:r(<<"/">>, queue, <<"{name}">>), <<"guest">>).',
    )


@pytest.fixture
def stuck(rabbit: LocalRabbit, name: str) -> Iterator[Callable[[], None]]:
    """Called, it stops whoever keeps the queue `name`, so that nothing published to it is confirmed."""
    process = f"whereis('%2F_{name}')"

    def stop() -> None:
        rabbit.ctl("eval", f"sys:suspend({process}).")

    yield stop
    rabbit.ctl("eval", f"sys:resume({process}).")


async def test_a_message_that_is_never_confirmed_ends_the_session(
    session: Session, name: str, stuck: Callable[[], None]
) -> None:
    # Given
    await session.declare(Queue(name))
    await asyncio.to_thread(stuck)

    # When / Then
    async with asyncio.timeout(5 * PATIENCE_S):
        with pytest.raises(ConnectionLost, match="without answer"):
            await session.publish(Message(b""), routing_key=name)


async def test_messages_that_are_confirmed_later_do_not_hide_one_that_is_not(
    session: Session, name: str, stuck: Callable[[], None]
) -> None:
    # Given
    await session.declare(Queue(name), Stream(f"{name}-log"))
    await asyncio.to_thread(stuck)
    forgotten = asyncio.create_task(session.publish(Message(b""), routing_key=name))

    # When
    with pytest.raises(ConnectionLost, match="without answer"):
        async with asyncio.timeout(5 * PATIENCE_S):
            while True:
                await session.publish(Message(b"next"), routing_key=f"{name}-log")
                await asyncio.sleep(0.05)

    # Then
    with pytest.raises(ConnectionLost):
        await forgotten


async def test_a_consumer_cancelled_though_its_queue_exists_must_start_again(session: Session, name: str) -> None:
    # Given
    await session.declare(Stream(name))
    reader = await session.read(name)

    # When
    # The stream is there again before the reader looks, as after the loss of a node.
    await session.delete(name)
    await session.declare(Stream(name))

    # Then
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(SubscriptionLost, match="still exists"):
            await anext(reader)


async def test_subscriptions_may_come_and_go_for_months(session: Session, name: str) -> None:
    # Given
    await session.declare(Queue(name))

    # When
    for _ in range(3 * MAX_CHANNELS):
        await (await session.consume(name, prefetch=1)).close()

    # Then
    await session.publish(Message(b"still"), routing_key=name)
    assert await bodies(await session.consume(name, prefetch=1), 1) == [b"still"]


async def test_a_line_for_bulk_is_closed_when_it_has_been_idle(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    monkeypatch.setattr(lines, "IDLE_S", 0.05)
    name = f"test-{secrets.token_hex(6)}"
    await session.declare(Stream(name))

    def n_crews() -> int:
        return sum(thread.name.startswith("bulk") for thread in threading.enumerate())

    before = n_crews()

    # When
    await session.publish_all([Message(b"one")], routing_key=name)

    # Then it is opened anew where it is needed again
    async def gone() -> bool:
        return n_crews() <= before

    await until(gone)
    await session.publish_all([Message(b"two")], routing_key=name)
