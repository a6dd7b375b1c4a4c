"""What processes use, by /proc: seconds of CPU, and memory."""

import os
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
        self._begun: dict[str, float] = {}
        self.idle_mb = 0.0

    def note_idle(self) -> None:
        """Memory above what the server has now is what counts. For servers that do not tell it themselves."""
        self.idle_mb = total(resident_mb, self._sides["server"])

    def start(self) -> None:
        self._begun = self._cpu()

    def read(self) -> Used:
        """What was used since the start, also by processes that came later or have ended since."""
        cpu_s = {side: now - self._begun[side] for side, now in self._cpu().items()}
        return Used(cpu_s, total(peak_mb, self._sides["server"]) - self.idle_mb)

    def _cpu(self) -> dict[str, float]:
        return {side: total(cpu_s, pids) for side, pids in self._sides.items()}


def total(measure: Callable[[int], float], pids: Pids) -> float:
    """Of these processes and all that they have started, less those that end just now."""
    found = 0.0
    for pid in family(pids()):
        with suppress(OSError):
            found += measure(pid)
    return found


def family(pids: Iterable[int]) -> list[int]:
    """The processes, and all that they have started."""
    found = []
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        with suppress(OSError):  # it has just ended
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(word) for word in (task / "children").read_text("ascii").split()]
    return found


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has taken, in all its threads, and children of it that have ended.

    For the children /proc counts in ticks of 10 ms, which is more than many a round takes. Each process has a clock of
    its own in nanoseconds, which Linux numbers by its id (`clock_getcpuclockid(3)`).
    """
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    ended_ticks = int(fields[13]) + int(fields[14])
    return time.clock_gettime((~pid << 3) | 2) + ended_ticks / os.sysconf("SC_CLK_TCK")
