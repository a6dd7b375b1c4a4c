"""`fluffle plan-privacy` and `fluffle ledger`."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner, Result

from fl.cli.ledger import COLUMNS, ledger_figure
from fl.cli.main import app
from fl.client.state import StateDirectory
from fl.core.privacy.accounting import Spending, epsilon
from fl.core.privacy.ledger import NAME, Entry, Ledger, Line, epsilons
from fl.core.privacy.options import Budget
from fl.errors import ConfigError

STEPS = Spending(2.0, 0.1, 20)
BUDGET = Budget(100.0, 1e-5)


@pytest.fixture
def spent(tmp_path: Path) -> list[Line]:
    ledger = Ledger(tmp_path / NAME)
    what = [("heart", "a" * 64, 1), ("heart", "a" * 64, 2), ("lungs\x1b[2J", "b" * 64, 1)]
    entries = [
        Entry(at=1e9, dataset=data, run=run, round_=round_, key=f"{run} {round_}", paid=STEPS)
        for run, data, round_ in what
    ]
    return [ledger.spend(entry, budget=BUDGET) for entry in entries]


def fluffle(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})


def plan(**changes: object) -> Result:
    options = {"samples": 2000, "batch-size": 100, "rounds": 20, "epsilon": 8, "parameters": 400} | changes
    return fluffle("plan-privacy", *(part for name, value in options.items() for part in (f"--{name}", value)))


def figures(result: Result) -> dict[str, float]:
    rows = [line for line in result.stdout.splitlines() if line[:1] not in {"!", ""}]
    return {line[:17].strip(): float(line[17:].split()[0]) for line in rows}


def test_a_plan_says_the_noise_the_steps_and_what_is_left_of_the_signal() -> None:
    shown = figures(plan())

    assert (shown["sampling rate"], shown["steps"]) == (0.05, 400)
    sigma = shown["noise multiplier"]
    assert epsilon([Spending(sigma, 0.05, 400)], delta=1e-5, accountant="rdp") == pytest.approx(8, rel=0.01)
    assert shown["noise on the mean"] == pytest.approx(sigma / 100, rel=1e-3)
    assert shown["signal to noise"] == pytest.approx(100 / (sigma * 20), rel=1e-2)
    assert shown["over all steps"] == pytest.approx(20 * 100 / (sigma * 20), rel=1e-2)


def test_a_plan_counts_the_steps_of_the_first_limit() -> None:
    assert figures(plan(steps=7))["steps"] == 140
    assert figures(plan(steps=50, epochs=2))["steps"] == 800


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"delta": 0.001}, "delta=0.001 is no less than 1/2000"),
        ({"batch-size": 4000}, "batches of 4000 are larger than the data"),
        ({"accountant": "gdp"}, "gdp is an approximation that may say too little"),
        ({"parameters": 10**8}, "there is more noise than signal even in all steps together"),
    ],
)
def test_a_plan_says_what_is_wrong_with_it(options: dict[str, object], advice: str) -> None:
    assert f"! {advice}" in plan(**options).stdout
    assert "!" not in plan().stdout


def test_a_budget_that_is_none_is_refused_in_words() -> None:
    assert "epsilon is -1.0: use a number above 0" in str(plan(epsilon=-1).exception)


def test_the_ledger_is_shown_with_a_line_for_each_round(spent: list[Line], tmp_path: Path) -> None:
    shown = fluffle("ledger", tmp_path).stdout.splitlines()

    assert len(shown) == 5
    for line, one, text in zip(spent, epsilons(spent), shown[1:4], strict=True):
        assert text.endswith(f" {one:.4g}")
        assert line.entry.dataset[:8] in text
    assert shown[4] == "epsilon of all that was spent on a dataset, at delta=1e-05, by rdp"
    assert "\x1b" not in "".join(shown)


def test_an_evaluation_is_shown_as_one(tmp_path: Path) -> None:
    paid = Entry(
        at=1e9, dataset="c" * 64, run="lungs", round_=7, key="it", paid=Spending(2.0, 1.0, 1), purpose="evaluation"
    )
    Ledger(tmp_path / NAME).spend(paid, budget=BUDGET)

    shown = fluffle("ledger", tmp_path, "--csv", tmp_path / "out.csv").stdout.splitlines()

    assert shown[1].split()[3:-1] == ["lungs", "7", "eval", "2", "1"]
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["purpose"] for row in csv.DictReader(file)] == ["evaluation"]


def test_epsilons_that_are_at_different_deltas_say_at_which(spent: list[Line], tmp_path: Path) -> None:
    other = Entry(at=1e9, dataset="c" * 64, run="lungs", round_=1, key="other", paid=STEPS)
    Ledger(tmp_path / NAME).spend(other, budget=Budget(100.0, 1e-6))

    shown = fluffle("ledger", tmp_path).stdout.splitlines()

    assert len(shown) == 5
    first, last = (epsilon([STEPS], delta=delta, accountant="rdp") for delta in (1e-5, 1e-6))
    assert shown[4].endswith(f"{last:.4g} at delta=1e-06 by rdp")
    assert f"{first:.4g} at delta=1e-05 by rdp" in shown[1]


def test_the_ledger_as_csv_has_all_that_a_line_has(spent: list[Line], tmp_path: Path) -> None:
    assert fluffle("ledger", tmp_path / NAME, "--csv", tmp_path / "out.csv").exit_code == 0

    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [float(row["epsilon"]) for row in rows] == epsilons(spent)
    assert [row["run"] for row in rows] == [line.entry.run for line in spent]


def test_the_ledger_is_drawn_with_a_curve_for_each_dataset(spent: list[Line], tmp_path: Path) -> None:
    curves = ledger_figure(spent, epsilons(spent)).axes[0].get_lines()
    assert [list(np.asarray(curve.get_xdata())) for curve in curves] == [[20, 40], [20]]
    np.testing.assert_array_equal(np.asarray(curves[0].get_ydata()), epsilons(spent[:2]))

    assert fluffle("ledger", tmp_path, "--plot", tmp_path / "out.png").exit_code == 0
    assert imread(tmp_path / "out.png").size > 10_000


def test_the_ledger_is_looked_for_where_a_daemon_keeps_it(tmp_path: Path) -> None:
    assert StateDirectory(tmp_path).ledger == tmp_path / NAME


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_a_place_without_a_ledger_is_refused_in_words(name: str, tmp_path: Path) -> None:
    error = fluffle("ledger", tmp_path / name).exception

    assert isinstance(error, ConfigError)
    assert "nothing has been spent; name the state directory" in str(error)


@pytest.mark.usefixtures("spent")
def test_showing_the_ledger_imports_no_framework(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from fl.cli.ledger import show_ledger\n"
        "show_ledger(Path(sys.argv[1]), csv_file=None, plot=None)\n"
        "print('heavy' if {'torch', 'opacus', 'pandas'} & set(sys.modules) else 'light')"
    )

    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "light"
