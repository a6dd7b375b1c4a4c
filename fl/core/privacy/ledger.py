"""What a site has spent of its privacy: a file that only grows, and is written before anything is spent.

One line of JSON a spending, which ends with SHA-256 over the checksum of the line before it and its own bytes. A line
is on the disk before `spend` returns: whoever is killed has paid for at least what was done. The end of a file that a
crash cut off within a line was never spent, and is removed; anything else that is not as it was written is refused, for
nobody can tell what it hides. Trainers of one site share the file under a lock.

All spendings on a dataset are composed by an accountant, over all runs; their epsilons are not added up. What they come
to is computed for whoever wants to see it (`epsilons`): before a round only whether it is too much has to be known.
"""

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, Protocol

from fl.core.files import flush
from fl.core.privacy.accounting import Spending, epsilon
from fl.core.privacy.options import Budget
from fl.errors import BudgetSpent, ConfigError

NAME: Final = "ledger.jsonl"
"""In a site's state directory."""
FIRST: Final = hashlib.sha256(b"fluffle ledger 1").hexdigest().encode()
"""In the place of a checksum before the first line."""
SUM: Final = b',"sum":"'
END: Final = b'"}'

Purpose = Literal["training", "evaluation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Steps that are about to be done, or an evaluation."""

    at: float
    """Seconds since the epoch."""
    dataset: str
    """Its fingerprint."""
    run: str
    round_: int
    key: str
    """`keys.spending_key`: what is done again with the same key costs nothing."""
    paid: Spending
    purpose: Purpose = "training"
    """What a run's budget is for are its steps; evaluations are beside it, and count for the site's cap alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An entry that was paid for, and the terms of the run that paid."""

    entry: Entry
    delta: float
    accountant: str


class Accounts(Protocol):
    """What has been spent, by whom and on what."""

    def lines(self) -> list[Line]:
        """All of it, oldest first; none where nothing has been spent."""

    def spend(
        self,
        entry: Entry,
        *,
        budget: Budget,
        cap: Budget | None = None,
        planned: Spending | None = None,
        reserved: Sequence[Spending] = (),
    ) -> Line:
        """Pay for what is about to be done: `budget` is the run's for that purpose, `cap` the site's for the dataset.

        What has the same key and was paid for already is free. `planned` is all that the run is to spend: a round of a
        run that keeps to a plan within its limits costs no accounting. What is `reserved` is not paid yet, and must be
        possible afterwards within the cap. Raises `BudgetSpent`, and then nothing is paid.
        """


class MemoryLedger:
    """Accounts that are forgotten with the process: for runs that are all in one."""

    def __init__(self) -> None:
        self._lines: list[Line] = []

    def lines(self) -> list[Line]:
        return list(self._lines)

    def spend(
        self,
        entry: Entry,
        *,
        budget: Budget,
        cap: Budget | None = None,
        planned: Spending | None = None,
        reserved: Sequence[Spending] = (),
    ) -> Line:
        line = next((line for line in self._lines if line.entry.key == entry.key), None)
        if line is None:
            _check_limits(self._lines, entry, _Limits(budget, cap, planned, tuple(reserved)))
            line = Line(entry=entry, delta=budget.delta, accountant=budget.accountant)
            self._lines.append(line)
        return line


@dataclass(frozen=True, slots=True)
class _Content:
    lines: list[Line]
    sum: bytes
    """The checksum of the last of them."""
    whole: bytes
    """They themselves, without the one that a crash cut off."""


class Ledger:
    """The ledger of a site. Every method reads the file anew, which the first spending makes.

    All raise `ConfigError` for a file that is not what was written, and `OSError` where the system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = _Content([], FIRST, b"")

    def lines(self) -> list[Line]:
        try:
            with _locked(self.path, os.O_RDONLY, fcntl.LOCK_SH):
                content = self.path.read_bytes()
        except FileNotFoundError:
            content = b""
        return list(self._parse(content).lines)

    def spend(
        self,
        entry: Entry,
        *,
        budget: Budget,
        cap: Budget | None = None,
        planned: Spending | None = None,
        reserved: Sequence[Spending] = (),
    ) -> Line:
        _cost([planned or entry.paid], budget)  # imports what others need not wait for
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, fcntl.LOCK_EX) as handle:
            content = self.path.read_bytes()
            known = self._parse(content)
            if len(known.whole) < len(content):
                os.ftruncate(handle, len(known.whole))
            line = next((line for line in known.lines if line.entry.key == entry.key), None)
            if line is None:
                _check_limits(known.lines, entry, _Limits(budget, cap, planned, tuple(reserved)))
                line = Line(entry=entry, delta=budget.delta, accountant=budget.accountant)
                text = _sealed(line, known.sum)
                self._append(handle, text)
                self._parse(known.whole + text)
            os.fsync(handle)  # a line that was found may be of somebody who was killed before this
        flush(self.path.parent)
        return line

    def _append(self, handle: int, text: bytes) -> None:
        end = os.fstat(handle).st_size
        try:
            while text:
                text = text[os.write(handle, text) :]
        except OSError as error:
            os.ftruncate(handle, end)
            error.filename = str(self.path)
            raise

    def _parse(self, content: bytes) -> _Content:
        known = self._known
        if not content.startswith(known.whole):
            self._refuse("it has lost lines, or has others, that were in it before")
        lines, before, start = list(known.lines), known.sum, len(known.whole)
        while (end := content.find(b"\n", start)) >= 0:
            body, mark, rest = content[start:end].rpartition(SUM)
            found = rest.removesuffix(END)
            if not mark or found != _checksum(before, body) or len(rest) != len(found) + len(END):
                self._refuse(f"line {len(lines) + 1} is not what was written, or does not follow the line before it")
            try:
                lines.append(_line_of(json.loads(body + b"}")))
            except (ValueError, KeyError, TypeError) as error:
                self._refuse(f"line {len(lines) + 1} is of another release ({error})")
            before, start = found, end + 1
        self._known = _Content(lines, before, content[:start])
        return self._known

    def _refuse(self, why: str) -> NoReturn:
        raise ConfigError(
            f"{self.path}: {why}; nothing is paid for here until the file is back as it was. "
            "Removing it forgets what has been spent on this site's data"
        )


def epsilons(lines: Iterable[Line]) -> list[float]:
    """Of all spendings on each line's dataset up to that line, at its delta, by its accountant."""
    found = []
    spent: dict[str, Counter[tuple[float, float]]] = {}
    for line in lines:
        paid, steps = line.entry.paid, spent.setdefault(line.entry.dataset, Counter())
        steps[paid.noise_multiplier, paid.sample_rate] += paid.steps
        kinds = [Spending(*kind, n) for kind, n in steps.items()]
        found.append(epsilon(kinds, delta=line.delta, accountant=line.accountant))
    return found


@dataclass(frozen=True, slots=True)
class _Limits:
    budget: Budget
    cap: Budget | None
    planned: Spending | None
    reserved: tuple[Spending, ...]


def _check_limits(lines: Iterable[Line], entry: Entry, limits: _Limits) -> None:
    """Raises `BudgetSpent`."""
    same = [line.entry for line in lines if line.entry.dataset == entry.dataset]
    own = [*(one.paid for one in same if _same_budget(one, entry)), entry.paid]
    end = own if limits.planned is None else _at_the_end(own, limits.planned)
    if limits.cap is not None:
        besides = [*(one.paid for one in same if not _same_budget(one, entry)), *limits.reserved]
        planned = "and the steps that are planned, " if limits.reserved else ""
        who = f"{planned}all runs on dataset {entry.dataset[:12]} would have spent"
        _check([*besides, *own], [*besides, *end], limits.cap, entry, who, "this site's cap is")
    _check(own, end, limits.budget, entry, f"run {entry.run!r} would have spent", "its budget is")


def _same_budget(one: Entry, other: Entry) -> bool:
    return (one.run, one.purpose) == (other.run, other.purpose)


def _at_the_end(own: list[Spending], planned: Spending) -> list[Spending]:
    """No less than a run has spent, and the same after each of its rounds, so that what it costs is computed once."""
    alike = [one for one in own if replace(one, steps=planned.steps) == planned]
    steps = max(planned.steps, sum(one.steps for one in alike))
    return [*(one for one in own if one not in alike), replace(planned, steps=steps)]


def _check(spent: list[Spending], end: list[Spending], limit: Budget, entry: Entry, who: str, whose: str) -> None:
    """`end` has more steps than `spent`, or the same: where they are within the limit, so are these."""
    if _cost(end, limit) <= limit.epsilon:
        return
    found = _cost(spent, limit)
    if found > limit.epsilon:
        when, outcome = f"after {entry.paid.steps} steps of round {entry.round_}", "none of them are done"
        if entry.purpose == "evaluation":
            when, outcome = f"with the evaluation of round {entry.round_}", "it is not done"
        raise BudgetSpent(
            f"{when}, {who} epsilon={_above(found, limit.epsilon)} at delta={limit.delta} by {limit.accountant}, "
            f"and {whose} {limit.epsilon}: {outcome}",
            epsilon=found,
            limit=limit.epsilon,
        )


def _cost(spendings: Iterable[Spending], terms: Budget) -> float:
    return epsilon(spendings, delta=terms.delta, accountant=terms.accountant)


def _above(found: float, limit: float) -> str:
    """A figure of few digits that does not look like the one it is above."""
    return next((text for digits in (4, 8, 12) if float(text := f"{found:.{digits}g}") > limit), repr(found))


def _sealed(line: Line, before: bytes) -> bytes:
    entry, paid = line.entry, line.entry.paid
    fields = {
        "at": entry.at,
        "dataset": entry.dataset,
        "run": entry.run,
        "round": entry.round_,
        "purpose": entry.purpose,
        "key": entry.key,
        "noise_multiplier": float(paid.noise_multiplier),
        "sample_rate": float(paid.sample_rate),
        "steps": int(paid.steps),
        "delta": line.delta,
        "accountant": line.accountant,
    }
    body = json.dumps(fields, separators=(",", ":"))[:-1].encode()
    return body + SUM + _checksum(before, body) + END + b"\n"


def _line_of(fields: dict[str, Any]) -> Line:
    paid = Spending(fields["noise_multiplier"], fields["sample_rate"], fields["steps"])
    entry = Entry(
        at=fields["at"],
        dataset=fields["dataset"],
        run=fields["run"],
        round_=fields["round"],
        key=fields["key"],
        paid=paid,
        purpose=fields.get("purpose", "training"),  # all there was at first
    )
    return Line(entry=entry, delta=fields["delta"], accountant=fields["accountant"])


def _checksum(before: bytes, body: bytes) -> bytes:
    return hashlib.sha256(before + body).hexdigest().encode()


@contextmanager
def _locked(path: Path, flags: int, kind: int) -> Iterator[int]:
    """A file nobody else reads or writes in the meantime, or that nobody writes."""
    try:
        handle = os.open(path, flags, 0o600)
    except (PermissionError, IsADirectoryError) as error:
        raise ConfigError(
            f"{path}: {error.strerror}: what has been spent is written there; make it a file that this site may write"
        ) from None
    try:
        fcntl.flock(handle, kind)  # let go with the handle, also by who is killed
        yield handle
    finally:
        os.close(handle)
