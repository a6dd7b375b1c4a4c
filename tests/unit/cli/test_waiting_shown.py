"""A run that waits says for whom, since when, and what would end it."""

from fl.cli.times import moment
from fl.run.events import (
    Cause,
    ClientsAdmitted,
    ClientsOut,
    ClientsReturned,
    Kind,
    Note,
    Record,
    RoundOpened,
    RunPaused,
    StillWaiting,
)
from tests.unit.cli.happenings import CLIENTS, INFO, beginning, rounds, spec, trained
from tests.unit.cli.screens import log_of, screen

OPENED = [*beginning(), RoundOpened(1, Kind.TRAIN, CLIENTS)]
GONE = ClientsOut((Note("ben", "gone", Cause.GONE),))
PAUSED: list[Record] = [*OPENED, GONE, RunPaused("train round 1: 1 of at least 2 replies")]
"""In second 1006."""


def test_what_takes_long_is_said_with_those_it_takes_long_for() -> None:
    # Given a leader that says in second 1005 that it has waited for 40 s
    records = [*OPENED, StillWaiting(40.0, ("ann",), ("ben",))]

    # Then half a minute later it is more
    assert screen(records, now=1035.0).splitlines()[1] == "waiting for ben for 1:10 (answered: 1)"
    assert "waiting" not in screen(OPENED, now=1035.0)


def test_who_has_joined_is_said_when_registration_takes_long() -> None:
    records = [*beginning()[:1], StillWaiting(40.0, ("ann",))]
    assert screen(records, now=1001.0).splitlines()[1] == "waiting for clients for 0:40 (joined: ann)"


def test_of_many_that_are_awaited_the_first_are_named() -> None:
    # Given eight clients
    names = tuple(f"site-{number}" for number in range(8))
    admitted = ClientsAdmitted(tuple((name, INFO) for name in names))
    records = [beginning()[0], admitted, *beginning()[2:3], StillWaiting(5.0)]

    # Then
    assert "waiting for site-0, site-1, site-2, site-3, site-4, site-5 and 2 more for" in screen(records)


def test_a_client_that_is_not_waited_for_any_more_is_named() -> None:
    assert "ben is not waited for: gone" in screen([*OPENED, GONE])
    assert "not waited for" not in screen([*OPENED, GONE, *trained(1)[1:]])


def test_a_pause_is_said_with_its_reason_its_age_and_what_ends_it() -> None:
    # When the run has been paused for a minute of its ten
    headline, second = screen(PAUSED, of=spec(patience=600), now=1066.0, width=300).splitlines()[:2]

    # Then
    assert headline == "heart-1  paused: train round 1: 1 of at least 2 replies"
    assert f"since {moment(1006.0)}" in second
    assert "fails in 9:00" in second
    assert "`fluffle resume heart-1`" in second
    assert "`fluffle cancel heart-1`" in second


def test_the_next_commit_ends_the_pause() -> None:
    assert "paused" not in screen([*PAUSED, *trained(1)[1:]])


def test_no_time_is_guessed_in_a_pause() -> None:
    # Given two rounds from which one could guess, and a pause
    records = [*beginning(), *rounds([0.5, 0.4]), RunPaused("1 of at least 2 clients can take part")]
    assert "left" not in screen(records, of=spec(10), now=1011.0)


def test_a_client_that_is_set_aside_is_named_for_as_long_as_it_is() -> None:
    # Given
    failed = trained(1, dropped=(Note("ben", "out of memory"),))
    of = spec(set_aside_after=1, register=1)

    # Then
    warning = "! ben is set aside after 1 failed rounds: out of memory"
    assert warning in screen([*beginning(), *failed], of=of)
    assert warning not in screen([*beginning(), *failed, ClientsReturned(("ben",))], of=of)


def test_a_log_tells_of_a_pause_and_of_its_end() -> None:
    # Given a run that waits, pauses, is resumed, and gets its client back
    waiting = StillWaiting(5.0, ("ann",), ("ben",))
    again: list[Record] = [RunPaused("too few"), ClientsReturned(("ben",))]
    told = log_of([*OPENED, waiting, GONE, RunPaused("too few"), StillWaiting(9.0, ("ann",)), *again])

    # Then
    assert [line.removeprefix("heart-1: ").partition(";")[0] for line in told[1:]] == [
        "waiting for ben for 0:05 (answered: 1)",
        "ben is not waited for: gone",
        "paused: too few",
        f"since {moment(1007.0)}",
        "those are asked again that the run waits for",
        "back: ben",
    ]
