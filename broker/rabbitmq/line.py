"""A connection for bulk, which one thread uses at a time."""

import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Confirm, Connection
from pamqp.common import FieldTable

from broker.address import Address
from broker.amqp import FROM_FIRST
from broker.base import Message, OnBlocked
from broker.errors import AccessRefused, ConnectionLost, Late, Retryable, TooLarge, Unreachable, Unroutable
from broker.limits import MOST_RECORD_BYTES
from broker.rabbitmq.frames import BODY, HEADER, METHOD, Frames, header_of, method_of
from broker.rabbitmq.messages import message_of, properties_of
from broker.rabbitmq.patience import PATIENCE_S
from broker.refusals import refusal

WINDOW: Final = 8
"""Messages on their way at a time, to the broker or from it."""

_CAPABILITIES: Final[FieldTable] = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}
_MAIN: Final = 1
_ASIDE: Final = 2
"""Channels: one for what is done, one to ask whether the broker is there."""

F = TypeVar("F", bound=Frame)


class Cancelled(Exception):
    """The broker ended a reading: its stream was deleted, or a node went down."""


class Line:
    """Publishes to streams and reads them. All calls wait, in a thread; only `shut` may be called from another.

    A call that raises leaves the line as it was if `is_idle`, and otherwise of no use. There are no heartbeats: whoever
    has this line has a session beside it that notices when the broker is gone, and shuts it.
    """

    def __init__(self, sock: socket.socket, address: Address, on_blocked: OnBlocked) -> None:
        self._address = address
        self._frames = Frames(sock)
        self._on_blocked = on_blocked
        self._early: deque[Frame] = deque()
        """Methods that came before anybody asked for them."""
        self._body = memoryview(bytearray(0))
        self.is_idle = False

    @classmethod
    def connect(cls, address: Address, *, timeout_s: float, on_blocked: OnBlocked) -> "Line":
        """One to log in with. Raises `Unreachable`."""
        try:
            sock = socket.create_connection((address.host, address.port), timeout=timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if address.tls is not None:
                sock = address.tls.wrap_socket(sock, server_hostname=address.host)
        except OSError as error:
            raise Unreachable(f"no broker answers at {address}: {error}") from error
        return cls(sock, address, on_blocked)

    def log_in(self, name: str, *, timeout_s: float) -> None:
        """Raises `Unreachable`, `AccessRefused`, and `ConnectionLost`."""
        frames, address = self._frames, self._address
        frames.greet()
        self._await(Connection.Start, timeout_s)
        properties: FieldTable = {"product": "Fluffle", "connection_name": name, "capabilities": _CAPABILITIES}
        frames.send(Connection.StartOk(properties, "PLAIN", f"\0{address.user}\0{address.password}", "en_US"))
        tune = self._await(Connection.Tune, timeout_s)
        frame_bytes = tune.frame_max or MOST_RECORD_BYTES
        frames.send(Connection.TuneOk(tune.channel_max, frame_bytes, 0))
        frames.agree(frame_bytes)
        frames.send(Connection.Open(address.vhost))
        self._await(Connection.OpenOk, timeout_s)
        self.is_idle = True

    def _await(self, answer: type[F], timeout_s: float) -> F:
        found = self._next(timeout_s)
        if found is None:
            raise Unreachable(f"the broker at {self._address} does not answer within {timeout_s:g} s")
        return _checked(found, answer)

    def shut(self) -> None:
        """Make a call that waits in another thread raise `ConnectionLost`. Harmless when repeated."""
        self._frames.shut()

    def close(self) -> None:
        """Say good-bye where that is possible, and close."""
        if self.is_idle:
            self.is_idle = False
            with suppress(ConnectionLost):
                self._frames.send(Connection.Close(200, "done", 0, 0))
        self._frames.close()

    # ---- publishing ------------------------------------------------------------------------------------------------

    def publish(self, messages: Iterable[Message], *, exchange: str, routing_key: str) -> None:
        """Publish in that order, and return when all are confirmed. Raises as `Session.publish` does."""
        with self._channel():
            self._call(Confirm.Select(), Confirm.SelectOk)
            unconfirmed: set[int] = set()
            for tag, message in enumerate(messages, start=1):
                while len(unconfirmed) >= WINDOW:
                    self._settle(unconfirmed)
                unconfirmed.add(tag)
                self._frames.send_content(
                    Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True),
                    properties_of(message),
                    memoryview(message.body).cast("B"),
                    channel=_MAIN,
                    on_input=self._take_early,
                )
            while unconfirmed:
                self._settle(unconfirmed)

    def _settle(self, unconfirmed: set[int]) -> None:
        """Wait for the next verdict of the broker on what was published."""
        match self._answer():
            case Basic.Ack(delivery_tag=tag, multiple=True):
                unconfirmed.difference_update([one for one in unconfirmed if one <= tag])
            case Basic.Ack(delivery_tag=tag):
                unconfirmed.discard(tag)
            case Basic.Nack():
                raise Retryable("the broker could not store the message (nack): publish it again later")
            case Basic.Return(reply_text=text):
                raise Unroutable(f"the broker returned the message, no queue takes it: {text}")
            case other:
                raise ConnectionLost(f"the broker sent {other.name} where a confirmation belongs")

    # ---- reading ---------------------------------------------------------------------------------------------------

    def read(self, stream: str, take: Callable[[Message], bool], *, timeout_s: float) -> None:
        """Hand over the records of a stream from its first, until `take` returns True.

        Raises what the broker refuses with, `Cancelled`, `TooLarge` for a record beyond `MOST_RECORD_BYTES`, and
        `Late` when the next does not begin to come within `timeout_s`.
        """
        with self._channel():
            self._call(Basic.Qos(prefetch_count=WINDOW), Basic.QosOk)
            self._call(Basic.Consume(queue=stream, consumer_tag="bulk", arguments=FROM_FIRST), Basic.ConsumeOk)
            while True:
                match self._next(timeout_s):
                    case Basic.Deliver(delivery_tag=int(tag)):
                        done = take(self._content())
                        self._frames.send(Basic.Ack(delivery_tag=tag), _MAIN)
                        if done:
                            return
                    case Basic.Cancel():
                        raise Cancelled
                    case None:
                        raise Late(f"{stream}: nothing came within {timeout_s:g} s")
                    case other:
                        raise ConnectionLost(f"the broker sent {other.name} where a record of {stream} belongs")

    def _content(self) -> Message:
        """What comes after a `Deliver`; the body is good until the next one."""
        kind, _, payload = self._frames.receive()
        if kind != HEADER:
            raise ConnectionLost(f"a frame of type {kind} came where the header of a message belongs")
        header = header_of(payload)
        size = header.body_size
        if size > MOST_RECORD_BYTES:
            raise TooLarge(f"a record has {size} bytes, no more than {MOST_RECORD_BYTES} are taken")
        if size > len(self._body):
            self._body = memoryview(bytearray(size))
        place = 0
        while place < size:
            kind, _, payload = self._frames.receive(self._body[place:size])
            if kind != BODY:
                raise ConnectionLost(f"a frame of type {kind} came inside the body of a message")
            place += len(payload)
        return message_of(header.properties, self._body[:size])

    # ---- channels and methods --------------------------------------------------------------------------------------

    @contextmanager
    def _channel(self) -> Iterator[None]:
        """Around what is done on a channel of its own: the line is idle again afterwards, unless the broker failed."""
        self.is_idle = False
        self._early.clear()
        self._call(Channel.Open(), Channel.OpenOk)
        try:
            yield
        except (ConnectionLost, Late):
            raise
        except BaseException:
            self._leave()
            raise
        self._leave()

    def _leave(self) -> None:
        """Close the channel, if the broker has not, past whatever still comes on it."""
        if self.is_idle:
            return
        self._frames.send(Channel.Close(200, "done", 0, 0), _MAIN)
        while not isinstance(self._receive(), Channel.CloseOk):
            continue
        self.is_idle = True

    def _call(self, request: Frame, answer: type[F], channel: int = _MAIN) -> F:
        self._frames.send(request, channel)
        return _checked(self._answer(), answer)

    def _answer(self) -> Frame:
        """The next method. A broker that forgets to answer, though it is there, is one that is lost."""
        found = self._next(PATIENCE_S)
        if found is None:
            self._ping()
            found = self._next(PATIENCE_S)
        if found is None:
            raise ConnectionLost(f"the broker is there, but has left a call without answer for {PATIENCE_S:g} s")
        return found

    def _ping(self) -> None:
        """Go to the broker and back, however long that takes; what comes meanwhile is kept."""
        for request, answer in ((Channel.Open(), Channel.OpenOk), (Channel.Close(200, "", 0, 0), Channel.CloseOk)):
            self._frames.send(request, _ASIDE)
            while not isinstance(found := self._receive(), answer):
                if found is not None:
                    self._early.append(found)

    def _next(self, timeout_s: float) -> Frame | None:
        """The next method; None if none comes in that time. Raises what the broker refuses with."""
        while not self._early:
            if not self._frames.ready(timeout_s):
                return None
            self._take_early()
        found = self._early.popleft()
        if isinstance(found, Channel.Close):
            self._frames.send(Channel.CloseOk(), _MAIN)
            self.is_idle = True
            raise refusal(found.reply_code or 0, found.reply_text)
        return found

    def _take_early(self) -> None:
        found = self._receive()
        if found is not None:
            self._early.append(found)

    def _receive(self) -> Frame | None:
        """The next method that is not about the connection itself; None for other frames, which are passed over."""
        kind, _, payload = self._frames.receive()
        if kind != METHOD:
            return None
        match method_of(payload):
            case Connection.Blocked(reason=reason):
                self._on_blocked(reason)
            case Connection.Unblocked():
                self._on_blocked(None)
            case Connection.Close(reply_code=int(code), reply_text=text):
                raise _closed(code, text)
            case method:
                return method
        return None


def _checked(found: Frame, expected: type[F]) -> F:
    if not isinstance(found, expected):
        raise ConnectionLost(f"the broker sent {found.name} where {expected.name} belongs")
    return found


def _closed(code: int, text: str) -> AccessRefused | ConnectionLost:
    """Why the broker closes the whole connection."""
    if code in {403, 530}:
        return AccessRefused(text)
    return ConnectionLost(f"the broker closed the connection for bulk: {code} {text}")
