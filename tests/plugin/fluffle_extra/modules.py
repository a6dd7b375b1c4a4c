"""Optimizer modules that exchange auxiliary variables: a client's half and a server's, under one `aux_name`."""

from collections.abc import Mapping
from typing import Any

from fl.core.mergeable import Addend, Sum
from fl.core.vector import Vector
from fl.optimizer import OptiModule


class MeanNormClipping(OptiModule):
    """Clips gradients to the mean norm that all clients' gradients had in the last round; in the first to none.

    For `client_opt`, with "mean-norm-server" in `server_opt`.
    """

    name = "mean-norm-clipping"
    aux_name = "mean-norm"

    def __init__(self) -> None:
        self._limit: float | None = None
        self._norms, self._steps = 0.0, 0

    def start_round(self, weights: Vector) -> None:
        self._norms, self._steps = 0.0, 0

    def run(self, gradients: Vector) -> Vector:
        norm = gradients.norm()
        self._norms, self._steps = self._norms + norm, self._steps + 1
        return gradients if self._limit is None or norm <= self._limit else gradients * (self._limit / norm)

    def collect_aux_var(self) -> Sum:
        return Sum({"norms": self._norms, "steps": self._steps})

    def process_aux_var(self, aux: Mapping[str, Addend]) -> None:
        self._limit = float(aux["limit"])  # type: ignore[arg-type]  # our other half sends a number

    def get_state(self) -> dict[str, Any]:
        return {"limit": self._limit, "norms": self._norms, "steps": self._steps}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._limit, self._norms, self._steps = state["limit"], state["norms"], state["steps"]


class MeanNormServer(OptiModule):
    """Tells clients the mean norm of their gradients; leaves the aggregated update as it is."""

    name = "mean-norm-server"
    aux_name = MeanNormClipping.aux_name

    def __init__(self) -> None:
        self._limit: float | None = None

    def run(self, gradients: Vector) -> Vector:
        return gradients

    def process_aux_var(self, aux: Mapping[str, Addend]) -> None:
        self._limit = float(aux["norms"] / aux["steps"])  # type: ignore[arg-type]  # sums of numbers

    def collect_aux_var(self) -> Sum | None:
        return None if self._limit is None else Sum({"limit": self._limit})

    def get_state(self) -> dict[str, Any]:
        return {"limit": self._limit}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._limit = state["limit"]
