"""Tables of decisions: a state, an event, and all that the leader does about it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fl.run.commands import Append, Close, Command, Release, SendStop, SetTimer, Sweep
from fl.run.events import Event, Input, Parcel, RunEnded, Status, Timer
from fl.run.spec import RunSpec
from tests.unit.run.driver import commands_about
from tests.unit.run.histories import a_state


@dataclass(frozen=True, slots=True)
class Row:
    """One decision: `fact` is a sentence about it."""

    fact: str
    spec: RunSpec
    given: tuple[Event, ...]
    when: Input
    then: tuple[Command, ...]


def table(*rows: Row) -> Callable[[Callable[[Row], None]], Callable[[Row], None]]:
    """Run a test once for each row."""
    decorate: Callable[[Callable[[Row], None]], Callable[[Row], None]]
    decorate = pytest.mark.parametrize("row", rows, ids=[row.fact for row in rows])
    return decorate


def check(row: Row) -> None:
    # Given
    state = a_state(row.spec, *row.given)
    # When
    commands = commands_about(state, row.when)
    # Then
    assert commands == row.then


def failed(reason: str, weights: Parcel | None = None, best_round: int = 0) -> Append:
    return Append((RunEnded(Status.FAILED, reason, best_round, weights),))


def farewell(*clients: str, sweep: tuple[Parcel, ...] = ()) -> tuple[Command, ...]:
    """What follows from the end of a run in which these clients are known."""
    stops = (SendStop(client) for client in clients)
    return (Release(), SetTimer(Timer.ROUND, None), *stops, Sweep(sweep), Close())
