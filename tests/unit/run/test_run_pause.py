"""Pausing: a run that has too few clients left waits for them, for as long as it was told to."""

from dataclasses import replace

from fl.run.commands import Append, Drop, Fold, Hold, Release, SendInit, SendJoinReply, SendRound, SetTimer, Sweep
from fl.run.events import (
    Cause,
    ClientFailed,
    ClientsGone,
    ClientsReady,
    ClientsReturned,
    InitAnswered,
    Kind,
    LeaderStarted,
    Note,
    ResumeAsked,
    RoundCommitted,
    RunPaused,
    StillWaiting,
    TimePassed,
    Timer,
    TimeUp,
    Trouble,
)
from fl.run.spec import A_DAY_S
from fl.run.step import resume, step
from tests.unit.run.driver import commands_about
from tests.unit.run.histories import (
    LEADS,
    W,
    a_spec,
    a_state,
    admitted,
    evaluated,
    folded,
    initialised,
    join,
    opened,
    out,
    reply,
    running,
    scored,
    scores,
    trained,
    training,
)
from tests.unit.run.tables import Row, check, failed, farewell, table

PATIENT = a_spec(rounds=3, register=2, min_replies=2, patience=60, set_aside_after=2)
BOTH = a_spec(rounds=3, register=2, patience=60, set_aside_after=2)
OPEN = training("a", "b")
GONE = Note("b", "gone: nobody has consumed its queue for a while", Cause.GONE)
LATE = Note("b", "no answer in time", Cause.LATE)
BROKEN = Note("b", "out of memory")
TOO_LATE = "train round 1: 1 of at least 2 replies; b: no answer in time"
TOO_FEW = "1 of at least 2 clients can take part"
PAUSED = (*OPEN, reply("a"), RunPaused(TOO_LATE))
B_FAILED = ClientFailed("b", Trouble.FAILED, "out of memory", 1, W[0].digest)
SECOND = LeaderStarted("leader-2", "worker-2", 1)
WAIT_A_MINUTE = SetTimer(Timer.PAUSE, 60)
BRING_B_IN = (SendJoinReply("b", accepted=True), SendInit("b"))


def committed(round_: int, *names: str, dropped: Note) -> RoundCommitted:
    return replace(trained(round_, *names), dropped=(dropped,))


AWAY = (*OPEN, committed(1, "a", dropped=GONE), opened(1, "a", kind=Kind.EVALUATE), evaluated(1, "a", loss=0.5))
"""Between rounds, with one of two clients gone."""
ASIDE = (
    *OPEN,
    committed(1, "a", dropped=BROKEN),
    opened(1, "a", "b", kind=Kind.EVALUATE),
    evaluated(1, "a", "b", loss=0.5),
    opened(2, "a", "b"),
    committed(2, "a", dropped=BROKEN),
    opened(2, "a", kind=Kind.EVALUATE),
    evaluated(2, "a", loss=0.5),
)
"""Between rounds, with one of two clients that failed twice."""


# ---- when a run pauses -----------------------------------------------------------------------------------------------


@table(
    Row(
        "too few replies by the deadline pause the run, and nothing of the round is lost",
        PATIENT,
        (*OPEN, reply("a")),
        TimeUp(Timer.ROUND),
        (Append((RunPaused(TOO_LATE),)), WAIT_A_MINUTE),
    ),
    Row(
        "failures that leave too few replies pause it",
        PATIENT,
        (*OPEN, reply("a")),
        B_FAILED,
        (
            out("b", "out of memory"),
            Append((RunPaused("train round 1: 1 of at least 2 replies; b: out of memory"),)),
            WAIT_A_MINUTE,
        ),
    ),
    Row(
        "too few clients that can build the model pause it",
        PATIENT,
        (LEADS, admitted("a", "b"), initialised(), InitAnswered("a")),
        ClientFailed("b", Trouble.FAILED, "no room"),
        (
            out("b", "no room"),
            Append((ClientsReady(("a",), (Note("b", "no room"),)),)),
            Release(),
            Append((RunPaused(f"{TOO_FEW}; b: no room"),)),
            WAIT_A_MINUTE,
        ),
    ),
    Row(
        "a run that was told so waits for nobody",
        a_spec(register=2, min_replies=2, patience=0),
        (*OPEN, reply("a")),
        TimeUp(Timer.ROUND),
        (failed(TOO_LATE, W[0]), *farewell("a", "b")),
    ),
)
def test_too_few_clients_pause_a_run(row: Row) -> None:
    check(row)


