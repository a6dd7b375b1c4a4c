"""One connection to RabbitMQ. It is never repaired: when it is lost, everything on it is."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel

from broker.address import Address, nobody_answers, to_try
from broker.amqp import PUSH, arguments, push_of
from broker.base import Binding, Declarable, Exchange, Message, OnBlocked, Queue, QueueCount, Stream
from broker.errors import NotFound, Retryable, SubscriptionLost, Unreachable, Unroutable
from broker.limits import check_message, check_prefetch
from broker.rabbitmq.alarm import Alarm
from broker.rabbitmq.channels import Channels, LastingChannel
from broker.rabbitmq.errands import Errands
from broker.rabbitmq.lifeline import Lifeline
from broker.rabbitmq.line import Cancelled, Line
from broker.rabbitmq.lines import Lines
from broker.rabbitmq.patience import Patience
from broker.rabbitmq.publisher import Publisher
from broker.rabbitmq.subscription import RabbitSubscription
from broker.rabbitmq.translate import is_library_error, translate_connecting

CLOSE_TIMEOUT_S: Final = 5.0
"""How long a broker may take to say good-bye before we just go."""


async def open_session(
    url: str, *, name: str, heartbeat_s: int, timeout_s: float, on_blocked: OnBlocked
) -> "RabbitSession":
    """Connect as `name` to the first of the URL's hosts that answers, each within `timeout_s`.

    Raises `Unreachable`, `AccessRefused`, or `Fatal` for a URL that cannot be used. A connection over which nothing
    comes for three times `heartbeat_s` is lost; the broker waits for two.
    """
    _leave_logs_to_the_program()
    failures = []
    for address in to_try(url):
        try:
            return await _try(address, name=name, heartbeat_s=heartbeat_s, timeout_s=timeout_s, on_blocked=on_blocked)
        except Unreachable as error:
            failures.append(error)
    raise nobody_answers(failures)


async def _try(
    address: Address, *, name: str, heartbeat_s: int, timeout_s: float, on_blocked: OnBlocked
) -> "RabbitSession":
    async def another() -> RabbitSession:
        return await _try(address, name=name, heartbeat_s=heartbeat_s, timeout_s=timeout_s, on_blocked=on_blocked)

    try:
        async with asyncio.timeout(timeout_s):
            connection = await _connect(address, name=name, heartbeat_s=heartbeat_s)
    except TimeoutError as error:
        raise Unreachable(f"no broker answered at {address} within {timeout_s:g} s") from error
    except Exception as error:
        if not is_library_error(error):
            raise
        raise translate_connecting(error, address) from error
    Alarm(connection, on_blocked)
    here = asyncio.get_running_loop()

    def tell(reason: str | None) -> None:
        _tell(here, partial(on_blocked, reason))

    lifeline = Lifeline()
    lines = Lines(
        partial(Line.connect, address, timeout_s=timeout_s, on_blocked=tell),
        lifeline,
        log_in=partial(Line.log_in, name=f"{name}, bulk", timeout_s=timeout_s),
    )
    return RabbitSession(connection, address, lifeline, another=another, lines=lines)


class RabbitSession:
    """Publishing, declaring and each subscription have a channel of their own; deleting and bulk have connections."""

    def __init__(
        self,
        connection: AbstractConnection,
        address: Address,
        lifeline: Lifeline,
        *,
        another: Callable[[], Awaitable["RabbitSession"]],
        lines: Lines,
    ) -> None:
        self._connection = connection
        self._address = address
        self._lifeline = lifeline
        self._channels = Channels(connection)
        self._publisher = Publisher(self._channels)
        self._patience = Patience(self._lifeline, self._ping)
        self._errands = Errands(another)
        self._lines = lines
        self._control = LastingChannel(self._channels, confirms=False)
        self._control_turn = asyncio.Lock()
        assert connection.transport is not None
        # aio-pika's own callback comes later than the errors of the calls that were pending.
        connection.transport.connection.closing.add_done_callback(self._on_closing)

    @property
    def user(self) -> str:
        return self._address.user

    async def declare(self, *items: Declarable) -> None:
        with self._calling():
            async with self._control_turn:
                channel = await self._control.get()
                for item in items:
                    await _declare(channel, item)
                if push := push_of(items):
                    await channel.queue_declare(push, durable=True, arguments=PUSH)
                    await channel.queue_delete(push)

    async def delete(self, name: str) -> None:
        with self._lifeline.held():
            await self._errands.delete(name)

    async def delete_here(self, name: str) -> None:
        """Delete over this connection, which ends if the broker fails over it."""
        with self._calling():
            async with self._control_turn:
                channel = await self._control.get()
                await channel.queue_delete(name)

    async def publish(self, message: Message, *, exchange: str = "", routing_key: str) -> None:
        check_message(message, routing_key)
        async with self._routing(exchange, routing_key):
            with self._calling():
                await self._publisher.publish(message, exchange=exchange, routing_key=routing_key)

    async def publish_all(self, messages: Iterable[Message], *, exchange: str = "", routing_key: str) -> None:
        def publish(line: Line) -> None:
            line.publish(_checked(messages, routing_key), exchange=exchange, routing_key=routing_key)

        async with self._routing(exchange, routing_key):
            with self._lifeline.held():
                await self._lines.do(publish)

    async def consume(self, queue: str, *, prefetch: int) -> RabbitSubscription:
        return await self._subscribe(queue, prefetch, from_stream=False)

    async def read(self, stream: str, *, prefetch: int = 64) -> RabbitSubscription:
        return await self._subscribe(stream, prefetch, from_stream=True)

    async def pour(self, stream: str, take: Callable[[Message], bool], *, timeout_s: float = 60.0) -> None:
        try:
            with self._lifeline.held():
                await self._lines.do(partial(Line.read, stream=stream, take=take, timeout_s=timeout_s))
        except Cancelled:
            await self.count(stream)
            raise SubscriptionLost(f"the broker stopped the reading of {stream!r} though it still exists") from None

    async def count(self, name: str) -> QueueCount:
        with self._calling():
            async with self._control_turn:
                channel = await self._control.get()
                counted = await channel.queue_declare(name, passive=True)
        return QueueCount(messages=counted.message_count or 0, consumers=counted.consumer_count or 0)

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Around a call to the broker: it ends when the session does, and a call that is forgotten ends the session."""
        with self._lifeline.held(), self._patience.awaited():
            yield

    @asynccontextmanager
    async def _routing(self, exchange: str, routing_key: str) -> AsyncGenerator[None, None]:
        """Around publishing: a stream that is only just up again after a start of the broker takes nothing yet."""
        try:
            yield
        except Unroutable:
            if not exchange and await self._exists(routing_key):
                raise Retryable(f"{routing_key!r} is only just up again: publish again") from None
            raise

    async def _ping(self) -> None:
        """Go to the broker and back, on a channel of its own: no other call is waited for."""
        with self._lifeline.held():
            await (await self._channels.open(confirms=False)).close()

    async def _exists(self, name: str) -> bool:
        """Raises `Retryable` for what exists and is down, as streams are for a moment when their broker starts."""
        try:
            await self.count(name)
        except NotFound:
            return False
        return True

    async def wait_lost(self) -> None:
        await self._lifeline.wait_cut()

    async def close(self) -> None:
        self._lifeline.cut("the session was closed")
        await self._errands.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._connection.close()

    async def _subscribe(self, name: str, prefetch: int, *, from_stream: bool) -> RabbitSubscription:
        check_prefetch(prefetch)
        with self._calling():
            channel = await self._channels.open(confirms=False)
            subscription = RabbitSubscription(
                channel, self._lifeline, partial(self.count, name), from_stream=from_stream
            )
            await subscription.start(name, prefetch=prefetch)
        return subscription

    def _on_closing(self, closing: asyncio.Future[None]) -> None:
        reason = None if closing.cancelled() else closing.exception()
        self._lifeline.cut(f"the connection to {self._address} was lost ({reason or 'closed'})")


async def _connect(address: Address, *, name: str, heartbeat_s: int) -> AbstractConnection:
    return await aio_pika.connect(
        host=address.host,
        port=address.port,
        login=address.user,
        password=address.password,
        virtualhost=address.vhost,
        ssl=address.tls is not None,
        ssl_context=address.tls,
        heartbeat=heartbeat_s,
        client_properties={"connection_name": name},
    )


def _leave_logs_to_the_program() -> None:
    """Keep the library's warnings, of queues deleted as planned, off the terminal of a program without logging."""
    library = logging.getLogger("aiormq")
    if not library.handlers:
        library.addHandler(logging.NullHandler())


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """From another thread; a loop that is closed has nobody left to tell."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call)


def _checked(messages: Iterable[Message], routing_key: str) -> Iterator[Message]:
    for message in messages:
        check_message(message, routing_key)
        yield message


async def _declare(channel: AbstractChannel, item: Declarable) -> None:
    match item:
        case Queue() | Stream():
            await channel.queue_declare(item.name, durable=True, arguments=arguments(item))
        case Exchange():
            await channel.exchange_declare(item.name, exchange_type=item.kind, durable=True)
        case Binding():
            await channel.queue_bind(item.queue, item.exchange, item.key)
