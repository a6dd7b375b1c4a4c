"""Optimizers and what plugs into them."""

from fl.core.optimizer import Optimizer, OptiModule, Regularizer

__all__ = ["OptiModule", "Optimizer", "Regularizer"]
