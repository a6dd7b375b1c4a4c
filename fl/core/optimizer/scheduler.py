"""What a learning rate that changes over time promises."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Scheduler(Protocol):
    """A learning rate as a function of time, without a state of its own: the optimizer counts."""

    name: str

    def value(self, *, step: int, round_: int) -> float:
        """The rate of a step; steps and rounds both count from 0."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as values JSON can carry."""
