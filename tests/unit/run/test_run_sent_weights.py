"""Weights that clients get compressed: what answers start from, and how long the copy is kept."""

from dataclasses import replace

from fl.run.commands import Append, Drop, Hold
from fl.run.events import (
    ClientFailed,
    Event,
    Folded,
    Kind,
    Replied,
    RoundCommitted,
    RunEnded,
    RunInitialised,
    Status,
    Trouble,
    WeightsCompleted,
)
from fl.run.state import RunState
from tests.unit.run.driver import commands_about
from tests.unit.run.histories import (
    AGREED,
    LEADS,
    W,
    a_spec,
    a_state,
    admitted,
    evaluated,
    opened,
    parcel,
    running,
    trained,
)

SPEC = a_spec(rounds=3, compression="bf16")
SENT = tuple(parcel(f"sent {round_}") for round_ in range(4))


def committed(round_: int) -> RoundCommitted:
    return replace(trained(round_, "a", "b"), sent_weights=SENT[round_])


def until(round_: int) -> tuple[Event, ...]:
    """The records of a run of a and b up to an open training round, with an evaluation of each before it."""
    leads, admits, initialised, ready = running("a", "b")
    assert isinstance(initialised, RunInitialised)
    events: list[Event] = [leads, admits, replace(initialised, sent_weights=SENT[0]), ready]
    for past in range(1, round_):
        events += [opened(past, "a", "b"), committed(past), opened(past, "a", "b", kind=Kind.EVALUATE)]
        events.append(evaluated(past, "a", "b", loss=float(past)))
    return (*events, opened(round_, "a", "b"))


def at_round(round_: int) -> RunState:
    return a_state(SPEC, *until(round_))


def test_what_completes_the_weights_is_in_the_record() -> None:
    state = a_state(SPEC, LEADS, admitted("a", "b"))

    commands = commands_about(state, WeightsCompleted(AGREED, W[0], sent_weights=SENT[0]))

    assert commands[0] == Append((RunInitialised(AGREED, W[0], sent_weights=SENT[0]),))


def test_an_answer_counts_that_started_from_what_was_sent() -> None:
    commands = commands_about(at_round(2), Replied("a", Kind.TRAIN, 2, SENT[1].digest))

    assert commands == (Hold(),)


def test_an_answer_does_not_count_that_started_from_what_nobody_was_sent() -> None:
    commands = commands_about(at_round(2), Replied("a", Kind.TRAIN, 2, W[1].digest))

    assert commands == (Drop("started from other weights than the committed ones"),)


def test_a_failure_is_of_the_open_round_where_it_started_from_what_was_sent() -> None:
    state = at_round(2)

    failure = ClientFailed("a", Trouble.FAILED, "out of memory", 2, SENT[1].digest)

    assert isinstance(commands_about(state, failure)[0], Append)
    assert commands_about(state, replace(failure, base=W[1].digest)) == (Drop("nothing was awaited from it"),)


def test_both_copies_of_the_next_weights_are_in_the_record() -> None:
    answers = (Replied(name, Kind.TRAIN, 1, SENT[0].digest) for name in ("a", "b"))
    state = a_state(SPEC, *until(1), *answers)

    append = commands_about(state, Folded((), W[1], sent_weights=SENT[1]))[0]

    assert isinstance(append, Append)
    assert append.records[0] == RoundCommitted(1, Kind.TRAIN, (), weights=W[1], sent_weights=SENT[1])


def test_what_was_sent_is_deleted_with_the_round_also_where_its_weights_are_the_best() -> None:
    # Given: the first round has the lowest loss
    state = a_state(SPEC, *until(3))

    # Then what goes is all but those of now, and the best
    assert set(state.garbage) == set()
    after = a_state(SPEC, *until(3), committed(3))
    assert set(after.garbage) == {W[2], SENT[2]}
    assert after.held == {W[1], W[3], SENT[3]}


def test_the_copy_of_the_best_weights_goes_when_others_are_trained() -> None:
    state = a_state(SPEC, *until(2), committed(2))

    assert set(state.garbage) == {SENT[1]}


def test_a_run_that_ends_leaves_exact_weights_and_no_others() -> None:
    end = RunEnded(Status.CANCELLED, "seen enough", 1, W[1])

    state = a_state(SPEC, *until(2), end)

    assert state.garbage == (SENT[1],)


def test_without_a_copy_answers_start_from_the_weights_themselves() -> None:
    state = a_state(SPEC, *running("a", "b"), opened(1, "a", "b"))

    assert commands_about(state, Replied("a", Kind.TRAIN, 1, W[0].digest)) == (Hold(),)
