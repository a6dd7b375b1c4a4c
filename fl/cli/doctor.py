"""`fluffle doctor`: what keeps runs from going on, from the broker alone."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from broker.blocking import BlockingBroker
from broker.errors import AccessRefused, Retryable
from broker.redact import redact
from fl.cli.diagnosis import Diagnosis, Finding, diagnose
from fl.cli.examine import dead_by_run, examine, register
from fl.cli.terminal import terminal
from fl.cli.times import duration
from fl.submit.register import Entry, pick
from fl.words import plain


@dataclass(frozen=True, slots=True)
class Checkup:
    """A broker, and all runs on it that are not over; the one that has waited longest first."""

    broker: str
    user: str
    problems: tuple[Finding, ...]
    runs: tuple[Diagnosis, ...]

    @property
    def is_well(self) -> bool:
        return not self.problems and all(run.is_well for run in self.runs)


def examine_run(run: str, url: str, *, as_json: bool, timeout_s: float) -> bool:
    """Print all that is to be said of a run; whether nobody needs to do anything. Raises `ConfigError`."""
    with BlockingBroker(url, timeout_s=timeout_s) as broker:
        entry = pick(run, register(broker))
        dead, problems = _dead(broker)
        diagnosis = _diagnose(broker, entry, dead)
    if as_json:
        _print_json(_run_table(diagnosis))
    else:
        _say(f"run {diagnosis.run}: {diagnosis.state}")
        _list((*diagnosis.findings, *problems))
    return diagnosis.is_well and not problems


def examine_all(url: str, *, as_json: bool, timeout_s: float) -> bool:
    """Print how the broker and its open runs are; whether nobody needs to do anything."""
    with BlockingBroker(url, timeout_s=timeout_s) as broker:
        checkup = _check_up(broker, redact(url))
    if as_json:
        runs = [_run_table(run) for run in checkup.runs]
        problems = [asdict(problem) for problem in checkup.problems]
        _print_json({"broker": checkup.broker, "user": checkup.user, "problems": problems, "runs": runs})
    else:
        _say(f"broker: {checkup.broker}, as user {checkup.user}")
        _list(checkup.problems)
        _tabulate(checkup.runs)
    return checkup.is_well


def _check_up(broker: BlockingBroker, url: str) -> Checkup:
    problems: list[Finding] = []
    known: Mapping[str, Entry] = {}
    try:
        known = register(broker)
    except AccessRefused as error:
        problems.append(_forbidden(broker, "see what runs there are", error))
    dead, found = _dead(broker)
    problems += found
    if dead:
        verb = "is 1 dead letter" if dead.total() == 1 else f"are {dead.total()} dead letters"
        problems.append(Finding(f"there {verb}: messages that nobody could handle", "`fluffle dead list` says why"))
    open_ = [entry for entry in known.values() if entry.closed is None]
    runs = [_diagnose(broker, entry, dead) for entry in open_]
    runs.sort(key=lambda run: -run.waits_s)
    return Checkup(f"{broker.server} at {url}", broker.user, tuple(problems), tuple(runs))


def _diagnose(broker: BlockingBroker, entry: Entry, dead: Mapping[str, int]) -> Diagnosis:
    now = time.time()  # before its log is read, which takes a while where it is long
    return diagnose(examine(broker, entry, dead=dead), now=now)


def _dead(broker: BlockingBroker) -> tuple[Counter[str], tuple[Finding, ...]]:
    """How many dead letters there are by run, or why that cannot be told."""
    try:
        return dead_by_run(broker), ()
    except AccessRefused as error:
        return Counter(), (_forbidden(broker, "look at dead letters", error),)
    except Retryable as error:
        return Counter(), (Finding(f"dead letters could not be looked at: {error}", "try again later"),)


def _forbidden(broker: BlockingBroker, what: str, error: AccessRefused) -> Finding:
    return Finding(f"user {broker.user} may not {what}: {error}", "ask whoever runs the broker for the permission")


def _tabulate(runs: tuple[Diagnosis, ...]) -> None:
    if not runs:
        _say("no open runs")
        return
    table = Table("", "run", "waits", "verdict", box=None, pad_edge=False)
    for run in runs:
        table.add_row(_mark(needs_somebody=not run.is_well), run.run, duration(run.waits_s), plain(run.verdict))
    terminal().print(table)
    if not all(run.is_well for run in runs):
        _say("`fluffle doctor RUN` says what to do")


def _list(findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        _say(f"{_mark(needs_somebody=bool(finding.todo))} {finding.what}")
        if finding.todo:
            _say(f"    to do: {finding.todo}")


def _mark(*, needs_somebody: bool) -> str:
    return "!" if needs_somebody else "-"


def _run_table(run: Diagnosis) -> dict[str, Any]:
    findings = [asdict(finding) for finding in run.findings]
    return {
        "run": run.run,
        "state": run.state,
        "waits_s": round(run.waits_s, 1),
        "is_well": run.is_well,
        "findings": findings,
    }


def _print_json(table: dict[str, Any]) -> None:
    print(json.dumps(table, indent=2))  # noqa: T201  # the command's output


def _say(text: str) -> None:
    terminal().print(plain(text), soft_wrap=True)
