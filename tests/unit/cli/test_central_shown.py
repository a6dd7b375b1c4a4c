"""What people see of a centrally private run: what it has cost, counted from its log alone."""

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from opacus.accountants import RDPAccountant

from fl.cli.central_shown import central_privacy, epsilon_so_far
from fl.cli.frame import lines
from fl.cli.runs import _table
from fl.cli.view import View
from fl.core.privacy import accounting
from fl.run.events import LeaderStarted, Record, RoundClosed, RoundCommitted, RunEnded, Status
from fl.run.releases import planned
from fl.run.spec import RunSpec
from fl.submit.history import History
from tests.unit.cli.happenings import CLIENTS, WEIGHTS, beginning, happen, spec, trained

NOISE = {"clip_norm": 2.0, "noise_multiplier": 1.5, "delta": 1e-3}
TAKES_OVER = LeaderStarted("2", "worker-2", 1)


def central(settings: dict[str, Any] = NOISE) -> RunSpec:
    return planned(spec(sampling=0.5, evaluate=False, central_privacy=settings))


def closed(round_: int, *between: Record) -> list[Record]:
    """A training round, and what happens between its closing and its commit."""
    opened, committed = trained(round_)
    return [opened, RoundClosed(round_, CLIENTS), *between, committed]


def seen(records: list[Record], of: RunSpec) -> View:
    view = View.before("heart-1", of)
    for one in happen([*beginning(), *records], of=of):
        view = view.after(one)
    return view


def opacus(sums: int) -> str:
    accountant = RDPAccountant()
    accountant.history = [(1.5, 0.5, sums)]
    return f"{accountant.get_epsilon(1e-3):.3g}"


def test_epsilon_so_far_is_that_of_the_sums_in_the_log() -> None:
    view = seen([*closed(1), *closed(2)], central())

    assert central_privacy(view) == (
        f"each client: epsilon {opacus(2)} at delta 0.001, after 2 noised sums with noise multiplier 1.5; clip norm 2"
    )


def test_a_sum_that_another_leader_may_have_made_again_counts_once_more() -> None:
    view = seen(closed(1, TAKES_OVER), central())

    assert f"epsilon {opacus(2)} at delta" in central_privacy(view)


def test_before_the_first_round_nothing_is_spent() -> None:
    assert central_privacy(seen([], central())).startswith("each client: epsilon 0 at delta 0.001, after 0 noised sums")


def test_a_budget_is_shown_beside_what_is_spent_of_it() -> None:
    view = seen(closed(1), central({"clip_norm": 2.0, "budget": (8.0, 1e-3)}))

    assert " of 8 at delta 0.001, after 1 noised sum with" in central_privacy(view)


def test_the_clip_norm_is_that_of_the_next_round() -> None:
    # Given
    opened, settled, committed = closed(1)
    assert isinstance(committed, RoundCommitted)
    # When
    view = seen([opened, settled, replace(committed, clip_norm=0.125)], central({**NOISE, "adaptive": True}))
    # Then
    assert central_privacy(view).endswith("clip norm 0.125")


@pytest.fixture
def without_opacus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Python's way to say that there is no such module, and nothing of it in memory."""
    for known in (accounting._arithmetic, accounting._step_rdp, accounting._epsilon):
        known.cache_clear()
    monkeypatch.setitem(sys.modules, "opacus", None)
    yield
    accounting._arithmetic.cache_clear()


@pytest.mark.usefixtures("without_opacus")
def test_whoever_lacks_an_accountant_is_told_what_to_install() -> None:
    said = central_privacy(seen(closed(1), central()))

    assert "epsilon not known here" in said
    assert "install fluffle[dp]" in said


def test_a_run_without_central_privacy_says_nothing_of_it() -> None:
    view = seen(trained(1), spec())

    assert (central_privacy(view), epsilon_so_far(view.state)) == ("", "")


# ---- as a figure -----------------------------------------------------------------------------------------------------


def history(records: list[Record], of: RunSpec) -> History:
    found = History()
    for happened in happen([*beginning(), *records], of=of):
        found.add(happened)
    return found


def test_the_history_has_epsilon_so_far_with_each_round() -> None:
    rows = history([*closed(1), *closed(2, TAKES_OVER)], central()).table()

    assert [f"{row['epsilon']:.3g}" for row in rows] == [opacus(1), opacus(3)]


def test_the_history_of_a_run_without_central_privacy_has_no_epsilon() -> None:
    (row,) = history(trained(1), spec()).table()

    assert "epsilon" not in row


def test_the_list_of_runs_has_epsilon_so_far() -> None:
    assert epsilon_so_far(seen([*closed(1), *closed(2)], central()).state) == opacus(2)


@pytest.mark.parametrize(("epsilon", "has_a_column"), [("1.25", True), ("", False)])
def test_the_list_of_runs_has_a_column_for_it_where_a_run_has_one(epsilon: str, has_a_column: bool) -> None:
    table = _table([{"run": "heart-1", "state": "running"}, {"run": "heart-2", "state": "running", "epsilon": epsilon}])

    assert ("epsilon" in [column.header for column in table.columns]) == has_a_column
    assert table.row_count == 2


@pytest.mark.usefixtures("without_opacus")
def test_whoever_lacks_an_accountant_has_all_but_epsilon() -> None:
    view, (row,) = seen(closed(1), central()), history(closed(1), central()).table()

    assert epsilon_so_far(view.state) == "?"
    assert math.isnan(row.pop("epsilon"))
    assert row == {"round": 1, "clients": 2, "dropped": 0, "steps": 10, "samples": 100}


def test_the_end_of_a_run_says_what_it_has_cost() -> None:
    # Given
    before = seen(closed(1), central())
    end = RunEnded(Status.FINISHED, "all rounds done", 1, WEIGHTS)
    # When
    after = seen([*closed(1), end], central())
    # Then
    assert lines(before, end, after)[-1] == f"heart-1: {central_privacy(after)}"
