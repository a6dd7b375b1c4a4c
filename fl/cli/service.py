"""Running a worker or a daemon: for months, over any number of lost connections, until a signal ends it."""

import asyncio
import logging
import random
import signal
import sys
from collections.abc import Awaitable, Callable

from broker.base import Session
from broker.connect import open_session
from broker.errors import Retryable
from broker.redact import redact
from broker.retry import keep_connected
from fl.log import EventLog

Work = Callable[[Session], Awaitable[None]]


def set_up_logs(level: str) -> None:
    """Events go to standard error, one a line."""
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )


async def run_service(url: str, name: str, work: Work, log: EventLog) -> None:
    """Do `work` on one session after another until it returns, or SIGTERM or SIGINT ends it.

    Being ended is no failure: what was not acknowledged goes back to the broker. Raises `broker.errors.Fatal`.
    """
    main = asyncio.current_task()
    assert main is not None, "called from a task"
    ended: list[str] = []

    def end(which: signal.Signals) -> None:
        ended.append(which.name)
        main.cancel()

    loop = asyncio.get_running_loop()
    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, end, which)

    def on_trouble(error: Retryable, delay_s: float) -> None:
        log.warning("broker_lost", broker=redact(url), reason=error, again_in_s=round(delay_s, 1))

    async def connect() -> Session:
        session = await open_session(url, name=name)
        log.info("connected", broker=redact(url), user=session.user)
        return session

    try:
        await keep_connected(connect, work, rng=random.Random(), on_trouble=on_trouble)  # noqa: S311  # jitter
    except asyncio.CancelledError:
        if not ended:
            raise
        log.info("ended", by=ended[0])
