"""What may go wrong on the way through a broker: everything that a real one may do, and nothing that it may not."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final, Protocol


class Fault(Enum):
    """What may happen at one kind of chance."""

    DUPLICATE = "duplicate"
    """At a publish: what is published is stored twice, the second time after a delay."""
    OVERTAKE = "overtake"
    """At a message that comes to a queue: it passes one that waits there, from another session."""
    LATE = "late"
    """At a call: the broker gets it after a delay. What one session publishes stays in order."""
    SLOW = "slow"
    """At a call: the broker's answer comes after a delay."""
    LAG = "lag"
    """At a delivery: it reaches its reader after a delay."""
    CUT_BEFORE = "cut before"
    """At a call: the session is lost before the broker did what was asked."""
    CUT_AFTER = "cut after"
    """At a call: the session is lost after the broker did what was asked, so that the caller cannot know."""
    CUT = "cut"
    """At any moment: a session is lost."""
    GHOST = "ghost"
    """At any moment: a session is lost, and the broker notices after a delay; until then it keeps what it holds."""
    CUT_ALL = "cut all"
    """At any moment: all sessions are lost, as when the broker is started again."""
    TAKE_BACK = "take back"
    """At any moment: the broker ends a subscription to a queue that holds deliveries, and gives them out again."""
    REFUSE = "refuse"
    """At a connection: nobody answers."""

    # An enum's own hash is a call into Python, and chances are counted thousands of times a run.
    __hash__ = object.__hash__


class Chaos(Protocol):
    """Decides what happens. Each question is one chance for one fault."""

    def strikes(self, fault: Fault) -> int | None:
        """None for what does not happen now, or else a number that says how: whom it meets, how long it takes."""


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault at the chance of that number, counting the chances for each fault from 0."""

    fault: Fault
    at: int
    how: int = 0

    def __repr__(self) -> str:
        return f"Strike({self.fault}, {self.at}, {self.how})"


class Schedule:
    """Chaos that was written down: the same again wherever the same program runs again."""

    def __init__(self, strikes: Iterable[Strike] = ()) -> None:
        self._planned: dict[Fault, dict[int, int]] = {fault: {} for fault in Fault}
        for strike in strikes:
            self._planned[strike.fault][strike.at] = strike.how
        self._over = False
        self.chances: Counter[Fault] = Counter()
        """How many there have been for each fault."""
        self.struck: list[Strike] = []
        """What has happened so far."""

    def strikes(self, fault: Fault) -> int | None:
        if self._over:
            return None
        at = self.chances[fault]
        self.chances[fault] = at + 1
        how = self._planned[fault].get(at)
        if how is not None:
            self.struck.append(Strike(fault, at, how))
        return how

    def end(self) -> None:
        """From now on nothing happens, and no chance is counted."""
        self._over = True


class ByChance:
    """Chaos by a seeded generator, each fault with its own probability at each chance."""

    def __init__(self, random: Random, rates: Mapping[Fault, float]) -> None:
        self._random = random
        self._rates = dict(rates)

    def strikes(self, fault: Fault) -> int | None:
        rate = self._rates.get(fault, 0.0)
        happens = rate > 0.0 and self._random.random() < rate
        return self._random.randrange(1000) if happens else None


_DELAYS_S: Final = (0.0, 0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0)


def delay_s(how: int) -> float:
    """How many seconds a fault of that number takes: from none to fewer than a lost connection goes unnoticed."""
    return _DELAYS_S[how % len(_DELAYS_S)]
