"""What a run came to."""

from dataclasses import dataclass

from broker.base import Session
from fl.core.vector import NumpyVector
from fl.errors import RunFailed
from fl.run.events import RunEnded, Status
from fl.run.spec import RunSpec
from fl.submit.history import History, final_weights, follow


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that has ended: the weights of its best round, and its history."""

    run: str
    spec: RunSpec
    status: Status
    reason: str
    best_round: int
    weights: NumpyVector | None
    history: History

    def require(self) -> "Outcome":
        """This outcome, or `RunFailed` where the run did not finish."""
        if self.status is not Status.FINISHED:
            raise RunFailed(f"run {self.run} {self.status.value}: {self.reason}")
        return self


async def outcome_of(session: Session, run: str, spec: RunSpec) -> Outcome:
    """Wait for the end of a run, and read what it left."""
    history = History()
    async for happened in follow(session, run, spec):
        history.add(happened)
        end = happened.record
        if isinstance(end, RunEnded):
            weights = await final_weights(session, happened.state)
            return Outcome(run, spec, end.status, end.reason, end.best_round, weights, history)
    raise RunFailed(f"run {run}: its log ends without an end")
