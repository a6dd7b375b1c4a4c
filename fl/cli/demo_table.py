"""The demonstration's table: who is how right about patients that no training has seen."""

from rich.console import Console
from rich.table import Table

from fl.examples.heart.compare import Comparison, Score

LEGEND = """\
Each number is the share of held-out patients that a model is right about.
own        by one hospital alone, of its own patients and (last) of everybody's
federated  by all four together, each with its own patients
central    with all patients in one place, which federation does without
"""


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print it, with what its columns mean and what it comes to."""
    console.print()
    console.print(_table(comparison))
    console.print()
    console.print(LEGEND, highlight=False)
    console.print(
        f"Of all patients: federated {comparison.federated.accuracy:.3f}, central {comparison.central.accuracy:.3f}; "
        f"own models {comparison.own.accuracy:.3f}, each at home, and {comparison.mean_own_of_all:.3f} on average.\n",
        highlight=False,
    )


def _table(comparison: Comparison) -> Table:
    n = comparison.federated.n
    table = Table("hospital", box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for header in ("patients", "own", "federated", "central", f"own, of all {n}"):
        table.add_column(header, justify="right")
    for row in comparison.rows:
        scores = (row.own, row.federated, row.central, row.own_of_all)
        table.add_row(row.place, str(row.federated.n), *map(_accuracy, scores))
    table.add_section()
    together = (comparison.own, comparison.federated, comparison.central)
    table.add_row("all", str(n), *map(_accuracy, together), f"mean {comparison.mean_own_of_all:.3f}", style="bold")
    table.add_row("log-loss of all", "", *(f"{score.log_loss:.3f}" for score in together), "", style="dim")
    return table


def _accuracy(score: Score) -> str:
    return f"{score.accuracy:.3f}"
