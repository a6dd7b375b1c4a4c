"""Rounds of few and of many clients as a table in Markdown."""

from collections.abc import Iterable, Mapping
from typing import Final

from tests.bench.table import short

TITLES: Final = (
    "weights x clients",
    "seconds a round",
    "memory of a worker at most, above idle, MB",
    "CPU seconds a round: workers + clients + broker",
)


def scale_table(rows: Iterable[Mapping[str, float]]) -> str:
    """A line for each row that `tests.bench.scale` measures."""
    lines = [f"| {' | '.join(TITLES)} |", "| --- |" + " ---: |" * (len(TITLES) - 1)]
    return "\n".join([*lines, *map(_line, rows)])


def _line(row: Mapping[str, float]) -> str:
    shards = f", {row['shards']:g} shards" if row["shards"] > 1 else ""
    sides = [row[f"{side}_cpu_s"] for side in ("server", "clients", "broker")]
    cells = (
        f"{row['MB']:g} MB x {row['clients']:,g}{shards}",
        short(row["round_s"]),
        f"{row['worker_mb']:.0f}",
        f"{short(sum(sides))} = {' + '.join(map(short, sides))}",
    )
    return f"| {' | '.join(cells)} |"
