"""The parties of a soak: processes, each on a wire of its own, that can be hit and come back."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from tests.faults.campaign import Scene
from tests.faults.soak_cases import Case
from tests.faults.soak_faults import HEARTBEAT_S, Fault, What
from tests.faults.stage import CLIENTS
from tests.faults.troupe import Troupe
from tests.faults.victim import Kind, Role, TrainerKind
from tests.rabbit_tools import Cuttable

ENDS_BY: Final = {0, -signal.SIGTERM}
"""Exit codes after SIGTERM; the second where it came before the process had heard of it."""

Pause = Callable[[float], Awaitable[None]]
"""Let so many seconds go by, or fewer where the run is over before."""


class Party:
    """A worker or a daemon: one process after another, on one wire."""

    def __init__(self, players: Troupe, role: Role, wire: Cuttable) -> None:
        self.role = role
        self.in_trouble = False
        self._players = players
        self._wire = wire
        self._start()

    def tend(self) -> None:
        """Start a daemon again that has ended for lack of the trainer that was to look at its data.

        Raises `AssertionError` where it has ended, and nobody has killed anything of it.
        """
        code = self._victim.exit_code
        if code is None or self.in_trouble:
            return
        killed = code == 1 and self._trainer_was_killed
        assert killed, f"{self.role.name} ended by itself with {code}:\n{self._victim.last_words}"
        self._start()

    async def suffer(self, what: What, lasts_s: float, pause: Pause) -> None:
        """Be hit, and come back."""
        self.in_trouble = True
        match what:
            case What.KILL | What.KILL_BOTH:
                await self._die(signal.SIGKILL, {-signal.SIGKILL})
                await pause(lasts_s)
                self._start()
            case What.END:
                await self._die(signal.SIGTERM, ENDS_BY)
                await pause(lasts_s)
                self._start()
            case What.KILL_TRAINER:
                self._trainer_was_killed = True
                for trainer in self._victim.children:
                    with suppress(ProcessLookupError):  # it has just ended
                        os.kill(trainer, signal.SIGKILL)
            case What.CUT:
                self._wire.cut()
            case What.FREEZE:
                self._wire.freeze()
                await pause(lasts_s)
                self._wire.cut()
            case What.STALL | What.STOP:
                self._victim.send(signal.SIGSTOP)
                await pause(lasts_s)
                if what is What.STOP:
                    self._wire.cut()  # the broker has done so long ago, and a wire does not pass a reset on
                self._victim.send(signal.SIGCONT)
        self.in_trouble = False

    def can_suffer(self, what: What) -> bool:
        return what is not What.KILL_TRAINER or self.role.trainer == "process"

    def is_there(self, what: What) -> bool:
        """Whether there is something to hit now."""
        if self.in_trouble or self._victim.exit_code is not None:
            return False
        return what is not What.KILL_TRAINER or bool(self._victim.children)

    async def become(self, role: Role) -> None:
        """Play another role from now on."""
        if role != self.role:
            if role.trainer == "process":
                role.write_data()
            await self._die(signal.SIGKILL, {-signal.SIGKILL})
            self.role = role
            self._start()

    async def leave(self) -> None:
        self._victim.end()
        await self._wire.stop()

    def _start(self) -> None:
        self._victim = self._players.start(self.role)
        self._trainer_was_killed = False

    async def _die(self, by: signal.Signals, codes: set[int]) -> None:
        self._victim.send(by)
        code = await self._victim.until_dead()
        assert code in codes, f"{self.role.name} ended with {code} by {by.name}:\n{self._victim.last_words}"
        self._wire.cut()  # the system resets what a dead process has left unread, which a wire does not pass on


class Cast:
    """All parties of a soak, by name."""

    def __init__(self) -> None:
        self.parties: dict[str, Party] = {}

    @property
    def workers(self) -> list[str]:
        return [name for name, party in self.parties.items() if party.role.kind == "worker"]

    @property
    def daemons(self) -> list[str]:
        return [name for name, party in self.parties.items() if party.role.kind == "daemon"]

    def tend(self) -> None:
        for party in self.parties.values():
            party.tend()

    async def serve(self, case: Case) -> None:
        """Give the daemons the data, and the trainers, of a run."""
        self.tend()
        for name in self.daemons:
            party = self.parties[name]
            trainer: TrainerKind = "process" if name in case.processes else "thread"
            await party.become(replace(party.role, n_features=case.n_features, trainer=trainer))

    def can_suffer(self, fault: Fault) -> bool:
        return all(self.parties[name].can_suffer(fault.what) for name in fault.whom)

    def hit(self, fault: Fault) -> list[Party]:
        """Those who are there to be hit."""
        return [party for name in fault.whom if (party := self.parties[name]).is_there(fault.what)]


@asynccontextmanager
async def cast(scene: Scene, folder: Path, n_workers: int) -> AsyncIterator[Cast]:
    """So many workers and a daemon for each client; all end with the block."""
    made = Cast()
    kinds: dict[str, Kind] = {f"worker-{number}": "worker" for number in range(1, n_workers + 1)}
    kinds |= dict.fromkeys(CLIENTS, "daemon")
    try:
        for name, kind in kinds.items():
            wire = await Cuttable(urlsplit(scene.url).port or 0).start()
            role = Role(kind, name, _through(scene.url, wire), folder, heartbeat_s=HEARTBEAT_S)
            made.parties[name] = Party(scene.players, role, wire)
        yield made
    finally:
        for party in made.parties.values():
            await party.leave()


def _through(url: str, wire: Cuttable) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{wire.port}"))
