"""The weights that a run leaves at a site."""

from pathlib import Path

from fl.core.vector import NumpyVector
from fl.wire.messages_pb2 import StopRequest


def keep_weights(folder: Path, run: str, weights: NumpyVector, end: StopRequest) -> Path:
    raise OSError("later")
