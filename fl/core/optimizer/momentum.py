"""Momentum and its kin: memories of gradients."""

from typing import Any

from fl.core.optimizer import options
from fl.core.optimizer.elementwise import ElementwiseModule
from fl.core.vector import Vector


class _Decaying(ElementwiseModule, register=False):
    """One vector of memory, and one rate at which it decays."""

    def __init__(self, beta: float, *, memory: str, round_reset: bool) -> None:
        options.decay(self.name, beta=beta)
        super().__init__({memory: 0.0}, round_reset=round_reset)
        self.beta = beta

    def get_config(self) -> dict[str, Any]:
        return {"beta": self.beta, "round_reset": self.round_reset}


class MomentumModule(_Decaying):
    """u ← β·u + g, from u = 0; the output is u, or g + β·u with `nesterov` (Sutskever et al. 2013), as in torch."""

    name = "momentum"

    def __init__(self, beta: float = 0.9, nesterov: bool = False, round_reset: bool = False) -> None:
        super().__init__(beta, memory="velocity", round_reset=round_reset)
        self.nesterov = nesterov

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "nesterov": self.nesterov}

    def update(self, t: int, g: Vector, *state: Vector) -> tuple[Vector, ...]:
        (u,) = state
        u *= self.beta
        u += g
        return (g + u * self.beta if self.nesterov else u), u


class EWMAModule(_Decaying):
    """s ← β·s + (1 - β)·g, from s = 0; the output is s. An exponentially weighted moving average of gradients."""

    name = "ewma"

    def __init__(self, beta: float = 0.9, round_reset: bool = False) -> None:
        super().__init__(beta, memory="average", round_reset=round_reset)

    def update(self, t: int, g: Vector, *state: Vector) -> tuple[Vector, ...]:
        (s,) = state
        s = s.ewma(g, self.beta)
        return s, s


class YogiMomentumModule(_Decaying):
    """s ← s - sign(s - g)·(1 - β)·|g|, from s = 0; the output is s.

    The additive rule of Yogi (Zaheer et al. 2018) for the first moment. Yogi's own sign is before g², which is never
    negative; with g in its place, and not its size, negative gradients would drive s away from them, and up the hill.
    """

    name = "yogi-momentum"

    def __init__(self, beta: float = 0.9, round_reset: bool = False) -> None:
        super().__init__(beta, memory="average", round_reset=round_reset)

    def update(self, t: int, g: Vector, *state: Vector) -> tuple[Vector, ...]:
        (s,) = state
        size = g * g.sign()
        s -= (s - g).sign() * size * (1.0 - self.beta)
        return s, s
