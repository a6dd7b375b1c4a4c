"""What a broker promises: every backend keeps this, and one contract suite checks it.

A `Session` is one connection. It is never repaired: when it is lost, every pending call and every
subscription raises `ConnectionLost`, and the owner drops what it held and opens another. What was not
acknowledged comes again.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self, runtime_checkable

PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable quorum queue: at-least-once delivery, and one active consumer at a time.

    A message that came back more than `delivery_limit` times, or was rejected, goes to the exchange `dead_letter`
    with the headers `x-first-death-reason` (`delivery_limit` or `rejected`) and `x-first-death-queue`. Without a
    limit the broker's default holds: 20 from RabbitMQ 4 on, none before.
    """

    name: str
    dead_letter: str | None = None
    delivery_limit: int | None = None
    single_active: bool = True


@dataclass(frozen=True, slots=True)
class Stream:
    """An append-only log: any number of readers, each from the first record.

    Holding more than `max_bytes` it forgets its oldest records, in coarse pieces; it always keeps the last ones.
    """

    name: str
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange: `topic` routes by pattern, `fanout` to everything bound."""

    name: str
    kind: Literal["topic", "fanout"] = "topic"


@dataclass(frozen=True, slots=True)
class Binding:
    """Messages of `exchange` whose routing key matches `key` go to `queue`.

    Keys are words joined by dots; `*` stands for one word, `#` for any number of words.
    """

    queue: str
    exchange: str
    key: str = "#"


Declarable = Queue | Stream | Exchange | Binding

OnBlocked = Callable[[str | None], None]
"""Told why a broker takes no messages for now, such as `low on memory`, and None when it takes them again."""


@dataclass(frozen=True, slots=True)
class Message:
    """What travels: a body and the properties a broker carries beside it.

    One without a `message_id` gets a random one on its way. A header is text or an integer of 64 bits; the broker
    adds some of its own on delivery, under names that begin with `x-`.
    """

    body: bytes | bytearray | memoryview
    type: str = ""
    message_id: str = ""
    correlation_id: str = ""
    user_id: str | None = None
    content_type: str = PROTOBUF
    headers: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueCount:
    """Ready messages and consumers of a queue, at the moment of asking.

    Of a stream, `messages` is not exact. Of a queue with a single active consumer, `consumers` may leave out those
    that wait for their turn; it is 0 only if nobody consumes.
    """

    messages: int
    consumers: int


class Delivery(Protocol):
    """A message lent to its consumer until it is settled, once, by one of the three calls.

    All three raise `ConnectionLost` when the session ended first, and `SubscriptionLost` when only the subscription
    did; the message then comes again.
    Of a stream nothing is lent: there all three only give credit for another record.
    """

    message: Message
    exchange: str
    routing_key: str
    redelivered: bool

    async def ack(self) -> None:
        """Done: never deliver this again."""

    async def nack(self) -> None:
        """Not now: put it back, it will be delivered again, flagged as redelivered.

        It comes before what was never delivered if the queue has a delivery limit, else after it.
        """

    async def reject(self) -> None:
        """Never: move it to the queue's dead-letter exchange, or drop it where there is none."""


class Subscription(Protocol):
    """Deliveries as an async iterator.

    Ends when it is closed or when its queue or stream is deleted. Raises `ConnectionLost` when the session dies, and
    `SubscriptionLost` when the broker ends this subscription alone, as it does where a delivery is held for longer
    than it allows.
    Closing gives unsettled deliveries back to the queue.
    """

    def __aiter__(self) -> AsyncIterator[Delivery]: ...

    async def __anext__(self) -> Delivery: ...

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


@runtime_checkable
class Session(Protocol):
    """One connection to a broker."""

    @property
    def user(self) -> str:
        """The user the broker authenticated."""

    async def declare(self, *items: Declarable) -> None:
        """Make sure that these exist, in the order given; when this returns, a crash of the broker loses none of them.

        Raises `TopologyConflict` if one exists with other arguments, `AccessRefused` without permission.
        """

    async def delete(self, name: str) -> None:
        """Delete a queue or stream with all it holds; a name that does not exist is no error.

        A stream that a crash of the broker has left half-declared, which nobody but an administrator can remove, stays.
        """

    async def publish(self, message: Message, *, exchange: str = "", routing_key: str) -> None:
        """Publish, and return once the broker has the message safe (publisher confirm).

        The default exchange `""` routes to the queue or stream whose name is the routing key. A message may
        arrive twice: rarely, if the broker refuses another that is published at the same moment.

        Raises `Unroutable` when no queue takes it (as while a stream bound to the exchange is not up yet after a start
        of the broker), `NotFound` for a missing exchange, `TooLarge` beyond the
        broker's limit, `AccessRefused` without permission or for another's `user_id`.
        """

    async def publish_all(self, messages: Iterable[Message], *, exchange: str = "", routing_key: str) -> None:
        """Publish bulk: one message after the other, a few unconfirmed at a time; return when all are confirmed.

        `messages` is gone through in a thread, where it may take its time. Raises as `publish` does.
        """

    async def consume(self, queue: str, *, prefetch: int) -> Subscription:
        """Consume a queue, at most `prefetch` deliveries unsettled at a time. Raises `NotFound`.

        Of several consumers of a `single_active` queue one gets all deliveries, until it goes.
        """

    async def read(self, stream: str, *, prefetch: int = 64) -> Subscription:
        """Read a stream from its first record and on as it grows. Raises `NotFound`.

        Deliveries come with a credit of `prefetch`; acknowledge each to get more.
        """

    async def pour(self, stream: str, take: Callable[[Message], bool], *, timeout_s: float = 60.0) -> None:
        """Read bulk: hand each record of a stream, from its first, to `take`, until that returns True.

        `take` runs in a thread, and the next records come meanwhile. The body is a view of memory that is used again
        for the next record. Raises `NotFound` for a stream that is missing or deleted meanwhile, `Late` when nothing
        comes within `timeout_s`, `TooLarge` for a record beyond 16 MiB, `SubscriptionLost`, and what `take` raises.
        Cancelled it ends when `take` has returned.
        """

    async def count(self, name: str) -> QueueCount:
        """Ready messages and consumers. Raises `NotFound`."""

    async def wait_lost(self) -> None:
        """Return when the session is lost or closed."""

    async def close(self) -> None:
        """Close; unsettled deliveries go back to their queues. Harmless when repeated or after a loss."""
