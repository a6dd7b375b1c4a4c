"""What a daemon is, whatever run it serves."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fl.client.trainer import Trainer
from fl.log import EventLog
from fl.wire.messages_pb2 import DataInfo


class State(Protocol):
    """What survives the daemon."""

    def secret_seed(self, run: str) -> bytes:
        """Raises `ConfigError` for a file that cannot be trusted, `NoRoom`."""

    def knows(self, run: str) -> bool: ...

    def folder(self, run: str) -> Path | None:
        """Where what is kept of a run from round to round goes; None: into memory."""

    @property
    def ledger(self) -> Path | None:
        """The file for what is spent of the data's privacy; None: into memory."""

    def forget(self, run: str) -> None: ...

    def lack(self, n_bytes: int) -> None:
        """Note that a file could not be written for want of room, and how much should do."""

    def check_room(self) -> None:
        """Raises `NoRoom` as long as what lacked is not there."""


@dataclass(frozen=True, slots=True)
class Site:
    """One data owner's daemon: its name, its data's description, and how it gets a trainer for a run."""

    name: str
    data_info: DataInfo
    new_trainer: Callable[[str], Awaitable[Trainer]]
    """Start a trainer for a run and set it up. Raises `FluffleError`, `NoRoom`."""
    state: State
    clock: Callable[[], float]
    """Seconds since the epoch."""
    log: EventLog
    checkpoint: Path | None = None
    max_runs: int = 4
    standby: bool = True
    drain_s: float = 20.0
    """How long it may finish what it has in work when it is asked to end."""
    leave_after: int | None = None
    """Return after so many runs have ended; None: serve for ever."""
