"""A whole run on the broker in memory: two workers, daemons, a submitter, and whatever chaos does to them.

All of it is what production runs, with its back-offs and patience, in one event loop whose time costs nothing.
"""

import asyncio
import logging
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker import topology
from broker.base import Session
from broker.chaos import Schedule
from broker.memory import MemoryBroker
from broker.retry import keep_connected
from fl.client.daemon import serve as serve_client
from fl.client.learner import Data
from fl.client.setup import site_from_data
from fl.client.state import StateDirectory
from fl.log import get_log
from fl.run.events import Kind, RoundCommitted, RunEnded
from fl.run.spec import RunSpec
from fl.server.leader import Seat
from fl.server.worker import serve as serve_worker
from fl.submit.history import Happened, final_weights, follow
from fl.submit.submission import Submission, submit
from tests.faults import virtual_time
from tests.faults.virtual_time import VirtualTimeLoop

RUN: Final = "chaos"
WORKERS: Final = ("w1", "w2")

PATIENCE_S: Final = 1800.0
"""How long a run may take of its own time: far longer than the worst schedule delays it."""
AFTERMATH_S: Final = 60.0
"""Longer than anything waits that was begun before a run ended."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A run to disturb."""

    name: str
    spec: RunSpec
    data: dict[str, Data]


@dataclass(frozen=True, slots=True)
class Committed:
    """What must be the same of a round, to the bit."""

    kind: Kind
    round: int
    participants: tuple[tuple[str, int, int], ...]
    dropped: tuple[str, ...]
    loss: float | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class Ending:
    """What a run came to, and what it left on the broker."""

    status: str
    reason: str
    best_round: int
    weights: bytes
    rounds: tuple[Committed, ...]
    left: frozenset[str]
    """Queues and streams, without those for weights."""
    n_weights: int
    """Streams that hold weights."""
    n_messages: int
    """Messages that lie in queues."""


class PartyFailed(AssertionError):
    """Somebody was ended by an error, or an error of ours was caught and logged."""


def whole_run(case: Case, schedule: Schedule) -> Ending:
    """Put a run on a broker where `schedule` happens, and see it to its end. Raises `PartyFailed`, `TimeoutError`."""
    with _errors_logged() as errors, tempfile.TemporaryDirectory(dir=_fast_folder()) as folder:
        ending = virtual_time.run(lambda loop: _World(loop, case, schedule, Path(folder)).run(), most_s=PATIENCE_S)
    if errors:
        raise PartyFailed("\n".join(errors))
    return ending


class _World:
    def __init__(self, loop: VirtualTimeLoop, case: Case, schedule: Schedule, folder: Path) -> None:
        self._loop = loop
        self._case = case
        self._schedule = schedule
        self._folder = folder
        self._broker = MemoryBroker(chaos=schedule)
        self._submission = Submission(RUN, case.spec, None, sender="tester", now=0.0)
        self._parties: list[asyncio.Task[None]] = []
        loop.on_step = self._broker.stir

    async def run(self) -> Ending:
        for name in WORKERS:
            self._keep(name, self._work_as(name))
        for name, data in self._case.data.items():
            self._keep(name, await self._serve_as(name, data))
        submitting = self._keep("submitter", lambda session: submit(session, self._submission))
        await self._until_over(submitting)
        self._schedule.end()
        await self._until_over(submitting)
        for party in self._parties:
            party.cancel()
        await asyncio.gather(*self._parties, return_exceptions=True)
        return await self._ending()

    def _work_as(self, name: str) -> Callable[[Session], Awaitable[None]]:
        seat_log = get_log("fl.server", worker=name)
        return lambda session: serve_worker(Seat(session, name, self._loop.time, seat_log))

    async def _serve_as(self, name: str, data: Data) -> Callable[[Session], Awaitable[None]]:
        site = await site_from_data(name, data, state=StateDirectory(self._folder / name))
        return lambda session: serve_client(site, session)

    def _keep(self, name: str, work: Callable[[Session], Awaitable[None]]) -> asyncio.Task[None]:
        """Start a party, which does its work on one session after another, as in production."""

        async def connect() -> Session:
            return self._broker.connect()

        party = keep_connected(connect, work, rng=random.Random(name), on_trouble=lambda *_: None)
        self._parties.append(asyncio.create_task(party, name=name))
        return self._parties[-1]

    async def _until_over(self, submitting: "asyncio.Task[None]") -> None:
        while not submitting.done() or topology.run_queue(RUN) in self._stored():
            self._check_parties(submitting)
            await asyncio.sleep(1.0)
        await asyncio.sleep(AFTERMATH_S)
        self._check_parties(submitting)

    def _check_parties(self, submitting: "asyncio.Task[None]") -> None:
        for party in self._parties:
            if party.done() and (party is not submitting or party.exception() is not None):
                raise PartyFailed(f"{party.get_name()} has ended") from party.exception()

    def _stored(self) -> set[str]:
        with self._broker.locked() as store:
            return set(store._holders)

    async def _ending(self) -> Ending:
        session, stored = self._broker.connect(), self._stored()
        queues = [name for name in stored if name.startswith("fl.client.") or name == topology.DEAD_QUEUE.name]
        n_messages = sum([(await session.count(name)).messages for name in queues])
        happened = [one async for one in follow(session, RUN, self._case.spec)]
        weights, end = await final_weights(session, happened[-1].state), happened[-1].record
        assert isinstance(end, RunEnded), "a history ends with the run"
        bulk = {name for name in stored if name.startswith(f"fl.run.{RUN}.w.")}
        return Ending(
            end.status.value,
            end.reason,
            end.best_round,
            weights=b"" if weights is None else bytes(weights.pack()),
            rounds=tuple(_essence(one) for one in happened if isinstance(one.record, RoundCommitted)),
            left=frozenset(stored - bulk),
            n_weights=len(bulk),
            n_messages=n_messages,
        )


def _essence(happened: Happened) -> Committed:
    record = happened.record
    assert isinstance(record, RoundCommitted), "asked about commits only"
    return Committed(
        record.kind,
        record.round,
        tuple((one.client, one.n_steps, one.n_samples) for one in record.participants),
        tuple(note.client for note in record.dropped),
        record.loss,
        b"" if happened.state.weights is None else happened.state.weights.digest,
    )


@contextmanager
def _errors_logged() -> Iterator[list[str]]:
    """What is logged as an error meanwhile; nothing less is written."""
    errors: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors.append(handler.format(record))  # type: ignore[method-assign]  # a list is all it takes
    loggers = [logging.getLogger(name) for name in ("fl", "asyncio")]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
    try:
        yield errors
    finally:
        for logger, level, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


def _fast_folder() -> str | None:
    """Memory that looks like a disk, where there is some: states are flushed to it."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # the place is the system's, the name below it ours
