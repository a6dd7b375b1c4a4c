"""Run after run under faults, until so many have come, and each run compared with the undisturbed one."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Final

from broker import topology
from broker.base import Session
from broker.connect import open_session
from broker.errors import NotFound, Unroutable
from fl.errors import FluffleError
from fl.main.outcome import outcome_of
from fl.run.events import (
    ClientsAdmitted,
    ClientsReady,
    LeaderStarted,
    Record,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunInitialised,
)
from fl.submit.history import follow
from fl.submit.submission import Submission, resumption, submit
from fl.tasks import together
from tests.faults.campaign import LOOK_EVERY_S, Scene, Told
from tests.faults.inventory import inventory
from tests.faults.soak_cases import CASES, Case
from tests.faults.soak_cast import Cast, cast
from tests.faults.soak_check import differences, leavings, surplus, weights_stream
from tests.faults.soak_faults import Fault, What, schedule
from tests.faults.stage import data_of
from tests.integration.world import run_here, submission_of

BETWEEN_COMMITS: Final = 6
"""Faults after which the next one waits for a commit: a run must get on, or its messages come back too often."""
STUCK_AFTER_S: Final = 180.0
"""Without a step in a run that is left in peace: it will never come, however busy the machine is."""
STEPS: Final = (ClientsAdmitted, RunInitialised, ClientsReady, RoundOpened, RoundCommitted, RunEnded)
"""Records of a run that gets on; others tell of leaders, waiting and who is away."""
RESUMED_EVERY_S: Final = 2.0
SETTLES_IN_S: Final = 60.0
"""What is on its way at the end of a run has arrived, and is acknowledged."""


class Broken(AssertionError):
    """A run did not come to what it comes to undisturbed; the text has all that is needed to look into it."""


@dataclass(slots=True)
class Tally:
    """What has happened so far; of faults, those that came while a run was in work."""

    began: float = field(default_factory=time.monotonic)
    faults: Counter[tuple[What, str]] = field(default_factory=Counter)
    """By what happened, and the kind of party that it happened to."""
    runs: int = 0
    commits: int = 0
    takeovers: int = 0

    @property
    def kills(self) -> int:
        return sum(n for (what, _), n in self.faults.items() if what.kills)

    def add(self, records: list[Record]) -> None:
        self.runs += 1
        self.commits += sum(isinstance(one, RoundCommitted) for one in records)
        self.takeovers += sum(isinstance(one, LeaderStarted) for one in records) - 1

    def __str__(self) -> str:
        seconds = time.monotonic() - self.began
        return (
            f"{self.kills} kills, {self.runs} runs, {self.commits} commits, {self.takeovers} takeovers, {seconds:.0f} s"
        )

    def by_fault(self) -> str:
        """All faults, by what they were."""
        parts = (f"{what.verb} a {kind}: {n}" for (what, kind), n in sorted(self.faults.items(), key=str))
        return ", ".join(parts)


class Watched:
    """A run in work, as its log tells it."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.submission: Submission = submission_of(case.spec)
        self.records: list[Record] = []
        self.is_paused = False
        self.over = asyncio.Event()
        """Its queue is gone: nothing is left to do for anybody."""
        self.faults: list[Fault] = []
        self._since_commit = 0
        self._got_on_at = time.monotonic()

    @property
    def ended(self) -> bool:
        return any(isinstance(one, RunEnded) for one in self.records)

    def note(self, fault: Fault) -> None:
        self.faults.append(fault)
        self._since_commit += 1

    async def read(self, session: Session) -> None:
        async for happened in follow(session, self.submission.run, self.case.spec):
            self.records.append(happened.record)
            self.is_paused = happened.state.paused is not None
            if isinstance(happened.record, STEPS):
                self._got_on_at = time.monotonic()
            if isinstance(happened.record, RoundCommitted):
                self._since_commit = 0

    def check_moving(self) -> None:
        """Raises `AssertionError` where it has not got on for long."""
        stuck_s = time.monotonic() - self._got_on_at
        last = [type(one).__name__ for one in self.records[-5:]]
        assert stuck_s < STUCK_AFTER_S, f"it has not got on for {stuck_s:.0f} s; the last records are {last}"

    async def until_bearable(self) -> None:
        """Wait for a commit where much has happened since the last one."""
        while self._since_commit >= BETWEEN_COMMITS and not self.over.is_set():
            await asyncio.sleep(LOOK_EVERY_S)

    async def pause(self, seconds: float) -> None:
        """Let so many seconds go by, or fewer where the run is over before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.over.wait()


class Soak:
    """One soak on one broker."""

    def __init__(self, scene: Scene, owner: Session, players: Cast, faults: Iterator[Fault]) -> None:
        self.tally = Tally()
        self._scene = scene
        self._owner = owner
        self._cast = players
        self._faults = faults
        self._calm: dict[str, Told] = {}

    async def learn(self, cases: Sequence[Case]) -> None:
        """Find out what each run comes to where nothing happens."""
        for case in cases:
            data = {client: data_of(client, case.n_features) for client in self._cast.daemons}
            outcome, records = await run_here(f"memory://{secrets.token_hex(4)}", case.spec, data)
            self._calm[case.name] = Told.of(outcome, records)

    async def play(self, case: Case, kills: int) -> None:
        """One run, disturbed until there were so many kills in all. Raises `Broken`."""
        await self._cast.serve(case)
        watched = Watched(case)
        try:
            await submit(self._owner, watched.submission)
            async with together() as group:
                group.create_task(watched.read(self._owner))
                group.create_task(self._disturb(watched, kills))
                group.create_task(self._resume(watched))
                await self._until_closed(watched)
            await self._check(watched)
        except (AssertionError, FluffleError) as error:
            faults = "\n".join(map(str, watched.faults))
            raise Broken(f"run {watched.submission.run}: {error}\nIts faults, after {self.tally}:\n{faults}") from error
        self.tally.add(watched.records)

    async def _disturb(self, watched: Watched, kills: int) -> None:
        async with together() as group:
            while self.tally.kills < kills:
                fault = next(one for one in self._faults if self._cast.can_suffer(one))
                await watched.pause(fault.after_s)
                await watched.until_bearable()
                if watched.over.is_set():
                    return
                watched.note(fault)
                for party in self._cast.hit(fault):
                    self.tally.faults[fault.what, party.role.kind] += not watched.ended
                    group.create_task(party.suffer(fault.what, fault.lasts_s, watched.pause))

    async def _resume(self, watched: Watched) -> None:
        """Have a run go on that has paused for a trainer that died."""
        run = watched.submission.run
        while not watched.over.is_set():
            await watched.pause(RESUMED_EVERY_S)
            if watched.is_paused and not watched.ended:
                step = resumption(run, sender="owner", now=time.time(), user=self._owner.user)
                with suppress(Unroutable):  # it has just ended
                    await self._owner.publish(step.message, routing_key=step.queue)

    async def _until_closed(self, watched: Watched) -> None:
        queue = topology.run_queue(watched.submission.run)
        while not watched.ended or await _exists(self._owner, queue):
            self._cast.tend()
            watched.check_moving()
            await asyncio.sleep(LOOK_EVERY_S)
        watched.over.set()

    async def _check(self, watched: Watched) -> None:
        run, records = watched.submission.run, watched.records
        outcome = await outcome_of(self._owner, run, watched.case.spec)
        told = Told.of(outcome, records)
        found = [*differences(told, self._calm[watched.case.name], records), *await self._surplus(run, records)]
        assert not found, "\n".join(found)
        for name in (topology.run_log(run), weights_stream(records)):
            if name is not None:
                await self._owner.delete(name)

    async def _surplus(self, run: str, records: list[Record]) -> list[str]:
        """What lies on the broker and should not, once all that is on its way has had the time to arrive."""
        expected, until = leavings(run, records), time.monotonic() + SETTLES_IN_S
        while True:
            self._cast.tend()
            left = await asyncio.to_thread(inventory, self._scene.rabbit, self._scene.url)
            found = list(surplus(left, expected))
            if not found or time.monotonic() > until:
                return found


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is to happen, to which runs in turn, and by which seed."""

    kills: int
    seed: int
    cases: Sequence[Case] = CASES
    n_workers: int = 2


async def soak(scene: Scene, folder: Path, plan: Plan, say: Callable[[str], None]) -> Tally:
    """Play runs until there were so many kills; `say` is told after each. Logs go to `folder`. Raises `Broken`."""
    owner = await open_session(scene.url, name="owner", heartbeat_s=60)
    await owner.declare(*topology.base())
    try:
        async with cast(scene, folder, plan.n_workers) as players:
            faults = schedule(plan.seed, workers=players.workers, daemons=players.daemons)
            made = Soak(scene, owner, players, faults)
            await made.learn(plan.cases)
            for case in cycle(plan.cases):
                await made.play(case, plan.kills)
                say(f"{case.name:>10}: {made.tally}")
                if made.tally.kills >= plan.kills:
                    return made.tally
    finally:
        await owner.close()
    raise AssertionError("there are runs without end")


async def _exists(session: Session, name: str) -> bool:
    try:
        await session.count(name)
    except NotFound:
        return False
    return True
