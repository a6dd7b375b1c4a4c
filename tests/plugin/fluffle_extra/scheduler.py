"""A scheduler: a learning rate as a function of time."""

import math

from fl.core.optimizer import Scheduler


class InverseRoot(Scheduler):
    """base / √(1 + round)."""

    name = "inverse-root"

    def __init__(self, base: float) -> None:
        self.base = base

    def value(self, *, step: int, round_: int) -> float:
        return self.base / math.sqrt(1 + round_)
