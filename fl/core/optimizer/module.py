"""What an optimizer's module promises: one algorithm that rewrites gradients."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from fl.core.mergeable import Addend, Sum
from fl.core.registry import Registered, Registry
from fl.core.vector import Vector


class OptiModule(Registered, ABC, register=False):
    """One algorithm in an optimizer's pipeline: gradients in, gradients out.

    Vectors that are part of the state are replaced, never written into, so that a state once taken stays what it is.
    """

    registry: ClassVar[Registry["OptiModule"]] = Registry(
        "optimizer module", {"momentum": "fl.core.optimizer.momentum:Momentum"}
    )
    aux_name: ClassVar[str | None] = None
    """Shared by the client's and the server's half of an algorithm that exchanges auxiliary variables."""

    @abstractmethod
    def run(self, gradients: Vector) -> Vector:
        """Gradients as the next module, or the learning rate, shall see them."""

    def start_round(self, weights: Vector) -> None:
        """A round starts from these weights."""

    def collect_aux_var(self) -> Sum | None:
        """What to send to the other half, to be summed over clients; None when there is nothing to send."""
        return None

    def process_aux_var(self, aux: Mapping[str, Addend]) -> None:
        """Take in what the other half sent. Raises `ValueError` when it is not understood."""
        raise ValueError(f"module {self.name!r} exchanges no auxiliary variables, but got {', '.join(aux)}")

    def get_state(self) -> dict[str, Any]:
        """All that changes from step to step: vectors, and values JSON can carry."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `get_state` gave. Raises `ValueError` when it is not this module's."""
        check_fields(self.name, state, set())


def check_fields(name: str, state: Mapping[str, Any], expected: set[str]) -> None:
    """Raise `ValueError` unless a state has the expected fields and no other."""
    if state.keys() != expected:
        raise ValueError(f"state of {name!r} has the fields {sorted(state)} where {sorted(expected)} are expected")
