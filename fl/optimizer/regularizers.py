"""Regularizers of an optimizer."""

from fl.core.optimizer.regularizer import FedProxRegularizer, LassoRegularizer, Regularizer, RidgeRegularizer

__all__ = ["FedProxRegularizer", "LassoRegularizer", "Regularizer", "RidgeRegularizer"]
