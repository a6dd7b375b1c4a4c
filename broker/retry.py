"""Lost connection = crash: drop everything, wait a little, start again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from broker.base import Session
from broker.errors import Retryable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with full jitter: the n-th wait is uniform in [0, min(most_s, first_s · 2ⁿ)]."""

    first_s: float = 1.0
    most_s: float = 30.0

    def delay_s(self, failures: int, rng: Random) -> float:
        """How long to wait after that many failures in a row before this one."""
        # Beyond 2**32 every ceiling is most_s anyway, and a float would overflow in the end.
        return rng.uniform(0.0, min(self.most_s, self.first_s * 2 ** min(failures, 32)))


async def keep_connected(
    open_session: Callable[[], Awaitable[Session]],
    work: Callable[[Session], Awaitable[T]],
    *,
    rng: Random,
    on_trouble: Callable[[Retryable, float], None],
    backoff: Backoff = Backoff(),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Run `work` on a session, again on a new one after each `Retryable`, until it returns; return what it returns.

    `on_trouble` is told each error and the wait in seconds that follows. A session that opened starts the
    back-off afresh. Anything but `Retryable` passes through. Every session is closed.
    """
    failures = 0
    while True:
        try:
            session = await open_session()
            failures = 0
            try:
                return await work(session)
            finally:
                await session.close()
        except Retryable as error:
            delay_s = backoff.delay_s(failures, rng)
            failures += 1
            on_trouble(error, delay_s)
            await sleep(delay_s)
