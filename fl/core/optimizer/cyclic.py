"""Learning rates that rise and fall (Smith 2017)."""

from typing import Any

from fl.core.optimizer import options
from fl.core.optimizer.scheduler import TimeScheduler
from fl.errors import ConfigError


class CyclicTriangularScheduler(TimeScheduler):
    """base + (peak - base)·x, where x goes from 0 to 1 over n, back to 0 over the next n, and so forth."""

    name = "cyclic-triangular"

    def __init__(self, base: float, peak: float, n: int, *, step_level: bool = True) -> None:
        super().__init__(base, step_level=step_level)
        options.above_zero(self.name, peak=peak)
        options.counts(self.name, 1, n=n)
        self.peak = peak
        self.n = n

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "peak": self.peak, "n": self.n}

    def at(self, t: int) -> float:
        return self.base + (self.peak - self.base) * self._height(t)

    def _height(self, t: int) -> float:
        return 1.0 - abs(t % (2 * self.n) / self.n - 1.0)


class CyclicExpRangeScheduler(CyclicTriangularScheduler):
    """base + (peak - base)·x·gamma^t, with the triangular x: cycles that become smaller."""

    name = "cyclic-exp-range"

    def __init__(self, base: float, peak: float, n: int, gamma: float = 0.999, *, step_level: bool = True) -> None:
        super().__init__(base, peak, n, step_level=step_level)
        if not 0 <= gamma <= 1:
            raise ConfigError(f"{self.name}: gamma is {gamma!r}: use a number from 0 to 1")
        self.gamma = gamma

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma}

    def _height(self, t: int) -> float:
        return float(super()._height(t) * self.gamma**t)
