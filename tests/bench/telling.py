"""What a contestant's process tells whoever measures it: lines of JSON on standard output. Imports nothing of ours."""

import json
import signal
import time
from pathlib import Path
from typing import Final

MARK: Final = "bench! "
"""Begins each such line, so that what libraries print does not get between."""


def tell(what: str, **facts: object) -> None:
    print(f"{MARK}{json.dumps({'what': what, **facts})}", flush=True)


def tell_idle() -> None:
    """All is imported, and there are no weights yet."""
    tell("idle", mb=resident_mb("self"))


def tell_round() -> None:
    """A round has ended."""
    tell("round", at=time.monotonic())


def tell_done() -> None:
    """The last round has ended. Stays until it is killed, since what it has used can only be read while it lives."""
    tell("done")
    while True:
        signal.pause()


def resident_mb(pid: int | str) -> float:
    """Megabytes that a process has in memory."""
    return _status_mb(pid, "VmRSS")


def peak_mb(pid: int | str) -> float:
    """The most megabytes that a process has had in memory."""
    return _status_mb(pid, "VmHWM")


def _status_mb(pid: int | str, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024 / 1e6
