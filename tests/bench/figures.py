"""What one contestant came to in one row."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of each round that counts; CPU seconds a round of each side; memory of the server above idle, at most."""

    seconds: tuple[float, ...]
    cpu_s: Mapping[str, float]
    server_mb: float

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """All rounds of several measurements of the same; the most memory, and the mean CPU seconds."""
        seconds = tuple(second for part in parts for second in part.seconds)
        cpu_s = {side: statistics.fmean(part.cpu_s[side] for part in parts) for side in parts[0].cpu_s}
        return cls(seconds, cpu_s, max(part.server_mb for part in parts))

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread_s(self) -> tuple[float, float]:
        """Between which the middle half of all rounds lies."""
        low, high = np.percentile(self.seconds, (25, 75))
        return float(low), float(high)

    @property
    def all_cpu_s(self) -> float:
        return sum(self.cpu_s.values())

    def to_json(self) -> dict[str, object]:
        low, high = self.spread_s
        return {
            "median_s": self.median_s,
            "quartiles_s": [low, high],
            "seconds": list(self.seconds),
            "cpu_s_a_round": dict(self.cpu_s),
            "server_peak_above_idle_mb": self.server_mb,
        }
