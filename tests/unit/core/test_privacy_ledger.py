"""The ledger: what it adds up to, and that no crash makes it say less than was spent."""

import hashlib
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fl.core.privacy import accounting
from fl.core.privacy.accounting import Spending, epsilon
from fl.core.privacy.ledger import END, FIRST, SUM, Entry, Ledger, epsilons
from fl.core.privacy.options import ACCOUNTANTS, Budget
from fl.errors import BudgetSpent, ConfigError

STEPS = Spending(2.0, 0.1, 20)
EVALUATED = Spending(5.0, 1.0, 1)
AMPLE = Budget(100.0, 1e-5)


def entry(round_: int = 1, *, run: str = "run-a", dataset: str = "data", paid: Spending = STEPS) -> Entry:
    return Entry(at=1e9 + round_, dataset=dataset, run=run, round_=round_, key=f"{run} {round_}", paid=paid)


def evaluation(round_: int = 1, *, paid: Spending = EVALUATED) -> Entry:
    return replace(entry(round_, paid=paid), key=f"evaluation {round_}", purpose="evaluation")


def cost(*spendings: Spending, budget: Budget = AMPLE) -> float:
    return epsilon(spendings, delta=budget.delta, accountant=budget.accountant)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "site" / "ledger")


def spent(ledger: Ledger) -> float:
    paid = [line.entry.paid for line in ledger.lines() if line.entry.dataset == "data"]
    return epsilon(paid, delta=AMPLE.delta, accountant=AMPLE.accountant)


def test_a_ledger_without_a_file_has_spent_nothing(ledger: Ledger) -> None:
    assert ledger.lines() == []
    assert spent(ledger) == 0.0


def test_what_was_spent_is_there_for_whoever_reads_the_file_next(ledger: Ledger) -> None:
    lines = [ledger.spend(entry(1), budget=AMPLE), ledger.spend(entry(2), budget=Budget(90.0, 1e-6, "gdp"))]

    assert Ledger(ledger.path).lines() == lines
    assert [line.entry for line in lines] == [entry(1), entry(2)]
    assert (lines[1].delta, lines[1].accountant) == (1e-6, "gdp")


def test_spendings_of_all_runs_on_a_dataset_are_composed_and_not_added(ledger: Ledger) -> None:
    other = Spending(1.0, 0.05, 7)
    lines = [ledger.spend(entry(1), budget=AMPLE), ledger.spend(entry(1, run="run-b", paid=other), budget=AMPLE)]

    assert epsilons(lines) == [cost(STEPS), cost(STEPS, other)]
    assert cost(STEPS, other) < cost(STEPS) + cost(other)


def test_a_dataset_has_an_account_of_its_own(ledger: Ledger) -> None:
    lines = [ledger.spend(entry(n, dataset=name), budget=AMPLE) for n, name in enumerate(["other", "data", "other"])]

    assert epsilons(lines) == [cost(STEPS), cost(STEPS), cost(STEPS, STEPS)]


def test_the_same_key_costs_nothing_again(ledger: Ledger) -> None:
    once = ledger.spend(entry(1), budget=AMPLE)
    size = ledger.path.stat().st_size

    assert ledger.spend(entry(1), budget=Budget(1e-3, 1e-5), cap=Budget(1e-3, 1e-5)) == once
    assert ledger.path.stat().st_size == size


def test_a_run_spends_its_budget_to_the_end_and_no_step_more(ledger: Ledger) -> None:
    # Given a budget of what three rounds cost
    budget = Budget(cost(STEPS, STEPS, STEPS), AMPLE.delta)
    for round_ in (1, 2, 3):
        ledger.spend(entry(round_), budget=budget)

    # When one step more is asked for, then it is refused with both figures, and not written
    step = Spending(2.0, 0.1, 1)
    with pytest.raises(BudgetSpent, match=r"run 'run-a' would have spent epsilon=.* and its budget is") as refused:
        ledger.spend(entry(4, paid=step), budget=budget)
    assert refused.value.limit == budget.epsilon
    assert refused.value.epsilon == cost(STEPS, STEPS, STEPS, step) > budget.epsilon
    assert len(ledger.lines()) == 3


