"""A run as a person wants to see it: a fold over what happened."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fl.run.events import (
    Cause,
    ClientsAdmitted,
    ClientsReady,
    Kind,
    LeaderStarted,
    Note,
    RoundCommitted,
    RoundOpened,
    RunEnded,
)
from fl.run.spec import RunSpec
from fl.run.state import RunState
from fl.submit.history import Happened
from fl.submit.waiting import Wait


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the weights of a round were found to be worth; `loss` is NaN where nobody told one."""

    round: int
    loss: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Left:
    """Rounds that a client was left out of, for one reason."""

    rounds: int
    last: int


@dataclass(frozen=True, slots=True)
class Lead:
    """A worker that took the lead."""

    worker: str
    at: float
    logic_version: int


@dataclass(frozen=True, slots=True)
class View:
    """All that is shown of a run. Times are those of its leaders, in seconds since the epoch."""

    run: str
    spec: RunSpec
    state: RunState
    started_at: float | None = None
    at: float | None = None
    """When the last thing happened."""
    opened_at: float | None = None
    """When the first round was opened."""
    committed_at: float | None = None
    """When the last training round was committed."""
    leads: tuple[Lead, ...] = ()
    """All leaders so far; the last one leads."""
    wait: Wait = field(default_factory=Wait)
    evaluations: tuple[Evaluation, ...] = ()
    left_out: Mapping[tuple[str, str], Left] = field(default_factory=dict)
    """By client and reason."""
    notes: tuple[str, ...] = ()
    """What else people should know, each once."""

    @classmethod
    def before(cls, run: str, spec: RunSpec) -> "View":
        """Before anything has happened."""
        return cls(run, spec, RunState(run, spec))

    def after(self, happened: Happened) -> "View":
        """The view when this has happened too."""
        started_at = happened.at if self.started_at is None else self.started_at
        wait = self.wait.after(happened)
        seen = replace(self, state=happened.state, at=happened.at, started_at=started_at, wait=wait)
        match happened.record:
            case LeaderStarted() as started:
                return _lead(seen, Lead(started.worker, happened.at, started.logic_version))
            case ClientsAdmitted(refused=refused):
                return _note(seen, *(f"{note.client} was refused: {note.reason}" for note in refused))
            case ClientsReady(failed=failed, terms=terms):
                warned = (f"{client}: {warning}" for client, one in terms for warning in one.warnings)
                return _note(seen, *(f"{note.client} cannot take part: {note.reason}" for note in failed), *warned)
            case RoundOpened() if seen.opened_at is None:
                return replace(seen, opened_at=happened.at)
            case RoundCommitted() as committed:
                return _commit(seen, committed)
            case _:
                return seen

    @property
    def worker(self) -> str:
        """Who leads; empty before anybody has."""
        return self.leads[-1].worker if self.leads else ""

    @property
    def end(self) -> RunEnded | None:
        return self.state.ended

    @property
    def last(self) -> Evaluation | None:
        return self.evaluations[-1] if self.evaluations else None

    @property
    def best(self) -> Evaluation | None:
        """The evaluation whose weights the run would leave now."""
        round_ = 0 if self.state.best is None else self.state.best.round
        return next((one for one in reversed(self.evaluations) if one.round == round_), None)

    @property
    def losses(self) -> tuple[tuple[int, float], ...]:
        """Rounds and their losses, where they are finite."""
        return tuple((one.round, one.loss) for one in self.evaluations if math.isfinite(one.loss))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong so far, in sentences."""
        left_out = (_left_out(*key, left) for key, left in self.left_out.items())
        lacking = (_lacking(note) for note in self.state.lacking if self.state.clients[note.client].problem is None)
        return (*self.notes, *left_out, *lacking)

    def elapsed_s(self, now: float) -> float:
        """Since the run was first led; it stops with the run."""
        if self.started_at is None or self.at is None:
            return 0.0
        return max(0.0, (now if self.end is None else self.at) - self.started_at)

    def left_s(self, now: float) -> float | None:
        """A guess, if rounds go on taking as long as they did; None as long as nothing can be guessed."""
        rounds = self.spec.run.rounds
        if (
            self.end is not None
            or self.state.paused is not None
            or self.opened_at is None
            or self.committed_at is None
            or self.state.trained < 2
        ):
            return None
        pace_s = (self.committed_at - self.opened_at) / self.state.trained
        return max(0.0, pace_s * (rounds - self.state.trained) - (now - self.committed_at))


def _lead(view: View, lead: Lead) -> View:
    after = replace(view, leads=(*view.leads, lead))
    if not view.leads:
        return after
    what = "leads again" if lead.worker == view.worker else f"took over from {view.worker}"
    return _note(after, f"{lead.worker} {what}")


def _note(view: View, *notes: str) -> View:
    return replace(view, notes=(*view.notes, *(note for note in notes if note not in view.notes)))


def _commit(view: View, committed: RoundCommitted) -> View:
    left_out = dict(view.left_out)
    for note in committed.dropped:
        before = left_out.get((note.client, note.reason), Left(0, 0))
        left_out[note.client, note.reason] = Left(before.rounds + 1, committed.round)
    view = replace(view, left_out=left_out)
    if committed.note:
        view = _note(view, f"round {committed.round}: {committed.note}")
    if committed.kind is Kind.TRAIN:
        return replace(view, committed_at=view.at)
    metrics = {metric.name: metric.values[0] for metric in committed.metrics if not metric.shape}
    loss = math.nan if committed.loss is None else committed.loss
    return replace(view, evaluations=(*view.evaluations, Evaluation(committed.round, loss, metrics)))


def _left_out(client: str, reason: str, left: Left) -> str:
    where = f"round {left.last}" if left.rounds == 1 else f"{left.rounds} rounds, the last was {left.last}"
    return f"{client} was left out of {where}: {reason}"


def _lacking(note: Note) -> str:
    if note.cause is Cause.GONE:
        return f"{note.client} is away: nobody consumes its queue"
    return f"{note.client} is {note.reason}"
