"""What must hold of a leader's state at every moment."""

from dataclasses import replace

from fl.run.replay import replay
from fl.run.state import Phase, RunState, Seen
from tests.unit.run.driver import Leader


def check_state(leader: Leader) -> None:
    """A leader's state holds together, and is what its log says."""
    state, seen = leader.state, leader.state.seen
    awaited: set[str] = set()
    if state.open is not None:
        awaited = set(state.open.opened.participants)
    elif state.phase is Phase.INITIALISING:
        awaited = set(state.clients)
    assert seen.done <= awaited
    assert state.out.keys() <= awaited
    assert not seen.joining or state.phase is Phase.REGISTERING
    assert not seen.folding or state.open is not None
    assert durable(state) == durable(replay(leader.empty, leader.log))


def durable(state: RunState) -> RunState:
    """What of a state is in the log."""
    return replace(state, seen=Seen())
