"""Initialisation: the first weights, and who builds the model."""

from fl.run.apply import apply
from fl.run.commands import Append, Command, Drop, Hold, Release, SendInit, SendJoinReply, SendRound, SetTimer, Sweep
from fl.run.events import (
    Cause,
    ClientFailed,
    ClientsGone,
    ClientsReady,
    InitAnswered,
    Note,
    StartFailed,
    Timer,
    TimeUp,
    Trouble,
    WeightsCompleted,
)
from tests.unit.run.histories import (
    AGREED,
    LEADS,
    W,
    a_spec,
    a_state,
    admitted,
    initialised,
    join,
    opened,
    out,
    running,
)
from tests.unit.run.tables import Row, check, failed, farewell, table

TWO = a_spec(register=2)
ONE_IS_ENOUGH = a_spec(register={"min_clients": 1, "max_clients": 2})
HURRIED = a_spec(register={"min_clients": 1, "max_clients": 2}, deadline=30)
PREPARING = (LEADS, admitted("a", "b"))
INITIALISING = (*PREPARING, initialised())
B_FAILED = ClientFailed("b", Trouble.FAILED, "out of memory")


def ready(*names: str, failed: tuple[Note, ...] = ()) -> tuple[Command, ...]:
    """All that follows once it is known who has built the model, and they are enough."""
    return (
        Append((ClientsReady(names, failed),)),
        Release(),
        Append((opened(1, *names),)),
        *(SendRound(name) for name in names),
        SetTimer(Timer.ROUND, None),
        Sweep(),
    )


def too_few(*names: str, lost: str) -> tuple[Command, ...]:
    """All that follows once it is known that those who have built the model are not enough for `TWO`."""
    name, why = lost.split(": ")
    reason = f"{len(names)} of at least 2 clients can take part; {lost}"
    end = (Release(), failed(reason, W[0]), *farewell("a", "b"))
    cause = Cause.LATE if why == "no answer in time" else Cause.FAILED
    return (Append((ClientsReady(names, (Note(name, why, cause),)),)), *end)


@table(
    Row(
        "the first weights go to all",
        TWO,
        PREPARING,
        WeightsCompleted(AGREED, W[0]),
        (Append((initialised(),)), SendInit("a"), SendInit("b"), SetTimer(Timer.INITIALISATION, None)),
    ),
    Row(
        "a deadline of rounds holds for building the model too",
        HURRIED,
        PREPARING,
        WeightsCompleted(AGREED, W[0]),
        (Append((initialised(),)), SendInit("a"), SendInit("b"), SetTimer(Timer.INITIALISATION, 30)),
    ),
    Row(
        "weights that cannot be made end the run",
        TWO,
        PREPARING,
        StartFailed("the model needs n_features"),
        (failed("the model needs n_features"), *farewell("a", "b")),
    ),
    Row(
        "who is back while weights are made is told that it takes part",
        TWO,
        PREPARING,
        join("a"),
        (SendJoinReply("a", accepted=True),),
    ),
    Row(
        "nobody can have built a model that was not sent",
        TWO,
        PREPARING,
        InitAnswered("a"),
        (Drop("initialised without being asked to"),),
    ),
    Row(
        "weights are completed once",
        TWO,
        INITIALISING,
        WeightsCompleted(AGREED, W[1]),
        (Drop("no weights are being made"),),
    ),
    Row(
        "a start that failed after all does not end a run that has its weights",
        TWO,
        INITIALISING,
        StartFailed("too late"),
        (Drop("no weights are being made"),),
    ),
)
def test_the_first_weights_are_made_and_sent_once(row: Row) -> None:
    check(row)


@table(
    Row("an answer is held", TWO, INITIALISING, InitAnswered("b"), (Hold(),)),
    Row("the same answer twice counts once", TWO, (*INITIALISING, InitAnswered("b")), InitAnswered("b"), (Hold(),)),
    Row(
        "the last answer opens the first round",
        TWO,
        (*INITIALISING, InitAnswered("b")),
        InitAnswered("a"),
        (Hold(), *ready("a", "b")),
    ),
    Row(
        "a failure is named, and the minimum goes on",
        ONE_IS_ENOUGH,
        (*INITIALISING, InitAnswered("a")),
        B_FAILED,
        (out("b", "out of memory"), *ready("a", failed=(Note("b", "out of memory"),))),
    ),
    Row(
        "too few of them end the run with the reasons",
        TWO,
        (*INITIALISING, InitAnswered("a")),
        B_FAILED,
        (out("b", "out of memory"), *too_few("a", lost="b: out of memory")),
    ),
    Row(
        "the deadline goes on with those who have answered",
        a_spec(register={"min_clients": 1, "max_clients": 2}),
        (*INITIALISING, InitAnswered("a")),
        TimeUp(Timer.INITIALISATION),
        ready("a", failed=(Note("b", "no answer in time", Cause.LATE),)),
    ),
    Row(
        "the deadline with too few ends the run",
        TWO,
        (*INITIALISING, InitAnswered("a")),
        TimeUp(Timer.INITIALISATION),
        too_few("a", lost="b: no answer in time"),
    ),
    Row(
        "who is gone is not waited for",
        ONE_IS_ENOUGH,
        (*INITIALISING, InitAnswered("a")),
        ClientsGone(("b",)),
        (
            out("b", "gone: nobody has consumed its queue for a while", Cause.GONE),
            *ready("a", failed=(Note("b", "gone: nobody has consumed its queue for a while", Cause.GONE),)),
        ),
    ),
    Row(
        "who failed and then succeeds counts",
        a_spec(register=3),
        (LEADS, admitted("a", "b", "c"), initialised(), B_FAILED, InitAnswered("b"), InitAnswered("a")),
        InitAnswered("c"),
        (Hold(), *ready("a", "b", "c")),
    ),
    Row(
        "who is back is sent the model again",
        TWO,
        INITIALISING,
        join("a"),
        (SendJoinReply("a", accepted=True), SendInit("a")),
    ),
    Row(
        "who lost the model is sent it again",
        TWO,
        INITIALISING,
        ClientFailed("a", Trouble.UNINITIALISED, "restarted"),
        (SendInit("a"),),
    ),
    Row(
        "a stranger has no say",
        TWO,
        INITIALISING,
        InitAnswered("x"),
        (Drop("initialised without being admitted"),),
    ),
    Row(
        "a stranger's failure neither",
        TWO,
        INITIALISING,
        ClientFailed("x", Trouble.FAILED, "?"),
        (Drop("not admitted"),),
    ),
    Row("the timer of registration is over", TWO, INITIALISING, TimeUp(Timer.REGISTRATION), ()),
)
def test_the_first_round_opens_once_enough_have_the_model(row: Row) -> None:
    check(row)


def test_who_could_not_build_the_model_at_first_is_no_longer_named_once_it_has() -> None:
    # Given
    state = a_state(ONE_IS_ENOUGH, *running("a", "b", ready=("a",)))
    assert state.lacking == (Note("b", "no room"),)
    # When
    state = apply(state, ClientsReady(("b",)))
    # Then
    assert state.lacking == ()
