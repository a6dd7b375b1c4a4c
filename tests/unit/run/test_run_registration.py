"""Registration: whom the run waits for, and what each client is told."""

from fl.core.data_info import SPARSE_HINT, DataInfo
from fl.run.commands import Append, Command, CompleteWeights, Hold, Release, SendJoinReply, SetTimer
from fl.run.events import CancelAsked, ClientsAdmitted, Note, RunEnded, Status, Timer, TimeUp
from tests.unit.run.histories import AGREED, DATA, LEADS, OTHER_DATA, a_spec, admitted, join
from tests.unit.run.tables import Row, check, failed, farewell, table

EXACTLY_TWO = a_spec(register=2)
MINIMUM_ONLY = a_spec(register={"min_clients": 2})
UP_TO_THREE = a_spec(register={"min_clients": 1, "max_clients": 3})
TIMED = a_spec(register={"min_clients": 2, "timeout": 60})
UP_TO_THREE_TIMED = a_spec(register={"min_clients": 1, "max_clients": 3, "timeout": 60})

BOTH_ARE_IN: tuple[Command, ...] = (
    Append((admitted("a", "b"),)),
    Release(),
    SendJoinReply("a", accepted=True),
    SendJoinReply("b", accepted=True),
    SetTimer(Timer.REGISTRATION, None),
    CompleteWeights(AGREED),
)
TOO_FEW = "1 of at least 2 clients joined within 60 s"
CLASH = "clients disagree on n_features: a has 3, b has 2" + SPARSE_HINT


@table(
    Row("the first of two is held", EXACTLY_TWO, (LEADS,), join("a"), (Hold(),)),
    Row("the last of two closes it", EXACTLY_TWO, (LEADS, join("b")), join("a"), (Hold(), *BOTH_ARE_IN)),
    Row("who asks twice counts once", EXACTLY_TWO, (LEADS, join("a")), join("a"), (Hold(),)),
    Row("a mere minimum closes it when reached", MINIMUM_ONLY, (LEADS, join("a")), join("b"), (Hold(), *BOTH_ARE_IN)),
    Row("below a mere minimum it stays open", MINIMUM_ONLY, (LEADS,), join("b"), (Hold(),)),
    Row("a maximum is waited for beyond the minimum", UP_TO_THREE, (LEADS, join("a")), join("b"), (Hold(),)),
    Row("with a timeout the minimum does not close it", TIMED, (LEADS, join("a")), join("b"), (Hold(),)),
    Row(
        "a maximum closes it before the timeout",
        a_spec(register={"max_clients": 2, "timeout": 60}),
        (LEADS, join("a")),
        join("b"),
        (Hold(), *BOTH_ARE_IN),
    ),
    Row(
        "the timeout closes it with those who are there",
        UP_TO_THREE_TIMED,
        (LEADS, join("a"), join("b")),
        TimeUp(Timer.REGISTRATION),
        BOTH_ARE_IN,
    ),
    Row(
        "exactly the minimum is enough for that",
        TIMED,
        (LEADS, join("a"), join("b")),
        TimeUp(Timer.REGISTRATION),
        BOTH_ARE_IN,
    ),
    Row("the timer of another phase does nothing", TIMED, (LEADS, join("a"), join("b")), TimeUp(Timer.ROUND), ()),
    Row("a timer that was never set does nothing", EXACTLY_TWO, (LEADS, join("a")), TimeUp(Timer.REGISTRATION), ()),
    Row(
        "of one client the latest data info counts",
        a_spec(register=3),
        (LEADS, join("a", DataInfo(1)), join("a", OTHER_DATA), join("b", OTHER_DATA)),
        join("c", OTHER_DATA),
        (
            Hold(),
            Append((ClientsAdmitted((("a", OTHER_DATA), ("b", OTHER_DATA), ("c", OTHER_DATA))),)),
            Release(),
            SendJoinReply("a", accepted=True),
            SendJoinReply("b", accepted=True),
            SendJoinReply("c", accepted=True),
            SetTimer(Timer.REGISTRATION, None),
            CompleteWeights(DataInfo(30, 3, None, (0, 1))),
        ),
    ),
)
def test_registration_closes_as_its_spec_says(row: Row) -> None:
    check(row)


@table(
    Row(
        "too few within the timeout: all are refused and the run fails",
        TIMED,
        (LEADS, join("a")),
        TimeUp(Timer.REGISTRATION),
        (
            Append((ClientsAdmitted((), (Note("a", TOO_FEW),)),)),
            Release(),
            SendJoinReply("a", accepted=False, reason=TOO_FEW),
            failed(TOO_FEW),
            *farewell("a"),
        ),
    ),
    Row(
        "nobody within the timeout: the run fails",
        TIMED,
        (LEADS,),
        TimeUp(Timer.REGISTRATION),
        (Append((ClientsAdmitted(()),)), Release(), failed("no client joined in time"), *farewell()),
    ),
    Row(
        "data that do not go together: all are refused, and the reason names who differs",
        EXACTLY_TWO,
        (LEADS, join("a", OTHER_DATA)),
        join("b"),
        (
            Hold(),
            Append((ClientsAdmitted((), (Note("a", CLASH), Note("b", CLASH))),)),
            Release(),
            SendJoinReply("a", accepted=False, reason=CLASH),
            SendJoinReply("b", accepted=False, reason=CLASH),
            failed(CLASH),
            *farewell("a", "b"),
        ),
    ),
    Row(
        "who cannot take part is told so at once, and is not waited for",
        EXACTLY_TWO,
        (LEADS, join("a")),
        join("b", DATA, "speaks protocol 2"),
        (SendJoinReply("b", accepted=False, reason="speaks protocol 2"),),
    ),
    Row(
        "a cancelled run refuses those who wait",
        EXACTLY_TWO,
        (LEADS, join("a")),
        CancelAsked("wrong data"),
        (
            SendJoinReply("a", accepted=False, reason="the run was cancelled: wrong data"),
            Append((RunEnded(Status.CANCELLED, "wrong data"),)),
            *farewell(),
        ),
    ),
)
def test_registration_refuses_with_a_reason(row: Row) -> None:
    check(row)
