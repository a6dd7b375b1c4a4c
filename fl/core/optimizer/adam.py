"""Adam and Yogi."""

from typing import Any

from fl.core.optimizer import options
from fl.core.optimizer.elementwise import ElementwiseModule
from fl.core.vector import Vector


class AdamModule(ElementwiseModule):
    """Adam (Kingma & Ba 2015), or AMSGrad (Reddi et al. 2018) with `amsgrad`.

        m ← β1·m + (1 - β1)·g           from m = 0
        v ← β2·v + (1 - β2)·g²          from v = initial
        m̂ = m / (1 - β1^t)              or m, without `bias_correction`
        v̂ = v / (1 - β2^t)              or v; with `amsgrad` the largest v̂ so far
        output  m̂ / (√v̂ + eps)

    Adaptive federated optimizers (Reddi et al. 2021, algorithm 2) are `bias_correction=False` and `initial=eps²`, with
    their τ as `eps`: see `fl.core.optimizer.presets`.
    """

    name = "adam"

    def __init__(
        self,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        amsgrad: bool = False,
        *,
        eps: float = 1e-7,
        bias_correction: bool = True,
        initial: float = 0.0,
        round_reset: bool = False,
    ) -> None:
        options.decay(self.name, beta_1=beta_1, beta_2=beta_2)
        options.above_zero(self.name, eps=eps)
        options.at_least(self.name, 0, initial=initial)
        starts = {"m": 0.0, "v": initial}
        super().__init__({**starts, "v_max": 0.0} if amsgrad else starts, round_reset=round_reset)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.amsgrad = amsgrad
        self.eps = eps
        self.bias_correction = bias_correction
        self.initial = initial

    def get_config(self) -> dict[str, Any]:
        names = ("beta_1", "beta_2", "amsgrad", "eps", "bias_correction", "initial", "round_reset")
        return {name: getattr(self, name) for name in names}

    def second_moment(self, v: Vector, g: Vector) -> Vector:
        """The new v."""
        return v.ewma(g * g, self.beta_2)

    def update(self, t: int, g: Vector, *state: Vector) -> tuple[Vector, ...]:
        m, v, *v_max = state
        m = m.ewma(g, self.beta_1)
        v = self.second_moment(v, g)
        bias_1, root_2 = self._corrections(t)
        if v_max:
            v_max = [v_max[0].maximum(v * (1.0 / root_2**2))]
            denominator, scale = v_max[0].sqrt(), 1.0 / bias_1
            denominator += self.eps
        else:
            # m̂ / (√v̂ + eps), with both numerator and denominator times √(1 - β2^t): two passes fewer
            denominator, scale = v.sqrt(), root_2 / bias_1
            denominator += self.eps * root_2
        step = m / denominator
        step *= scale
        return step, m, v, *v_max

    def _corrections(self, t: int) -> tuple[float, float]:
        """1 - β1^t and √(1 - β2^t), or ones."""
        return (1.0 - self.beta_1**t, (1.0 - self.beta_2**t) ** 0.5) if self.bias_correction else (1.0, 1.0)


class YogiModule(AdamModule):
    """Adam with v ← v - sign(v - g²)·(1 - β2)·g²: v grows and shrinks at the same pace (Zaheer et al. 2018)."""

    name = "yogi"

    def second_moment(self, v: Vector, g: Vector) -> Vector:
        square = g * g
        v -= (v - square).sign() * square * (1.0 - self.beta_2)
        return v
