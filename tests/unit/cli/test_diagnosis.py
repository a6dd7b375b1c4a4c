"""What the doctor says of a run, and whether it wants somebody to do something."""

import pytest

from broker.base import QueueCount
from fl.cli.diagnosis import Diagnosis, Facts, Finding, diagnose
from fl.cli.view import View
from fl.run.events import (
    Cause,
    ClientResult,
    ClientsOut,
    ClientsReady,
    ClientsReturned,
    Kind,
    LeaderStarted,
    Note,
    Record,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunPaused,
    Status,
    StillWaiting,
)
from fl.run.spec import RunSpec
from fl.run.step import LOGIC_VERSION
from fl.submit.register import Entry
from fl.wire.runs import Closed, Submitted
from tests.unit.cli.happenings import CLIENTS, WEIGHTS, beginning, happen, spec, trained

LED = QueueCount(messages=0, consumers=1)
AT_WORK = {"ann": LED, "ben": LED}
OPENED = [*beginning(), RoundOpened(1, Kind.TRAIN, CLIENTS)]
"""The round is opened in second 1004."""
GONE = ClientsOut((Note("ben", "gone", Cause.GONE),))


def facts(
    records: list[Record],
    *,
    of: RunSpec | None = None,
    queue: QueueCount | None = LED,
    clients: dict[str, QueueCount | None] | None = None,
    closed: Closed | None = None,
    dead: int = 0,
    trouble: Finding | None = None,
) -> Facts:
    known = of or spec()
    view = View.before("heart-1", known)
    for happened in happen(records, of=known):
        view = view.after(happened)
    entry = Entry(Submitted("heart-1", known, by="eve", at=990.0), closed)
    return Facts(entry, view, queue, AT_WORK if clients is None else clients, dead, trouble)


def look(known: Facts, *, now: float = 1010.0) -> Diagnosis:
    return diagnose(known, now=now)


def worst(known: Facts, *, now: float = 1010.0) -> Finding:
    """The one finding that somebody has to do something about."""
    (found,) = (finding for finding in look(known, now=now).findings if finding.todo)
    return found


def said(known: Facts, *, now: float = 1010.0) -> str:
    return "\n".join(finding.what for finding in look(known, now=now).findings)


# ---- runs that are well ---------------------------------------------------------------------------------------------


def test_a_run_whose_clients_are_at_work_needs_nobody() -> None:
    diagnosis = look(facts(OPENED))

    assert diagnosis.is_well
    assert diagnosis.verdict == "round 1 of 4: 2 clients train"
    assert diagnosis.waits_s == 6.0
    assert diagnosis.findings[0].what.startswith("worker-1 leads it since ")
    assert "ann, ben are awaited for 0:06: the daemon is connected, and at work" in said(facts(OPENED))


@pytest.mark.parametrize(
    ("deadline", "sentence"),
    [
        (None, "there is no deadline; whoever has no daemon for 1:00 is not waited for"),
        (20.0, "the round closes in 0:14 with those that have; with fewer the run pauses"),
    ],
)
def test_it_says_what_ends_the_wait_for_a_round(deadline: float | None, sentence: str) -> None:
    records = [*beginning(), RoundOpened(1, Kind.TRAIN, CLIENTS, deadline)]
    assert f"0 of 2 have answered, at least 1 must; {sentence}" in said(facts(records))


def test_who_has_answered_is_not_awaited() -> None:
    # Given
    records = [*OPENED, StillWaiting(5.0, ("ann",), ("ben",))]

    # Then the 5 s that were told in second 1005 have become 10
    assert "ben is awaited for 0:10" in said(facts(records))


@pytest.mark.parametrize(
    ("closed", "records"),
    [
        (Closed("heart-1", Status.FINISHED, "all 4 rounds done"), []),
        (None, [RunEnded(Status.FINISHED, "all 4 rounds done")]),
    ],
)
def test_a_run_that_is_over_is_not_stuck(closed: Closed | None, records: list[Record]) -> None:
    # When nobody is left of it
    diagnosis = look(facts([*OPENED, *records], closed=closed, queue=None, clients={"ann": None, "ben": None}))

    # Then
    assert diagnosis.is_well
    assert [finding.what for finding in diagnosis.findings] == ["it is over, finished: all 4 rounds done"]


def test_changes_of_the_lead_are_counted_and_no_reason_to_worry() -> None:
    known = facts([*OPENED, LeaderStarted("2", "worker-2", 1), LeaderStarted("3", "worker-1", 1)])
    assert look(known).is_well
    assert "worker-1 leads it since" in said(known)
    assert "the lead has changed 2 times" in said(known)


