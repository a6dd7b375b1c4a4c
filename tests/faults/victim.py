"""A worker or a daemon in a process of its own, as the commands run them, but mortal."""

import asyncio
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from broker.base import Session
from broker.connect import open_session
from broker.errors import Retryable
from broker.retry import Backoff, keep_connected
from fl.client.config import ClientConfig
from fl.client.daemon import serve as serve_client
from fl.client.drain import Drain
from fl.client.setup import site_from_config, site_from_data
from fl.client.site import Site
from fl.client.state import StateDirectory
from fl.errors import FluffleError
from fl.log import get_log
from fl.server.leader import Seat
from fl.server.worker import serve as serve_worker
from tests.faults.mortal import Fate, MortalSession
from tests.faults.points import Point
from tests.faults.stage import N_FEATURES, data_of, samples_of

Kind = Literal["worker", "daemon"]
TrainerKind = Literal["thread", "process"]


@dataclass(frozen=True, slots=True)
class Role:
    """Who a victim is. `folder` is for its log, and what survives a daemon."""

    kind: Kind
    name: str
    url: str
    folder: Path
    heartbeat_s: int = 5
    n_features: int = N_FEATURES
    """Of a daemon's data, and so of the models that it can train."""
    trainer: TrainerKind = "thread"
    """Of a daemon: each run has one. Those that are processes take the data from files."""

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def data_files(self) -> tuple[Path, Path]:
        """Features and target, for trainers that are processes."""
        return self.folder / f"x-{self.name}.npy", self.folder / f"y-{self.name}.npy"

    def write_data(self) -> None:
        """Make those files. To be done before a victim plays this role: it may be killed at any moment."""
        for file, part in zip(self.data_files, samples_of(self.name, self.n_features), strict=True):
            np.save(file, part)


def play(role: Role, point: Point | None, by: signal.Signals) -> None:
    """Serve until the end: the one that fate has in mind, or that of the process that started this one."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    logging.basicConfig(filename=role.log, level="INFO", force=True, format="%(asctime)s %(name)s: %(message)s")
    for chatty in ("aiormq", "aio_pika"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    log = get_log("victim", role=role.name)
    try:
        asyncio.run(_serve(role, Fate(point, log, by=by)))
    except asyncio.CancelledError:
        log.info("ended", by="SIGTERM")
    except FluffleError as error:  # as the commands do
        log.warning("ended", reason=error)
        sys.exit(1)


async def _serve(role: Role, fate: Fate) -> None:
    log, drain = get_log("victim", role=role.name), Drain()
    _heed_sigterm(drain)
    work = await _work(role, drain)

    async def connect() -> Session:
        session = await open_session(role.url, name=role.name, heartbeat_s=role.heartbeat_s)
        log.info("connected", pid=os.getpid())
        return session

    def on_trouble(error: Retryable, delay_s: float) -> None:
        log.warning("broker_lost", reason=error, again_in_s=delay_s)

    await keep_connected(
        connect,
        lambda session: work(MortalSession(session, fate)),
        rng=random.Random(),
        on_trouble=on_trouble,
        backoff=Backoff(first_s=0.05, most_s=0.5),
    )


def _heed_sigterm(drain: Drain) -> None:
    """A daemon finishes what is in work; a worker, which hears of no drain, ends at once."""
    main = asyncio.current_task()
    assert main is not None, "called from a task"

    def end() -> None:
        if not drain.begin():
            main.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)


async def _work(role: Role, drain: Drain) -> Callable[[Session], Awaitable[None]]:
    if role.kind == "worker":
        log = get_log("fl.server", worker=role.name)
        return lambda session: serve_worker(Seat(session, role.name, time.time, log))
    site = await (_site_with_processes(role) if role.trainer == "process" else _site_with_threads(role))
    site = replace(site, checkpoint=role.folder / f"kept-{role.name}")
    return lambda session: serve_client(site, session, drain)


async def _site_with_threads(role: Role) -> Site:
    state = StateDirectory(role.folder / f"state-{role.name}")
    return await site_from_data(role.name, data_of(role.name, role.n_features), state=state)


async def _site_with_processes(role: Role) -> Site:
    x, y = role.data_files
    tables = {
        "name": role.name,
        "train": {"path": str(x), "target": str(y)},
        "state": str(role.folder / f"state-{role.name}"),
        "device": {"gpu": False},
    }
    return await site_from_config(ClientConfig.parse(tables, role.name), home=role.folder)


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a victim is started by a troupe"
    parent.join()
    os._exit(1)
