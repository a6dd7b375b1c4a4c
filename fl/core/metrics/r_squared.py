"""The coefficient of determination."""

from typing import Any

import numpy as np

from fl.core.metrics.api import Metric, Result, State, ratio
from fl.core.metrics.numbers import paired
from fl.core.vector import Array
from fl.errors import ConfigError, DataError

CONSTANT = 1e-13
"""Targets whose variance is less than this share of their mean square are told from constants by rounding alone."""


class RSquared(Metric):
    """R² = 1 - Σ w·(y - ŷ)² / Σ w·(y - ȳ)², with ȳ the mean over all clients; the mean over outputs.

    No client knows ȳ, so Σ w·(y - ȳ)² comes from Σ w·y² - (Σ w·y)² / Σ w, in float64. That costs digits: the relative
    error is some 1e-16·(1 + ȳ²/var(y)), so six digits are good as long as |ȳ| is less than 10⁴ standard deviations.

    Constant targets have no variance to explain: R² is then 1 for predictions without error, and 0 for others.
    """

    name = "r2"

    def __init__(self, n_outputs: int = 1) -> None:
        """`n_outputs` is how many numbers are predicted for each sample."""
        if not isinstance(n_outputs, int) or n_outputs < 1:
            raise ConfigError(f"{self.name}: n_outputs is {n_outputs!r}: use a whole number of at least 1")
        self.n_outputs = n_outputs

    def get_config(self) -> dict[str, Any]:
        return {"n_outputs": self.n_outputs}

    def zero(self) -> State:
        sums = {name: np.zeros(self.n_outputs) for name in ("error", "total", "square")}
        return {"n": np.zeros(()), "weight": np.zeros(()), **sums}

    def measure(self, y_true: Array, y_pred: Array, weights: Array) -> State:
        true, predicted = paired(self.name, y_true, y_pred)
        if true.shape[1] != self.n_outputs:
            raise DataError(f"{self.name}: n_outputs is {self.n_outputs}, but samples have {true.shape[1]} outputs")
        return {
            "weight": weights.sum(),
            "error": weights @ (true - predicted) ** 2,
            "total": weights @ true,
            "square": weights @ true**2,
        }

    def compute(self, state: State) -> Result:
        if not state["weight"]:
            return {self.name: 0.0}
        spread = state["square"] - state["total"] ** 2 / state["weight"]
        constant = spread <= CONSTANT * state["square"]
        explained = 1 - ratio(state["error"], np.where(constant, 0.0, spread))
        of_constants = np.where(state["error"] == 0, 1.0, 0.0)
        return {self.name: float(np.where(constant, of_constants, explained).mean())}
