"""A run's state from its log, and the rule of which records count."""

from collections.abc import Iterable

from fl.run.apply import apply
from fl.run.events import LeaderStarted, Record
from fl.run.state import RunState


def counts(state: RunState, leader: str, record: Record) -> bool:
    """Whether a record written by `leader` counts after `state`.

    It does if its writer is that of the last `LeaderStarted` before it. A leader that was stalled and replaced
    therefore writes records without effect, whenever it wakes. Nothing counts after the end but a new leader.
    """
    if isinstance(record, LeaderStarted):
        return True
    return leader == state.leader != "" and state.ended is None


def replay(state: RunState, entries: Iterable[tuple[str, Record]]) -> RunState:
    """Fold `(leader, record)` entries into `state`, skipping void ones."""
    for leader, record in entries:
        if counts(state, leader, record):
            state = apply(state, record)
    return state
