"""The results as tables in Markdown."""

import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.bench.figures import Figures
from tests.bench.results import Results
from tests.bench.rows import Row

BEGIN: Final = "<!-- bench -->"
END: Final = "<!-- /bench -->"


def tables(results: Results) -> str:
    """Seconds and ratios, memory, and CPU: each with a line for a contestant and a column for a row."""
    parts = [
        _table("seconds a round (middle half)", results, _seconds, _ratio_lines(results)),
        _table("memory of the server at most, above idle, MB", results, lambda one: f"{one.server_mb:.0f}"),
        _table("CPU seconds a round: server + clients + broker", results, _cpu),
    ]
    return "\n\n".join([*parts, *_failures(results), f"{machine()}."])


def placed(table: str, text: str, where: str) -> str:
    """The text with the table between its markers. Raises `ValueError` where these are missing."""
    before, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{where} has no place for the table: put the lines {BEGIN} and {END} where it belongs")
    return f"{before}{begin}{table}\n{end}{after}"


def line_of(figures: Figures) -> str:
    """One measurement, as it is told while others go on."""
    return f"{_seconds(figures)} s, server {figures.server_mb:.0f} MB above idle, CPU {_cpu(figures)} s"


def _table(title: str, results: Results, cell: Callable[[Figures], str], more: list[str] | None = None) -> str:
    lines = [
        f"| {title} | {' | '.join(row.label for row in results.rows)} |",
        "| --- |" + " ---: |" * len(results.rows),
    ]
    for label in results.labels:
        cells = [_cell(results, row, label, cell) for row in results.rows]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join([*lines, *(more or [])])


def _cell(results: Results, row: Row, label: str, cell: Callable[[Figures], str]) -> str:
    figures = results.of(row, label)
    if figures is None:
        return "failed" if (row, label) in results.failures else "-"
    return cell(figures)


def _ratio_lines(results: Results) -> list[str]:
    lines = []
    for label, over in results.ratios():
        ratios = [results.ratio(row, label, over) for row in results.rows]
        cells = ["-" if ratio is None else f"**{ratio:.2f} x**" for ratio in ratios]
        lines.append(f"| {label} / {over} | {' | '.join(cells)} |")
    return lines


def _failures(results: Results) -> Iterator[str]:
    for (row, label), reason in results.failures.items():
        yield f"{label} failed at {row.label}: {reason.splitlines()[0]}"


def _seconds(figures: Figures) -> str:
    low, high = figures.spread_s
    return f"{short(figures.median_s)} ({short(low)}-{short(high)})"


def _cpu(figures: Figures) -> str:
    sides = " + ".join(short(seconds) for seconds in figures.cpu_s.values())
    return sides if len(figures.cpu_s) == 1 else f"{short(figures.all_cpu_s)} = {sides}"


def short(seconds: float) -> str:
    """Two digits that count, and never an exponent."""
    if seconds >= 10:
        return f"{seconds:.0f}"
    decimals = 1 if seconds >= 1 else 2 if seconds >= 0.1 else 3 if seconds >= 0.01 else 4
    return f"{seconds:.{decimals}f}"


def machine() -> str:
    memory = next(line for line in Path("/proc/meminfo").read_text("ascii").splitlines() if "MemTotal" in line)
    gigabytes = round(int(memory.split()[1]) / 2**20)
    return (
        f"Measured on {os.cpu_count()} cores, {gigabytes} GiB, {platform.system()}, Python {platform.python_version()}"
    )
