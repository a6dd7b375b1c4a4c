"""What a contestant promises to the measurement."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.bench.figures import Figures
from tests.bench.rows import Row


@dataclass(frozen=True, slots=True)
class Ground:
    """What contestants use: a folder of their own, and one broker that they share."""

    folder: Path
    broker_url: str
    broker_pid: int


class Contestant(Protocol):
    """Some way to do federated rounds, or to move their bytes."""

    @property
    def label(self) -> str:
        """What it is called in tables."""

    @property
    def passes(self) -> int:
        """How often a row is measured, between the others."""

    async def measure(self, row: Row, ground: Ground) -> Figures:
        """Start all processes, make the rounds, and end all processes. Raises `ContestantFailed`."""
