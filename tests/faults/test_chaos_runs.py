"""Whole runs in chaos: whatever a broker may do to them, they come to the same end, to the bit."""

import os
from typing import Final

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from broker.chaos import Fault, Schedule, Strike
from tests.faults.chaos_cases import BULK, CASES, SMALL, undisturbed
from tests.faults.chaos_schedules import schedules, strikes
from tests.faults.chaos_world import RUN, whole_run

TIMES: Final = int(os.environ.get("FLUFFLE_CHAOS_TIMES", "1"))
"""How many times the usual number of schedules to try."""

ALONE: Final = tuple(fault for fault in Fault if fault is not Fault.OVERTAKE)
"""Faults for which an undisturbed run offers chances: there, no message waits in a queue to be overtaken."""

pytestmark = pytest.mark.timeout(900 * TIMES)

each_case = pytest.mark.parametrize("name", CASES)
any_small_case = st.sampled_from([case.name for case in SMALL])


def assert_undisturbed(name: str, plan: list[Strike]) -> Schedule:
    """The law: the run ends as if nothing had happened. Returns what did happen."""
    schedule = Schedule(plan)
    ended = whole_run(CASES[name], schedule)
    assert ended == undisturbed(name)[0]
    return schedule


@each_case
def test_an_undisturbed_run_commits_each_round_once_and_leaves_its_log_and_its_weights(name: str) -> None:
    ended, _ = undisturbed(name)

    rounds = [(one.kind, one.round) for one in ended.rounds]
    assert ended.status == "finished"
    assert len(set(rounds)) == len(rounds)
    for one in ended.rounds:
        clients = [client for client, _, _ in one.participants]
        assert len(set(clients)) == len(clients)
        assert not one.dropped
    own_queues = {f"fl.client.{client}" for client in CASES[name].data}
    assert ended.left == {"fl.runs", "fl.dead", f"fl.run.{RUN}.log", *own_queues}
    assert (ended.n_weights, ended.n_messages) == (CASES[name] in BULK, 0)


@each_case
def test_a_schedule_without_faults_takes_the_same_steps_again(name: str) -> None:
    schedule = assert_undisturbed(name, [])

    assert schedule.chances == undisturbed(name)[1]


@given(name=any_small_case, data=st.data())
@settings(max_examples=10 * TIMES)
def test_a_schedule_with_faults_takes_the_same_steps_again(name: str, data: st.DataObject) -> None:
    plan = data.draw(schedules(undisturbed(name)[1]))

    one, again = (assert_undisturbed(name, plan) for _ in range(2))

    assert (one.struck, one.chances) == (again.struck, again.chances)


@pytest.mark.parametrize("fault", ALONE, ids=lambda fault: fault.value)
@given(name=any_small_case, data=st.data())
@settings(max_examples=40 * TIMES)
def test_no_fault_alone_changes_a_bit(fault: Fault, name: str, data: st.DataObject) -> None:
    chances = undisturbed(name)[1]
    strike = data.draw(strikes(chances, fault))

    schedule = assert_undisturbed(name, [strike])

    event("struck" if schedule.struck else "nothing happened")
    assert strike.at >= chances[fault] or schedule.struck == [strike]


@pytest.mark.parametrize("name", [case.name for case in SMALL])
@given(data=st.data())
@settings(max_examples=150 * TIMES)
def test_all_faults_together_change_no_bit(name: str, data: st.DataObject) -> None:
    plan = data.draw(schedules(undisturbed(name)[1]))

    schedule = assert_undisturbed(name, plan)

    event(f"{len(schedule.struck)} faults struck")


@pytest.mark.parametrize("name", [case.name for case in BULK])
@given(data=st.data())
@settings(max_examples=60 * TIMES)
def test_all_faults_together_change_no_bit_of_bulk(name: str, data: st.DataObject) -> None:
    plan = data.draw(schedules(undisturbed(name)[1]))

    schedule = assert_undisturbed(name, plan)

    event(f"{len(schedule.struck)} faults struck")


def test_a_leader_that_comes_to_itself_when_its_run_is_over_leaves_no_room_for_updates() -> None:
    """One schedule that was found by chance."""
    assert_undisturbed(
        "bulk shards",
        [
            Strike(Fault.OVERTAKE, 0, 42),
            Strike(Fault.LATE, 72, 27),
            Strike(Fault.DUPLICATE, 57, 17),
            Strike(Fault.OVERTAKE, 1, 23),
            Strike(Fault.DUPLICATE, 46, 25),
            Strike(Fault.REFUSE, 13, 57),
            Strike(Fault.CUT_ALL, 88, 13),
            Strike(Fault.CUT_ALL, 586, 0),
            Strike(Fault.TAKE_BACK, 1040, 27),
            Strike(Fault.LAG, 97, 14),
            Strike(Fault.LAG, 50, 60),
            Strike(Fault.CUT, 200, 44),
        ],
    )
