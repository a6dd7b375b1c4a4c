"""Bounds on the Euclidean norm of gradients."""

from typing import Any

from fl.core.optimizer import options
from fl.core.optimizer.module import OptiModule
from fl.core.vector import Vector


class _Clipping(OptiModule, register=False):
    """Has the bound."""

    def __init__(self, max_norm: float = 1.0) -> None:
        options.above_zero(self.name, max_norm=max_norm)
        self.max_norm = max_norm

    def get_config(self) -> dict[str, Any]:
        return {"max_norm": self.max_norm}


class L2Clipping(_Clipping):
    """g·min(1, max_norm / ‖g‖), for each tensor by itself."""

    name = "l2-clipping"

    def run(self, gradients: Vector) -> Vector:
        return gradients.clip_tensors(self.max_norm)


class L2GlobalClipping(_Clipping):
    """g·min(1, max_norm / ‖g‖), with the norm over all tensors together."""

    name = "l2-global-clipping"

    def run(self, gradients: Vector) -> Vector:
        return gradients * (self.max_norm / max(gradients.norm(), self.max_norm))
