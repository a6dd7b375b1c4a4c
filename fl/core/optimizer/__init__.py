"""From gradients to updates of weights."""

from fl.core.optimizer.module import OptiModule
from fl.core.optimizer.optimizer import Optimizer
from fl.core.optimizer.regularizer import Regularizer
from fl.core.optimizer.scheduler import Scheduler

__all__ = ["OptiModule", "Optimizer", "Regularizer", "Scheduler"]
