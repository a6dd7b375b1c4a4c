"""A run's state is a fold over its log, in which only records of the leader count."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.run.apply import apply
from fl.run.events import CancelAsked, JoinAsked, LeaderStarted, Record, RunEnded, Status
from fl.run.replay import counts, replay
from fl.run.state import RunState
from fl.run.step import step
from tests.unit.run.driver import Leader, Log
from tests.unit.run.histories import DATA, LEADS, a_run, a_spec, admitted, judged_as
from tests.unit.run.simulation import Script, Simulation
from tests.unit.run.state_check import check_state, durable
from tests.unit.run.strategies import decisions

SPEC = a_spec(rounds=3, register={"min_clients": 2, "max_clients": 4}, min_replies=2, evaluate={"frequency": 2})
SCRIPTS: dict[str, Script] = {"a": {}, "b": {"train 2": "failure"}, "c": {"init": "failure"}, "d": {"train 1": "lost"}}
SECOND = LeaderStarted("leader-2", "worker-2", 1)


def empty() -> RunState:
    return a_run(SPEC)


@cache
def three_leaders() -> Simulation:
    """A whole run, whose first two leaders died."""
    return Simulation(SPEC, SCRIPTS, dies={20, 50}.__contains__).run()


def test_the_log_alone_gives_the_state_that_its_leader_had() -> None:
    # Given
    run = three_leaders()
    # When
    replayed = replay(empty(), run.log)
    # Then
    assert replayed == durable(run.leaders[-1].state)


def test_a_log_replayed_in_two_parts_gives_the_same_state() -> None:
    # Given
    log = three_leaders().log
    whole = replay(empty(), log)
    for cut in range(len(log) + 1):
        # When
        parts = replay(replay(empty(), log[:cut]), log[cut:])
        # Then
        assert parts == whole


@given(st.data())
def test_records_of_a_leader_that_was_replaced_change_nothing_wherever_they_stand(data: st.DataObject) -> None:
    # Given
    log = three_leaders().log
    clean = replay(empty(), log)
    second = next(place for place, (leader, _) in enumerate(log) if leader == "leader-2")
    late: list[tuple[int, Record]] = data.draw(
        st.lists(st.tuples(st.integers(second + 1, len(log)), decisions()), min_size=1, max_size=5)
    )
    # When
    dirty: Log = list(log)
    for place, record in sorted(late, key=lambda entry: entry[0], reverse=True):
        dirty.insert(place, ("leader-1", record))
    # Then
    assert replay(empty(), dirty) == clean


@given(decisions())
def test_nothing_counts_before_the_first_leader(record: Record) -> None:
    # When
    state = replay(empty(), [("", record), ("leader-1", record)])
    # Then
    assert state == empty()


@given(decisions())
def test_nothing_but_a_new_leader_counts_after_the_end(record: Record) -> None:
    # Given
    ended = replay(empty(), [("leader-1", LEADS), ("leader-1", RunEnded(Status.CANCELLED, "enough"))])
    # When
    later = replay(ended, [("leader-1", record), ("leader-2", SECOND), ("leader-2", record)])
    # Then
    assert (later.leader, later.ended) == ("leader-2", ended.ended)


@pytest.mark.parametrize(
    ("leader", "record", "expected"),
    [
        pytest.param("leader-1", admitted("a"), True, id="of the leader: yes"),
        pytest.param("leader-2", admitted("a"), False, id="of one that does not lead: no"),
        pytest.param("leader-2", SECOND, True, id="the start of another: yes"),
    ],
)
def test_whether_a_record_counts(leader: str, record: Record, expected: bool) -> None:
    # Given
    state = apply(empty(), LEADS)
    # When
    answer = counts(state, leader, record)
    # Then
    assert answer is expected


def test_a_stalled_leader_that_goes_on_changes_nothing() -> None:
    # Given
    log: Log = []
    stalled = Leader("leader-1", empty(), log, trace=[])
    stalled.start()
    stalled.take(JoinAsked("a", DATA))
    successor = Leader("leader-2", empty(), log, trace=[])
    successor.start()
    # When
    stalled.take(CancelAsked("I have not noticed"))
    # Then
    check_state(successor)
    assert successor.state.ended is None


def test_what_a_leader_has_seen_does_not_outlive_it() -> None:
    # Given
    asked = step(apply(empty(), LEADS), JoinAsked("a", DATA))[0]
    assert asked.seen.joining
    # When
    taken_over = apply(asked, SECOND)
    # Then
    assert taken_over == replay(empty(), [("leader-1", LEADS), ("leader-2", SECOND)])


def test_a_record_that_is_none_is_refused() -> None:
    # Given
    state = replay(empty(), [("leader-1", LEADS)])
    # Then
    with pytest.raises(TypeError, match="not a record: 'hello'"):
        # When
        apply(state, "hello")  # type: ignore[arg-type]  # what a caller without types could do


def test_every_record_of_a_whole_run_is_replayed() -> None:
    # Given
    records = judged_as(0.5, 0.4)
    # When
    state = empty()
    for record in records:
        assert isinstance(record, Record)
        state = replay(state, [("leader-1", record)])
    # Then
    assert (state.trained, state.evaluated, state.losses) == (2, 2, (0.5, 0.4))