def test_the_site_caps_what_all_runs_spend_on_a_dataset(ledger: Ledger) -> None:
    # Given a cap that one run has nearly used up, by another accountant and delta than the runs'
    cap = Budget(cost(STEPS, STEPS, budget=Budget(1, 1e-6, "prv")) - 1e-6, 1e-6, "prv")
    ledger.spend(entry(1), budget=AMPLE, cap=cap)

    # When another run comes, then it is refused, though its own budget is untouched
    with pytest.raises(BudgetSpent, match=r"all runs on dataset data would have spent .* this site's cap is"):
        ledger.spend(entry(1, run="run-b"), budget=AMPLE, cap=cap)
    # And it may go on with other data
    ledger.spend(entry(1, run="run-b", dataset="other"), budget=AMPLE, cap=cap)


def test_evaluations_are_beside_the_budget_of_a_runs_steps(ledger: Ledger) -> None:
    # Given a budget of what two rounds cost, and an evaluation that is paid by the cap
    budget = Budget(cost(STEPS, STEPS), AMPLE.delta)
    first = ledger.spend(evaluation(), budget=AMPLE, cap=AMPLE)
    # When the run spends its budget, then it may do so to the end, and all of it is counted together
    for round_ in (1, 2):
        ledger.spend(entry(round_), budget=budget, cap=AMPLE)
    lines = Ledger(ledger.path).lines()
    assert lines[0] == first
    assert epsilons(lines)[-1] == cost(EVALUATED, STEPS, STEPS) > budget.epsilon


def test_an_evaluation_leaves_what_is_reserved(ledger: Ledger) -> None:
    # Given a cap that would do for two evaluations, or for one and the steps that are planned
    cap = Budget(cost(EVALUATED, STEPS), AMPLE.delta)
    assert cost(EVALUATED, EVALUATED) < cap.epsilon
    ledger.spend(evaluation(1), budget=cap, cap=cap, reserved=[STEPS])
    # When there is to be another
    with pytest.raises(
        BudgetSpent, match=r"with the evaluation of round 2, and the steps that are planned, .* would .*it is not done"
    ):
        ledger.spend(evaluation(2), budget=cap, cap=cap, reserved=[STEPS])
    # Then the steps can be done
    ledger.spend(entry(2), budget=cap, cap=cap)


def test_lines_of_a_ledger_that_knew_no_evaluations_are_of_training(ledger: Ledger) -> None:
    line = ledger.spend(entry(), budget=AMPLE)
    body = ledger.path.read_bytes().partition(SUM)[0].replace(b'"purpose":"training",', b"")
    checksum = hashlib.sha256(FIRST + body).hexdigest().encode()
    ledger.path.write_bytes(body + SUM + checksum + END + b"\n")

    assert Ledger(ledger.path).lines() == [line]


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_rounds_of_a_run_that_keeps_to_its_plan_cost_no_accounting(ledger: Ledger, accountant: str) -> None:
    # Given two runs of the same plan under a cap, and what these come to
    planned = Spending(1.9, 0.1, 60)
    budget = Budget(cost(planned, budget=Budget(1, 1e-5, accountant)), 1e-5, accountant)
    cap = Budget(cost(planned, planned, budget=Budget(1, 1e-6, accountant)), 1e-6, accountant)
    paid = Spending(1.9, 0.1, 20)
    for run in ("run-a", "run-b"):
        ledger.spend(entry(1, run=run, paid=paid), budget=budget, cap=cap, planned=planned)
        asked = accounting._epsilon.cache_info().misses

        # When the other rounds of the run are paid for
        for round_ in (2, 3):
            ledger.spend(entry(round_, run=run, paid=paid), budget=budget, cap=cap, planned=planned)

        # Then nothing has been computed
        assert accounting._epsilon.cache_info().misses == asked
    assert len(ledger.lines()) == 6


