"""The parties of runs on one broker, each as in production: reconnecting, and to be cut, stopped and started again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

from broker import topology
from broker.base import Binding, Message, Session
from broker.connect import open_session
from broker.errors import NotFound
from broker.memory import MemoryBroker
from broker.retry import Backoff, keep_connected
from fl.client.daemon import serve as serve_client
from fl.client.site import Site
from fl.core.vector import NumpyVector
from fl.log import get_log
from fl.main.outcome import Outcome, outcome_of
from fl.run.events import LeaderStarted, Record
from fl.run.spec import RunSpec
from fl.server.leader import Seat
from fl.server.worker import serve as serve_worker
from fl.submit.history import follow
from fl.submit.submission import Submission, submit
from tests.integration.world import Puppet, garbage, submission_of

PATIENCE_S = 20.0
"""How long a test waits for what must happen; far longer than it takes."""

SOON = Backoff(first_s=0.02, most_s=0.05)


class Parties:
    """Workers, daemons and puppets by name, and the owner of the runs. All end with the block."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.owner: Session
        self._sessions: dict[str, Session] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        self.owner = await self.open("owner")
        await self.owner.declare(*topology.base())
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in list(self._tasks):
            await self.stop(name)
        for session in self._sessions.values():
            await session.close()

    async def open(self, name: str) -> Session:
        self._sessions[name] = await open_session(self.url, name=name)
        return self._sessions[name]

    # ---- who takes part -------------------------------------------------------------------------------------------

    def worker(self, name: str = "worker") -> None:
        seat_log = get_log("fl.server", worker=name)
        self._keep(name, lambda session: serve_worker(Seat(session, name, time.time, seat_log)))

    def daemon(self, site: Site) -> None:
        self._keep(site.name, lambda session: serve_client(site, session))

    def puppet(self, puppet: Puppet, run: str) -> None:
        self._keep(puppet.name, lambda session: puppet.take_part(session, run))

    async def stop(self, name: str) -> None:
        """End a party as SIGTERM does; raises what it failed with."""
        task = self._tasks.pop(name)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def cut(self, name: str) -> None:
        """Lose a party's connection to the embedded broker, without a word to either side."""
        session = self._sessions[name]
        broker = MemoryBroker.named(urlsplit(self.url).netloc)
        broker.cut(session)  # type: ignore[arg-type]  # an embedded broker's sessions are of its own kind

    def cut_all(self) -> None:
        MemoryBroker.named(urlsplit(self.url).netloc).cut_all()

    def _keep(self, name: str, work: Callable[[Session], Awaitable[None]]) -> None:
        def quiet(*_: object) -> None: ...

        async def party() -> None:
            opened = lambda: self.open(name)  # noqa: E731  # a name for what the next line says
            await keep_connected(opened, work, rng=random.Random(0), on_trouble=quiet, backoff=SOON)

        self._tasks[name] = asyncio.create_task(party(), name=name)

    # ---- runs -----------------------------------------------------------------------------------------------------

    async def submit(self, spec: RunSpec, weights: NumpyVector | None = None) -> Submission:
        submission = submission_of(spec, weights)
        await submit(self.owner, submission)
        return submission

    async def outcome(self, submission: Submission) -> Outcome:
        """What a run comes to, read on a connection that nobody cuts. A party that fails meanwhile fails the test."""
        waiting = asyncio.create_task(self._outcome(submission))
        async with asyncio.timeout(PATIENCE_S):
            done, _ = await asyncio.wait({waiting, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
            while waiting not in done:
                for task in done:
                    task.result()
                alive = {task for task in self._tasks.values() if not task.done()}
                done, _ = await asyncio.wait({waiting, *alive}, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result()

    async def _outcome(self, submission: Submission) -> Outcome:
        session = await open_session(self.url, name="observer")
        try:
            return await outcome_of(session, submission.run, submission.spec)
        finally:
            await session.close()

    async def leader(self, submission: Submission) -> str:
        """Who leads a run that has just begun."""
        started = await self.until_record(submission, lambda record: isinstance(record, LeaderStarted))
        assert isinstance(started, LeaderStarted)
        return started.leader

    async def records(self, submission: Submission) -> list[Record]:
        """Those that count, of a run that is over."""
        session = await open_session(self.url, name="observer")
        async with asyncio.timeout(PATIENCE_S):
            found = [happened.record async for happened in follow(session, submission.run, submission.spec)]
        await session.close()
        return found

    async def until_record(self, submission: Submission, wanted: Callable[[Record], bool]) -> Record:
        """Wait for a record in a run's log."""
        session = await open_session(self.url, name="observer")
        try:
            async with asyncio.timeout(PATIENCE_S):
                async for happened in follow(session, submission.run, submission.spec):
                    if wanted(happened.record):
                        return happened.record
        finally:
            await session.close()
        raise AssertionError("the run ended without such a record")

    async def until_closed(self, submission: Submission) -> None:
        """Wait until a run's queue is gone: its leader has nothing left to do."""
        await self.until_deleted(topology.run_queue(submission.run))

    async def until_deleted(self, name: str) -> None:
        session = await open_session(self.url, name="observer")
        async with asyncio.timeout(PATIENCE_S):
            while await _exists(session, name):
                await asyncio.sleep(0.01)
        await session.close()

    async def dead_letters(self, count: int) -> list[Message]:
        """The next dead letters, acknowledged; fails unless there are that many."""
        session = await open_session(self.url, name="observer")
        found: list[Message] = []
        async with asyncio.timeout(PATIENCE_S), await session.consume(topology.DEAD_QUEUE.name, prefetch=1) as letters:
            while len(found) < count:
                delivery = await anext(letters)
                found.append(delivery.message)
                await delivery.ack()
        await session.close()
        return found


async def _exists(session: Session, name: str) -> bool:
    try:
        await session.count(name)
    except NotFound:
        return False
    return True


def stored(url: str) -> set[str]:
    """Every queue and stream of an embedded broker."""
    with MemoryBroker.named(urlsplit(url).netloc).locked() as store:
        return set(store._holders)


async def until_looked_at(parties: Parties, replies: Binding) -> None:
    """Wait until the leader has looked at a reply, of which `replies` gets a copy: it takes what comes in order."""
    async with asyncio.timeout(20.0), await parties.owner.consume(replies.queue, prefetch=1) as copies:
        await anext(copies)
    run = topology.Key.parse(replies.key).run
    await parties.owner.publish(garbage(), routing_key=topology.run_queue(run))
    await parties.dead_letters(1)
