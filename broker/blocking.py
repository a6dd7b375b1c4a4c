"""The small synchronous side: submit, inspect, probe, and use from a notebook."""

import secrets
import ssl
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    ConnectionClosedByBroker,
    NackError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    UnroutableError,
)

from broker.address import Address, nobody_answers, parse_addresses, to_try
from broker.amqp import FROM_FIRST, PERSISTENT, PUSH, arguments, plain_headers, push_of
from broker.base import Binding, Declarable, Exchange, Message, Queue, QueueCount, Stream
from broker.errors import (
    AccessRefused,
    BrokerError,
    ConnectionLost,
    Fatal,
    NotFound,
    Retryable,
    TopologyConflict,
    Unreachable,
    Unroutable,
)
from broker.limits import check_message
from broker.refusals import refusal, untrusted
from broker.topology import MARKER

HEARTBEAT_S: Final = 60
"""Long, because nothing of ours runs between two calls; a call on a dead connection ends after about as long."""

ASK_FOR_TURN_EVERY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Loan:
    """A message that a queue has lent; it goes back there unless it is taken out for good."""

    message: Message
    exchange: str
    routing_key: str
    died_at: float | None
    """When the broker took it for dead, in seconds since the epoch; None if it never did."""
    _channel: BlockingChannel
    _tag: int

    def take_out(self) -> None:
        """Remove it from its queue. Asked for once at most."""
        with _translated():
            self._channel.basic_ack(self._tag)


