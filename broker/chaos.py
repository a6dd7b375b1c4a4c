"""What may go wrong on the way through a broker, decided by a seeded generator."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar

T = TypeVar("T")

Cut = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Chaos:
    """Faults that at-least-once delivery allows, each with the probability of it happening at one chance.

    `duplicate`: a queue holds a published message twice. `overtake`: a message passes the one before it in the
    queue, if that came from another session; what one session published stays in order. `cut`: a session is
    lost just before or just after the broker did what was asked, so that the caller cannot know which.
    """

    random: Random
    duplicate: float = 0.0
    overtake: float = 0.0
    cut: float = 0.0

    def copies(self) -> int:
        """How many copies of a published message a queue gets."""
        return 2 if self._happens(self.duplicate) else 1

    def overtaken(self, sender: T, before: Sequence[T]) -> int:
        """How many of the last messages of a queue, whose senders are `before`, one from `sender` passes."""
        passed = 0
        while passed < len(before) and before[-1 - passed] != sender and self._happens(self.overtake):
            passed += 1
        return passed

    def cuts(self) -> Cut | None:
        """When to lose the session that asks for something now, if at all."""
        if not self._happens(self.cut):
            return None
        return "before" if self.random.random() < 0.5 else "after"

    def _happens(self, probability: float) -> bool:
        return probability > 0.0 and self.random.random() < probability
