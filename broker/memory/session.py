"""A session of the broker in memory."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from broker.base import Declarable, Message, QueueCount
from broker.chaos import Fault, delay_s
from broker.errors import AccessRefused, ConnectionLost, Late, NotFound, SubscriptionLost, TooLarge
from broker.limits import MOST_RECORD_BYTES, check_message, check_prefetch
from broker.memory.bell import Bell
from broker.memory.codec import encode
from broker.memory.holder import Consumer, Entry, Holder, Verdict
from broker.memory.store import Store
from broker.memory.subscription import MemorySubscription
from broker.threads import in_thread

if TYPE_CHECKING:
    from broker.memory.broker import MemoryBroker

T = TypeVar("T")

_serial = count()


class MemorySession:
    """One user's connection; it belongs to the event loop it was made in."""

    def __init__(self, broker: "MemoryBroker", user: str) -> None:
        self._broker = broker
        self._user = user
        self._serial = next(_serial)
        self._lost = Bell()
        self._end: str | None = None
        # A dict where a set would do: its order is that of their making, and chaos must find them in it.
        self._consumers: dict[Consumer, None] = {}
        self._line = asyncio.Lock()

    @property
    def user(self) -> str:
        return self._user

    async def declare(self, *items: Declarable) -> None:
        for item in items:
            await self._ask(lambda store, item=item: store.declare(item))  # type: ignore[misc]  # bound at once

    async def delete(self, name: str) -> None:
        await self._ask(lambda store: store.delete(name))

    async def publish(self, message: Message, *, exchange: str = "", routing_key: str) -> None:
        check_message(message, routing_key)
        entry = Entry(encode(message), exchange, routing_key, sender=self._serial)

        def publish(store: Store) -> None:
            if message.user_id not in {None, self._user}:
                raise AccessRefused(f"user {self._user!r} may not publish as user_id {message.user_id!r}")
            store.publish(entry)

        # A publisher on a network waits here, and others get their turn.
        await asyncio.sleep(0)
        async with self._line:
            await self._delay(Fault.LATE)
            self._do(publish)
        again = self._chance(Fault.DUPLICATE)
        if again is not None:
            await self._wait(delay_s(again))
            self._do(publish)
        await self._delay(Fault.SLOW)

    async def publish_all(self, messages: Iterable[Message], *, exchange: str = "", routing_key: str) -> None:
        following = iter(messages)
        while (message := await in_thread(next, following, None)) is not None:
            await self.publish(message, exchange=exchange, routing_key=routing_key)

    async def consume(self, queue: str, *, prefetch: int) -> MemorySubscription:
        await self._delay(Fault.LATE)
        return self._do(lambda store: self._attach(store.queue(queue), prefetch))

    async def read(self, stream: str, *, prefetch: int = 64) -> MemorySubscription:
        await self._delay(Fault.LATE)
        return self._do(lambda store: self._attach(store.stream(stream), prefetch))

    async def pour(self, stream: str, take: Callable[[Message], bool], *, timeout_s: float = 60.0) -> None:
        async with await self.read(stream) as records:
            while not await in_thread(take, await _next_of(records, stream, timeout_s=timeout_s)):
                continue

    async def count(self, name: str) -> QueueCount:
        return await self._ask(lambda store: store.count(name))

    async def wait_lost(self) -> None:
        await self._lost.wait()

    async def close(self) -> None:
        self._broker.end(self, "the session was closed")

    async def settle(self, consumer: Consumer, tag: int, verdict: Verdict) -> None:
        """Settle one delivery. Raises `SubscriptionLost` or `ConnectionLost` if it was given back already."""

        def settle(store: Store) -> None:
            if consumer not in self._consumers:
                raise SubscriptionLost("the subscription is over, its unsettled deliveries come again")
            if not consumer.orphaned and tag not in consumer.lent:
                raise RuntimeError("this delivery is settled already: settle each once")
            store.settle(consumer, tag, verdict)

        await self._ask(settle)

    async def receive(self) -> None:
        """Wait as long as a delivery takes to come here. Raises `ConnectionLost`."""
        await self._delay(Fault.LAG)

    def take(self, consumer: Consumer) -> tuple[int, Entry] | None:
        """The next delivery, or None if there is none yet.

        Raises `StopAsyncIteration`, `SubscriptionLost` or `ConnectionLost`.
        """
        with self._broker.locked():
            self.check_alive()
            if consumer.taken_back:
                raise SubscriptionLost("the broker ended this subscription, its unsettled deliveries come again")
            if consumer.orphaned or consumer not in self._consumers:
                raise StopAsyncIteration
            if not consumer.inbox:
                return None
            tag = consumer.inbox.popleft()
            return tag, consumer.lent[tag]

    def detach(self, consumer: Consumer) -> None:
        """Give back what a subscription holds. Harmless when repeated or after a loss."""
        with self._broker.locked() as store:
            if self._end is None:
                self._drop(store, consumer)

    def debtors(self) -> list[Consumer]:
        """Subscriptions to which queues have lent something, oldest first."""
        return [consumer for consumer in self._consumers if consumer.lent and consumer.holder.lends]

    def take_back(self, store: Store, consumer: Consumer) -> None:
        """End one subscription as the broker does where deliveries are held too long. The caller holds the lock."""
        consumer.taken_back = True
        self._drop(store, consumer)

    def check_alive(self) -> None:
        if self._end is not None:
            raise ConnectionLost(f"{self._end}; open another session")

    def die(self, reason: str) -> None:
        """End: whoever waits wakes. The caller holds the broker's lock, and lets go of what is unsettled."""
        if self._end is None:
            self._end = reason
            for consumer in self._consumers:
                consumer.wake()
            self._lost.ring()

    def let_go(self, store: Store) -> None:
        """Give back all that is unsettled. The caller holds the broker's lock."""
        for consumer in tuple(self._consumers):
            self._drop(store, consumer)

    async def _ask(self, action: Callable[[Store], T]) -> T:
        """Have the broker do something, and wait for its answer."""
        await self._delay(Fault.LATE)
        result = self._do(action)
        await self._delay(Fault.SLOW)
        return result

    def _do(self, action: Callable[[Store], T]) -> T:
        with self._broker.locked_for(self) as store:
            return action(store)

    def _chance(self, fault: Fault) -> int | None:
        chaos = self._broker.chaos
        return None if chaos is None else chaos.strikes(fault)

    async def _delay(self, fault: Fault) -> None:
        """Where there is chaos, let others get their turn, and wait if it says so. Raises `ConnectionLost`."""
        if self._broker.chaos is not None:
            how = self._chance(fault)
            await self._wait(0.0 if how is None else delay_s(how))

    async def _wait(self, seconds: float) -> None:
        """Wait, but not longer than the session lasts. Raises `ConnectionLost`."""
        if seconds:
            try:
                async with asyncio.timeout(seconds):
                    await self._lost.wait()
            except TimeoutError:
                return
        else:
            await asyncio.sleep(0)
        self.check_alive()

    def _attach(self, holder: Holder, prefetch: int) -> MemorySubscription:
        check_prefetch(prefetch)
        bell = Bell()

        def wake() -> None:
            if not bell.ring():
                self._broker.report_gone(self)

        consumer = Consumer(holder, prefetch, wake)
        self._consumers[consumer] = None
        holder.attach(consumer)
        return MemorySubscription(self, consumer, bell)

    def _drop(self, store: Store, consumer: Consumer) -> None:
        if consumer in self._consumers:
            del self._consumers[consumer]
            store.detach(consumer)
            consumer.wake()


async def _next_of(records: MemorySubscription, stream: str, *, timeout_s: float) -> Message:
    try:
        async with asyncio.timeout(timeout_s):
            delivery = await anext(records)
            await delivery.ack()
    except TimeoutError as error:
        raise Late(f"{stream}: nothing came within {timeout_s:g} s") from error
    except StopAsyncIteration as error:
        raise NotFound(f"{stream} was deleted") from error
    body = memoryview(delivery.message.body)
    if len(body) > MOST_RECORD_BYTES:
        raise TooLarge(f"a record has {len(body)} bytes, no more than {MOST_RECORD_BYTES} are taken")
    return replace(delivery.message, body=body)
