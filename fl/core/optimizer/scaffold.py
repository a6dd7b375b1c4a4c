"""SCAFFOLD: local steps, corrected for what makes one client's data different (Karimireddy et al. 2020, option II).

A client steps along g - c_i + c. At the end of a round its c_i becomes the mean of the gradients it saw there, and it
sends how much that changed. The server adds up the changes: their sum over the number of clients that ever took part
is c. Only sums leave a client, so that nobody need see one client's alone.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from fl.core.mergeable import Addend, Sum
from fl.core.optimizer.module import OptiModule, check_fields
from fl.core.vector import Vector

AUX_NAME: Final = "scaffold"


class ScaffoldClientModule(OptiModule):
    """The output is g - c_i + c, with c_i and c zero until they are known.

    A round is `start_round` and, before or after it, `process_aux_var` with the server's c if there is one; then
    steps; then `collect_aux_var`. One without a step leaves c_i as it is, and sends a change of zero.
    """

    name = "scaffold-client"
    aux_name: ClassVar[str | None] = AUX_NAME

    def __init__(self) -> None:
        self._own: Vector | None = None  # c_i
        self._is_counted = False
        self._zero: Vector | None = None
        self._shared: Vector | None = None  # c
        self._total: Vector | None = None  # of the round's gradients
        self._steps = 0
        self._correction: Vector | None = None  # c - c_i

    def start_round(self, weights: Vector) -> None:
        self._total = self._correction = None
        self._steps = 0
        self._zero = weights.zeros_like()

    def process_aux_var(self, aux: Mapping[str, Addend]) -> None:
        self._shared = _vector(self.name, aux, "state", fields={"state"})
        self._correction = None

    def run(self, gradients: Vector) -> Vector:
        if self._total is None:
            self._total = gradients.copy()
        else:
            self._total = gradients.like(self._total)
            self._total += gradients
        self._steps += 1
        if self._correction is None:
            self._correction = self._difference(gradients)
        return gradients + self._correction

    def _difference(self, gradients: Vector) -> Vector:
        zero = gradients.zeros_like()
        return (zero if self._shared is None else zero + self._shared) - (zero if self._own is None else self._own)

    def collect_aux_var(self) -> Sum | None:
        """How c_i has changed, and 1 from each client that has not been counted so far; ends the round."""
        total, n_steps = self._total, self._steps
        self._shared = self._total = self._correction = None
        self._steps = 0
        if total is None:
            return None if self._zero is None else Sum({"delta": self._zero, "clients": 0.0})
        before, self._own = self._own, total / n_steps
        newcomer, self._is_counted = float(not self._is_counted), True
        return Sum({"delta": self._own if before is None else self._own - before, "clients": newcomer})

    def get_state(self) -> dict[str, Any]:
        total = None if self._total is None else self._total.copy()
        return {
            "own": self._own,
            "is_counted": self._is_counted,
            "shared": self._shared,
            "total": total,
            "steps": self._steps,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        check_fields(self.name, state, {"own", "is_counted", "shared", "total", "steps"})
        self._own, self._is_counted, self._shared = state["own"], bool(state["is_counted"]), state["shared"]
        self._total = None if state["total"] is None else state["total"].copy()
        self._steps = int(state["steps"])
        self._correction = None


class ScaffoldServerModule(OptiModule):
    """Leaves the aggregated update as it is, and tells clients c: the sum of all changes over the clients counted."""

    name = "scaffold-server"
    aux_name: ClassVar[str | None] = AUX_NAME

    def __init__(self) -> None:
        self._total: Vector | None = None
        self._clients = 0.0

    def run(self, gradients: Vector) -> Vector:
        return gradients

    def process_aux_var(self, aux: Mapping[str, Addend]) -> None:
        delta, clients = _vector(self.name, aux, "delta", fields={"delta", "clients"}), aux["clients"]
        if not isinstance(clients, int | float) or clients < 0:
            raise ValueError(
                f"auxiliary variables of {self.name!r} count {clients!r} clients: that is no number of any"
            )
        self._total = delta if self._total is None else self._total + delta
        self._clients += clients

    def collect_aux_var(self) -> Sum | None:
        if self._total is None or not self._clients:
            return None
        return Sum({"state": self._total / self._clients})

    def get_state(self) -> dict[str, Any]:
        return {"total": self._total, "clients": self._clients}

    def set_state(self, state: Mapping[str, Any]) -> None:
        check_fields(self.name, state, {"total", "clients"})
        self._total, self._clients = state["total"], float(state["clients"])


def _vector(name: str, aux: Mapping[str, Addend], field: str, *, fields: set[str]) -> Vector:
    """The vector among auxiliary variables that must have these fields. Raises `ValueError`."""
    if aux.keys() != fields:
        raise ValueError(f"auxiliary variables for {name!r} are {sorted(aux)} where {sorted(fields)} are expected")
    value = aux[field]
    if not isinstance(value, Vector):
        kind = type(value).__name__
        raise ValueError(f"auxiliary variable {field!r} for {name!r} is a {kind} and no vector")  # noqa: TRY004  # a message lies, and no caller errs
    return value
