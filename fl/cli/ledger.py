"""`fluffle ledger`: what a site has spent of its privacy."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from fl.cli.terminal import terminal
from fl.cli.times import moment
from fl.core.files import replacing
from fl.core.privacy.ledger import NAME, Ledger, Line, epsilons
from fl.errors import ConfigError
from fl.words import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN: Final = 8
"""Digits of a fingerprint that people need to tell datasets apart."""
COLUMNS: Final = (
    "at", "dataset", "run", "round", "purpose", "key",
    "noise_multiplier", "sample_rate", "steps", "delta", "accountant", "epsilon",
)  # fmt: skip


def show_ledger(path: Path, *, csv_file: Path | None, plot: Path | None) -> None:
    """Print it, and write it to files. Raises `ConfigError` where there is none, or one that cannot be trusted."""
    lines = read_ledger(path)
    spent = epsilons(lines)
    if csv_file is not None:
        write_csv(lines, spent, csv_file)
    if plot is not None:
        draw_ledger(lines, spent, plot)
    terms = {(line.delta, line.accountant) for line in lines}
    table = Table(box=None, pad_edge=False)
    for name in ("time", "dataset", "run"):
        table.add_column(name, no_wrap=True)
    for name in ("round", "steps", "noise", "rate", "epsilon"):
        table.add_column(name, justify="right", no_wrap=True)
    for line, epsilon in zip(lines, spent, strict=True):
        table.add_row(*_row(line, epsilon, of_many=len(terms) > 1))
    console = terminal()
    console.print(table)
    if len(terms) == 1:
        ((delta, accountant),) = terms
        console.print(f"epsilon of all that was spent on a dataset, at delta={delta:g}, by {accountant}", style="dim")


def read_ledger(path: Path) -> list[Line]:
    """The lines of a file, or of the one in a state directory. Raises `ConfigError` where there are none."""
    file = path / NAME if path.is_dir() else path
    try:
        lines = Ledger(file).lines()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    if not lines:
        raise ConfigError(f"{file}: nothing has been spent; name the state directory of a site that trained privately")
    return lines


def write_csv(lines: Sequence[Line], spent: Sequence[float], path: Path) -> None:
    """One row a line, with all that it has, and epsilon after it."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for line, epsilon in zip(lines, spent, strict=True):
            entry, paid = line.entry, line.entry.paid
            writer.writerow(
                [
                    *(entry.at, entry.dataset, entry.run, entry.round_, entry.purpose, entry.key),
                    *(paid.noise_multiplier, paid.sample_rate, paid.steps, line.delta, line.accountant, epsilon),
                ]
            )


def draw_ledger(lines: Sequence[Line], spent: Sequence[float], path: Path) -> None:
    """Write a PNG of `ledger_figure`. Raises `ConfigError` where matplotlib is missing."""
    figure = ledger_figure(lines, spent)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def ledger_figure(lines: Sequence[Line], spent: Sequence[float]) -> "Figure":
    """Epsilon, `spent` after each line, over the steps on a dataset. A run's delta and accountant are in the legend."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  # only who wants pictures; pyplot would open a display
    except ModuleNotFoundError:
        raise ConfigError("drawing the ledger needs matplotlib: install fluffle[dashboard]") from None
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes: Any = figure.subplots()
    for (dataset, delta, accountant), points in _curves(lines, spent).items():
        label = f"{dataset[:SHOWN]}  delta={delta:g}  {accountant}"
        axes.plot(*zip(*points, strict=True), drawstyle="steps-post", marker="o", markersize=3, label=label)
    axes.set_xlabel("steps on the dataset")
    axes.set_ylabel("epsilon")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.grid(color="#e5e7eb", linewidth=0.8)
    axes.legend(frameon=False, fontsize=9)
    axes.set_title("What has been spent", loc="left", fontweight="bold")
    return figure


def _curves(lines: Sequence[Line], spent: Sequence[float]) -> dict[tuple[str, float, str], list[tuple[int, float]]]:
    """Steps and epsilon after each line, by what epsilon is of."""
    found: dict[tuple[str, float, str], list[tuple[int, float]]] = {}
    steps: dict[str, int] = {}
    for line, epsilon in zip(lines, spent, strict=True):
        dataset = line.entry.dataset
        steps[dataset] = steps.get(dataset, 0) + line.entry.paid.steps
        found.setdefault((dataset, line.delta, line.accountant), []).append((steps[dataset], epsilon))
    return found


def _row(line: Line, epsilon: float, *, of_many: bool) -> tuple[str, ...]:
    """`of_many`: lines differ in what their epsilons are at."""
    entry, paid = line.entry, line.entry.paid
    at = f" at delta={line.delta:g} by {line.accountant}" if of_many else ""
    return (
        moment(entry.at)[:16],  # to the minute
        entry.dataset[:SHOWN],
        plain(entry.run),
        str(entry.round_),
        str(paid.steps) if entry.purpose == "training" else "eval",
        f"{paid.noise_multiplier:.4g}",
        f"{paid.sample_rate:.3g}",
        f"{epsilon:.4g}{at}",
    )