# ---- who leads ------------------------------------------------------------------------------------------------------


def test_a_run_that_nobody_leads_needs_a_worker() -> None:
    found = worst(facts(OPENED, queue=QueueCount(messages=3, consumers=0)))

    assert found.what == (
        "nobody leads it: no worker consumes fl.run.heart-1.server; worker-1 was the last, and its last word came "
        "0:06 ago; messages that wait for a leader: 3"
    )
    assert "`fluffle server`" in found.todo


def test_a_run_that_nobody_has_ever_led_needs_a_worker() -> None:
    known = facts([], queue=QueueCount(messages=1, consumers=0))
    assert worst(known).what == "nobody leads it: no worker consumes fl.run.heart-1.server"
    assert look(known).waits_s == 20.0


def test_a_run_without_a_queue_can_be_led_by_nobody() -> None:
    assert "fl.run.heart-1.server does not exist" in worst(facts(OPENED, queue=None)).what


def test_a_leader_that_has_not_said_a_word_for_long_is_to_be_looked_after() -> None:
    # Given a leader that should have said after 5 s that it still waits
    known = facts(OPENED, queue=QueueCount(messages=2, consumers=1))

    # Then
    assert look(known, now=1060.0).is_well
    found = worst(known, now=1204.0)
    assert found.what == "its leader has said nothing for 3:20; messages that wait for it: 2"
    assert "worker-1" in found.todo


def test_a_leader_that_waits_for_long_says_so_ever_more_rarely() -> None:
    # Given one that has waited for an hour, and will say so again in ten minutes
    known = facts([*OPENED, StillWaiting(3600.0, (), CLIENTS)])

    # Then
    assert look(known, now=1005.0 + 900.0).is_well
    assert "said nothing" in worst(known, now=1005.0 + 1300.0).what


def test_leaders_that_fall_one_after_the_other_are_a_reason_to_read_their_logs() -> None:
    known = facts([*OPENED, *(LeaderStarted(str(number), "worker-1", 1) for number in range(6))])
    assert worst(known, now=1012.0).what == "6 leaders have begun since it last got on"


def test_a_log_by_newer_rules_is_for_a_newer_release() -> None:
    found = worst(facts([*OPENED, LeaderStarted("2", "worker-2", LOGIC_VERSION + 1)]))
    assert f"led by the rules of version {LOGIC_VERSION + 1}" in found.what
    assert "newer release" in found.todo


def test_a_log_that_cannot_be_read_is_said() -> None:
    trouble = Finding("its log holds a record that is unknown", "update")
    assert worst(facts(OPENED, trouble=trouble)) == trouble


def test_a_clock_that_is_far_ahead_is_named() -> None:
    found = worst(facts(OPENED), now=900.0)
    assert found.what == "the clock of worker-1 is 1:44 ahead of this machine's: times here are wrong"


# ---- who is awaited -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "sentence"),
    [
        (None, "no queue of that name: never connected to this broker, or not enrolled"),
        (QueueCount(0, 0), "no daemon of that name is connected"),
        (QueueCount(2, 0), "no daemon of that name is connected; requests that wait in fl.client.ben: 2"),
    ],
)
def test_an_awaited_client_whose_daemon_is_not_there_needs_one(queue: QueueCount | None, sentence: str) -> None:
    found = worst(facts(OPENED, clients={"ann": LED, "ben": queue}))
    assert found == Finding(f"ben is awaited for 0:06: {sentence}", "start the daemon there: `fluffle client FILE`")


def test_a_busy_daemon_is_waited_for() -> None:
    known = facts(OPENED, clients={"ann": LED, "ben": QueueCount(2, 1)})
    assert look(known).is_well
    assert "the daemon is connected, and at work; requests that wait in fl.client.ben: 2" in said(known)


@pytest.mark.parametrize(
    ("joined", "names"), [((), "0 of at least 2 have joined"), (("ann",), "1 of at least 2 have joined: ann")]
)
def test_registration_that_takes_long_needs_more_sites(joined: tuple[str, ...], names: str) -> None:
    known = facts([*beginning()[:1], StillWaiting(30.0, joined)])
    assert look(known).is_well
    assert worst(known, now=1101.0).what == f"it has waited for clients for 2:10: {names}"


@pytest.mark.parametrize(
    ("note", "sentence"),
    [
        (Note("ben", "out of memory"), "ben is not waited for in this round: out of memory"),
        (Note("ben", "gone", Cause.GONE), "ben is not waited for: no daemon of that name is connected"),
    ],
)
def test_a_client_that_will_not_answer_is_named_with_its_reason(note: Note, sentence: str) -> None:
    away: dict[str, QueueCount | None] = {"ann": LED, "ben": QueueCount(0, 0)}
    assert worst(facts([*OPENED, ClientsOut((note,))], clients=away)).what == sentence


