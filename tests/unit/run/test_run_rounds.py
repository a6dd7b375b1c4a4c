"""An open round: whose reply is kept, and when the replies become a sum."""

from fl.run.commands import Append, Drop, Fold, Hold, SendInit, SendJoinReply, SendRound
from fl.run.events import (
    Cause,
    ClientFailed,
    ClientsGone,
    ClientsReturned,
    Event,
    InitAnswered,
    Kind,
    Timer,
    TimeUp,
    Trouble,
    UpdateUnusable,
)
from tests.unit.run.histories import W, a_spec, evaluating, join, opened, out, reply, scored, training
from tests.unit.run.tables import Row, check, failed, farewell, table

ANY = a_spec(register=3)
TWO_NEEDED = a_spec(register=3, min_replies=2)
OPEN = training("a", "b", "c")
FOLDING: tuple[Event, ...] = (*OPEN, reply("a"), reply("b"), TimeUp(Timer.ROUND))
NOT_OPEN = Drop("its round is not open")
NOT_AWAITED = Drop("answered before, or not asked")
NOTHING_AWAITED = Drop("nothing was awaited from it")
OOM = "out of memory"


def fold(*names: str, kind: Kind = Kind.TRAIN) -> Fold:
    return Fold(kind, 1, names)


GONE = "gone: nobody has consumed its queue for a while"


def failure(client: str, *, round_: int = 1, base: bytes = W[0].digest) -> ClientFailed:
    return ClientFailed(client, Trouble.FAILED, OOM, round_, base)


@table(
    Row("a reply is held", ANY, OPEN, reply("b"), (Hold(),)),
    Row("a problem is logged", ANY, OPEN, reply("b", problem="not finite"), (out("b", "not finite"),)),
    Row("so is a failure", ANY, OPEN, failure("b"), (out("b", "out of memory"),)),
    Row(
        "the last reply closes it, and replies are folded in the clients' order",
        ANY,
        (*OPEN, reply("c"), reply("a")),
        reply("b"),
        (Hold(), fold("a", "b", "c")),
    ),
    Row(
        "a reply with a problem closes it without that client",
        ANY,
        (*OPEN, reply("c"), reply("a")),
        reply("b", problem="not finite"),
        (out("b", "not finite"), fold("a", "c")),
    ),
    Row(
        "a failure closes it likewise",
        ANY,
        (*OPEN, reply("c"), reply("a")),
        failure("b"),
        (out("b", "out of memory"), fold("a", "c")),
    ),
    Row(
        "an update that proves unusable while others are awaited is asked for again",
        ANY,
        (*OPEN, reply("b")),
        UpdateUnusable("b", "not finite"),
        (SendRound("b", edition=1),),
    ),
    Row(
        "so is one that proves unusable in the fold of a round that waits for all",
        ANY,
        (*OPEN, reply("c"), reply("a"), reply("b")),
        UpdateUnusable("b", "not finite"),
        (SendRound("b", edition=1),),
    ),
    Row(
        "one that has come to no harm on the way is not asked for again",
        ANY,
        (*OPEN, reply("c"), reply("a"), reply("b")),
        UpdateUnusable("b", "not finite", again=False),
        (out("b", "not finite"), fold("a", "c")),
    ),
    Row(
        "when it has come again, all are folded",
        ANY,
        (*OPEN, reply("c"), reply("a"), reply("b"), UpdateUnusable("b", "not finite")),
        reply("b"),
        (Hold(), fold("a", "b", "c")),
    ),
    Row(
        "the second time it is logged, and the others are folded",
        ANY,
        (*OPEN, reply("c"), reply("a"), reply("b"), UpdateUnusable("b", "not finite"), reply("b")),
        UpdateUnusable("b", "not finite still"),
        (out("b", "not finite still"), fold("a", "c")),
    ),
    Row(
        "where the deadline may have passed it is logged the first time",
        ANY,
        (*OPEN[:-1], opened(1, "a", "b", "c", deadline_s=30.0), reply("c"), reply("a"), reply("b")),
        UpdateUnusable("b", "not finite"),
        (out("b", "not finite"), fold("a", "c")),
    ),
    Row(
        "one that nobody has sent has no effect",
        ANY,
        (*OPEN, reply("c")),
        UpdateUnusable("b", "not finite"),
        (Drop("it is not part of the round"),),
    ),
    Row(
        "who is gone is not waited for",
        ANY,
        (*OPEN, reply("c"), reply("a")),
        ClientsGone(("b",)),
        (out("b", GONE, Cause.GONE), fold("a", "c")),
    ),
    Row(
        "who was thought gone and answers counts",
        ANY,
        (*OPEN, reply("c"), ClientsGone(("b",))),
        reply("b"),
        (Hold(),),
    ),
    Row("who has answered may go", ANY, (*OPEN, reply("c"), reply("a")), ClientsGone(("a",)), ()),
    Row("strangers may go", ANY, (*OPEN, reply("c"), reply("a")), ClientsGone(("x",)), ()),
    Row("a failure after the reply does not count", ANY, (*OPEN, reply("a")), failure("a"), (NOTHING_AWAITED,)),
    Row("a failure twice counts once", ANY, (*OPEN, failure("a"), reply("b")), failure("a"), (NOTHING_AWAITED,)),
    Row("the deadline closes it with those who are enough", ANY, FOLDING[:-1], TimeUp(Timer.ROUND), (fold("a", "b"),)),
    Row(
        "the deadline with too few ends the run, and says who is missing and why",
        TWO_NEEDED,
        (*OPEN, reply("a"), failure("b")),
        TimeUp(Timer.ROUND),
        (
            failed("train round 1: 1 of at least 2 replies; b: out of memory; c: no answer in time", W[0]),
            *farewell("a", "b", "c"),
        ),
    ),
    Row(
        "too few who could answer end the run without waiting",
        TWO_NEEDED,
        (*OPEN, failure("a"), reply("b")),
        failure("c"),
        (
            out("c", "out of memory"),
            failed("train round 1: 1 of at least 2 replies; a, c: out of memory", W[0]),
            *farewell("a", "b", "c"),
        ),
    ),
    Row(
        "an evaluation closes likewise",
        a_spec(register=2),
        (*evaluating("a", "b"), scored("b")),
        scored("a"),
        (Hold(), fold("a", "b", kind=Kind.EVALUATE)),
    ),
    Row(
        "an evaluation with too few ends the run with the latest weights",
        a_spec(register=2, min_replies=2),
        (*evaluating("a", "b"), scored("b")),
        TimeUp(Timer.ROUND),
        (
            failed("evaluate round 1: 1 of at least 2 replies; a: no answer in time", W[1], best_round=1),
            *farewell("a", "b", sweep=(W[0],)),
        ),
    ),
    Row("once it is being folded its timer is over", ANY, FOLDING, TimeUp(Timer.ROUND), ()),
    Row("once it is being folded anybody may go", ANY, FOLDING, ClientsGone(("c",)), ()),
    Row("the timer of initialisation is over", ANY, (*OPEN, reply("a")), TimeUp(Timer.INITIALISATION), ()),
)
def test_a_round_closes_once_nobody_is_left_to_wait_for(row: Row) -> None:
    check(row)


