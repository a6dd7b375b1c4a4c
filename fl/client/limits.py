"""What a trainer may use of its machine, as far as the system can tell from outside: resident memory."""

import asyncio
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from fl.errors import ConfigError

PROC: Final = Path("/proc")
LOOK_EVERY_S: Final = 0.25
"""How often the memory of a trainer is looked at; what it allocates meanwhile is not seen."""

MIB: Final = 2**20


def check_measurable(proc: Path = PROC) -> None:
    """Raises `ConfigError` where the system does not tell how much memory a process uses."""
    if not (proc / "self" / "statm").is_file():
        raise ConfigError(
            f"[limits] memory_mb: this system has no {proc}/<process>/statm to see it by; leave it out, and let the "
            "service manager or the container limit the memory of the daemon and its trainers together"
        )


async def until_above(pid: int, most_mb: int) -> int:
    """Wait until a process and its descendants together reside in more memory than `most_mb`; return how many MiB."""
    while True:
        used = resident_bytes(pid)
        if used > most_mb * MIB:
            return used // MIB
        await asyncio.sleep(LOOK_EVERY_S)


def resident_bytes(pid: int, proc: Path = PROC) -> int:
    """Resident memory of a process and its descendants; pages that several share count for each of them."""
    return sum(_resident(one, proc) for one in _family(pid, proc))


def _family(pid: int, proc: Path) -> Iterator[int]:
    yield pid
    for children in _lines((proc / str(pid) / "task").glob("*/children")):
        for child in children.split():
            yield from _family(int(child), proc)


def _resident(pid: int, proc: Path) -> int:
    pages = next(_lines([proc / str(pid) / "statm"]), "0 0").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _lines(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        try:
            yield file.read_text()
        except (FileNotFoundError, ProcessLookupError):  # it ended as it was looked at
            continue
