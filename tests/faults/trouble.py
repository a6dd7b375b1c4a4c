"""A run whose parties all live here, on a broker that gets into trouble."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

from broker import topology
from broker.base import Session
from broker.connect import open_session
from broker.errors import NotFound
from broker.retry import keep_connected
from fl.client.learner import Data
from fl.main.outcome import Outcome, outcome_of
from fl.run.events import LeaderStarted, Record, RoundCommitted, RoundOpened
from fl.run.spec import RunSpec
from fl.submit.history import Happened, follow
from fl.submit.submission import Submission
from tests.faults.campaign import LOOK_EVERY_S, PATIENCE_S, Told
from tests.faults.stage import CLIENTS, data_of, make_run
from tests.integration.parties import SOON, Parties
from tests.integration.world import Gated, make_spec, regression, run_here, sites_of

T = TypeVar("T")

WORKERS: Final = ("one", "other")
ROUNDS: Final = 4

SIZES: Final[Mapping[str, tuple[RunSpec, Mapping[str, Data]]]] = {
    "small": (make_spec(rounds=ROUNDS), {client: regression(seed) for seed, client in enumerate(CLIENTS)}),
    "bulk": (make_run(ROUNDS), {client: data_of(client) for client in CLIENTS}),
}
"""Weights that travel inside messages, and weights that travel by streams: what is run, and who has which data."""


async def calm(url: str, size: str) -> Told:
    """What a run comes to where nothing happens."""
    spec, data = SIZES[size]
    return Told.of(*await run_here(url, spec, data))


@dataclass(frozen=True, slots=True)
class Played:
    """What a run came to, how many leaders it had, and the longest time in which nothing happened."""

    told: Told
    n_leaders: int
    longest_pause_s: float


class Play(Parties):
    """Two workers, three daemons, and one run. Notes in `said` what each was told of alarms."""

    def __init__(self, url: str, size: str, *, at_first: str | None = None) -> None:
        """`at_first`: where everybody connects for the first time, instead of `url`."""
        super().__init__(url)
        self._at_first = at_first or url
        self.said: defaultdict[str, list[str | None]] = defaultdict(list)
        self.spec, data = SIZES[size]
        self._data = {**data, CLIENTS[0]: Data(Gated(data[CLIENTS[0]].train), data[CLIENTS[0]].valid)}
        self.run: Submission

    async def open(self, name: str) -> Session:
        url = self.url if name in self._sessions else self._at_first
        self._sessions[name] = await open_session(url, name=name, on_blocked=self.said[name].append)
        return self._sessions[name]

    async def begin(self, *, held: bool) -> None:
        """Start all parties and submit. `held`: the first client waits in the middle of its round for `let_go`."""
        if not held:
            self.let_go()
        for site in await sites_of(self._data):
            self.daemon(site)
        for worker in WORKERS:
            self.worker(worker)
        self.run = await self.submit(self.spec)

    def let_go(self) -> None:
        gated = self._data[CLIENTS[0]].train
        assert isinstance(gated, Gated)
        gated.gate.set()

    async def until_said(self, *, clients: int, workers: int) -> None:
        """Wait until that many have been told of an alarm."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                told = {name for name, said in self.said.items() if said}
                if len(told & {*CLIENTS}) >= clients and len(told & {*WORKERS}) >= workers:
                    return
                await asyncio.sleep(LOOK_EVERY_S)

    async def until_uploaded(self) -> None:
        """Wait until the first piece of somebody's update is on the broker."""
        stream = topology.Room(self.run.run, 1, CLIENTS[0], await self.leader(self.run)).stream
        async with asyncio.timeout(PATIENCE_S):
            while not await _is_there(self.owner, stream):
                await asyncio.sleep(0)
            async with await self.owner.read(stream) as chunks:
                await anext(chunks)

    async def until_recorded(self, kind: type[Record]) -> None:
        """Wait for a record of that kind in the run's log, whatever happens to the broker meanwhile."""

        async def read(session: Session) -> None:
            async for happened in follow(session, self.run.run, self.spec):
                if isinstance(happened.record, kind):
                    return

        async with asyncio.timeout(PATIENCE_S):
            await self._persistently(read)

    async def end(self) -> Played:
        """What the run came to. A party that fails meanwhile fails the test."""

        async def read(session: Session) -> tuple[Outcome, list[Happened]]:
            outcome = await outcome_of(session, self.run.run, self.spec)
            return outcome, [each async for each in follow(session, self.run.run, self.spec)]

        outcome, history = await self._beside_the_parties(self._persistently(read))
        records = [each.record for each in history]
        n_leaders = sum(isinstance(each, LeaderStarted) for each in records)
        pauses = (after.at - before.at for before, after in pairwise(history))
        return Played(Told.of(outcome, records), n_leaders, max(pauses))

    async def _beside_the_parties(self, reading: Awaitable[T]) -> T:
        waiting = asyncio.ensure_future(reading)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({waiting, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks.values():
                assert not task.done(), task
            return await waiting

    async def _persistently(self, work: Callable[[Session], Awaitable[T]]) -> T:
        def quiet(*_: object) -> None: ...

        async def connect() -> Session:
            return await open_session(self.url, name="reader")

        return await keep_connected(connect, work, rng=random.Random(0), on_trouble=quiet, backoff=SOON)


@asynccontextmanager
async def play(url: str, size: str, *, held: bool = False, at_first: str | None = None) -> AsyncIterator[Play]:
    """A run that has begun; all parties end with the block."""
    async with Play(url, size, at_first=at_first) as made:
        await made.begin(held=held)
        try:
            yield made
        finally:
            made.let_go()


async def opened(playing: Play) -> None:
    await playing.until_recorded(RoundOpened)


async def committed(playing: Play) -> None:
    await playing.until_recorded(RoundCommitted)


async def uploading(playing: Play) -> None:
    await playing.until_uploaded()


async def _is_there(session: Session, name: str) -> bool:
    try:
        await session.count(name)
    except NotFound:
        return False
    return True
