"""What a leader waits for, in one queue: deliveries, timers that run out, and clients that are gone."""

import asyncio
from dataclasses import dataclass

from broker import topology
from broker.base import Session, Subscription
from broker.errors import NotFound, Retryable
from fl.run.events import ClientsGone, TimePassed, Timer, TimeUp
from fl.server.spool import Spool, Spooled

LOOK_EVERY_S = 5.0
"""How often it is looked who is there; more often where a client shall count as gone sooner."""

Item = Spooled | TimeUp | TimePassed | ClientsGone


@dataclass(frozen=True, slots=True, eq=False)
class Alarm:
    """One setting of a timer: it counts only as long as it is the last one."""

    timer: Timer


class QueueGone(Exception):
    """The run's queue was deleted: somebody else has ended the run."""


class Post:
    """The leader's incoming things, in the order in which they come.

    Deliveries wait in the spool. A client counts as gone when its queue was without consumer for `gone_after_s`.
    """

    def __init__(self, session: Session, deliveries: Subscription, *, spool: Spool, gone_after_s: float) -> None:
        self._session = session
        self._deliveries = deliveries
        self._spool = spool
        self._gone_after_s = gone_after_s
        self._queue: asyncio.Queue[Item | Alarm | Retryable | QueueGone] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._alarm: Alarm | None = None
        self.awaited: frozenset[str] = frozenset()
        """Clients whose queues are looked at."""

    def put(self, item: Item) -> None:
        self._queue.put_nowait(item)

    async def next(self) -> Item:
        """What comes next. Raises `QueueGone`, `SubscriptionLost`, `ConnectionLost`."""
        while True:
            item = await self._queue.get()
            if isinstance(item, Retryable | QueueGone):
                raise item
            if not isinstance(item, Alarm):
                return item
            if item is self._alarm:
                return TimeUp(item.timer)

    def set_timer(self, timer: Timer, seconds: float | None) -> None:
        """Announce `TimeUp` after `seconds`, and forget the timer that was set before, even if it has run out."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._alarm = None
        if seconds is not None:
            self._alarm = Alarm(timer)
            self._timer = asyncio.get_running_loop().call_later(seconds, self._queue.put_nowait, self._alarm)

    async def collect(self) -> None:
        """Pass deliveries on until the queue is deleted or the subscription lost."""
        try:
            async for delivery in self._deliveries:
                self._queue.put_nowait(self._spool.keep(delivery))
        except Retryable as error:
            self._queue.put_nowait(error)
        else:
            self._queue.put_nowait(QueueGone())

    async def look_out(self) -> None:
        """Tell that time passes, and report awaited clients that are gone."""
        absent_since: dict[str, float] = {}
        told = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(min(LOOK_EVERY_S, self._gone_after_s / 4))
            absent = {client for client in self.awaited if await self._is_absent(client)}
            now = asyncio.get_running_loop().time()
            absent_since = {client: absent_since.get(client, now) for client in absent}
            gone = tuple(sorted(client for client, since in absent_since.items() if now - since >= self._gone_after_s))
            self._queue.put_nowait(TimePassed(now - told))
            told = now
            if gone:
                self._queue.put_nowait(ClientsGone(gone))

    async def _is_absent(self, client: str) -> bool:
        try:
            return (await self._session.count(topology.client_queue(client))).consumers == 0
        except NotFound:
            return True