@pytest.mark.parametrize("records", [[GONE], [GONE, *trained(1, dropped=(Note("ben", "gone", Cause.GONE),))[1:]]])
def test_a_client_that_is_connected_again_needs_nobody(records: list[Record]) -> None:
    known = facts([*OPENED, *records])
    assert look(known).is_well
    assert "ben was away, and is connected again: it takes part once it has joined" in said(known)


@pytest.mark.parametrize(
    ("note", "of", "sentence"),
    [
        (Note("ben", "out of memory"), 1, "ben takes no part: set aside after 1 failed rounds: out of memory"),
        (Note("ben", "gone", Cause.GONE), 0, "ben takes no part: no daemon of that name is connected"),
    ],
)
def test_a_client_that_the_run_goes_on_without_is_named(note: Note, of: int, sentence: str) -> None:
    # Given a round that was committed without ben, and the next one
    committed = RoundCommitted(1, Kind.TRAIN, (ClientResult("ann"),), (note,), weights=WEIGHTS)
    records = [*OPENED, committed, RoundOpened(2, Kind.TRAIN, ("ann",))]

    # Then
    known = facts(records, of=spec(register=1, set_aside_after=of), clients={"ann": LED, "ben": QueueCount(0, 0)})
    assert worst(known).what == sentence


def test_a_client_that_could_not_build_the_model_is_named() -> None:
    records = [*beginning()[:3], ClientsReady(("ann",), (Note("ben", "no such layer"),))]
    records += [RoundOpened(1, Kind.TRAIN, ("ann",))]
    assert worst(facts(records)).what == "ben takes no part: no such layer"


# ---- pauses ---------------------------------------------------------------------------------------------------------

PAUSED: list[Record] = [*OPENED, GONE, RunPaused("train round 1: 1 of at least 2 replies; ben: gone")]
"""In second 1006."""


def test_a_pause_is_said_with_its_reason_and_what_ends_it() -> None:
    away: dict[str, QueueCount | None] = {"ann": LED, "ben": QueueCount(0, 0)}
    diagnosis = look(facts(PAUSED, of=spec(patience=600), clients=away), now=1066.0)
    pause, gone = (finding for finding in diagnosis.findings if finding.todo)

    assert diagnosis.state == "paused: train round 1: 1 of at least 2 replies; ben: gone"
    assert diagnosis.waits_s == 60.0
    assert diagnosis.verdict == diagnosis.state
    assert "(1:00 ago); unless enough clients come back" in pause.what
    assert pause.what.endswith("it fails in 9:00")
    assert "`fluffle resume heart-1`" in pause.todo
    assert "`fluffle cancel heart-1`" in pause.todo
    assert gone.what == "ben is not waited for: no daemon of that name is connected"


def test_patience_begins_again_when_the_run_is_resumed_and_the_pause_does_not() -> None:
    # Given a run that is resumed in second 1106, and whose clients do not come
    view = facts(PAUSED, of=spec(patience=600)).view
    (again,) = happen([RunPaused("as before")], of=spec(patience=600))[-1:]
    resumed = view.wait.after(type(again)(1106.0, again.record, view.state))

    # Then
    assert resumed.paused_at == 1006.0
    assert resumed.lasted_s(1116.0) == 10.0


def test_a_round_that_is_committed_ends_the_pause() -> None:
    records = [*PAUSED, ClientsReturned(("ben",)), *trained(1)[1:], RoundOpened(2, Kind.TRAIN, CLIENTS)]
    diagnosis = look(facts(records), now=1012.0)
    assert diagnosis.is_well
    assert diagnosis.state == "round 2 of 4: 2 clients train"


# ---- dead letters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dead", "sentence"), [(1, "1 dead letter is of this run"), (3, "3 dead letters are of this run")]
)
def test_dead_letters_of_a_run_are_told_also_when_it_is_over(dead: int, sentence: str) -> None:
    over = [RunEnded(Status.FINISHED, "all 4 rounds done")]
    assert worst(facts(OPENED, dead=dead)).what == sentence
    assert worst(facts([*OPENED, *over], dead=dead)).what == sentence


def test_what_is_to_be_done_comes_first() -> None:
    findings = look(facts(OPENED, clients={"ann": LED, "ben": None}, dead=1)).findings
    assert [bool(finding.todo) for finding in findings] == sorted((bool(f.todo) for f in findings), reverse=True)
    assert "ben is awaited" in look(facts(OPENED, clients={"ann": LED, "ben": None}, dead=1)).verdict
