"""Learning rates that fall."""

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from fl.core.optimizer import options
from fl.core.optimizer.scheduler import TimeScheduler
from fl.errors import ConfigError


class ExponentialScheduler(TimeScheduler):
    """base·exp(-rate·t)."""

    name = "exponential"

    def __init__(self, base: float, rate: float, step_level: bool = True) -> None:
        super().__init__(base, step_level=step_level)
        options.at_least(self.name, 0, rate=rate)
        self.rate = rate

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}

    def at(self, t: int) -> float:
        return self.base * math.exp(-self.rate * t)


class InverseScalingScheduler(TimeScheduler):
    """base / (1 + t)^power."""

    name = "inverse-scaling"

    def __init__(self, base: float, power: float = 0.5, step_level: bool = True) -> None:
        super().__init__(base, step_level=step_level)
        options.at_least(self.name, 0, power=power)
        self.power = power

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power": self.power}

    def at(self, t: int) -> float:
        return float(self.base / (1.0 + t) ** self.power)


class PolynomialScheduler(TimeScheduler):
    """final + (base - final)·(1 - t/n)^power, and final from t = n on."""

    name = "polynomial"

    def __init__(self, base: float, n: int, power: float = 2.0, *, final: float = 0.0, step_level: bool = True) -> None:
        super().__init__(base, step_level=step_level)
        options.counts(self.name, 1, n=n)
        options.at_least(self.name, 0, power=power, final=final)
        self.n = n
        self.power = power
        self.final = final

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n, "power": self.power, "final": self.final}

    def at(self, t: int) -> float:
        return float(self.final + (self.base - self.final) * (1.0 - min(t, self.n) / self.n) ** self.power)


class LinearScheduler(PolynomialScheduler):
    """final + (base - final)·(1 - t/n), and final from t = n on."""

    name = "linear"

    def __init__(self, base: float, n: int, *, final: float = 0.0, step_level: bool = True) -> None:
        super().__init__(base, n, 1.0, final=final, step_level=step_level)

    def get_config(self) -> dict[str, Any]:
        return {key: value for key, value in super().get_config().items() if key != "power"}


class PiecewiseScheduler(TimeScheduler):
    """base before the first of `boundaries`, values[0] from it on, values[1] from the second on, and so forth."""

    name = "piecewise"

    def __init__(
        self, base: float, boundaries: Sequence[int], values: Sequence[float], step_level: bool = True
    ) -> None:
        super().__init__(base, step_level=step_level)
        for boundary, value in zip(boundaries, values, strict=False):
            options.counts(self.name, 1, boundary=boundary)
            options.at_least(self.name, 0, value=value)
        if len(boundaries) != len(values):
            raise ConfigError(f"piecewise: {len(boundaries)} boundaries need as many values, but got {len(values)}")
        if any(left >= right for left, right in itertools.pairwise(boundaries)):
            raise ConfigError(f"piecewise: boundaries are {list(boundaries)}: each must be above the one before")
        self.boundaries = list(boundaries)
        self.values = list(values)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "boundaries": self.boundaries, "values": self.values}

    def at(self, t: int) -> float:
        return float([self.base, *self.values][bisect_right(self.boundaries, t)])
