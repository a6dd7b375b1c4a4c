"""What a run leaves on disk."""

from pathlib import Path

from fl.core.checkpoint import Checkpointer
from fl.core.vector import NumpyVector
from fl.main.outcome import Outcome
from fl.submit.history import History


def save_outcome(outcome: Outcome, folder: Path) -> list[Path]:
    """Write the best weights and the history of a run that has ended; returns what was written."""
    if outcome.weights is None:
        return []
    return save_progress(outcome.best_round, outcome.weights, outcome.history, folder)


def save_progress(round_: int, weights: NumpyVector, history: History, folder: Path) -> list[Path]:
    """Write weights as those of `round_`, and one line of history a round; returns what was written.

    The history of another run that was written there before is replaced.
    """
    keeper = Checkpointer(folder)
    (folder / "history.csv").unlink(missing_ok=True)
    path = keeper.save(round_, weights, best=True)
    for row in history.table():
        keeper.append_history(row)
    return [path, folder / "history.csv"] if history.rows else [path]
