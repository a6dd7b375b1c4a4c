"""What commands leave on disk."""

from pathlib import Path

from fl.core.checkpoint import Checkpointer
from fl.main.outcome import Outcome


def save_outcome(outcome: Outcome, folder: Path) -> list[Path]:
    """Write a run's weights and its history to a folder; returns what was written."""
    keeper = Checkpointer(folder)
    written = []
    if outcome.weights is not None:
        written.append(keeper.save(outcome.best_round, outcome.weights, best=True))
    for row in outcome.history.table():
        keeper.append_history(row)
    if outcome.history.rows:
        written.append(folder / "history.csv")
    return written
