"""Optimizers and what plugs into them: `fl.optimizer.modules`, `.regularizers`, `.schedulers`."""

import importlib
from types import ModuleType

from fl.core.optimizer import Optimizer, OptiModule, Regularizer, Scheduler

__all__ = ["OptiModule", "Optimizer", "Regularizer", "Scheduler"]

_PLUGINS = ("modules", "regularizers", "schedulers")


def __getattr__(name: str) -> ModuleType:
    if name in _PLUGINS:
        return importlib.import_module(f"fl.optimizer.{name}")
    raise AttributeError(f"module 'fl.optimizer' has no attribute {name!r}")
