"""One run in which victims die: its bits and its history must be those of an undisturbed one."""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from broker import topology
from broker.base import Message
from broker.connect import open_session
from broker.local import LocalRabbit
from broker.topology import MARKER
from fl.client.setup import site_from_data
from fl.main.outcome import Outcome, outcome_of
from fl.run.events import Record, RoundCommitted, RunEnded, Status
from fl.run.spec import RunSpec
from fl.submit.history import Reader
from fl.submit.submission import Submission
from fl.tasks import together
from fl.wire.tensors import blob_ref, open_parcel
from tests.faults.inventory import STREAM, inventory, n_consumers
from tests.faults.points import Point
from tests.faults.stage import CLIENTS, data_of
from tests.faults.troupe import Supervisor, Troupe, Victim
from tests.faults.victim import Kind, Role
from tests.integration.parties import Parties
from tests.integration.world import run_here

PATIENCE_S: Final = 90.0
"""How long a run may take, however often it is disturbed and however busy the machine is."""
DYING_S: Final = 5.0
LOOK_EVERY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Told:
    """What must be the same to the bit, whoever dies: all that is committed but the seconds it took."""

    weights: bytes
    commits: tuple[object, ...]

    @classmethod
    def of(cls, outcome: Outcome, records: Sequence[Record]) -> "Told":
        assert outcome.status is Status.FINISHED, outcome.reason
        assert outcome.weights is not None, "a finished run leaves weights"
        commits = (_timeless(one) for one in records if isinstance(one, RoundCommitted))
        return cls(bytes(outcome.weights.pack()), tuple(commits))


def _timeless(commit: RoundCommitted) -> object:
    """A commit without what depends on clocks, or on who wrote it: bulk goes by its digest, not by its place."""
    parcels = (commit.weights, commit.sent_weights, commit.server_state, commit.aux)
    participants = tuple(replace(one, seconds=0.0) for one in commit.participants)
    plain = replace(commit, participants=participants, weights=None, sent_weights=None, server_state=None, aux=None)
    return plain, tuple(parcel and parcel.digest for parcel in parcels)


async def undisturbed(url: str, spec: RunSpec) -> Told:
    outcome, records = await run_here(url, spec, {client: data_of(client) for client in CLIENTS})
    return Told.of(outcome, records)


@dataclass(frozen=True, slots=True)
class Scene:
    """Where campaigns play: a virtual host of a broker, and who plays victims."""

    rabbit: LocalRabbit
    url: str
    players: Troupe


@asynccontextmanager
async def campaign(scene: Scene, spec: RunSpec) -> "AsyncIterator[Campaign]":
    """A run that is submitted, for the block to play; all parties end with it."""
    async with Parties(scene.url) as parties:
        # Points are steps in this run: nobody is to read of earlier ones.
        await parties.owner.delete(topology.RUNS.name)
        await parties.owner.declare(topology.RUNS)
        made = Campaign(scene, parties, await parties.submit(spec))
        try:
            yield made
        finally:
            made.end()


