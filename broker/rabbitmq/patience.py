"""An answer that does not come ends the session, as any other loss does."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

from broker.errors import BrokerError
from broker.rabbitmq.lifeline import Lifeline

PATIENCE_S: Final = 10.0
"""How long a broker may think about a call that has reached it."""


class Patience:
    """Waits for answers, and cuts the lifeline where one was forgotten.

    RabbitMQ forgets some. It never confirms a message that it takes while the stream's writer is being replaced, which
    happens several times in the first second of a node, and it may leave a reader without an answer while a cluster
    looks for a leader. It may also be slow, blocked by an alarm, or at the end of a slow line. So `ping` goes there and
    back behind the call, however long that takes; only then it is the broker that is awaited. What is still not
    answered `PATIENCE_S` later is forgotten, if nothing else was answered meanwhile, or something was that was sent
    after it.
    """

    def __init__(self, lifeline: Lifeline, ping: Callable[[], Awaitable[None]]) -> None:
        self._lifeline = lifeline
        self._ping = ping
        self._numbers = count(1)
        self._n_answered = 0
        self._newest_answered = 0
        self._doubts: set[asyncio.Task[None]] = set()

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Around one call. Calls begin in the order in which they send."""
        number, over = next(self._numbers), asyncio.Event()
        timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._doubt, number, over)
        try:
            yield
            self._n_answered += 1
            self._newest_answered = max(self._newest_answered, number)
        finally:
            timer.cancel()
            over.set()

    def _doubt(self, number: int, over: asyncio.Event) -> None:
        doubt = asyncio.create_task(self._clear_up(number, over))
        self._doubts.add(doubt)
        doubt.add_done_callback(self._doubts.discard)

    async def _clear_up(self, number: int, over: asyncio.Event) -> None:
        try:
            while not over.is_set():
                n_answered, overtaken = self._n_answered, self._newest_answered > number
                await self._ping()
                await _wait(over)
                if not over.is_set() and (overtaken or self._n_answered == n_answered):
                    self._lifeline.cut(f"the broker is there, but has left a call without answer for {PATIENCE_S:g} s")
        except BrokerError:
            return  # the session is over, and whoever waits on it knows


async def _wait(over: asyncio.Event) -> None:
    """Until it is set, or `PATIENCE_S` have passed."""
    await asyncio.wait({waiting := asyncio.ensure_future(over.wait())}, timeout=PATIENCE_S)
    waiting.cancel()
