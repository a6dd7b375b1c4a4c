"""A metric: what evaluations measure beside the loss."""

import numpy as np

from fl.core.vector import Array
from fl.metrics import Metric


class PoissonDeviance(Metric):
    """Mean of 2·(y·log(y / μ) - y + μ) over samples, with the predicted rate μ; 0 where every y is its μ."""

    name = "poisson-deviance"

    def zero(self) -> dict[str, Array]:
        return {"n": np.zeros(()), "total": np.zeros(()), "weight": np.zeros(())}

    def measure(self, y_true: Array, y_pred: Array, weights: Array) -> dict[str, Array]:
        surprise = y_true * np.log(np.where(y_true > 0, y_true, 1) / y_pred)  # 0·log(0) counts as 0
        return {"total": weights @ (2 * (surprise - y_true + y_pred)), "weight": weights.sum()}

    def compute(self, state: dict[str, Array]) -> dict[str, float | Array]:
        return {self.name: float(state["total"] / max(state["weight"], np.finfo(float).tiny))}