def test_a_run_waits_for_a_day_unless_it_is_told_otherwise() -> None:
    spec = a_spec(register=2, min_replies=2, patience=None)
    assert commands_about(a_state(spec, *OPEN), TimeUp(Timer.ROUND))[-1] == SetTimer(Timer.PAUSE, A_DAY_S)


# ---- who is not asked any more -----------------------------------------------------------------------------------


def test_whoever_is_gone_is_not_asked_until_it_is_back() -> None:
    # Given
    one_will_do = a_spec(rounds=3, register={"min_clients": 1, "max_clients": 2})
    state = a_state(one_will_do, *AWAY[:-1], scored("a"))
    # When
    commands = commands_about(state, scores("a", loss=0.5))
    # Then
    assert commands[0] == Append((evaluated(1, "a", loss=0.5), opened(2, "a")))


def test_whoever_fails_too_often_is_told_so_and_set_aside() -> None:
    # Given
    state = a_state(BOTH, *ASIDE[:-3], replace(B_FAILED, round=2, base=W[1].digest), reply("a", 2, W[1]))
    # When
    commands = commands_about(state, folded(2, "a"))
    # Then
    why = "set aside after 2 failed rounds: out of memory; join again to go on"
    assert SendJoinReply("b", accepted=False, reason=why) in commands
    assert SendRound("b") not in commands


def test_a_new_leader_tells_again_who_is_set_aside() -> None:
    state = a_state(BOTH, *ASIDE[:-1], SECOND)
    told = [command.client for command in resume(state) if isinstance(command, SendJoinReply) and not command.accepted]
    assert told == ["b"]


def test_a_round_that_succeeds_forgives_the_failures_before_it() -> None:
    # Given: failed, succeeded, failed
    rounds = (opened(2, "a", "b"), trained(2, "a", "b"), opened(3, "a", "b"), committed(3, "a", dropped=BROKEN))
    state = a_state(BOTH, *ASIDE[:4], *rounds)
    # Then
    assert state.ready == ("a", "b")


def test_whoever_is_merely_late_is_asked_again() -> None:
    late = (committed(round_, "a", dropped=LATE) for round_ in (1, 2, 3))
    rounds = (record for commit in late for record in (opened(commit.round, "a", "b"), commit))
    assert a_state(BOTH, *running("a", "b"), *rounds).ready == ("a", "b")


# ---- what ends a pause -----------------------------------------------------------------------------------------------


@table(
    Row(
        "the reply that was missing closes the round, with those from before the pause",
        PATIENT,
        PAUSED,
        reply("b"),
        (Hold(), Fold(Kind.TRAIN, 1, ("a", "b"))),
    ),
    Row(
        "whoever failed and joins again is asked again",
        PATIENT,
        (*OPEN, reply("a"), B_FAILED, RunPaused("b failed")),
        join("b"),
        (Append((ClientsReturned(("b",)),)), *BRING_B_IN, SendRound("b")),
    ),
    Row(
        "whoever was gone and answers after all counts",
        PATIENT,
        (*OPEN, reply("a"), ClientsGone(("b",)), RunPaused("b is gone")),
        reply("b"),
        (Hold(), Fold(Kind.TRAIN, 1, ("a", "b"))),
    ),
    Row(
        "another failure changes nothing",
        PATIENT,
        PAUSED,
        B_FAILED,
        (out("b", "out of memory"),),
    ),
    Row(
        "whoever was away and joins again makes the next round possible",
        BOTH,
        (*AWAY, RunPaused(TOO_FEW)),
        join("b"),
        (
            Append((ClientsReturned(("b",)),)),
            *BRING_B_IN,
            Append((opened(2, "a", "b"),)),
            SendRound("a"),
            SendRound("b"),
            SetTimer(Timer.ROUND, None),
            Sweep(),
        ),
    ),
    Row(
        "so does whoever was set aside",
        BOTH,
        (*ASIDE, RunPaused(TOO_FEW)),
        join("b"),
        (
            Append((ClientsReturned(("b",)),)),
            *BRING_B_IN,
            Append((opened(3, "a", "b"),)),
            SendRound("a"),
            SendRound("b"),
            SetTimer(Timer.ROUND, None),
            Sweep((W[1],)),
        ),
    ),
    Row(
        "and whoever can build the model after all",
        BOTH,
        (*running("a", "b", ready=("a",)), RunPaused(TOO_FEW)),
        InitAnswered("b"),
        (
            Append((ClientsReady(("b",)),)),
            Release(),
            Append((opened(1, "a", "b"),)),
            SendRound("a"),
            SendRound("b"),
            SetTimer(Timer.ROUND, None),
            Sweep(),
        ),
    ),
    Row(
        "the end of its patience ends the run, with what it has",
        PATIENT,
        PAUSED,
        TimeUp(Timer.PAUSE),
        (failed(f"{TOO_LATE}; nobody came back within 60 s", W[0]), *farewell("a", "b")),
    ),
    Row("the deadline of the round means nothing any more", PATIENT, PAUSED, TimeUp(Timer.ROUND), ()),
)
def test_a_pause_ends(row: Row) -> None:
    check(row)