def test_a_plan_within_the_budget_does_not_pay_for_what_was_not_planned(ledger: Ledger) -> None:
    # Given a run that has done one round more than it has planned
    planned = Spending(2.0, 0.1, 60)
    budget = Budget(cost(planned), AMPLE.delta)
    for round_ in (1, 2, 22):
        ledger.spend(entry(round_), budget=budget, planned=planned)

    # When the last round comes, then it is more than the budget
    with pytest.raises(BudgetSpent, match="run 'run-a' would have spent"):
        ledger.spend(entry(3), budget=budget, planned=planned)
    # And steps of another kind are not within it either
    with pytest.raises(BudgetSpent, match="run 'run-a' would have spent"):
        ledger.spend(entry(3, paid=Spending(1.0, 0.1, 1)), budget=budget, planned=planned)


def test_what_others_spend_in_the_meantime_counts_for_the_cap(ledger: Ledger) -> None:
    # Given a cap that has room for a run's plan and nothing else
    planned = Spending(2.0, 0.1, 60)
    cap = Budget(cost(planned), AMPLE.delta)
    ledger.spend(entry(1), budget=AMPLE, cap=cap, planned=planned)

    # When another run spends what two of the rounds cost, then there is room for no more
    ledger.spend(entry(1, run="run-b", paid=Spending(2.0, 0.1, 40)), budget=AMPLE, cap=cap)
    with pytest.raises(BudgetSpent, match="all runs on dataset data would have spent"):
        ledger.spend(entry(2), budget=AMPLE, cap=cap, planned=planned)


def test_the_file_is_for_no_other_eyes(ledger: Ledger) -> None:
    ledger.spend(entry(1), budget=AMPLE)

    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_a_file_cut_off_anywhere_keeps_every_whole_line_and_goes_on(ledger: Ledger) -> None:
    # Given three spendings, and where each line ends
    lines, ends = [], [0]
    for round_ in (1, 2, 3):
        lines.append(ledger.spend(entry(round_), budget=AMPLE))
        ends.append(ledger.path.stat().st_size)
    content = ledger.path.read_bytes()

    for size in range(ends[1], len(content) + 1):
        # When a crash has left any number of bytes of it
        ledger.path.write_bytes(content[:size])
        whole = sum(end <= size for end in ends[1:])

        # Then the whole lines count, and the next spending follows them
        assert Ledger(ledger.path).lines() == lines[:whole]
    for size in range(ends[2], len(content), 29):
        ledger.path.write_bytes(content[:size])
        Ledger(ledger.path).spend(entry(3), budget=AMPLE)
        assert ledger.path.read_bytes() == content


def test_any_changed_bit_of_a_whole_line_is_refused(ledger: Ledger) -> None:
    for round_ in (1, 2):
        ledger.spend(entry(round_), budget=AMPLE)
    content = ledger.path.read_bytes()

    for place in range(len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        ledger.path.write_bytes(changed)
        with pytest.raises(ConfigError, match=r"line \d is not what was written"):
            Ledger(ledger.path).lines()


@pytest.mark.parametrize("order", [[1, 0, 2], [1, 2], [0, 2], [0, 0, 1]])
def test_lines_that_are_missing_moved_or_repeated_are_refused(order: list[int], ledger: Ledger) -> None:
    for round_ in (1, 2, 3):
        ledger.spend(entry(round_), budget=AMPLE)
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join(lines[place] for place in order))

    with pytest.raises(ConfigError, match=r"line \d is not what was written, or does not follow"):
        Ledger(ledger.path).spend(entry(4), budget=AMPLE)


@pytest.mark.parametrize("change", ["cut off", "replaced", "gone"])
def test_who_has_read_lines_that_are_no_longer_there_refuses_to_go_on(change: str, ledger: Ledger) -> None:
    # Given a trainer that has paid for two rounds
    for round_ in (1, 2):
        ledger.spend(entry(round_), budget=AMPLE)
    ledger.lines()

    # When the file loses what would not be missed by whoever reads it for the first time
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(lines[0])
    if change == "replaced":
        Ledger(ledger.path).spend(entry(3), budget=AMPLE)
    if change == "gone":
        ledger.path.unlink()

    # Then that trainer neither shows it nor goes on
    with pytest.raises(ConfigError, match="it has lost lines, or has others, that were in it before"):
        ledger.lines()
    with pytest.raises(ConfigError, match="forgets what has been spent"):
        ledger.spend(entry(4), budget=AMPLE)


