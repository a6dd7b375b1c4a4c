"""Learning rates that fall along half a cosine (Loshchilov & Hutter 2017, eq. 5)."""

import math
from typing import Any

from fl.core.optimizer import options
from fl.core.optimizer.scheduler import TimeScheduler


class CosineAnnealingScheduler(TimeScheduler):
    """final + (base - final)·(1 + cos(π·t/n)) / 2, and final from t = n on."""

    name = "cosine-annealing"

    def __init__(self, base: float, n: int, *, final: float = 0.0, step_level: bool = True) -> None:
        super().__init__(base, step_level=step_level)
        options.counts(self.name, 1, n=n)
        options.at_least(self.name, 0, final=final)
        self.n = n
        self.final = final

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n, "final": self.final}

    def at(self, t: int) -> float:
        return self._along(min(t, self.n) / self.n)

    def _along(self, part: float) -> float:
        """At a part of the way from base, at 0, to final, at 1."""
        return self.final + (self.base - self.final) * (1.0 + math.cos(math.pi * part)) / 2.0


class CosineAnnealingWarmRestartsScheduler(CosineAnnealingScheduler):
    """Cosine annealing that starts again from base after n, then after n·factor, then n·factor² and so forth."""

    name = "cosine-annealing-warm-restarts"

    def __init__(self, base: float, n: int, factor: int = 1, *, final: float = 0.0, step_level: bool = True) -> None:
        super().__init__(base, n, final=final, step_level=step_level)
        options.counts(self.name, 1, factor=factor)
        self.factor = factor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}

    def at(self, t: int) -> float:
        if self.factor == 1:
            return self._along((t % self.n) / self.n)
        length = self.n
        while t >= length:
            t, length = t - length, length * self.factor
        return self._along(t / length)
