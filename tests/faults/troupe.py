"""Victims, and who starts them again. They are forked by a process that has imported everything, once."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

import psutil

from tests.faults.points import Point
from tests.faults.victim import Role, play

LOOK_EVERY_S: Final = 0.01


class Victim:
    """A process that plays a role until it dies."""

    def __init__(self, process: ForkServerProcess, role: Role) -> None:
        self._process = process
        self.role = role

    @property
    def exit_code(self) -> int | None:
        """None while it lives; negative: the signal that ended it."""
        return self._process.exitcode

    @property
    def is_stopped(self) -> bool:
        """Whether it was frozen by SIGSTOP."""
        status = Path(f"/proc/{self._process.pid}/stat").read_text()
        return status.rpartition(")")[2].split()[0] == "T"

    @property
    def children(self) -> list[int]:
        """Processes that it has started, such as trainers."""
        assert self._process.pid is not None, "it was started"
        return [child.pid for child in psutil.Process(self._process.pid).children()]

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None, "it was started"
        assert self.exit_code is None, f"{self.role.name} is dead already"
        os.kill(self._process.pid, number)

    async def until_dead(self) -> int:
        while self.exit_code is None:
            await asyncio.sleep(LOOK_EVERY_S)
        return self.exit_code

    def end(self) -> None:
        """Kill it, unless it is dead. Harmless when repeated."""
        self._process.kill()
        self._process.join()

    @property
    def last_words(self) -> str:
        return self.role.log.read_text() if self.role.log.exists() else "it has said nothing"


class Troupe:
    """Starts victims, and ends those that are left."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        # To fork is quick as long as this is little: whoever needs torch imports it alone.
        self._context.set_forkserver_preload(["tests.faults.warm", "pytest"])
        self._victims: list[Victim] = []

    def start(self, role: Role, point: Point | None = None, *, by: signal.Signals = signal.SIGKILL) -> Victim:
        """`by`: the signal that it sends itself at its point."""
        process = self._context.Process(target=play, args=(role, point, by))
        process.start()
        self._victims = [one for one in self._victims if one.exit_code is None]  # each dead one holds a file
        self._victims.append(Victim(process, role))
        return self._victims[-1]

    def end(self) -> None:
        """Kill whoever is left. Harmless when repeated."""
        while self._victims:
            self._victims.pop().end()


@contextmanager
def troupe() -> Iterator[Troupe]:
    """All its victims end with the block."""
    made = Troupe()
    try:
        yield made
    finally:
        made.end()


class Supervisor:
    """Keeps one role played: whenever its player dies, by its point, the next one starts, until all points are met."""

    def __init__(self, players: Troupe, role: Role, points: Sequence[Point]) -> None:
        self.role = role
        self._players = players
        self._to_come = list(points)
        self.victim = self._start()

    @property
    def spared(self) -> list[Point]:
        """Points that nobody has died at yet."""
        return self._to_come

    async def watch(self) -> None:
        """Never returns. Raises `AssertionError` for a death that was not to be."""
        while True:
            code = await self.victim.until_dead()
            met = "nobody was to die" if not self._to_come else str(self._to_come[0])
            assert code == -signal.SIGKILL, f"{self.role.name} ended with {code} ({met}):\n{self.victim.last_words}"
            assert self._to_come, f"{self.role.name} was killed once more:\n{self.victim.last_words}"
            self._to_come.pop(0)
            self.victim = self._start()

    def _start(self) -> Victim:
        return self._players.start(self.role, self._to_come[0] if self._to_come else None)