def test_lines_are_json_that_others_can_read(ledger: Ledger) -> None:
    ledger.spend(entry(1, run='a "run",\n'), budget=AMPLE)

    (line,) = ledger.path.read_text().splitlines()
    read = json.loads(line)
    assert (read["run"], read["steps"], read["noise_multiplier"]) == ('a "run",\n', 20, 2.0)


def spend_and_die(ledger: Ledger, trained: Path, hooks: dict[str, Callable[..., Any]]) -> None:
    """In a child: pay for round 2 and train, with functions of `os` that end the process."""
    child = os.fork()
    if child == 0:
        try:
            for name, hook in hooks.items():
                setattr(os, name, hook)
            ledger.spend(entry(2), budget=AMPLE)
            trained.touch()
        finally:
            os._exit(9)
    assert os.waitpid(child, 0)[0] == child


def dies_at_write(n_bytes: int) -> dict[str, Callable[..., Any]]:
    write = os.write

    def part(handle: int, text: bytes) -> int:
        write(handle, text[:n_bytes])
        os._exit(9)

    return {"write": part}


def writes_little(handle: int, text: bytes, _write: Callable[[int, bytes], int] = os.write) -> int:
    return _write(handle, text[:7])


def dies(*_: Any) -> None:
    os._exit(9)


KILLS: dict[str, dict[str, Callable[..., Any]]] = {
    "never": {},
    "never, in small writes": {"write": writes_little},
    "before a byte is written": dies_at_write(0),
    "after a byte": dies_at_write(1),
    "in the middle of the line": dies_at_write(150),
    "when the line is written": dies_at_write(10_000),
    "before it is flushed": {"fsync": dies},
    "when a torn line is to be removed": {"ftruncate": dies},
}
TORN = b'{"at":1000000002.0,"data'
"""What a crash left of a line."""
CRASHES = [
    (kill, torn) for kill in KILLS for torn in (b"", TORN) if torn or kill != "when a torn line is to be removed"
]


@pytest.mark.parametrize(("kill", "torn"), CRASHES)
def test_whoever_is_killed_at_any_point_of_writing_has_paid_for_what_it_trained(
    kill: str, torn: bytes, ledger: Ledger, tmp_path: Path
) -> None:
    # Given a round that was paid for, and perhaps what a crash left of another
    ledger.spend(entry(1), budget=AMPLE)
    with ledger.path.open("ab") as file:
        file.write(torn)

    # When the next one pays, and is killed there
    trained = tmp_path / "trained"
    spend_and_die(ledger, trained, KILLS[kill])

    # Then the ledger has all that was trained
    assert len(ledger.lines()) >= 1 + trained.exists()
    assert trained.exists() is kill.startswith("never")
    # And who comes after it pays once, for the same round, and then for others
    ledger.spend(entry(2), budget=AMPLE)
    ledger.spend(entry(3), budget=AMPLE)
    assert spent(ledger) == cost(STEPS, STEPS, STEPS)


def test_a_full_disk_leaves_the_ledger_as_it_was(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    line = ledger.spend(entry(1), budget=AMPLE)
    before = ledger.path.read_bytes()
    write = os.write

    def full(handle: int, text: bytes) -> int:
        write(handle, text[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        ledger.spend(entry(2), budget=AMPLE)
    assert ledger.path.read_bytes() == before
    assert ledger.lines() == [line]


def test_a_place_that_can_be_no_ledger_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Is a directory: what has been spent is written there"):
        Ledger(tmp_path).spend(entry(1), budget=AMPLE)


def test_trainers_that_spend_at_the_same_time_all_pay(ledger: Ledger) -> None:
    # Given processes and threads of one site
    def spend(runs: list[str]) -> None:
        for run in runs:
            for round_ in range(1, 6):
                ledger.spend(entry(round_, run=run), budget=AMPLE)

    cost(STEPS)
    children = []
    for name in ("p", "q", "r"):
        children.append(os.fork())
        if children[-1] == 0:
            spend([name])
            os._exit(0)
    threads = [threading.Thread(target=spend, args=[[name]]) for name in ("s", "t")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]

    # Then each of their rounds is there
    lines = ledger.lines()
    assert len({line.entry.key for line in lines}) == len(lines) == 25
