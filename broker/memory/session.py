"""A session of the broker in memory."""

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from broker.base import Declarable, Message, QueueCount
from broker.errors import AccessRefused, ConnectionLost, SubscriptionLost
from broker.limits import check_message, check_prefetch
from broker.memory.bell import Bell
from broker.memory.codec import encode
from broker.memory.holder import Consumer, Entry, Holder, Verdict
from broker.memory.store import Store
from broker.memory.subscription import MemorySubscription

if TYPE_CHECKING:
    from broker.memory.broker import MemoryBroker

_serial = count()


class MemorySession:
    """One user's connection; it belongs to the event loop it was made in."""

    def __init__(self, broker: "MemoryBroker", user: str) -> None:
        self._broker = broker
        self._user = user
        self._serial = next(_serial)
        self._lost = Bell()
        self._end: str | None = None
        self._consumers: set[Consumer] = set()

    @property
    def user(self) -> str:
        return self._user

    async def declare(self, *items: Declarable) -> None:
        for item in items:
            with self._broker.locked_for(self) as store:
                store.declare(item)

    async def delete(self, name: str) -> None:
        with self._broker.locked_for(self) as store:
            store.delete(name)

    async def publish(self, message: Message, *, exchange: str = "", routing_key: str) -> None:
        check_message(message, routing_key)
        entry = Entry(encode(message), exchange, routing_key, sender=self._serial)
        # A publisher on a network waits here, and others get their turn.
        await asyncio.sleep(0)
        with self._broker.locked_for(self) as store:
            if message.user_id not in {None, self._user}:
                raise AccessRefused(f"user {self._user!r} may not publish as user_id {message.user_id!r}")
            store.publish(entry)

    async def consume(self, queue: str, *, prefetch: int) -> MemorySubscription:
        with self._broker.locked_for(self) as store:
            return self._attach(store.queue(queue), prefetch)

    async def read(self, stream: str, *, prefetch: int = 64) -> MemorySubscription:
        with self._broker.locked_for(self) as store:
            return self._attach(store.stream(stream), prefetch)

    async def count(self, name: str) -> QueueCount:
        with self._broker.locked_for(self) as store:
            return store.count(name)

    async def wait_lost(self) -> None:
        await self._lost.wait()

    async def close(self) -> None:
        self._broker.end(self, "the session was closed")

    def settle(self, consumer: Consumer, tag: int, verdict: Verdict) -> None:
        """Settle one delivery. Raises `SubscriptionLost` or `ConnectionLost` if it was given back already."""
        with self._broker.locked_for(self) as store:
            if consumer not in self._consumers:
                raise SubscriptionLost("the subscription was closed, its unsettled deliveries come again")
            if not consumer.orphaned and tag not in consumer.lent:
                raise RuntimeError("this delivery is settled already: settle each once")
            store.settle(consumer, tag, verdict)

    def take(self, consumer: Consumer) -> tuple[int, Entry] | None:
        """The next delivery, or None if there is none yet. Raises `StopAsyncIteration` or `ConnectionLost`."""
        with self._broker.locked():
            self.check_alive()
            if consumer.orphaned or consumer not in self._consumers:
                raise StopAsyncIteration
            if not consumer.inbox:
                return None
            tag = consumer.inbox.popleft()
            return tag, consumer.lent[tag]

    def detach(self, consumer: Consumer) -> None:
        """Give back what a subscription holds. Harmless when repeated or after a loss."""
        with self._broker.locked() as store:
            if consumer in self._consumers:
                self._consumers.remove(consumer)
                store.detach(consumer)
                consumer.wake()

    def check_alive(self) -> None:
        if self._end is not None:
            raise ConnectionLost(f"{self._end}; open another session")

    def die(self, store: Store, reason: str) -> None:
        """End: what is unsettled goes back, whoever waits wakes. The caller holds the broker's lock."""
        if self._end is not None:
            return
        self._end = reason
        while self._consumers:
            consumer = self._consumers.pop()
            store.detach(consumer)
            consumer.wake()
        self._lost.ring()

    def _attach(self, holder: Holder, prefetch: int) -> MemorySubscription:
        check_prefetch(prefetch)
        bell = Bell()

        def wake() -> None:
            if not bell.ring():
                self._broker.report_gone(self)

        consumer = Consumer(holder, prefetch, wake)
        self._consumers.add(consumer)
        holder.attach(consumer)
        return MemorySubscription(self, consumer, bell)