@table(
    Row("of the round before", ANY, training("a", "b", "c", round_=2), reply("a", 1, W[1]), (NOT_OPEN,)),
    Row("of a round to come", ANY, OPEN, reply("a", 2), (NOT_OPEN,)),
    Row("of the other kind", ANY, OPEN, scored("a"), (NOT_OPEN,)),
    Row(
        "from other weights",
        ANY,
        OPEN,
        reply("a", base=W[1]),
        (Drop("started from other weights than the committed ones"),),
    ),
    Row("a second time", ANY, (*OPEN, reply("a")), reply("a"), (NOT_AWAITED,)),
    Row("a second time with a problem", ANY, (*OPEN, reply("a")), reply("a", problem="not finite"), (NOT_AWAITED,)),
    Row("after a failure", ANY, (*OPEN, failure("a")), reply("a"), (NOT_AWAITED,)),
    Row("of a stranger", ANY, OPEN, reply("x"), (NOT_AWAITED,)),
    Row("while others are being folded", ANY, FOLDING, reply("c"), (NOT_AWAITED,)),
    Row("a failure while others are being folded", ANY, FOLDING, failure("c"), (NOTHING_AWAITED,)),
    Row("a stranger's failure", ANY, OPEN, failure("x"), (Drop("not admitted"),)),
    Row("a failure in another round", ANY, OPEN, failure("a", round_=2), (NOTHING_AWAITED,)),
    Row("a training's failure in its evaluation", ANY, evaluating("a", "b", "c"), failure("a"), (NOTHING_AWAITED,)),
)
def test_what_does_not_belong_to_the_round_is_dropped(row: Row) -> None:
    check(row)


@table(
    Row(
        "who lost the model gets it and the request",
        ANY,
        OPEN,
        ClientFailed("a", Trouble.UNINITIALISED, "restarted"),
        (SendInit("a"), SendRound("a")),
    ),
    Row(
        "who is back gets the model and the request",
        ANY,
        OPEN,
        join("a"),
        (SendJoinReply("a", accepted=True), SendInit("a"), SendRound("a")),
    ),
    Row(
        "who was given up and is back is asked again while the round is open",
        ANY,
        (*OPEN, ClientsGone(("a",))),
        join("a"),
        (Append((ClientsReturned(("a",)),)), SendJoinReply("a", accepted=True), SendInit("a"), SendRound("a")),
    ),
    Row(
        "who has answered is not asked again",
        ANY,
        (*OPEN, reply("a")),
        ClientFailed("a", Trouble.UNINITIALISED, "restarted"),
        (SendInit("a"),),
    ),
    Row(
        "nobody is asked for what is being folded",
        ANY,
        FOLDING,
        join("c"),
        (SendJoinReply("c", accepted=True), SendInit("c")),
    ),
    Row("having the model again changes nothing", ANY, OPEN, InitAnswered("a"), ()),
    Row(
        "who failed outside rounds will not answer this one",
        ANY,
        (*OPEN, reply("b"), reply("c")),
        failure("a", round_=0, base=b""),
        (out("a", "out of memory"), fold("b", "c")),
    ),
)
def test_a_daemon_that_was_restarted_is_brought_to_where_the_run_is(row: Row) -> None:
    check(row)
