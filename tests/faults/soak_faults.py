"""What happens to the parties of a soak, and when: a schedule that a seed gives, the same each time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

HEARTBEAT_S: Final = 2
"""Of all parties: whoever has said nothing for two of them is given up."""


class What(Enum):
    """What can happen to a party, and its weight."""

    KILL = "kill", 10
    KILL_BOTH = "kill both", 2
    CUT = "cut", 4
    FREEZE = "freeze", 1
    STALL = "stall", 2
    STOP = "stop", 1
    END = "end", 1
    KILL_TRAINER = "kill the trainer of", 4

    def __init__(self, verb: str, weight: int) -> None:
        self.verb = verb
        self.weight = weight

    @property
    def kills(self) -> bool:
        """Whether a process or a connection is lost for sure; whoever only halts may go on as if nothing had been."""
        return self in {What.KILL, What.KILL_BOTH, What.KILL_TRAINER, What.CUT, What.FREEZE}


LASTS_S: Final = {
    What.KILL: (0.0, 0.6),  # until it is started again
    What.KILL_BOTH: (0.0, 0.6),
    What.CUT: (0.0, 0.0),
    What.FREEZE: (1.0, 3.0 * HEARTBEAT_S),  # a wire that passes nothing on; then it is cut
    What.STALL: (0.1, 0.8 * HEARTBEAT_S),  # SIGSTOP to SIGCONT, unnoticed by the broker
    What.STOP: (2.5 * HEARTBEAT_S, 3.5 * HEARTBEAT_S),  # likewise, for so long that others take its place
    What.END: (0.0, 0.6),  # SIGTERM, until it is started again
    What.KILL_TRAINER: (0.0, 0.0),
}
"""At least and at most."""

EVERY_S: Final = (0.0, 1.2)
"""From one fault to the next."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of a schedule."""

    after_s: float
    """Since the one before."""
    what: What
    whom: tuple[str, ...]
    lasts_s: float

    def __str__(self) -> str:
        lasting = f" for {self.lasts_s:.2f} s" if self.lasts_s else ""
        return f"{self.after_s:.2f} s later: {self.what.verb} {' and '.join(self.whom)}{lasting}"


def schedule(seed: int, *, workers: Sequence[str], daemons: Sequence[str]) -> Iterator[Fault]:
    """Faults without end. Workers are as often hit as daemons, however many there are of each."""
    rng, kinds = Random(seed), list(What)
    weights = [kind.weight for kind in kinds]
    while True:
        (what,) = rng.choices(kinds, weights)
        worker, daemon, either = rng.choice(workers), rng.choice(daemons), rng.random() < 0.5
        match what:
            case What.KILL_BOTH:
                whom: tuple[str, ...] = (worker, daemon)
            case What.KILL_TRAINER:
                whom = (daemon,)
            case _:
                whom = (worker if either else daemon,)
        yield Fault(rng.uniform(*EVERY_S), what, whom, rng.uniform(*LASTS_S[what]))
