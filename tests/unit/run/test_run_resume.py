"""Resuming: what a new leader does once it has replayed the log, wherever the run stands."""

from dataclasses import dataclass

import pytest

from fl.run.commands import Append, Command, CompleteWeights, SendInit, SendJoinReply, SendRound, SetTimer, Sweep
from fl.run.events import (
    ClientsAdmitted,
    Event,
    Fallen,
    Kind,
    LeaderStarted,
    Note,
    RunEnded,
    Status,
    StillWaiting,
    Timer,
)
from fl.run.spec import RunSpec
from fl.run.step import resume, step
from tests.unit.run.histories import (
    AGREED,
    LEADS,
    W,
    a_spec,
    a_state,
    admitted,
    evaluating,
    initialised,
    judged_as,
    opened,
    running,
    trained,
    training,
)
from tests.unit.run.tables import farewell

TWO = a_spec(rounds=3, register=2)
TIMED = a_spec(register={"min_clients": 2, "timeout": 60}, deadline=30)
SECOND = LeaderStarted("leader-2", "worker-2", 1)
THIRD = LeaderStarted("leader-3", "worker-3", 1)
A_AND_B_TAKE_PART = (SendJoinReply("a", accepted=True), SendJoinReply("b", accepted=True))
ASK_A_AND_B = (SendRound("a"), SendRound("b"))
WELCOME_A_AND_B = (
    SendJoinReply("a", accepted=True),
    SendInit("a"),
    SendJoinReply("b", accepted=True),
    SendInit("b"),
)
WELCOME_C = (SendJoinReply("c", accepted=True), SendInit("c"))
NO_ROUND_TIMER = SetTimer(Timer.ROUND, None)


@dataclass(frozen=True, slots=True)
class Row:
    fact: str
    spec: RunSpec
    given: tuple[Event, ...]
    then: tuple[Command, ...]


ROWS = (
    Row("registration goes on", TIMED, (LEADS, SECOND), (SetTimer(Timer.REGISTRATION, 60),)),
    Row(
        "everybody is answered again, and the first weights are made again",
        TWO,
        (LEADS, ClientsAdmitted(admitted("a", "b").clients, (Note("x", "not allowed"),)), SECOND),
        (
            SendJoinReply("x", accepted=False, reason="not allowed"),
            *A_AND_B_TAKE_PART,
            SetTimer(Timer.REGISTRATION, None),
            CompleteWeights(AGREED),
        ),
    ),
    Row(
        "the model is sent again",
        TIMED,
        (LEADS, admitted("a", "b"), initialised(), SECOND),
        (*WELCOME_A_AND_B, SetTimer(Timer.INITIALISATION, 30)),
    ),
    Row(
        "the round that was to follow is opened, and who came late is brought in",
        a_spec(register={"min_clients": 2}),
        (*running("a", "b"), admitted("c"), SECOND),
        (*WELCOME_C, Append((opened(1, "a", "b"),))),
    ),
    Row(
        "who could not build the model is not asked again",
        a_spec(register={"min_clients": 2}),
        (*running("a", "b", "c", ready=("a", "b")), SECOND),
        (Append((opened(1, "a", "b"),)),),
    ),
    Row(
        "what was to follow an evaluation is decided as it would have been",
        TWO,
        (*judged_as(0.5), SECOND),
        (Append((opened(2, "a", "b"),)),),
    ),
    Row(
        "an open training is asked for again",
        TWO,
        (*training("a", "b", round_=2, deadline_s=30), SECOND, THIRD),
        (*ASK_A_AND_B, SetTimer(Timer.ROUND, 30), Sweep((W[0],))),
    ),
    Row(
        "an open evaluation is asked for again, and the weights that a dead leader committed stay",
        TWO,
        (*evaluating("a", "b"), SECOND),
        (*ASK_A_AND_B, NO_ROUND_TIMER, Sweep((W[0],))),
    ),
    Row(
        "a late joiner is welcomed again in an open round",
        a_spec(register={"min_clients": 2}),
        (*training("a", "b"), admitted("c"), SECOND),
        (*WELCOME_C, *ASK_A_AND_B, NO_ROUND_TIMER, Sweep()),
    ),
    Row(
        "the farewell is said again",
        TWO,
        (*judged_as(0.5), opened(2, "a", "b"), RunEnded(Status.CANCELLED, "enough", 1, W[1]), SECOND),
        farewell("a", "b")[1:],
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=[row.fact for row in ROWS])
def test_a_new_leader_goes_on_where_the_run_stands(row: Row) -> None:
    # Given
    state = a_state(row.spec, *row.given)
    # When
    commands = resume(state)
    # Then
    assert commands == row.then


def test_what_fallen_leaders_wrote_is_swept_once_their_round_is_committed() -> None:
    # Given
    state = a_state(TWO, *training("a", "b"), SECOND, THIRD, trained(1, "a", "b"))
    # When
    _, commands = step(state, opened(1, "a", "b", kind=Kind.EVALUATE))
    # Then
    assert commands[-1] == Sweep((W[0],), (Fallen("leader-1", 1), Fallen("leader-2", 1)))


def test_what_a_leader_wrote_that_fell_while_it_made_the_first_weights_is_swept() -> None:
    # Given
    state = a_state(TWO, LEADS, admitted("a", "b"), SECOND)
    # When
    _, commands = step(state, initialised())
    # Then
    assert commands[-1] == Sweep((), (Fallen("leader-1", 0),))


def test_all_that_fallen_leaders_may_have_left_is_swept_at_the_end() -> None:
    # Given
    state = a_state(TWO, *training("a", "b"), SECOND)
    # When
    _, commands = step(state, RunEnded(Status.CANCELLED, "enough", 0, W[0]))
    # Then
    assert Sweep((), (Fallen("leader-1", 1),)) in commands


@pytest.mark.parametrize(("waited", "left"), [(0, 30), (20, 10), (29, 5)])
def test_a_deadline_goes_on_where_the_leader_before_had_logged_it(waited: float, left: float) -> None:
    # Given
    state = a_state(TWO, *training("a", "b", deadline_s=30), StillWaiting(waited), SECOND)
    # Then
    assert SetTimer(Timer.ROUND, left) in resume(state)
