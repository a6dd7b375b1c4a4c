"""All that was measured: figures by row and contestant, and what compares them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.bench.figures import Figures
from tests.bench.rows import Row

FLOOR: Final = "RabbitMQ, bytes only"
OURS: Final = "Fluffle, over RabbitMQ"
TUNED: Final = ("declearn gRPC, heartbeat 0.01 s", "declearn websockets, heartbeat 0.01 s")
OVERS: Final = {FLOOR: (FLOOR,), "declearn tuned, the faster": TUNED}
"""What ours is compared with: of several the fastest."""


@dataclass(slots=True)
class Results:
    """Measurements of the same contestant in the same row are parts of one."""

    rows: list[Row]
    labels: list[str]
    parts: dict[tuple[Row, str], list[Figures]] = field(default_factory=dict)
    failures: dict[tuple[Row, str], str] = field(default_factory=dict)

    def add(self, row: Row, label: str, figures: Figures) -> None:
        self.parts.setdefault((row, label), []).append(figures)

    def fail(self, row: Row, label: str, reason: str) -> None:
        self.failures[row, label] = reason

    def of(self, row: Row, label: str) -> Figures | None:
        """None where it has failed, or did not take part."""
        parts = self.parts.get((row, label))
        if not parts or (row, label) in self.failures:
            return None
        return Figures.merged(parts)

    def ratio(self, row: Row, label: str, over: str) -> float | None:
        """Of medians, over one of `OVERS`. None where one of the two is missing."""
        one = self.of(row, label)
        others = [other.median_s for name in OVERS[over] if (other := self.of(row, name)) is not None]
        return None if one is None or not others else one.median_s / min(others)

    def ratios(self) -> Iterator[tuple[str, str]]:
        """What is to be compared: each of ours over the broker, with each of `OVERS` that took part."""
        for label in self.labels:
            if label.startswith(OURS):
                yield from ((label, over) for over, names in OVERS.items() if set(names) & set(self.labels))

    def to_json(self) -> list[dict[str, object]]:
        return [self._row_json(row) for row in self.rows]

    def _row_json(self, row: Row) -> dict[str, object]:
        contestants: dict[str, object] = {}
        for label in self.labels:
            figures = self.of(row, label)
            if figures is not None:
                ratios = {f"over {over}": self.ratio(row, label, over) for over in OVERS}
                contestants[label] = figures.to_json() | ratios
            elif (row, label) in self.failures:
                contestants[label] = {"failed": self.failures[row, label]}
        return {"weights_mb": row.n_bytes / 1e6, "clients": row.n_clients, "contestants": contestants}
