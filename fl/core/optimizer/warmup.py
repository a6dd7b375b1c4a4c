"""Learning rates that start small (Goyal et al. 2017)."""

from typing import Any

from fl.core.optimizer import options
from fl.core.optimizer.scheduler import Scheduler, build_rate, rate_config


class WarmupScheduler(Scheduler):
    """The base rate times (step + 1) / n for the first n steps, then the base rate.

    `base` is a number or another scheduler, in any form that names one. It counts from the start, and not from the
    warm-up's end.
    """

    name = "warmup"

    def __init__(self, base: Any, n: int) -> None:
        options.counts(self.name, 1, n=n)
        self.base = build_rate(self.name, "base", base)
        self.n = n

    def get_config(self) -> dict[str, Any]:
        return {"base": rate_config(self.base), "n": self.n}

    def value(self, *, step: int, round_: int) -> float:
        return self._factor(step) * self._base_value(step, round_)

    def _factor(self, t: int) -> float:
        return min(1.0, (t + 1) / self.n)

    def _base_value(self, step: int, round_: int) -> float:
        return self.base.value(step=step, round_=round_) if isinstance(self.base, Scheduler) else self.base


class WarmupRoundsScheduler(WarmupScheduler):
    """The base rate times (round + 1) / n for the first n rounds, then the base rate."""

    name = "warmup-rounds"

    def value(self, *, step: int, round_: int) -> float:
        return self._factor(round_) * self._base_value(step, round_)
