"""What a person sees of a run, in a terminal and in a log."""

import io
import re

import pytest
from rich.console import Console

from fl.cli.progress import Progress
from fl.cli.times import duration, moment
from fl.run.events import (
    ClientsAdmitted,
    ClientsReady,
    Kind,
    LeaderStarted,
    Note,
    Record,
    RoundOpened,
    RunEnded,
    Status,
)
from fl.run.terms import Terms
from tests.unit.cli.happenings import CLIENTS, INFO, beginning, evaluated, happen, rounds, spec, trained
from tests.unit.cli.screens import log_of, screen

FINISHED = RunEnded(Status.FINISHED, "all 4 rounds done", best_round=3)
BRAILLE = re.compile(r"[\u2801-\u28ff]")


# ---- where it stands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "waiting for a worker to lead it"),
        (beginning()[:1], "waiting for 2 clients"),
        (beginning()[:2], "making the first weights"),
        (beginning()[:3], "2 clients build the model"),
        ([*beginning(), RoundOpened(1, Kind.TRAIN, CLIENTS)], "round 1 of 4: 2 clients train"),
        ([*beginning(), *trained(1), RoundOpened(1, Kind.EVALUATE, CLIENTS)], "round 1 of 4: 2 clients evaluate"),
        ([*beginning(), *rounds([0.5]), FINISHED], "finished: all 4 rounds done; the best round is 3"),
        ([*beginning(), RunEnded(Status.FAILED, "nobody is left")], "failed: nobody is left"),
    ],
)
def test_the_headline_says_what_the_run_is_doing(records: list[Record], said: str) -> None:
    assert screen(records).splitlines()[0] == f"heart-1  {said}"


@pytest.mark.parametrize(
    ("register", "awaited"),
    [
        (1, "1 client"),
        ({"min_clients": 2, "max_clients": 5}, "2 to 5 clients"),
        ({"min_clients": 2}, "at least 2 clients"),
        ({"min_clients": 1}, "at least 1 client"),
    ],
)
def test_who_is_waited_for_is_said_as_the_spec_asks(register: object, awaited: str) -> None:
    assert screen(beginning()[:1], of=spec(register=register)).splitlines()[0].endswith(f"waiting for {awaited}")


def test_the_bar_counts_training_rounds() -> None:
    assert "2/4" in screen([*beginning(), *rounds([0.5, 0.4]), RoundOpened(3, Kind.TRAIN, CLIENTS)])


def test_clients_that_take_part_are_named() -> None:
    assert "2 clients: ann, ben" in screen(beginning())


# ---- time -----------------------------------------------------------------------------------------------------------


def test_elapsed_time_begins_with_the_first_leader() -> None:
    assert "  1:05" in screen(beginning()[:1], now=1065.0)


def test_elapsed_time_stops_with_the_run() -> None:
    # Given a run that ended 4 seconds after it began
    records = [*beginning(), FINISHED]

    # Then it took that long, whenever one looks
    assert screen(records, now=1004.0) == screen(records, now=9999.0)
    assert "  0:04" in screen(records, now=9999.0)


def test_time_left_is_guessed_from_the_rounds_so_far() -> None:
    # Given 2 of 10 rounds, from second 1004 to the last training at 1009, which is 2.5 s a round
    records = [*beginning(), *rounds([0.5, 0.4])]

    # When it is second 1011
    text = screen(records, of=spec(10), now=1011.0)

    # Then 8 rounds of 2.5 s are left, less the 2 s that have gone by
    assert "about 0:18 left" in text


@pytest.mark.parametrize("at", [1e300, -1e300, float("nan"), float("inf")])
def test_a_time_that_somebody_made_up_is_no_error(at: float) -> None:
    assert moment(at) == "at no time"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00"), (59.9, "0:59"), (61.0, "1:01"), (3600.0, "1:00:00"), (36_061.0, "10:01:01")]
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# ---- numbers --------------------------------------------------------------------------------------------------------


