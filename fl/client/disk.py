"""What can be wrong with files that must survive a daemon: no room for them, or other bytes than were written."""

import errno
from pathlib import Path
from typing import Final

from broker.errors import Retryable

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a system says where it takes no more bytes: the disk, the user's share of it, or the file itself is full."""

MIB: Final = 2**20


class NoRoom(Retryable):
    """What must survive cannot be written now: the request that leaves it is handed back, with the session."""


def is_full(error: Exception) -> bool:
    """Whether writing failed for want of room; safetensors gives the system's number in its text only."""
    known = getattr(error, "errno", None) in FULL
    return known or any(f"(os error {number})" in str(error) for number in FULL)


def no_room(path: Path, error: Exception) -> NoRoom:
    reason = getattr(error, "strerror", None) or error
    return NoRoom(f"{path} cannot be written: {reason}; make room there, and this site goes on")


def damaged(path: Path, why: str) -> str:
    """What to tell people of a file that cannot be trusted; its folder holds one run."""
    return (
        f"{path}: {why}; this site takes no part in the run until it is back as it was. Removing {path.parent} lets it "
        "begin the run afresh, with other results"
    )


def fill(path: Path, n_bytes: int) -> None:
    """Write that many zeros. Raises `OSError`."""
    with path.open("wb") as file:
        for start in range(0, n_bytes, MIB):
            file.write(bytes(min(MIB, n_bytes - start)))
