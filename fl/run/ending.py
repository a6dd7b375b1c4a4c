"""How a run ends, or pauses where it cannot go on."""

from fl.run.commands import Append
from fl.run.events import Note, Record, RunEnded, RunPaused, Status
from fl.run.state import RunState


def end(state: RunState, status: Status, reason: str) -> RunEnded:
    """The last record, with the weights that the run leaves."""
    best_round, weights = state.final_weights
    return RunEnded(status, reason, best_round, weights)


def fail(state: RunState, reason: str) -> Append:
    return Append((end(state, Status.FAILED, reason),))


def too_few(state: RunState, reason: str) -> Record:
    """A run that cannot go on with the clients it has waits for others, if it may."""
    return RunPaused(reason) if state.spec.run.patience_s else end(state, Status.FAILED, reason)


def listing(notes: tuple[Note, ...]) -> str:
    """Each reason once, after the clients that gave it."""
    clients: dict[str, list[str]] = {}
    for note in notes:
        clients.setdefault(note.reason, []).append(note.client)
    return "".join(f"; {', '.join(names)}: {reason}" for reason, names in clients.items())
