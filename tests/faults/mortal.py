"""A session that ends its process, or stops it, at one point; otherwise it is the one that it wraps."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from typing import Self, TypeVar

from broker import topology
from broker.base import Declarable, Delivery, Message, QueueCount, Session, Subscription
from fl.log import EventLog
from tests.faults.points import Point, address, content, declared, place

T = TypeVar("T")


class Fate:
    """Where this process ends, or nowhere. One for all its sessions."""

    def __init__(self, point: Point | None, log: EventLog, *, by: signal.Signals = signal.SIGKILL) -> None:
        self._point = point
        self._log = log
        self._by = by
        self._met = 0
        self._turn = asyncio.Lock()

    async def meet(self, line: str, call: Callable[[], Awaitable[T]], session: Session) -> T:
        """Make a call, and end before or after it if it is the one.

        Calls that match are made one at a time, so that of several made side by side those before it are confirmed,
        and those after it never begun.
        """
        if self._point is None or not self._point.matches(line):
            return await call()
        async with self._turn:
            self._met += 1
            is_it = self._met == self._point.nth
            if is_it and self._point.when == "before":
                self._end(line)
            result = await call()
            if is_it and self._point.when == "after":
                await session.count(topology.RUNS.name)  # an answer, so that also what has no confirm has arrived
                self._end(line)
            return result

    def _end(self, line: str) -> None:
        assert self._point is not None, "an end has a point"
        self._log.warning("the_end", when=self._point.when, line=line)
        os.kill(os.getpid(), self._by)


class MortalSession:
    """Tells its fate of every call."""

    def __init__(self, session: Session, fate: Fate) -> None:
        self._session = session
        self._fate = fate

    @property
    def user(self) -> str:
        return self._session.user

    async def declare(self, *items: Declarable) -> None:
        for item in items:
            await self._meet(f"declare {declared(item)}", partial(self._session.declare, item))

    async def delete(self, name: str) -> None:
        await self._meet(f"delete {place(name)}", partial(self._session.delete, name))

    async def publish(self, message: Message, *, exchange: str = "", routing_key: str) -> None:
        line = f"publish {address(exchange, routing_key)} {content(message)}"
        await self._meet(line, partial(self._session.publish, message, exchange=exchange, routing_key=routing_key))

    async def publish_all(self, messages: Iterable[Message], *, exchange: str = "", routing_key: str) -> None:
        for message in messages:
            line = f"publish {address(exchange, routing_key)} {content(message)}"
            publish = partial(self._session.publish_all, [message], exchange=exchange, routing_key=routing_key)
            await self._meet(line, publish)

    async def consume(self, queue: str, *, prefetch: int) -> Subscription:
        call = partial(self._session.consume, queue, prefetch=prefetch)
        return MortalSubscription(await self._meet(f"consume {place(queue)}", call), queue, self._meet)

    async def read(self, stream: str, *, prefetch: int = 64) -> Subscription:
        call = partial(self._session.read, stream, prefetch=prefetch)
        return MortalSubscription(await self._meet(f"read {place(stream)}", call), stream, self._meet)

    async def pour(self, stream: str, take: Callable[[Message], bool], *, timeout_s: float = 60.0) -> None:
        here = asyncio.get_running_loop()

        def meet_and_take(message: Message) -> bool:
            met = self._meet(f"deliver {place(stream)} {content(message)}", _nothing)
            asyncio.run_coroutine_threadsafe(met, here).result()
            return take(message)

        await self._session.pour(stream, meet_and_take, timeout_s=timeout_s)

    async def count(self, name: str) -> QueueCount:
        return await self._session.count(name)

    async def wait_lost(self) -> None:
        await self._session.wait_lost()

    async def close(self) -> None:
        await self._session.close()

    async def _meet(self, line: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self._fate.meet(line, call, self._session)


Meet = Callable[[str, Callable[[], Awaitable[None]]], Awaitable[None]]


class MortalSubscription:
    """Deliveries of a mortal session: one is a step when it has come, and another when it is settled."""

    def __init__(self, subscription: Subscription, source: str, meet: Meet) -> None:
        self._subscription = subscription
        self._source = place(source)
        self._meet = meet

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        delivery = await anext(self._subscription)
        line = f"{self._source} {content(delivery.message)}"
        await self._meet(f"deliver {line}", _nothing)
        return MortalDelivery(delivery, line, self._meet)

    async def close(self) -> None:
        await self._subscription.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class MortalDelivery:
    """A message lent to a mortal session."""

    def __init__(self, delivery: Delivery, line: str, meet: Meet) -> None:
        self.message = delivery.message
        self.exchange = delivery.exchange
        self.routing_key = delivery.routing_key
        self.redelivered = delivery.redelivered
        self._delivery = delivery
        self._line = line
        self._meet = meet

    async def ack(self) -> None:
        await self._meet(f"ack {self._line}", self._delivery.ack)

    async def nack(self) -> None:
        await self._meet(f"nack {self._line}", self._delivery.nack)

    async def reject(self) -> None:
        await self._meet(f"reject {self._line}", self._delivery.reject)


async def _nothing() -> None: ...
