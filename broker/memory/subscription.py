"""Deliveries of the broker in memory, as an async iterator."""

from typing import TYPE_CHECKING, Self

from broker.memory.bell import Bell
from broker.memory.codec import decode
from broker.memory.holder import Consumer, Entry

if TYPE_CHECKING:
    from broker.memory.session import MemorySession


class MemoryDelivery:
    """A message lent by the broker in memory."""

    __slots__ = ("_subscription", "_tag", "exchange", "message", "redelivered", "routing_key")

    def __init__(self, subscription: "MemorySubscription", tag: int, entry: Entry) -> None:
        self.message = decode(entry.encoded, entry.headers)
        self.exchange = entry.exchange
        self.routing_key = entry.routing_key
        self.redelivered = entry.returns > 0
        self._subscription = subscription
        self._tag = tag

    async def ack(self) -> None:
        await self._subscription.session.settle(self._subscription.consumer, self._tag, "ack")

    async def nack(self) -> None:
        await self._subscription.session.settle(self._subscription.consumer, self._tag, "nack")

    async def reject(self) -> None:
        await self._subscription.session.settle(self._subscription.consumer, self._tag, "reject")


class MemorySubscription:
    """The client's side of a subscription in memory."""

    def __init__(self, session: "MemorySession", consumer: Consumer, bell: Bell) -> None:
        self.session = session
        self.consumer = consumer
        self._bell = bell

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MemoryDelivery:
        while True:
            # Before looking, or a ring between looking and waiting would be missed.
            self._bell.muffle()
            if self.consumer.inbox:
                await self.session.receive()
            taken = self.session.take(self.consumer)
            if taken is not None:
                return MemoryDelivery(self, *taken)
            await self._bell.wait()

    async def close(self) -> None:
        self.session.detach(self.consumer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
