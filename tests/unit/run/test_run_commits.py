"""Commits: what a round's outcome leads to, and which weights the run keeps."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.run.commands import Append, Command, Drop, Release, SendRound, SetTimer, Sweep
from fl.run.events import (
    Cause,
    ClientFailed,
    Event,
    Folded,
    Kind,
    Note,
    Parcel,
    Replied,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    Status,
    Timer,
    TimeUp,
    Trouble,
)
from tests.unit.run.histories import (
    W,
    a_spec,
    a_state,
    evaluated,
    folded,
    folding,
    judged_as,
    opened,
    parcel,
    reply,
    results,
    running,
    scores,
    trained,
    training,
)
from tests.unit.run.tables import Row, check, farewell, table

ROUNDS = a_spec(rounds=4)
EVERY_SECOND = a_spec(rounds=3, evaluate={"frequency": 2})
STATE = tuple(parcel(f"state {round_}") for round_ in range(3))


def train(round_: int, *losses: float | None) -> tuple[Event, ...]:
    """A run of a and b whose rounds had these losses, or none, and which now trains."""
    past = judged_as(*losses) if losses else training("a", "b", round_=round_)[:-1]
    return (*past, *folding(Kind.TRAIN, round_, "a", "b"))


def evaluate(round_: int, *losses: float | None) -> tuple[Event, ...]:
    """A run of a and b whose rounds had these losses, and which now evaluates the next."""
    asked = (*judged_as(*losses), opened(round_, "a", "b"), trained(round_, "a", "b"))
    return (*asked, *folding(Kind.EVALUATE, round_, "a", "b"))


def evaluation(round_: int) -> RoundOpened:
    return opened(round_, "a", "b", kind=Kind.EVALUATE)


def goes_on(committed: RoundCommitted, opens: RoundOpened, *, sweep: tuple[Parcel, ...] = ()) -> tuple[Command, ...]:
    """A commit, and then another round."""
    asks = (SendRound(client) for client in opens.participants)
    return (Append((committed, opens)), Release(), *asks, SetTimer(Timer.ROUND, opens.deadline_s), Sweep(sweep))


def ends(
    committed: RoundCommitted, reason: str, *, best_round: int, sweep: tuple[Parcel, ...] = ()
) -> tuple[Command, ...]:
    """A commit, and then the end."""
    end = RunEnded(Status.FINISHED, reason, best_round, W[best_round])
    return (Append((committed, end)), Release(), *farewell("a", "b", sweep=sweep))


@table(
    Row(
        "a training is evaluated",
        ROUNDS,
        train(1),
        folded(1, "a", "b"),
        goes_on(trained(1, "a", "b"), evaluation(1), sweep=(W[0],)),
    ),
    Row(
        "without an evaluation due the next training follows",
        EVERY_SECOND,
        train(1),
        folded(1, "a", "b"),
        goes_on(trained(1, "a", "b"), opened(2, "a", "b"), sweep=(W[0],)),
    ),
    Row(
        "an evaluation is due every so many rounds",
        EVERY_SECOND,
        train(2),
        folded(2, "a", "b"),
        goes_on(trained(2, "a", "b"), evaluation(2), sweep=(W[1],)),
    ),
    Row(
        "an evaluation is due after the last round",
        EVERY_SECOND,
        train(3),
        folded(3, "a", "b"),
        goes_on(trained(3, "a", "b"), evaluation(3), sweep=(W[2],)),
    ),
    Row(
        "the deadline goes with every round",
        a_spec(rounds=3, deadline=30),
        train(1),
        folded(1, "a", "b"),
        goes_on(trained(1, "a", "b"), opened(1, "a", "b", kind=Kind.EVALUATE, deadline_s=30), sweep=(W[0],)),
    ),
    Row(
        "an evaluation leads to the next training",
        ROUNDS,
        evaluate(1),
        scores("a", "b", loss=1.0),
        goes_on(evaluated(1, "a", "b", loss=1.0), opened(2, "a", "b")),
    ),
    Row(
        "the evaluation of the last round leads to the end",
        a_spec(rounds=1),
        evaluate(1),
        scores("a", "b", loss=1.0),
        ends(evaluated(1, "a", "b", loss=1.0), "all 1 rounds done", best_round=1),
    ),
    Row(
        "losses that do not improve lead to the end",
        a_spec(rounds=9, early_stop={"patience": 2}),
        evaluate(3, 0.5, 0.6),
        scores("a", "b", loss=0.7),
        ends(evaluated(3, "a", "b", loss=0.7), "early stopping after round 3", best_round=1, sweep=(W[3],)),
    ),
    Row(
        "losses that improve within patience go on",
        a_spec(rounds=9, early_stop={"patience": 2}),
        evaluate(3, 0.5, 0.6),
        scores("a", "b", loss=0.4),
        goes_on(evaluated(3, "a", "b", loss=0.4), opened(4, "a", "b"), sweep=(W[1],)),
    ),
    Row(
        "an outcome that nobody asked for has no effect",
        ROUNDS,
        training("a", "b"),
        folded(1, "a"),
        (Drop("nothing is being folded"),),
    ),
)
def test_a_commit_leads_to_what_the_spec_says(row: Row) -> None:
    check(row)


@table(
    Row(
        "whoever failed, sent a problem or was late",
        ROUNDS,
        (
            *training("a", "b", "c", "d"),
            reply("d"),
            reply("b", problem="not finite"),
            ClientFailed("a", Trouble.FAILED, "out of memory", 1, W[0].digest),
            TimeUp(Timer.ROUND),
        ),
        folded(1, "d"),
        goes_on(
            RoundCommitted(
                1,
                Kind.TRAIN,
                results("d"),
                (Note("a", "out of memory"), Note("b", "not finite"), Note("c", "no answer in time", Cause.LATE)),
                weights=W[1],
            ),
            opened(1, "a", "b", "c", "d", kind=Kind.EVALUATE),
            sweep=(W[0],),
        ),
    ),
)
def test_a_commit_names_whom_it_does_without(row: Row) -> None:
    check(row)


@table(
    Row(
        "but the best weights while they are the best",
        ROUNDS,
        train(2, 0.5),
        folded(2, "a", "b"),
        goes_on(trained(2, "a", "b"), evaluation(2)),
    ),
    Row(
        "the best weights once there are better ones",
        ROUNDS,
        evaluate(2, 0.5),
        scores("a", "b", loss=0.4),
        goes_on(evaluated(2, "a", "b", loss=0.4), opened(3, "a", "b"), sweep=(W[1],)),
    ),
    Row(
        "not the latest weights when they are worse, for they are trained on",
        ROUNDS,
        evaluate(2, 0.5),
        scores("a", "b", loss=0.6),
        goes_on(evaluated(2, "a", "b", loss=0.6), opened(3, "a", "b")),
    ),
    Row(
        "the worse weights once they were trained on",
        ROUNDS,
        train(3, 0.5, 0.6),
        folded(3, "a", "b"),
        goes_on(trained(3, "a", "b"), evaluation(3), sweep=(W[2],)),
    ),
    Row(
        "the best weights when the last evaluation finds better ones",
        a_spec(rounds=2),
        evaluate(2, 0.5),
        scores("a", "b", loss=0.4),
        ends(evaluated(2, "a", "b", loss=0.4), "all 2 rounds done", best_round=2, sweep=(W[1],)),
    ),
    Row(
        "the latest weights when the run ends with better ones",
        a_spec(rounds=2),
        evaluate(2, 0.5),
        scores("a", "b", loss=0.6),
        ends(evaluated(2, "a", "b", loss=0.6), "all 2 rounds done", best_round=1, sweep=(W[2],)),
    ),
    Row(
        "the optimizer's state before",
        EVERY_SECOND,
        (
            *running("a", "b"),
            opened(1, "a", "b"),
            trained(1, "a", "b", server_state=STATE[1]),
            *folding(Kind.TRAIN, 2, "a", "b"),
        ),
        Folded(results("a", "b"), W[2], STATE[2]),
        goes_on(trained(2, "a", "b", server_state=STATE[2]), evaluation(2), sweep=(W[1], STATE[1])),
    ),
    Row(
        "not the best weights when they are evaluated once more",
        ROUNDS,
        (
            *judged_as(0.5),
            opened(2, "a", "b"),
            RoundCommitted(2, Kind.TRAIN, results("a", "b"), weights=W[1]),
            opened(2, "a", "b", kind=Kind.EVALUATE),
            *(Replied(name, Kind.EVALUATE, 2, W[1].digest) for name in ("a", "b")),
        ),
        scores("a", "b", loss=0.5),
        goes_on(evaluated(2, "a", "b", loss=0.5), opened(3, "a", "b")),
    ),
    Row(
        "nothing by a round that changed nothing",
        EVERY_SECOND,
        (
            *running("a", "b"),
            opened(1, "a", "b"),
            trained(1, "a", "b", server_state=STATE[1]),
            *folding(Kind.TRAIN, 2, "a", "b"),
        ),
        Folded(results("a", "b"), W[1], STATE[1], note="all clients made no step"),
        goes_on(
            RoundCommitted(
                2,
                Kind.TRAIN,
                results("a", "b"),
                weights=W[1],
                server_state=STATE[1],
                note="all clients made no step",
            ),
            evaluation(2),
        ),
    ),
)
def test_a_commit_sweeps_what_it_supersedes(row: Row) -> None:
    check(row)


@pytest.mark.parametrize(
    ("losses", "best_round"),
    [
        pytest.param((), 0, id="without any evaluation the latest"),
        pytest.param((0.5, 0.4), 2, id="the lowest loss"),
        pytest.param((0.4, 0.5), 1, id="not the latest, if it is worse"),
        pytest.param((0.4, 0.4), 2, id="of equal ones the latest"),
        pytest.param((0.4, math.nan), 1, id="never NaN"),
        pytest.param((math.nan, 0.4), 2, id="anything rather than NaN"),
        pytest.param((math.nan, math.nan), 2, id="with nothing but NaN the latest"),
        pytest.param((0.4, None), 1, id="never one without a loss"),
    ],
)
def test_a_run_leaves_its_best_weights(losses: tuple[float | None, ...], best_round: int) -> None:
    # Given
    events = judged_as(*losses)
    # When
    state = a_state(ROUNDS, *events)
    # Then
    assert state.final_weights == (best_round, W[best_round])


@given(st.lists(st.none() | st.sampled_from([0.1, 0.2, math.nan, math.inf, -math.inf]) | st.floats(), max_size=5))
def test_the_best_weights_are_those_of_the_lowest_loss_and_of_equal_ones_the_latest(losses: list[float | None]) -> None:
    # Given
    numbers = {round_: loss for round_, loss in enumerate(losses, start=1) if loss is not None and not math.isnan(loss)}
    # When
    state = a_state(ROUNDS, *judged_as(*losses))
    # Then
    lowest = [round_ for round_, loss in numbers.items() if loss == min(numbers.values())]
    assert state.final_weights[0] == (lowest[-1] if lowest else len(losses))
