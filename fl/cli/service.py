"""Running a worker or a daemon: for months, over any number of lost connections, until a signal ends it."""

import asyncio
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from broker.base import OnBlocked, Session
from broker.connect import open_session
from broker.errors import ConnectionLost, Retryable, SubscriptionLost, Unreachable
from broker.redact import redact
from broker.retry import keep_connected
from fl.errors import ConfigError
from fl.log import EventLog, get_log

Work = Callable[[Session], Awaitable[None]]


def set_up_logs(level: str) -> None:
    """Events go to standard error, one a line. Raises `ConfigError` for a level that does not exist."""
    if level.upper() not in logging.getLevelNamesMapping():
        raise ConfigError(f"log level {level!r}: use debug, info, warning or error")
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    for chatty in ("aiormq", "aio_pika", "pika"):  # what they have to tell, our own events tell
        logging.getLogger(chatty).setLevel(logging.CRITICAL)


def run_server(url: str, *, name: str, log_level: str) -> None:
    """Serve until a signal."""
    from fl.server.leader import Seat
    from fl.server.worker import serve

    set_up_logs(log_level)
    worker = name or f"{socket.gethostname()}-{os.getpid()}"
    log = get_log("fl.server", worker=worker)

    async def work(session: Session) -> None:
        await serve(Seat(session, worker, time.time, log))

    asyncio.run(run_service(url, f"fluffle server {worker}", work, log))


def run_client(file: Path, *, broker: str | None, log_level: str) -> None:
    """Serve until a signal. The data is looked at before anybody is told that it is there."""
    from fl.client.config import ClientConfig
    from fl.client.daemon import serve
    from fl.client.drain import Drain
    from fl.client.setup import site_from_config

    set_up_logs(log_level)
    config = ClientConfig.from_file(file)
    url = broker or config.broker
    if not url:
        raise ConfigError(
            f"{file}: no broker: set FLUFFLE_BROKER, or `broker` in the file, to amqps://user:password@host"
        )

    async def main() -> None:
        site = await site_from_config(config, home=Path.home())
        site.log.info("data_ready", n_samples=site.data_info.n_samples)
        drain = Drain()

        async def work(session: Session) -> None:
            await serve(site, session, drain)

        await run_service(url, f"fluffle client {site.name}", work, site.log, finish=drain.begin)

    asyncio.run(main())


def say_blocked(log: EventLog, clock: Callable[[], float] = time.monotonic) -> OnBlocked:
    """Log when a broker takes no messages, and for how long it took none."""
    since = clock()

    def say(reason: str | None) -> None:
        nonlocal since
        if reason is None:
            log.info("broker_unblocked", after_s=round(clock() - since, 1))
            return
        since = clock()
        log.warning("broker_blocked", reason=reason)

    return say


def _at_once() -> bool:
    return False


async def run_service(url: str, name: str, work: Work, log: EventLog, *, finish: Callable[[], bool] = _at_once) -> None:
    """Do `work` on one session after another until it returns, or SIGTERM or SIGINT ends it.

    `finish` asks the work to end by itself, and says whether it will; what does not is ended at once. Being ended is
    no failure: what was not acknowledged goes back to the broker. Raises `broker.errors.Fatal`.
    """
    main = asyncio.current_task()
    assert main is not None, "called from a task"
    ended: list[str] = []

    def end(which: signal.Signals) -> None:
        ended.append(which.name)
        if not finish():
            main.cancel()

    loop = asyncio.get_running_loop()
    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, end, which)

    def on_trouble(error: Retryable, delay_s: float) -> None:
        lost = isinstance(error, ConnectionLost | SubscriptionLost | Unreachable)
        event = "broker_lost" if lost else "session_given_up"
        log.warning(event, broker=redact(url), reason=error, again_in_s=round(delay_s, 1))

    async def connect() -> Session:
        session = await open_session(url, name=name, on_blocked=say_blocked(log))
        log.info("connected", broker=redact(url), user=session.user)
        return session

    try:
        await keep_connected(connect, work, rng=random.Random(), on_trouble=on_trouble)  # noqa: S311  # jitter
    except asyncio.CancelledError:
        if not ended:
            raise
    if ended:
        log.info("ended", by=ended[0])
