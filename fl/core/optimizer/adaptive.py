"""Gradients over the root of their own second moment: AdaGrad and RMSProp."""

from typing import Any

from fl.core.optimizer import options
from fl.core.optimizer.elementwise import ElementwiseModule
from fl.core.vector import Vector


class AdagradModule(ElementwiseModule):
    """s ← s + g², from s = `initial`; the output is g / (√s + eps) (Duchi et al. 2011)."""

    name = "adagrad"

    def __init__(self, eps: float = 1e-7, initial: float = 0.0, round_reset: bool = False) -> None:
        options.above_zero(self.name, eps=eps)
        options.at_least(self.name, 0, initial=initial)
        super().__init__({"sum": initial}, round_reset=round_reset)
        self.eps = eps
        self.initial = initial

    def get_config(self) -> dict[str, Any]:
        return {"eps": self.eps, "initial": self.initial, "round_reset": self.round_reset}

    def update(self, t: int, g: Vector, *state: Vector) -> tuple[Vector, ...]:
        (s,) = state
        s += g * g
        return g / (s.sqrt() + self.eps), s


class RMSPropModule(ElementwiseModule):
    """v ← β·v + (1 - β)·g², from v = 0; the output is g / (√v + eps) (Tieleman & Hinton 2012)."""

    name = "rmsprop"

    def __init__(self, beta: float = 0.9, eps: float = 1e-7, round_reset: bool = False) -> None:
        options.decay(self.name, beta=beta)
        options.above_zero(self.name, eps=eps)
        super().__init__({"v": 0.0}, round_reset=round_reset)
        self.beta = beta
        self.eps = eps

    def get_config(self) -> dict[str, Any]:
        return {"beta": self.beta, "eps": self.eps, "round_reset": self.round_reset}

    def update(self, t: int, g: Vector, *state: Vector) -> tuple[Vector, ...]:
        (v,) = state
        v = v.ewma(g * g, self.beta)
        return g / (v.sqrt() + self.eps), v