class Campaign:
    """A run whose parties are victims, by name, or else live in this process."""

    def __init__(self, scene: Scene, parties: Parties, submission: Submission) -> None:
        self._scene = scene
        self.parties = parties
        self.submission = submission
        self.supervisors: list[Supervisor] = []
        self._enlisted: list[Victim] = []

    def end(self) -> None:
        for victim in (*self._enlisted, *(one.victim for one in self.supervisors)):
            victim.end()

    async def sites(self, *victims: str) -> None:
        """Daemons for all clients but the victims."""
        for client in CLIENTS:
            if client not in victims:
                self.parties.daemon(await site_from_data(client, data_of(client)))

    def role(self, kind: Kind, name: str, folder: Path) -> Role:
        return Role(kind, name, self._scene.url, folder)

    def enlist(self, role: Role, point: Point | None = None, *, by: signal.Signals = signal.SIGKILL) -> Victim:
        """A victim that nobody starts again."""
        self._enlisted.append(self._scene.players.start(role, point, by=by))
        return self._enlisted[-1]

    def supervise(self, role: Role, points: Sequence[Point]) -> Supervisor:
        self.supervisors.append(Supervisor(self._scene.players, role, points))
        return self.supervisors[-1]

    async def until_led(self, first: Victim) -> None:
        """Wait until a worker has got the run, or has died of it: whoever comes now stands by."""
        queue = topology.run_queue(self.submission.run)
        async with asyncio.timeout(PATIENCE_S):
            while first.exit_code is None and not (await self.parties.owner.count(queue)).consumers:
                await asyncio.sleep(LOOK_EVERY_S)

    async def until_standing_by(self, queue: str, *, consumers: int) -> None:
        """Wait until so many consume a queue, those included that wait for their turn."""
        async with asyncio.timeout(PATIENCE_S):
            while await asyncio.to_thread(n_consumers, self._scene.rabbit, self._scene.url, queue) < consumers:
                await asyncio.sleep(LOOK_EVERY_S)

    async def count_records(self, kind: type[Record]) -> int:
        """How many of that kind are in the log so far."""
        session = await open_session(self._scene.url, name="observer")
        marker = Message(b"", type=MARKER, message_id=secrets.token_hex(8))
        log = topology.run_log(self.submission.run)
        try:
            async with await session.read(log) as entries:
                await session.publish(marker, routing_key=log)
                reader, found = Reader(self.submission.run, self.submission.spec), 0
                async for entry in entries:
                    await entry.ack()
                    if entry.message.message_id == marker.message_id:
                        break
                    happened = reader.read(entry.message)
                    found += happened is not None and isinstance(happened.record, kind)
                return found
        finally:
            await session.close()

    async def told(self) -> Told:
        """Play to the end. Fails unless every point was met, and nothing is left but what a run leaves."""
        async with asyncio.timeout(PATIENCE_S), together() as group:
            watches = [group.create_task(one.watch()) for one in self.supervisors]
            outcome = await self._outcome()
            await self._until_settled()
            records = await self.parties.records(self.submission)
            await self._check_what_is_left(records)
            await self._check_who_died()
            for watch in watches:
                watch.cancel()
        return Told.of(outcome, records)

    async def _outcome(self) -> Outcome:
        session = await open_session(self._scene.url, name="observer")
        try:
            return await outcome_of(session, self.submission.run, self.submission.spec)
        finally:
            await session.close()

    async def _until_settled(self) -> None:
        """Wait for the end of the run's queue, and until every request is taken."""
        await self.parties.until_closed(self.submission)
        queues = [topology.client_queue(client) for client in CLIENTS]
        while any([(await self.parties.owner.count(queue)).messages for queue in queues]):
            await asyncio.sleep(LOOK_EVERY_S)

    async def _check_who_died(self) -> None:
        """A campaign that has killed nobody has shown nothing. Who dies of the very last step may be dying now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DYING_S):
                while self._spared:
                    await asyncio.sleep(LOOK_EVERY_S)
        assert not self._spared, f"the run is over, and nobody has died {'; '.join(map(str, self._spared))}"

    @property
    def _spared(self) -> list[Point]:
        return [point for supervisor in self.supervisors for point in supervisor.spared]

    async def _check_what_is_left(self, records: Sequence[Record]) -> None:
        """A log, the final weights, and what all runs share; other runs' leavings are theirs."""
        (end,) = [one for one in records if isinstance(one, RunEnded)]
        assert end.weights is not None, "a finished run leaves weights"
        ref = blob_ref(open_parcel(end.weights))
        assert ref is not None, "weights are bulk here"
        expected = {"fl.runs": STREAM, "fl.dead": 0, topology.run_log(self.submission.run): STREAM, ref.stream: STREAM}
        expected |= {topology.client_queue(client): 0 for client in CLIENTS}
        while (left := await self._left()) != expected and left.keys() == expected.keys():
            await asyncio.sleep(LOOK_EVERY_S)  # a last acknowledgement is still on its way
        assert left == expected

    async def _left(self) -> dict[str, int]:
        own = f"fl.run.{self.submission.run}."
        found = await asyncio.to_thread(inventory, self._scene.rabbit, self._scene.url)
        return {name: n for name, n in found.items() if not name.startswith("fl.run.") or name.startswith(own)}
