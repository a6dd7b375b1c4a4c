"""The end: cancelled, finished or failed, everybody is told, and nothing happens after it."""

import pytest

from fl.run.commands import Append, Close, Command, Drop, SendStop
from fl.run.events import (
    CancelAsked,
    ClientFailed,
    ClientsAdmitted,
    ClientsGone,
    Event,
    InitAnswered,
    Input,
    Note,
    Parcel,
    RunEnded,
    StartFailed,
    Status,
    Timer,
    TimeUp,
    Trouble,
    WeightsCompleted,
)
from fl.run.step import step
from tests.unit.run.driver import commands_about
from tests.unit.run.histories import (
    AGREED,
    LEADS,
    W,
    a_spec,
    a_state,
    admitted,
    evaluating,
    folded,
    initialised,
    join,
    judged_as,
    opened,
    reply,
    running,
    training,
)
from tests.unit.run.tables import Row, check, farewell, table

SPEC = a_spec(rounds=4)
STOP = CancelAsked("enough")
ENDED = RunEnded(Status.CANCELLED, "enough", 0, W[0])


def cancelled(
    best_round: int = 0, weights: Parcel | None = None, *, sweep: tuple[Parcel, ...] = ()
) -> tuple[Command, ...]:
    end = RunEnded(Status.CANCELLED, "enough", best_round, weights)
    return (Append((end,)), *farewell("a", "b", sweep=sweep))


@table(
    Row("while the first weights are made", SPEC, (LEADS, admitted("a", "b")), STOP, cancelled()),
    Row("while models are built", SPEC, (LEADS, admitted("a", "b"), initialised()), STOP, cancelled(0, W[0])),
    Row("in the first training", SPEC, training("a", "b"), STOP, cancelled(0, W[0])),
    Row("while it is folded", SPEC, (*training("a", "b"), reply("a"), reply("b")), STOP, cancelled(0, W[0])),
    Row("in the first evaluation", SPEC, evaluating("a", "b"), STOP, cancelled(1, W[1], sweep=(W[0],))),
    Row(
        "in a training after a worse one",
        SPEC,
        (*judged_as(0.4, 0.5), opened(3, "a", "b")),
        STOP,
        cancelled(1, W[1], sweep=(W[2],)),
    ),
)
def test_a_cancelled_run_leaves_its_best_weights_and_tells_everybody(row: Row) -> None:
    check(row)


def test_the_refused_are_told_of_the_end_too() -> None:
    # Given
    refused = ClientsAdmitted(admitted("a", "b").clients, (Note("c", "not allowed"),))
    state = a_state(SPEC, LEADS, refused)
    # When
    commands = commands_about(state, STOP)
    # Then
    assert [command.client for command in commands if isinstance(command, SendStop)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "event",
    [
        join("a"),
        InitAnswered("a"),
        reply("a"),
        ClientFailed("a", Trouble.UNINITIALISED, "restarted"),
        ClientsGone(("a", "b")),
        *map(TimeUp, Timer),
        STOP,
        WeightsCompleted(AGREED, W[0]),
        StartFailed("too late"),
        folded(1, "a", "b"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_nothing_happens_after_the_end(event: Input) -> None:
    # Given
    state = a_state(SPEC, *running("a", "b"), ENDED)
    # When
    after, commands = step(state, event)
    # Then
    assert (after, commands) == (state, (Drop("the run is over"),))


@pytest.mark.parametrize(
    "given",
    [
        pytest.param((LEADS,), id="registering"),
        pytest.param((LEADS, admitted("a", "b")), id="preparing"),
        pytest.param(training("a", "b"), id="training"),
        pytest.param(judged_as(0.5), id="evaluated"),
    ],
)
def test_closing_is_the_last_thing_a_leader_does(given: tuple[Event, ...]) -> None:
    # Given
    state = a_state(SPEC, *given)
    # When
    commands = commands_about(state, STOP)
    # Then
    assert [type(command) for command in commands].index(Close) == len(commands) - 1


def test_an_event_that_is_none_is_refused() -> None:
    # Given
    state = a_state(SPEC, *running("a", "b"))
    # Then
    with pytest.raises(TypeError, match="not an event: 'hello'"):
        # When
        step(state, "hello")  # type: ignore[arg-type]  # what a caller without types could do
