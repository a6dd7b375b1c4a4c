"""What processes use, by /proc: seconds of CPU, and memory."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench.telling import peak_mb, resident_mb

Pids = Callable[[], Iterable[int]]
"""Those that are started directly; whatever these start is found by itself."""


@dataclass(frozen=True, slots=True)
class Used:
    """Between two moments."""

    cpu_s: Mapping[str, float]
    """Of each side."""
    server_mb: float
    """The most that the server's side has had in memory, above what it had when idle."""


class Meter:
    """Watches the sides of one contestant: "server" and, where they are others' processes, "clients" and "broker"."""

    def __init__(self, **sides: Pids) -> None:
        self._sides = sides
        self._begun: dict[str, dict[int, float]] = {}
        self.idle_mb: float | None = None

    def note_idle(self) -> None:
        """From here on memory is counted. For servers that do not tell it themselves."""
        self.idle_mb = sum(resident_mb(pid) for pid in family(self._sides["server"]()))

    def start(self) -> None:
        self._begun = self._cpu()

    def read(self) -> Used:
        """What was used since the start. Processes that came later count whole."""
        cpu_s = {}
        for side, now in self._cpu().items():
            cpu_s[side] = sum(seconds - self._begun[side].get(pid, 0.0) for pid, seconds in now.items())
        server_mb = sum(peak_mb(pid) for pid in family(self._sides["server"]()))
        return Used(cpu_s, server_mb - (self.idle_mb or 0.0))

    def _cpu(self) -> dict[str, dict[int, float]]:
        return {side: {pid: cpu_s(pid) for pid in family(pids())} for side, pids in self._sides.items()}


def family(pids: Iterable[int]) -> list[int]:
    """The processes, and all that they have started."""
    found = []
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError):  # a thread that has just ended
                waiting += [int(word) for word in (task / "children").read_text("ascii").split()]
    return found


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has taken, in all its threads, to the nanosecond.

    /proc counts in ticks of 10 ms, which is more than many a round takes; each process has a clock of its own, which
    Linux numbers by its id (`clock_getcpuclockid(3)`).
    """
    return time.clock_gettime((~pid << 3) | 2)
