"""`fluffle` as processes of their own: started, watched through what they log, and ended by id."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PATIENCE_S = 30.0

THREADS: Final = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
FRAMEWORKS: Final = ("torch", "tensorflow", "keras", "sklearn", "scipy", "pandas")

_TELLING = """
import atexit, sys
atexit.register(lambda: print("modules", *sys.modules, file=sys.stderr))
sys.argv = ["fluffle", *sys.argv[1:]]
from fl.cli.main import run
run()
"""
"""The command, and at its end what it has imported."""


class Fluffle:
    """A running command."""

    def __init__(self, process: "subprocess.Popen[bytes]", errors: Path) -> None:
        self._process = process
        self._errors = errors

    @property
    def log(self) -> str:
        return self._errors.read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def until_logged(self, text: str, *, times: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.log.count(text) < times:
                assert self._process.poll() is None, f"it ended while {text!r} was awaited:\n{self.log}"
                await asyncio.sleep(0.02)

    async def signal(self, number: signal.Signals) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        self._process.send_signal(number)
        return await self.end()

    async def end(self) -> int:
        return await asyncio.to_thread(self._process.wait, PATIENCE_S)

    @property
    def imported(self) -> set[str]:
        """Top-level modules that an ended process had imported."""
        (line,) = [line for line in self.log.splitlines() if line.startswith("modules ")]
        return {name.partition(".")[0] for name in line.split()[1:]}

    def children(self) -> list[int]:
        return [int(word) for word in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


@contextmanager
def fluffle(*arguments: str | Path, broker: str, folder: Path, name: str) -> Iterator[Fluffle]:
    """Start a command, and kill it at the end of the block if it still runs."""
    errors = folder / f"{name}.log"
    with errors.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _TELLING, *arguments],
            env=environment(folder, FLUFFLE_BROKER=broker),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield Fluffle(process, errors)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def run_fluffle(*arguments: str | Path, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "fl.cli", *arguments],
        env=environment(folder, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """What a command sees of ours: where the code is, how many threads it may compute with, and a home of its own."""
    kept = {key: os.environ[key] for key in ("PATH", *THREADS) if key in os.environ}
    root = str(Path(__file__).parents[2])
    return kept | {"HOME": str(folder), "PYTHONPATH": root, "COLUMNS": "300"} | variables


def alive(pid: int) -> bool:
    """Whether a process runs; one that is only waited for no longer does."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return status != "Z"
