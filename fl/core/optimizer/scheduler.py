"""What a learning rate that changes over time promises."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fl.core.optimizer import options
from fl.core.registry import Registered, Registry


class Scheduler(Registered, ABC, register=False):
    """A learning rate as a function of time, without a state of its own: the optimizer counts."""

    registry: ClassVar[Registry["Scheduler"]] = Registry(
        "scheduler",
        {
            "cosine-annealing": "fl.core.optimizer.annealing:CosineAnnealingScheduler",
            "cosine-annealing-warm-restarts": "fl.core.optimizer.annealing:CosineAnnealingWarmRestartsScheduler",
            "cyclic-exp-range": "fl.core.optimizer.cyclic:CyclicExpRangeScheduler",
            "cyclic-triangular": "fl.core.optimizer.cyclic:CyclicTriangularScheduler",
            "exponential": "fl.core.optimizer.decay:ExponentialScheduler",
            "inverse-scaling": "fl.core.optimizer.decay:InverseScalingScheduler",
            "linear": "fl.core.optimizer.decay:LinearScheduler",
            "piecewise": "fl.core.optimizer.decay:PiecewiseScheduler",
            "polynomial": "fl.core.optimizer.decay:PolynomialScheduler",
            "warmup": "fl.core.optimizer.warmup:WarmupScheduler",
            "warmup-rounds": "fl.core.optimizer.warmup:WarmupRoundsScheduler",
        },
    )

    @abstractmethod
    def value(self, *, step: int, round_: int) -> float:
        """The rate of a step; steps and rounds both count from 0."""


class TimeScheduler(Scheduler, register=False):
    """A rate that starts from `base` and depends on one count: of steps, or of rounds without `step_level`."""

    def __init__(self, base: float, *, step_level: bool) -> None:
        options.above_zero(self.name, base=base)
        self.base = base
        self.step_level = step_level

    def get_config(self) -> dict[str, Any]:
        return {"base": self.base, "step_level": self.step_level}

    def value(self, *, step: int, round_: int) -> float:
        return self.at(step if self.step_level else round_)

    @abstractmethod
    def at(self, t: int) -> float:
        """The rate at a count of `t`."""


def build_rate(owner: str, name: str, rate: Any) -> float | Scheduler:
    """A learning rate from a number, or a scheduler in any form that names one. Raises `ConfigError`."""
    if isinstance(rate, Scheduler | str | Mapping | Sequence):
        return Scheduler.registry.build(rate)
    options.above_zero(owner, **{name: rate})
    return float(rate)


def rate_config(rate: float | Scheduler) -> Any:
    """What `build_rate` makes the same rate of, as values JSON can carry."""
    return [rate.name, rate.get_config()] if isinstance(rate, Scheduler) else rate
