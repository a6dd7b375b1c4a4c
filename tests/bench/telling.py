"""What a contestant's process tells whoever measures it: lines of JSON. Imports nothing of ours.

They go to standard output or, where others keep that for themselves, to the file that `BENCH_TELL` names.
"""

import json
import os
import signal
import time
from pathlib import Path
from typing import Final

MARK: Final = "bench! "
"""Begins each such line, so that what libraries print does not get between."""


def tell(what: str, **facts: object) -> None:
    line = f"{MARK}{json.dumps({'what': what, **facts})}\n"
    if "BENCH_TELL" in os.environ:
        with Path(os.environ["BENCH_TELL"]).open("a", encoding="utf-8") as file:
            file.write(line)
    else:
        print(line, end="", flush=True)


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
    found = [line for line in lines if line.startswith(f"{field}:")]
    return sum(int(line.split()[1]) * 1024 / 1e6 for line in found)  # one that has ended has no memory