@table(
    Row(
        "those who failed in the open round",
        PATIENT,
        (*OPEN, reply("a"), B_FAILED, RunPaused("b failed")),
        ResumeAsked(),
        (
            Append((RunPaused("b failed"), ClientsReturned(("b",)))),
            WAIT_A_MINUTE,
            *BRING_B_IN,
            SendRound("b"),
        ),
    ),
    Row(
        "those who are away, and the run goes on at once",
        BOTH,
        (*AWAY, RunPaused(TOO_FEW)),
        ResumeAsked(),
        (
            Append((RunPaused(TOO_FEW), ClientsReturned(("b",)))),
            WAIT_A_MINUTE,
            *BRING_B_IN,
            Append((opened(2, "a", "b"),)),
            SendRound("a"),
            SendRound("b"),
            SetTimer(Timer.ROUND, None),
            Sweep(),
        ),
    ),
    Row(
        "those who could not build the model",
        BOTH,
        (*running("a", "b", ready=("a",)), RunPaused(TOO_FEW)),
        ResumeAsked(),
        (SendInit("b"), Append((RunPaused(TOO_FEW),)), WAIT_A_MINUTE),
    ),
    Row(
        "nobody where enough have answered meanwhile",
        PATIENT,
        (*PAUSED, reply("b")),
        ResumeAsked(),
        (Drop("the run is not paused"),),
    ),
    Row("nobody where nothing is paused", PATIENT, OPEN, ResumeAsked(), (Drop("the run is not paused"),)),
)
def test_resuming_asks_again(row: Row) -> None:
    check(row)


# ---- takeover --------------------------------------------------------------------------------------------------------


def test_a_new_leader_keeps_a_round_that_is_paused_open_and_waits_for_what_is_left() -> None:
    # Given
    state = a_state(PATIENT, *PAUSED, StillWaiting(45.0), SECOND)
    # When
    commands = resume(state)
    # Then
    assert commands == (SendRound("a"), SendRound("b"), SetTimer(Timer.PAUSE, 15.0), Sweep())


def test_a_new_leader_does_not_log_a_pause_between_rounds_again() -> None:
    assert resume(a_state(PATIENT, *AWAY, RunPaused(TOO_FEW), SECOND)) == (WAIT_A_MINUTE,)


# ---- what is logged of waiting ---------------------------------------------------------------------------------------


def test_waiting_is_logged_ever_more_seldom() -> None:
    # Given
    state = a_state(PATIENT, *OPEN)
    logged: list[float] = []
    # When
    for _ in range(3600):
        state, commands = step(state, TimePassed(1.0))
        for record in [record for command in commands if isinstance(command, Append) for record in command.records]:
            assert isinstance(record, StillWaiting)
            logged.append(record.waited_s)
            state, _ = step(state, record)
    # Then
    assert logged == [5, 10, 20, 40, 80, 160, 320, 640, 1240, 1840, 2440, 3040]


def test_what_is_logged_of_waiting_says_who_has_answered_and_who_is_awaited() -> None:
    # Given
    three = a_spec(register=3)
    state = a_state(three, *training("a", "b", "c"), reply("a"), B_FAILED)
    # When
    _, commands = step(state, TimePassed(5.0))
    # Then
    assert commands == (Append((StillWaiting(5.0, ("a",), ("c",)),)),)


def test_registration_tells_who_has_joined() -> None:
    state = a_state(a_spec(register=3), LEADS, join("b"), join("a"))
    _, commands = step(state, TimePassed(5.0))
    assert commands == (Append((StillWaiting(5.0, ("a", "b")),)),)


def test_nothing_is_logged_while_nothing_is_awaited() -> None:
    state = a_state(BOTH, LEADS, admitted("a", "b"))
    assert step(state, TimePassed(1000.0)) == (state, ())