def test_the_last_loss_and_metric_stand_beside_those_of_the_best_round() -> None:
    # Given a second round that was better than the third
    text = screen([*beginning(), *rounds([0.5, 0.25, 0.375])], width=40)

    # Then
    assert re.search(r"round 3 +best: 2", text)
    assert re.search(r"loss +0\.3750 +0\.2500", text)
    assert re.search(r"accuracy +0\.6250 +0\.7500", text)


def test_numbers_of_samples_and_matrices_are_not_shown_as_metrics() -> None:
    # Given
    records = [*beginning(), *trained(1), *evaluated(1, 0.5, accuracy=0.9, binary__n=50.0)]

    # Then
    assert "accuracy" in screen(records)
    assert "binary/n" not in screen(records)
    assert "confusion" not in screen(records)


def test_a_round_without_a_loss_is_shown_and_not_drawn() -> None:
    # Given an evaluation in which nobody told a loss, between two in which they did
    text = screen([*beginning(), *rounds([0.5]), *evaluated(2, None, accuracy=0.5), *rounds([0.4])[2:]])

    # Then
    assert BRAILLE.search(text)
    assert "nan" in screen([*beginning(), *trained(1), *evaluated(1, None)])


def test_the_curve_of_the_loss_is_drawn_between_its_highest_and_its_lowest() -> None:
    text = screen([*beginning(), *rounds([0.75, 0.5, 0.25])])
    assert re.search(r"0\.750 │" + BRAILLE.pattern, text)
    assert re.search(r"0\.250 │.+" + BRAILLE.pattern, text)


def test_a_terminal_without_unicode_gets_no_curve() -> None:
    text = screen([*beginning(), *rounds([0.75, 0.5, 0.25])], encoding="ascii")
    assert text.isascii()
    assert "0.2500" in text


@pytest.mark.parametrize("width", [30, 50, 80, 200])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    # Given a run with long names and reasons
    refused = (Note("carla" * 5, "its data have 17 features and those of the others 16, " * 2),)
    records = [*beginning(refused=refused), *rounds([0.75, 0.5, 0.25])]

    # Then
    assert max(len(line) for line in screen(records, width=width).splitlines()) <= width


# ---- private runs ---------------------------------------------------------------------------------------------------

PRIVATE_SPEC = spec(privacy={"budget": (8.0, 1e-5), "sclip_norm": 1.0})
PRIVATE = [
    *beginning()[:3],
    ClientsReady(
        ("ann", "ben"),
        terms=(("ann", Terms(1.234, 30, 0.0, ("losses", "metrics"))), ("ben", Terms(2.5, 30, 0.75, metric_noise=4.0))),
    ),
]


def test_a_private_run_says_how_every_site_trains_and_what_leaves_it_all_the_same() -> None:
    said = "\n".join(log_of(PRIVATE, of=PRIVATE_SPEC))

    assert "ann trains privately: noise multiplier 1.23 for 30 steps; without noise leave: losses; metrics" in said
    assert "ben trains privately: noise multiplier 2.5 for 30 steps and 4 for each evaluation, epsilon 0.75 " in said
    assert "epsilon 0.75 spent by earlier runs" in said


def test_the_screen_of_a_private_run_says_what_it_keeps_to() -> None:
    shown = screen(PRIVATE, of=PRIVATE_SPEC)

    assert "private: each sample within epsilon 8 at delta 1e-05, noise multipliers 1.23 to 2.5" in shown


# ---- what went wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "warning"),
    [
        (
            [*beginning(refused=(Note("carl", "its classes differ"),))],
            "carl was refused: its classes differ",
        ),
        (
            [*beginning()[:3], ClientsReady(("ann",), (Note("ben", "no such model"),))],
            "ben cannot take part: no such model",
        ),
        (
            [*beginning(), *trained(1, dropped=(Note("ben", "no answer in time"),))],
            "ben was left out of round 1: no answer in time",
        ),
        (
            [*beginning()[:3], ClientsReady(("ann",), terms=(("ann", Terms(1.5, 30, 0.0, (), ("delta is large",))),))],
            "ann: delta is large",
        ),
        ([*beginning(), LeaderStarted("2", "worker-2", 1)], "worker-2 took over from worker-1"),
        ([*beginning(), LeaderStarted("2", "worker-1", 1)], "worker-1 leads again"),
        ([*beginning(), *trained(1, note="no client took a step")], "round 1: no client took a step"),
    ],
)
def test_trouble_stays_on_the_screen_until_the_end(trouble: list[Record], warning: str) -> None:
    # When the run goes on for two rounds, and ends
    later = [*trouble, *rounds([0.5, 0.4]), FINISHED]

    # Then
    assert f"! {warning}" in screen(trouble)
    assert f"! {warning}" in screen(later)


