"""Whom a round asks, and with how many replies it closes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.run.asking import asked_next, enough, needed, participants
from fl.run.commands import Append, Drop, Fold, Hold, SendInit, SendRound
from fl.run.events import (
    Cause,
    ClientFailed,
    ClientResult,
    ClientsGone,
    Event,
    InitAnswered,
    Kind,
    Note,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    Status,
    Timer,
    TimeUp,
    Trouble,
)
from fl.run.sampling import Candidate, ClientSampler
from fl.run.share import count
from fl.run.state import RunState
from tests.unit.run.driver import commands_about
from tests.unit.run.histories import (
    W,
    a_spec,
    a_state,
    folded,
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

TEN = tuple("abcdefghij")


def asked(state: RunState, kind: Kind = Kind.TRAIN, round_: int = 1) -> tuple[str, ...]:
    return participants(state, kind, round_)


def of_ten(**run: Any) -> RunState:
    """Ten clients that are ready."""
    return a_state(a_spec(register={"min_clients": 1}, **run), *running(*TEN))


# ---- whom -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "number"),
    [(1, 1), (3, 3), (10, 10), (99, 99), (1.0, 10), (0.5, 5), (0.01, 1), (0.25, 3), (0.3, 3), (0.7, 7)],
)
def test_a_share_of_ten_is(share: float, number: int) -> None:
    assert count(share, 10) == number


@pytest.mark.parametrize(
    ("run", "number"), [({}, 10), ({"clients": 3}, 3), ({"clients": 0.25}, 3), ({"clients": 99}, 10)]
)
def test_a_round_asks_as_many_as_the_spec_says(run: dict[str, Any], number: int) -> None:
    # When
    names = asked(of_ten(sampling=run))
    # Then
    assert len(names) == number
    assert list(names) == sorted(set(names) & set(TEN))


def test_a_round_asks_no_fewer_than_must_reply() -> None:
    assert len(asked(of_ten(sampling=0.1, min_replies=4))) == 4


def test_only_clients_that_are_ready_are_asked() -> None:
    # Given
    state = a_state(a_spec(register={"min_clients": 1}, sampling=2), *running("a", "b", "c", ready=("a", "c")))
    # Then
    assert asked(state) == ("a", "c")


def test_an_evaluation_asks_all_unless_the_spec_says_how_many() -> None:
    assert asked(of_ten(sampling=2), Kind.EVALUATE) == TEN
    assert len(asked(of_ten(evaluate={"clients": 0.2}), Kind.EVALUATE)) == 2


NEXT: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "all, in the next round": ({"rounds": 2, "evaluate": False}, TEN),
    "all, in an evaluation": ({"rounds": 2, "sampling": 3}, TEN),
    "all, in the last evaluation": ({"rounds": 1}, TEN),
    "nobody, it was the last round": ({"rounds": 1, "evaluate": False}, ()),
    "a sample of them in the next round": ({"rounds": 2, "evaluate": False, "sampling": 3}, ()),
    "a sample of them in an evaluation": ({"rounds": 2, "evaluate": {"clients": 0.2}}, ()),
}


@pytest.mark.parametrize("who", NEXT)
def test_after_the_first_round_it_is_known_that_next_are_asked(who: str) -> None:
    run, names = NEXT[who]

    assert asked_next(of_ten(**run), 1) == names


def test_who_is_not_ready_is_not_asked_next() -> None:
    state = a_state(a_spec(register={"min_clients": 1}, rounds=2), *running("a", "b", "c", ready=("a", "c")))

    assert asked_next(state, 1) == ("a", "c")


def test_other_rounds_and_other_runs_ask_others() -> None:
    # Given
    state = of_ten(sampling=5)
    # When
    choices = {asked(state, round_=round_) for round_ in range(1, 9)}
    choices |= {asked(replace(state, run=f"run-{number}")) for number in range(2, 9)}
    # Then
    assert len(choices) > 8


def test_a_seed_asks_the_same_in_every_run_of_the_spec() -> None:
    # Given
    state = of_ten(sampling=5, seed=7)
    # Then
    assert asked(replace(state, run="another")) == asked(state)
    assert asked(of_ten(sampling=5, seed=8)) != asked(state)


@given(st.integers(1, 9), st.integers(1, 5), st.permutations(TEN))
def test_whoever_leads_asks_the_same_clients(n_asked: int, round_: int, order: Sequence[str]) -> None:
    # Given leaders that admitted the clients in different orders
    spec = a_spec(register={"min_clients": 1}, sampling=n_asked)
    ours, theirs = a_state(spec, *running(*TEN)), a_state(spec, *running(*order))
    # Then
    assert asked(ours, round_=round_) == asked(replace(theirs, leader="leader-2"), round_=round_)


def test_what_rounds_told_of_a_client_is_what_samplers_go_by() -> None:
    # Given a client that trained and was evaluated, one that was only asked, and one that was not
    spec = a_spec(register={"min_clients": 1}, rounds=9)
    result = ClientResult("a", n_steps=3, seconds=2.0, update_norm=0.5)
    loss = ClientResult("a", loss=0.25)
    # When
    state = a_state(
        spec,
        *running("a", "b", "c"),
        opened(1, "a", "b"),
        RoundCommitted(1, Kind.TRAIN, (result,), weights=W[1]),
        opened(1, "a", kind=Kind.EVALUATE),
        RoundCommitted(1, Kind.EVALUATE, (loss,), loss=0.25),
    )
    # Then
    a, b, c = (state.clients[name].past for name in "abc")
    assert (a.asked, a.trained, a.loss) == (1, result, 0.25)
    assert (b.asked, b.trained, b.loss) == (1, None, None)
    assert (c.asked, c.trained, c.loss) == (0, None, None)


def test_a_criterion_chooses_by_the_rounds_before() -> None:
    # Given
    by = {"clients": 1, "by": "criterion", "criterion": "loss", "explore": 0.0}
    spec = a_spec(register={"min_clients": 1}, rounds=9, sampling=by)
    losses = tuple(ClientResult(name, loss=loss) for name, loss in {"a": 0.1, "b": 0.9, "c": 0.5}.items())
    past: tuple[Event, ...] = (opened(1, "a"), trained(1, "a"), opened(1, "a", "b", "c", kind=Kind.EVALUATE))
    evaluation = RoundCommitted(1, Kind.EVALUATE, losses, loss=0.5)
    # When
    state = a_state(spec, *running("a", "b", "c"), *past, evaluation)
    # Then
    assert asked(state, round_=2) == ("b",)


class Greedy(ClientSampler, name="greedy-in-tests"):
    """Chooses more than it may."""

    def choose(self, candidates: Sequence[Candidate], count: int, rng: np.random.Generator) -> Sequence[str]:
        return [one.name for one in candidates]


def test_a_sampler_that_chooses_wrongly_fails_the_run_and_is_named() -> None:
    # Given
    spec = a_spec(register={"min_clients": 1}, rounds=9, sampling={"clients": 1, "by": "greedy-in-tests"})
    state = a_state(
        spec, *running("a", "b"), opened(1, "a"), trained(1, "a"), opened(1, "a", kind=Kind.EVALUATE), scored("a")
    )
    # When
    commands = commands_about(state, scores("a", loss=1.0))
    # Then
    chosen = "client sampler 'greedy-in-tests' was to choose 1 of ['a', 'b'], but chose ['a', 'b']"
    end = commands[0].records[-1] if isinstance(commands[0], Append) else None
    assert end == failed(f"no clients could be chosen for round 2: {chosen}", W[1], 1).records[0]


# ---- how many replies -----------------------------------------------------------------------------------------------

THREE = opened(1, "a", "b", "c")


@pytest.mark.parametrize(("share", "number"), [(1, 1), (3, 3), (4, 4), (0.5, 2), (1.0, 3), (0.01, 1)])
def test_of_three_asked_must_reply(share: float, number: int) -> None:
    assert needed(a_spec(register={"min_clients": 1}, min_replies=share), THREE) == number


@pytest.mark.parametrize(
    ("run", "number"),
    [
        ({}, None),
        ({"sampling": {"take": 2}}, 2),
        ({"sampling": {"take": 0.5}}, 2),
        ({"sampling": {"take": 0.1}, "min_replies": 2}, 2),
    ],
)
def test_of_three_asked_are_enough(run: dict[str, Any], number: int | None) -> None:
    assert enough(a_spec(register={"min_clients": 1}, **run), THREE) == number


def test_an_evaluation_waits_for_all() -> None:
    assert enough(a_spec(sampling={"take": 1}), opened(1, "a", "b", kind=Kind.EVALUATE)) is None


FIRST_TWO = a_spec(register=3, sampling={"take": 2})
OPEN = training("a", "b", "c")
CLOSED: tuple[Event, ...] = (*OPEN, reply("c"), reply("a"))


def fold(*names: str) -> Fold:
    return Fold(Kind.TRAIN, 1, names)


@table(
    Row("one reply is too few", FIRST_TWO, OPEN, reply("c"), (Hold(),)),
    Row("the first two close it", FIRST_TWO, (*OPEN, reply("c")), reply("a"), (Hold(), fold("a", "c"))),
    Row("a later one is dropped", FIRST_TWO, CLOSED, reply("b"), (Drop("answered before, or not asked"),)),
    Row(
        "a failure does not count",
        FIRST_TWO,
        (*OPEN, reply("c")),
        ClientFailed("b", Trouble.FAILED, "out of memory", 1, W[0].digest),
        (out("b", "out of memory"),),
    ),
    Row(
        "a reply with a problem does not count",
        FIRST_TWO,
        (*OPEN, reply("c")),
        reply("b", problem="NaN"),
        (out("b", "NaN"),),
    ),
    Row(
        "with too few left it closes with those",
        FIRST_TWO,
        (*OPEN, reply("c"), ClientsGone(("b",))),
        ClientsGone(("a",)),
        (out("a", "gone: nobody has consumed its queue for a while", Cause.GONE), fold("c")),
    ),
    Row("its deadline closes it with fewer", FIRST_TWO, (*OPEN, reply("c")), TimeUp(Timer.ROUND), (fold("c"),)),
)
def test_a_round_that_takes_the_first_closes_with_them(row: Row) -> None:
    check(row)


def test_whoever_is_done_without_is_named() -> None:
    # When
    commands = commands_about(a_state(FIRST_TWO, *CLOSED), folded(1, "a", "c"))
    # Then
    late = Note("b", "not among the first 2 to answer", Cause.LATE)
    evaluation = opened(1, "a", "b", "c", kind=Kind.EVALUATE)
    assert commands[0] == Append((replace(trained(1, "a", "c"), dropped=(late,)), evaluation))


HALF = a_spec(register=3, min_replies=0.5)


@table(
    Row(
        "a part of those asked is rounded up",
        HALF,
        (*OPEN, reply("a")),
        TimeUp(Timer.ROUND),
        (
            failed("train round 1: 1 of at least 2 replies; b, c: no answer in time", W[0]),
            *farewell("a", "b", "c"),
        ),
    ),
    Row(
        "and is enough when it is reached",
        HALF,
        (*OPEN, reply("a"), reply("b")),
        TimeUp(Timer.ROUND),
        (fold("a", "b"),),
    ),
)
def test_a_round_needs_a_part_of_those_asked(row: Row) -> None:
    check(row)


# ---- clients without the model --------------------------------------------------------------------------------------

BEING_SENT = Drop("it is being sent the model already")
OFTEN = "it lost the model 4 times"
LOST = ClientFailed("a", Trouble.UNINITIALISED, "restarted")
HAS = InitAnswered("a")
LOST_TWICE = (LOST, HAS, LOST, HAS)
LOST_THRICE = (*LOST_TWICE, LOST, HAS)
TWO_LEFT = a_spec(register={"min_clients": 1, "max_clients": 2})
INITIALISING = (*running("a", "b")[:-1],)


@table(
    Row("it is asked again", TWO_LEFT, (*training("a", "b"), *LOST_TWICE), LOST, (SendInit("a"), SendRound("a"))),
    Row(
        "what a daemon says of all that it finds in its queue after a restart is one loss",
        TWO_LEFT,
        (*training("a", "b"), LOST),
        LOST,
        (BEING_SENT,),
    ),
    Row("but not without end", TWO_LEFT, (*training("a", "b"), *LOST_THRICE), LOST, (out("a", OFTEN),)),
    Row(
        "the round goes on without it",
        TWO_LEFT,
        (*training("a", "b"), *LOST_THRICE, reply("b")),
        LOST,
        (out("a", OFTEN), fold("b")),
    ),
    Row(
        "once it is out it is not sent the model any more",
        TWO_LEFT,
        (*training("a", "b"), *LOST_THRICE, LOST, HAS),
        LOST,
        (Drop("it loses the model whenever it gets it"),),
    ),
    Row(
        "the next round asks it again",
        TWO_LEFT,
        (*training("a", "b"), *LOST_THRICE, LOST, HAS, trained(1, "b"), opened(1, "a", "b", kind=Kind.EVALUATE)),
        LOST,
        (SendInit("a"), SendRound("a")),
    ),
    Row(
        "a daemon that joins again has begun anew",
        TWO_LEFT,
        (*training("a", "b"), *LOST_THRICE, join("a"), HAS),
        LOST,
        (SendInit("a"), SendRound("a")),
    ),
    Row("while models are built it is sent once", TWO_LEFT, (*INITIALISING, LOST), LOST, (BEING_SENT,)),
)
def test_a_client_that_always_lacks_the_model_is_given_up_for_the_round(row: Row) -> None:
    check(row)


# ---- runs without evaluations ---------------------------------------------------------------------------------------

BLIND = a_spec(rounds=2, evaluate=False)


@pytest.mark.parametrize("written", [False, 0, {"frequency": 0}])
def test_a_run_without_evaluations_may_be_written_as(written: Any) -> None:
    # When
    run = a_spec(rounds=9, evaluate=written).run
    # Then
    assert not any(run.evaluates_after(round_) for round_ in range(1, 10))


def test_without_evaluations_a_training_follows_a_training() -> None:
    # Given
    state = a_state(BLIND, *training("a", "b"), reply("a"), reply("b"))
    # When
    commands = commands_about(state, folded(1, "a", "b"))
    # Then
    assert commands[0] == Append((trained(1, "a", "b"), RoundOpened(2, Kind.TRAIN, ("a", "b"))))


def test_without_evaluations_the_run_ends_after_its_last_training_and_leaves_those_weights() -> None:
    # Given
    state = a_state(BLIND, *training("a", "b", round_=2), reply("a", 2, W[1]), reply("b", 2, W[1]))
    # When
    commands = commands_about(state, folded(2, "a", "b"))
    # Then
    end = RunEnded(Status.FINISHED, "all 2 rounds done", 2, W[2])
    assert commands[0] == Append((trained(2, "a", "b"), end))
