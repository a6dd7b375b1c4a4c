"""Regularizers: terms of the loss that depend on the weights alone, as their gradients."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from fl.core.optimizer import options
from fl.core.optimizer.module import check_fields
from fl.core.registry import Registered, Registry
from fl.core.vector import Vector
from fl.errors import ConfigError


class Regularizer(Registered, ABC, register=False):
    """Adds alpha times the gradient of a penalty to the gradients."""

    registry: ClassVar[Registry["Regularizer"]] = Registry(
        "regularizer",
        {
            "fedprox": "fl.core.optimizer.regularizer:FedProxRegularizer",
            "lasso": "fl.core.optimizer.regularizer:LassoRegularizer",
            "ridge": "fl.core.optimizer.regularizer:RidgeRegularizer",
        },
    )

    def __init__(self, alpha: float = 0.01) -> None:
        options.at_least(self.name, 0, alpha=alpha)
        self.alpha = alpha

    @abstractmethod
    def run(self, gradients: Vector, weights: Vector) -> Vector:
        """Gradients with the penalty's gradient at `weights` added."""

    def start_round(self, weights: Vector) -> None:
        """A round starts from these weights."""

    def get_state(self) -> dict[str, Any]:
        """All that must survive from step to step: vectors, and values JSON can carry."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `get_state` gave. Raises `ValueError` when it is not this regularizer's."""
        check_fields(self.name, state, set())


class FedProxRegularizer(Regularizer):
    """g + alpha·(w - w_round_start), the gradient of alpha/2·‖w - w_round_start‖² (Li et al. 2020, eq. 2)."""

    name = "fedprox"

    def __init__(self, alpha: float = 0.01) -> None:
        super().__init__(alpha)
        self._start: Vector | None = None

    def start_round(self, weights: Vector) -> None:
        self._start = weights.copy()

    def run(self, gradients: Vector, weights: Vector) -> Vector:
        if self._start is None:
            raise ConfigError("fedprox holds weights close to those of the round's start: call start_round first")
        return gradients + (weights - self._start) * self.alpha

    def get_state(self) -> dict[str, Any]:
        return {"start": self._start}

    def set_state(self, state: Mapping[str, Any]) -> None:
        check_fields(self.name, state, {"start"})
        self._start = state["start"]


class LassoRegularizer(Regularizer):
    """g + alpha·sign(w), the gradient of alpha·‖w‖₁."""

    name = "lasso"

    def run(self, gradients: Vector, weights: Vector) -> Vector:
        return gradients + weights.sign() * self.alpha


class RidgeRegularizer(Regularizer):
    """g + 2·alpha·w, the gradient of alpha·‖w‖²."""

    name = "ridge"

    def run(self, gradients: Vector, weights: Vector) -> Vector:
        return gradients + weights * (2 * self.alpha)