def test_a_client_that_is_left_out_again_and_again_is_one_warning() -> None:
    # Given
    gone = (Note("ben", "nobody is connected"),)
    records = [*beginning(), *trained(1, dropped=gone), *trained(2, dropped=gone), *trained(3, dropped=gone)]

    # Then
    assert screen(records).count("!") == 1
    assert "! ben was left out of 3 rounds, the last was 3: nobody is connected" in screen(records)


def test_of_many_warnings_the_latest_are_shown_and_the_others_counted() -> None:
    # Given nine refusals
    refused = tuple(Note(f"site-{number}", "no") for number in range(9))
    text = screen(beginning(refused=refused))

    # Then
    assert "and 3 more before these" in text
    assert "site-2" not in text
    assert "site-3" in text


# ---- in a log -------------------------------------------------------------------------------------------------------


def test_a_log_gets_a_line_for_each_round() -> None:
    records = [*beginning(), *rounds([0.5, 0.25]), FINISHED]
    assert log_of(records) == [
        "heart-1: joined: ann, ben",
        "heart-1: round 1 of 4: loss 0.5000, accuracy 0.5000",
        "heart-1: round 2 of 4: loss 0.2500, accuracy 0.7500",
        "heart-1: finished: all 4 rounds done; the best round is 3",
    ]


def test_a_round_that_is_not_evaluated_gets_its_line_too() -> None:
    # Given an evaluation every other round
    records = [*beginning(), *trained(1), *trained(2), *evaluated(2, 0.5)]

    # Then
    assert log_of(records, of=spec(evaluate={"frequency": 2}))[1:] == [
        "heart-1: round 1 of 4: trained by 2",
        "heart-1: round 2 of 4: loss 0.5000",
    ]


def test_a_log_tells_each_warning_when_it_happens_and_once() -> None:
    # Given
    records = [*beginning(), *trained(1, dropped=(Note("ben", "[no answer] in time"),)), *rounds([0.5, 0.4])[2:]]

    # Then
    assert [line for line in log_of(records) if "warning" in line] == [
        "heart-1: warning: ben was left out of round 1: [no answer] in time"
    ]


def test_a_late_joiner_is_told_of_in_a_log() -> None:
    assert "heart-1: joined: carla" in log_of([*beginning(), ClientsAdmitted((("carla", INFO),))])


def test_a_long_line_of_a_log_is_not_broken() -> None:
    refused = (Note("carl", "because " * 40),)
    assert len(log_of(beginning(refused=refused))) == 2


# ---- in a terminal --------------------------------------------------------------------------------------------------


def test_the_end_stays_on_the_terminal() -> None:
    # Given a terminal
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)

    # When
    with Progress("heart-1", spec(), console=console, clock=lambda: 1010.0) as progress:
        for happened in happen([*beginning(), *rounds([0.5]), FINISHED]):
            progress.on_event(happened)

    # Then
    assert isinstance(console.file, io.StringIO)
    assert "finished: all 4 rounds done" in console.file.getvalue()


def test_the_terminal_is_given_back_when_the_watcher_is_interrupted() -> None:
    # Given
    console = Console(file=io.StringIO(), width=80, force_terminal=True)

    # When
    with pytest.raises(KeyboardInterrupt), Progress("heart-1", spec(), console=console):
        raise KeyboardInterrupt

    # Then the cursor is shown again
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().rindex("\x1b[?25h") > console.file.getvalue().rindex("\x1b[?25l")
