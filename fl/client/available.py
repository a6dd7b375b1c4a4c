"""How much memory this machine and the limits of its control groups still have: asking for more ends a process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path("/")
KIB: Final = 1024


def available_bytes(root: Path = ROOT) -> int | None:
    """What may be taken without anybody being ended for it; None where the system does not tell."""
    return min(_known(root), default=None)


def _known(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * KIB
    for group in _groups(root):
        limit = "".join(_lines(group / "memory.max"))
        if limit.isdecimal():
            yield max(0, int(limit) - _used(group))


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the control group of this process, and of those around it; of the second version alone."""
    top = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        if line.startswith("0::/"):
            inner = top / line.removeprefix("0::/")
            yield from (group for group in (inner, *inner.parents) if group.is_relative_to(top))


def _used(group: Path) -> int:
    """Without the pages of files that nobody has read for long, which the system drops when it needs room."""
    droppable = sum(int(line.split()[1]) for line in _lines(group / "memory.stat") if line.startswith("inactive_file "))
    return int("".join(_lines(group / "memory.current")) or "0") - droppable


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:  # another system, or a group that is not shown here
        return []
