"""The processes of one contestant: started, listened to, and killed at the end."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench.telling import MARK
from tests.bench.usage import family

ROOT: Final = Path(__file__).parents[2]
_KEPT_LINES: Final = 100
_SHOWN_LINES: Final = 15
_SETPRIV: Final = shutil.which("setpriv")
"""Has processes end with this one, also where that is killed."""

Event = dict[str, Any]


class ContestantFailed(Exception):
    """It did not come to its end; the text says which of its processes, and what that has printed last."""


@dataclass(slots=True)
class Actor:
    """One process."""

    name: str
    process: asyncio.subprocess.Process
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))

    @property
    def pid(self) -> int:
        return self.process.pid


class Stage:
    """Processes that belong together: when one ends before the play does, the play has failed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.actors: list[Actor] = []
        self._events: asyncio.Queue[Event | ContestantFailed] = asyncio.Queue()
        self._pumps: list[asyncio.Task[None]] = []
        self._heard = asyncio.Condition()
        self._passing: set[str] = set()

    async def start(self, name: str, *command: str | Path, **variables: str) -> Actor:
        """Start a program, with nothing of our environment but the path, and these variables."""
        guarded = [_SETPRIV, "--pdeathsig", "KILL", "--", *command] if _SETPRIV else list(command)
        process = await asyncio.create_subprocess_exec(
            *guarded,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT), **variables},
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=2**20,
        )
        actor = Actor(name, process)
        self.actors.append(actor)
        self._pumps.append(asyncio.create_task(self._listen(actor)))
        return actor

    async def hear(self, file: Path) -> None:
        """Listen to what is told through a file that is there already."""
        await self.start("the listener", "tail", "-n", "+1", "-f", file)

    async def until_ended(self, actor: Actor) -> None:
        """Wait for a process that is to end before the play does. Raises `ContestantFailed` unless all went well."""
        self._passing.add(actor.name)
        if await actor.process.wait():
            raise _ended(actor)

    async def script(self, name: str, module: str, *arguments: object, python: Path | None = None) -> Actor:
        """Start a module of this folder."""
        return await self.start(name, python or sys.executable, "-m", f"tests.bench.{module}", *map(str, arguments))

    async def fluffle(self, name: str, *arguments: str | Path, **variables: str) -> Actor:
        """Start a command of ours."""
        return await self.start(name, sys.executable, "-m", "fl.cli", *arguments, **variables)

    async def next(self, *expected: str) -> Event:
        """The next event. Raises `ContestantFailed` when a process has ended, or tells something else."""
        event = await self._events.get()
        if isinstance(event, ContestantFailed):
            raise event
        if event["what"] not in expected:
            raise ContestantFailed(f"expected {' or '.join(expected)}, was told {event}")
        return event

    async def until_printed(self, actor: Actor, text: str) -> None:
        """Wait until one of the last lines of a process has this in it. Raises `ContestantFailed`."""
        async with self._heard:
            while not any(text in line for line in actor.tail):
                if actor.process.returncode is not None:
                    raise _ended(actor)
                await self._heard.wait()

    async def watch(self) -> None:
        """Raise `ContestantFailed` as soon as a process ends, where none of them tells anything."""
        await self.next()

    def said(self, trouble: str) -> str:
        """The trouble, and what every process has printed last."""
        return "\n".join([trouble, *map(_last_of, self.actors)])

    async def close(self) -> None:
        """Kill all processes and whatever they have started, also in groups of its own."""
        running = [actor.pid for actor in self.actors if actor.process.returncode is None]
        for pid in family(running):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*(actor.process.wait() for actor in self.actors))
        await asyncio.gather(*self._pumps)

    async def _listen(self, actor: Actor) -> None:
        assert actor.process.stdout is not None, "started with a pipe"
        async for raw in actor.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            if line.startswith(MARK):
                self._events.put_nowait(json.loads(line.removeprefix(MARK)))
                continue
            async with self._heard:
                actor.tail.append(line)
                self._heard.notify_all()
        await actor.process.wait()
        if actor.name not in self._passing:
            self._events.put_nowait(_ended(actor))
        async with self._heard:
            self._heard.notify_all()


def _ended(actor: Actor) -> ContestantFailed:
    return ContestantFailed(f"{actor.name} ended with code {actor.process.returncode}")


def _last_of(actor: Actor) -> str:
    lines = "\n".join(f"    {line}" for line in list(actor.tail)[-_SHOWN_LINES:]) or "    nothing"
    return f"  the last that {actor.name} printed:\n{lines}"


@asynccontextmanager
async def stage(folder: Path, *, limit_s: float) -> AsyncIterator[Stage]:
    """A stage whose processes are gone when the block ends. Raises `ContestantFailed` when that takes too long."""
    it = Stage(folder)
    try:
        async with asyncio.timeout(limit_s):
            yield it
    except TimeoutError:
        raise ContestantFailed(it.said(f"it took more than {limit_s:g} s")) from None
    except ContestantFailed as error:
        raise ContestantFailed(it.said(str(error))) from None
    finally:
        await it.close()
