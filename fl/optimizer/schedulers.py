"""Learning rates that change over time."""

from fl.core.optimizer.annealing import CosineAnnealingScheduler, CosineAnnealingWarmRestartsScheduler
from fl.core.optimizer.cyclic import CyclicExpRangeScheduler, CyclicTriangularScheduler
from fl.core.optimizer.decay import (
    ExponentialScheduler,
    InverseScalingScheduler,
    LinearScheduler,
    PiecewiseScheduler,
    PolynomialScheduler,
)
from fl.core.optimizer.scheduler import Scheduler
from fl.core.optimizer.warmup import WarmupRoundsScheduler, WarmupScheduler

__all__ = [
    "CosineAnnealingScheduler",
    "CosineAnnealingWarmRestartsScheduler",
    "CyclicExpRangeScheduler",
    "CyclicTriangularScheduler",
    "ExponentialScheduler",
    "InverseScalingScheduler",
    "LinearScheduler",
    "PiecewiseScheduler",
    "PolynomialScheduler",
    "Scheduler",
    "WarmupRoundsScheduler",
    "WarmupScheduler",
]
