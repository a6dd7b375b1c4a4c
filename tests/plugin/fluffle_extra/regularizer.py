"""A regularizer: a term of the loss that depends on the weights alone, as its gradient."""

from typing import Any

from fl.core.vector import Vector
from fl.optimizer import Regularizer


class SmoothLasso(Regularizer):
    """g + alpha·w / √(w² + width²), the gradient of alpha·Σ √(w² + width²): L1 with a round bottom."""

    name = "smooth-lasso"

    def __init__(self, alpha: float = 0.01, width: float = 0.001) -> None:
        super().__init__(alpha)
        self.width = width

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}

    def run(self, gradients: Vector, weights: Vector) -> Vector:
        return gradients + weights / (weights**2 + self.width**2).sqrt() * self.alpha
