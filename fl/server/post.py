"""What a leader waits for, in one queue: deliveries, timers that run out, and clients that are gone."""

import asyncio
import time
from dataclasses import dataclass

from broker import topology
from broker.base import Delivery, Session, Subscription
from broker.errors import ConnectionLost, NotFound
from fl.run.events import ClientsGone, Timer, TimeUp

LOOK_EVERY_S = 5.0
GONE_AFTER_S = 60.0
"""How long a queue may be without consumer before its client counts as gone: enough for a daemon to be restarted."""


Item = Delivery | TimeUp | ClientsGone


@dataclass(frozen=True, slots=True, eq=False)
class Alarm:
    """One setting of a timer: it counts only as long as it is the last one."""

    timer: Timer


class QueueGone(Exception):
    """The run's queue was deleted: somebody else has ended the run."""


class Post:
    """The leader's incoming things, in the order in which they come."""

    def __init__(self, session: Session, deliveries: Subscription) -> None:
        self._session = session
        self._deliveries = deliveries
        self._queue: asyncio.Queue[Item | Alarm | ConnectionLost | QueueGone] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._alarm: Alarm | None = None
        self.awaited: frozenset[str] = frozenset()
        """Clients whose queues are looked at."""

    def put(self, item: Item) -> None:
        self._queue.put_nowait(item)

    async def next(self) -> Item:
        """What comes next. Raises `QueueGone`, `ConnectionLost`."""
        while True:
            item = await self._queue.get()
            if isinstance(item, ConnectionLost | QueueGone):
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
        """Pass deliveries on until the queue is deleted or the session lost."""
        try:
            async for delivery in self._deliveries:
                self._queue.put_nowait(delivery)
        except ConnectionLost as error:
            self._queue.put_nowait(error)
        else:
            self._queue.put_nowait(QueueGone())

    async def look_out(self) -> None:
        """Report awaited clients whose queue nobody has consumed for `GONE_AFTER_S`."""
        absent_since: dict[str, float] = {}
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            absent = {client for client in self.awaited if await self._is_absent(client)}
            now = time.monotonic()
            absent_since = {client: absent_since.get(client, now) for client in absent}
            gone = tuple(sorted(client for client, since in absent_since.items() if now - since >= GONE_AFTER_S))
            if gone:
                self._queue.put_nowait(ClientsGone(gone))

    async def _is_absent(self, client: str) -> bool:
        try:
            return (await self._session.count(topology.client_queue(client))).consumers == 0
        except NotFound:
            return True
