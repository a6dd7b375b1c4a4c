"""Momentum, as torch's SGD has it."""

from collections.abc import Mapping
from typing import Any

from fl.core.optimizer.module import OptiModule, check_fields
from fl.core.vector import Vector
from fl.errors import ConfigError


class Momentum(OptiModule):
    """u ← β·u + g, from u = 0; the output is u, or g + β·u with `nesterov` (Sutskever et al. 2013)."""

    name = "momentum"

    def __init__(self, beta: float = 0.9, nesterov: bool = False, round_reset: bool = False) -> None:
        if not 0 <= beta < 1:
            raise ConfigError(f"momentum: beta is {beta}: use a number from 0 to below 1")
        self.beta = beta
        self.nesterov = nesterov
        self.round_reset = round_reset
        self._velocity: Vector | None = None

    def get_config(self) -> dict[str, Any]:
        return {"beta": self.beta, "nesterov": self.nesterov, "round_reset": self.round_reset}

    def start_round(self, weights: Vector) -> None:
        if self.round_reset:
            self._velocity = None

    def run(self, gradients: Vector) -> Vector:
        velocity = gradients if self._velocity is None else self._velocity * self.beta + gradients
        self._velocity = velocity
        return gradients + velocity * self.beta if self.nesterov else velocity

    def get_state(self) -> dict[str, Any]:
        return {"velocity": self._velocity}

    def set_state(self, state: Mapping[str, Any]) -> None:
        check_fields(self.name, state, {"velocity"})
        self._velocity = state["velocity"]
