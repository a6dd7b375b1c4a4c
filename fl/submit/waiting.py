"""What a run waits for, and since when, as far as its log tells."""

from dataclasses import dataclass, replace

from fl.run.events import (
    ClientsAdmitted,
    ClientsOut,
    ClientsReady,
    ClientsReturned,
    LeaderStarted,
    RoundClosed,
    RunPaused,
    StillWaiting,
)
from fl.run.state import Phase, RunState
from fl.submit.history import Happened


@dataclass(frozen=True, slots=True)
class Wait:
    """A fold over what happened. Times are in seconds since the epoch, by the clocks of the run's leaders."""

    since: float | None = None
    """When that was asked for what is awaited."""
    at: float = 0.0
    """When it was last told how long that has taken."""
    waited_s: float = 0.0
    """How long it had taken then."""
    is_long: bool = False
    """Whether it has taken long enough to be told at all."""
    answered: frozenset[str] = frozenset()
    """Who had answered, or asked to join, when it was last told."""
    paused_at: float | None = None
    """When the run paused, if it is paused."""

    def after(self, happened: Happened) -> "Wait":
        """What is awaited when this has happened too."""
        at, state = happened.at, happened.state
        match happened.record:
            case StillWaiting(waited_s=waited_s, answered=answered):
                return replace(self, at=at, waited_s=waited_s, is_long=True, answered=frozenset(answered))
            case RunPaused():
                paused_at = at if self.paused_at is None else self.paused_at
                return replace(self, at=at, waited_s=0.0, paused_at=paused_at)
            case RoundClosed(clients=clients):  # all have answered; whoever is asked again will be told
                return Wait(since=at, at=at, answered=frozenset(clients))
            case LeaderStarted() if self.since is not None:
                return self
            case ClientsOut() | ClientsReturned():
                return self
            case ClientsAdmitted() if state.phase is not Phase.PREPARING:
                return self
            case ClientsReady() if state.open is not None or self.paused_at is not None:
                return self
        return Wait(since=at, at=at)

    def awaited(self, state: RunState) -> tuple[str, ...]:
        """Of whom an answer is awaited, or was when it was last told."""
        return tuple(sorted(state.awaiting - self.answered))

    def lasted_s(self, now: float) -> float:
        """How long it has taken until now; that of a pause begins again when those are asked again that are awaited."""
        return self.waited_s + max(0.0, now - self.at)