class BlockingBroker:
    """One connection to RabbitMQ, for one thread. Raises the errors of `broker.errors`, and when lost is opened anew.

    Raises `Unreachable` if nobody answers within `timeout_s`, `AccessRefused` for wrong credentials. A call that the
    broker blocks, for lack of memory or disk, raises `Retryable` after `blocked_timeout_s`.
    """

    def __init__(self, url: str, timeout_s: float = 10.0, *, blocked_timeout_s: float = 60.0) -> None:
        if urlsplit(url).scheme == "memory":
            raise Fatal("memory:// has no blocking side: use broker.connect.open_session in an event loop")
        self.user: Final = parse_addresses(url)[0].user
        """Who the broker authenticated."""
        self._connection = _connect(url, timeout_s, blocked_timeout_s)
        self._channel: BlockingChannel | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; harmless when repeated or after a loss."""
        if self._connection.is_open:
            with suppress(ConnectionLost), _translated():
                self._connection.close()

    def declare(self, *items: Declarable) -> None:
        """Make sure that these exist. Raises `TopologyConflict`, `AccessRefused`."""
        with _translated():
            channel = self._open_channel()
            for item in items:
                _declare(channel, item)
            if push := push_of(items):
                channel.queue_declare(push, durable=True, arguments=PUSH)
                channel.queue_delete(push)

    def publish(self, message: Message, *, exchange: str = "", routing_key: str) -> None:
        """Publish, and return once the broker has it safe. Raises `Unroutable`, `TooLarge`, `AccessRefused`."""
        check_message(message, routing_key)
        with _translated():
            self._open_channel().basic_publish(
                exchange, routing_key, bytes(message.body), _properties(message), mandatory=True
            )

    def read(self, stream: str) -> Generator[Message, None, None]:
        """Read what the stream holds now, from its first record. Raises `NotFound`, also if it is deleted meanwhile.

        This appends a marker of its own and reads up to it; markers are not among the messages.
        """
        self.count(stream)
        marker = Message(b"", type=MARKER, message_id=secrets.token_hex(16))
        self.publish(marker, routing_key=stream)
        return self._read_up_to(marker.message_id, stream)

    def count(self, name: str) -> QueueCount:
        """Ready messages and consumers. Raises `NotFound`."""
        with _translated():
            counted = self._open_channel().queue_declare(name, passive=True).method
        return QueueCount(messages=counted.message_count, consumers=counted.consumer_count)

    @contextmanager
    def borrow(self, queue: str) -> Iterator[Iterator[Loan]]:
        """Look at all that a queue holds now, one after the other; when the block ends it is as it was.

        Nobody else gets to see these messages meanwhile. Raises `NotFound`.
        """
        most = self.count(queue).messages
        with _translated():
            channel = self._connection.channel()
        loans = _loans(channel, queue, most)
        try:
            yield loans
        finally:
            with suppress(ConnectionLost), _translated():
                if channel.is_open:
                    # One alone might be put behind the others, depending on the queue: all together keep their order.
                    for _ in loans:
                        pass
                    channel.basic_nack(delivery_tag=0, multiple=True, requeue=True)
                    channel.close()

    @contextmanager
    def turn(self, name: str, *, wait_s: float) -> Iterator[None]:
        """Do something while nobody else does who asks for a turn of the same name.

        It ends with the block, or with the connection. Raises `Retryable` where others do not end theirs for `wait_s`.
        """
        until = time.monotonic() + wait_s
        while not self._try_turn(name):
            if time.monotonic() >= until:
                raise Retryable(f"somebody else has held {name} for {wait_s:g} s: try again later")
            time.sleep(ASK_FOR_TURN_EVERY_S)
        try:
            yield
        finally:
            with suppress(ConnectionLost):
                self.delete(name)

    def delete(self, name: str) -> None:
        """Delete a queue or stream with all it holds; a name that does not exist is no error."""
        with _translated():
            self._open_channel().queue_delete(name)

    def ping(self) -> None:
        """Go to the broker and back. Raises `ConnectionLost` if it does not answer."""
        with _translated():
            self._connection.channel().close()

    @property
    def server(self) -> str:
        """What the broker says it is, such as "RabbitMQ 3.10.8"."""
        told = self._connection._impl.server_properties or {}  # noqa: SLF001  # the library shows it nowhere else
        return " ".join(str(told[word]) for word in ("product", "version") if word in told)

    def _try_turn(self, name: str) -> bool:
        """Declare a queue that one connection at a time can have, and that goes with it."""
        try:
            with _translated():
                self._open_channel().queue_declare(name, exclusive=True)
        except TopologyConflict:
            return False
        return True

    def _open_channel(self) -> BlockingChannel:
        # The broker closes a channel on every refusal; the next call opens another.
        if self._channel is None or self._channel.is_closed:
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def _read_up_to(self, marker_id: str, stream: str) -> Generator[Message, None, None]:
        with _translated():
            channel = self._connection.channel()
        try:
            yield from self._messages(channel, marker_id, stream)
        finally:
            if channel.is_open:
                with _translated():
                    channel.close()

    def _messages(self, channel: BlockingChannel, marker_id: str, stream: str) -> Iterator[Message]:
        with _translated():
            # Asked to stop, the library gives back what it holds unseen, and for that RabbitMQ closes the connection:
            # a stream takes nothing back. So it may hold one delivery only, the one that we have seen.
            channel.basic_qos(prefetch_count=1)
            deliveries = channel.consume(stream, arguments=FROM_FIRST)
        while True:
            with _translated():
                delivered = next(deliveries, None)
            if delivered is None:
                raise NotFound(f"stream {stream!r} was deleted while it was read")
            method, properties, body = delivered
            if properties.message_id == marker_id:
                return
            if properties.type != MARKER:
                yield _message(properties, body)
            with _translated():
                channel.basic_ack(method.delivery_tag)


def _loans(channel: BlockingChannel, queue: str, most: int) -> Iterator[Loan]:
    for _ in range(most):
        with _translated():
            method, properties, body = channel.basic_get(queue)
        if method is None:
            return
        message = _message(properties, body or b"")
        died_at = _died_at(properties)
        yield Loan(message, method.exchange, method.routing_key, died_at, channel, method.delivery_tag)


def _connect(url: str, timeout_s: float, blocked_timeout_s: float) -> pika.BlockingConnection:
    """A connection to the first of the URL's hosts that answers."""
    failures = []
    for address in to_try(url):
        try:
            return _try(address, timeout_s, blocked_timeout_s)
        except Unreachable as error:
            failures.append(error)
    raise nobody_answers(failures)


