"""Clients that come after registration has closed."""

from fl.core.data_info import SPARSE_HINT, DataInfo
from fl.run.commands import Append, Drop, Hold, Release, SendInit, SendJoinReply, SendRound, SetTimer, Sweep
from fl.run.events import ClientFailed, ClientsReady, Event, InitAnswered, Kind, Timer, Trouble
from tests.unit.run.histories import (
    DATA,
    LEADS,
    OTHER_DATA,
    W,
    a_spec,
    admitted,
    folded,
    folding,
    initialised,
    join,
    opened,
    reply,
    running,
    trained,
    training,
)
from tests.unit.run.tables import Row, check, table

OPEN_HOUSE = a_spec(register={"min_clients": 2}, rounds=3)
CLOSED = a_spec(register={"min_clients": 2}, late_join=False)
FULL = a_spec(register=2)

PREPARING: tuple[Event, ...] = (LEADS, admitted("a", "b"))
INITIALISING = (*PREPARING, initialised())
IN_ROUND = training("a", "b")
C_ADMITTED = (*IN_ROUND, reply("a"), admitted("c"))
WELCOME = (Append((admitted("c"),)), SendJoinReply("c", accepted=True), SendInit("c"))
STRANGE = DataInfo(10, 2, None, (0, 7))


@table(
    Row(
        "while the first weights are made, it gets the model with the others",
        OPEN_HOUSE,
        PREPARING,
        join("c"),
        (Append((admitted("c"),)), SendJoinReply("c", accepted=True)),
    ),
    Row("while others build the model, so does it", OPEN_HOUSE, (*INITIALISING, InitAnswered("a")), join("c"), WELCOME),
    Row("in the middle of a round nothing held is released", OPEN_HOUSE, (*IN_ROUND, reply("a")), join("c"), WELCOME),
    Row(
        "while a round is folded nothing held is released",
        OPEN_HOUSE,
        (*IN_ROUND, reply("a"), reply("b")),
        join("c"),
        WELCOME,
    ),
    Row(
        "it is asked to build the model again when it is back",
        OPEN_HOUSE,
        C_ADMITTED,
        join("c"),
        (SendJoinReply("c", accepted=True), SendInit("c")),
    ),
    Row(
        "so is who could not build it at first",
        OPEN_HOUSE,
        (*running("a", "b", "c", ready=("a", "b")), opened(1, "a", "b")),
        join("c"),
        (SendJoinReply("c", accepted=True), SendInit("c")),
    ),
)
def test_a_late_joiner_is_admitted(row: Row) -> None:
    check(row)


def refusal(reason: str) -> tuple[SendJoinReply]:
    return (SendJoinReply("c", accepted=False, reason=reason),)


@table(
    Row(
        "the spec takes none",
        CLOSED,
        IN_ROUND,
        join("c"),
        refusal("registration is closed, and the run takes no late joiners"),
    ),
    Row("the run is full", FULL, IN_ROUND, join("c"), refusal("the run has its 2 clients")),
    Row(
        "its data are of another kind",
        OPEN_HOUSE,
        IN_ROUND,
        join("c", OTHER_DATA),
        refusal("clients disagree on n_features: newcomer has 3, run has 2" + SPARSE_HINT),
    ),
    Row(
        "its data are of another kind, already while the first weights are made",
        OPEN_HOUSE,
        PREPARING,
        join("c", OTHER_DATA),
        refusal("clients disagree on n_features: newcomer has 3, run has 2" + SPARSE_HINT),
    ),
    Row(
        "the model has no room for its classes",
        OPEN_HOUSE,
        IN_ROUND,
        join("c", STRANGE),
        refusal("classes [7] of the newcomer are not among the run's: [0, 1]"),
    ),
    Row(
        "its own message says why",
        OPEN_HOUSE,
        IN_ROUND,
        join("c", DATA, "speaks protocol 2"),
        refusal("speaks protocol 2"),
    ),
)
def test_a_late_joiner_is_refused_with_the_reason(row: Row) -> None:
    check(row)


@table(
    Row(
        "once it has the model, that is all for the open round",
        OPEN_HOUSE,
        C_ADMITTED,
        InitAnswered("c"),
        (Append((ClientsReady(("c",)),)),),
    ),
    Row(
        "the first round waits for it if it came while others were building the model",
        OPEN_HOUSE,
        (*INITIALISING, admitted("c"), InitAnswered("a")),
        InitAnswered("b"),
        (Hold(),),
    ),
    Row(
        "its reply to the open round is dropped",
        OPEN_HOUSE,
        (*C_ADMITTED, ClientsReady(("c",))),
        reply("c"),
        (Drop("answered before, or not asked"),),
    ),
    Row(
        "its failure takes nobody out of the open round",
        OPEN_HOUSE,
        C_ADMITTED,
        ClientFailed("c", Trouble.FAILED, "out of memory"),
        (Drop("nothing was awaited from it"),),
    ),
    Row(
        "the next round asks it",
        OPEN_HOUSE,
        (*running("a", "b"), *folding(Kind.TRAIN, 1, "a", "b"), admitted("c"), ClientsReady(("c",))),
        folded(1, "a", "b"),
        (
            Append((trained(1, "a", "b"), opened(1, "a", "b", "c", kind=Kind.EVALUATE))),
            Release(),
            *(SendRound(name) for name in "abc"),
            SetTimer(Timer.ROUND, None),
            Sweep((W[0],)),
        ),
    ),
    Row(
        "the next round does without it while it builds the model",
        OPEN_HOUSE,
        (*running("a", "b"), *folding(Kind.TRAIN, 1, "a", "b"), admitted("c")),
        folded(1, "a", "b"),
        (
            Append((trained(1, "a", "b"), opened(1, "a", "b", kind=Kind.EVALUATE))),
            Release(),
            *(SendRound(name) for name in "ab"),
            SetTimer(Timer.ROUND, None),
            Sweep((W[0],)),
        ),
    ),
)
def test_a_late_joiner_takes_part_from_the_next_round_on(row: Row) -> None:
    check(row)
