"""Workers and daemons as processes of this machine, for a demonstration of what belongs on many."""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

from broker.processes import GuardedProcess
from fl.errors import RunFailed

LOOK_EVERY_S: Final = 0.2
END_WITHIN_S: Final = 10.0


class Fleet:
    """Processes of `fluffle` that share a broker, and all end when this is left, or when this program dies.

    Each writes its log to `<logs>/<name>.log`.
    """

    def __init__(self, url: str, logs: Path) -> None:
        self._environment = {**os.environ, "FLUFFLE_BROKER": url}
        self._logs = logs
        self._members: dict[str, GuardedProcess] = {}
        self._roles: dict[str, list[str]] = {}

    def start(self, name: str, *arguments: str | Path, role: str | None = None) -> None:
        """Start `fluffle` with these arguments, under a name for people; who shares a role can stand in."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._log(name)
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "fl.cli", *arguments]
        self._members[name] = GuardedProcess(command, env=self._environment, output=log)
        self._roles.setdefault(role or name, []).append(name)

    async def watch(self) -> None:
        """Never returns; raises `RunFailed` once there is a role that nobody is left for."""
        while True:
            for names in self._roles.values():
                if not any(self._members[name].running for name in names):
                    raise RunFailed(f"{names[-1]} ended before the run did: {self._last_words(names[-1])}")
            await asyncio.sleep(LOOK_EVERY_S)

    def stop(self) -> None:
        """End all at once, and wait for it. Harmless when repeated."""
        self._roles.clear()
        members, self._members = list(self._members.values()), {}
        with ThreadPoolExecutor(max_workers=len(members) or 1) as pool:
            list(pool.map(lambda process: process.terminate(END_WITHIN_S), members))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _last_words(self, name: str) -> str:
        log = self._log(name)
        lines = log.read_text(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return f"{said} (all of its log: {log})"

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"
