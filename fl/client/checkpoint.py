"""The weights that a run leaves at a site."""

from pathlib import Path

from fl.core.checkpoint import Checkpointer
from fl.core.vector import NumpyVector
from fl.wire.messages_pb2 import StopRequest


def keep_weights(folder: Path, run: str, weights: NumpyVector, end: StopRequest) -> Path:
    """Write the best weights of a run to `folder/<run>`; returns their path."""
    return Checkpointer(folder / run).save(end.best_round, weights, best=True)