def _try(address: Address, timeout_s: float, blocked_timeout_s: float) -> pika.BlockingConnection:
    parameters = pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.vhost,
        credentials=pika.PlainCredentials(address.user, address.password),
        ssl_options=pika.SSLOptions(address.tls, address.host) if address.tls else None,
        heartbeat=HEARTBEAT_S,
        socket_timeout=timeout_s,
        stack_timeout=timeout_s,
        blocked_connection_timeout=blocked_timeout_s,
        client_properties={"connection_name": "fluffle"},
    )
    try:
        return pika.BlockingConnection(parameters)
    except (ProbableAuthenticationError, ProbableAccessDeniedError, ConnectionClosedByBroker) as error:
        raise AccessRefused(f"the broker refused {address.identity}: check name, password and vhost") from error
    except ssl.SSLCertVerificationError as error:
        raise untrusted(address, error) from error
    except (AMQPError, AMQPConnectorException, OSError) as error:
        raise Unreachable(f"no broker answers at {address} within {timeout_s:g} s: {_root(error)}") from error


def _root(error: BaseException) -> BaseException:
    """What lies under the library's wrapping, such as the operating system's refusal."""
    wrapped = [getattr(error, "exception", None), *error.args]
    inner = next((each for each in wrapped if isinstance(each, BaseException)), None)
    return error if inner is None else _root(inner)


@contextmanager
def _translated() -> Iterator[None]:
    """Let no exception of the library pass."""
    try:
        yield
    except (AMQPError, OSError) as error:
        raise _translate(error) from error


def _translate(error: Exception) -> BrokerError:
    match error:
        case UnroutableError(messages=[returned, *_]):
            return Unroutable(
                f"no queue takes routing key {returned.method.routing_key!r}: {returned.method.reply_text}"
            )
        case NackError():
            return Retryable("the broker could not store the message (nack): publish it again later")
        case ChannelClosedByBroker(reply_code=code, reply_text=text):
            return refusal(code, text)
        case ConnectionBlockedTimeout():
            return Retryable(
                "the broker takes no messages, its memory or disk is full: free some there"
                " (`rabbitmqctl status` says which), then try again"
            )
    return ConnectionLost(f"no connection to the broker: {error!r}")


def _declare(channel: BlockingChannel, item: Declarable) -> None:
    match item:
        case Queue() | Stream():
            channel.queue_declare(item.name, durable=True, arguments=arguments(item))
        case Exchange():
            channel.exchange_declare(item.name, exchange_type=item.kind, durable=True)
        case Binding():
            channel.queue_bind(item.queue, item.exchange, item.key)


def _properties(message: Message) -> pika.BasicProperties:
    return pika.BasicProperties(
        content_type=message.content_type,
        headers=dict(message.headers),
        delivery_mode=PERSISTENT,
        correlation_id=message.correlation_id or None,
        message_id=message.message_id or secrets.token_hex(16),
        type=message.type or None,
        user_id=message.user_id,
    )


def _message(properties: pika.BasicProperties, body: bytes) -> Message:
    return Message(
        body=body,
        type=properties.type or "",
        message_id=properties.message_id or "",
        correlation_id=properties.correlation_id or "",
        user_id=properties.user_id,
        content_type=properties.content_type or "",
        headers=plain_headers(properties.headers),
    )


def _died_at(properties: pika.BasicProperties) -> float | None:
    """The broker tells of the last death first."""
    deaths = (properties.headers or {}).get("x-death") or []
    return next((death["time"].timestamp() for death in deaths if "time" in death), None)
