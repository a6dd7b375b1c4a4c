"""Checkpoints of a run: what it has learned, kept in files by round.

    weights-00003.safetensors    weights after round 3
    state-00003.safetensors      what else is needed to go on from there, where there is any
    latest.safetensors           links to the weights of the last round saved, and of the best one
    best.safetensors
    history.csv                  one line a round

Each file is whole or not there, and a round's weights are there only when its state is.
"""

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fl.core.files import link, read_vector, replacing, write_vector
from fl.core.state import pack_state, unpack_state
from fl.core.vector import NumpyVector, Vector
from fl.errors import ModelError

WEIGHTS = re.compile(r"weights-(\d+)\.safetensors")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights after a round, and the state that was saved with them."""

    round: int
    weights: NumpyVector
    state: Any = None


class Checkpointer:
    """Saves to and loads from one folder, which is made when the first checkpoint is."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def save(self, round_: int, weights: Vector, *, state: Any = None, best: bool = False) -> Path:
        """Write a round's checkpoint, in place of an older one of that round; returns the path of its weights.

        `state` is built of dicts, lists, vectors, arrays and values JSON can carry.
        """
        facts = {"round": str(round_)}
        if state is not None:
            write_vector(self._state_path(round_), pack_state(state), facts)
        path = self._weights_path(round_)
        write_vector(path, weights.to_numpy(), facts)
        if state is None:
            self._state_path(round_).unlink(missing_ok=True)
        for name in ("latest", "best") if best else ("latest",):
            link(self.folder / f"{name}.safetensors", path.name)
        return path

    def load(self, which: int | str = "latest") -> Checkpoint:
        """The checkpoint of a round, "latest" or "best". Raises `ModelError` naming what is missing or broken."""
        if isinstance(which, int):
            path = self._weights_path(which)
        elif which in {"latest", "best"}:
            path = (self.folder / f"{which}.safetensors").resolve()
        else:
            raise ModelError(f"checkpoint {which!r}: give a round's number, 'latest' or 'best'")
        found = WEIGHTS.fullmatch(path.name)
        if found is None or not path.is_file():
            raise ModelError(f"no checkpoint {which!r} in {self.folder}: rounds there are {self.rounds() or 'none'}")
        weights, _ = read_vector(path)
        round_ = int(found[1])
        return Checkpoint(round_, weights, self._load_state(round_))

    def rounds(self) -> list[int]:
        """Rounds that have a checkpoint, in order."""
        names = (WEIGHTS.fullmatch(path.name) for path in self.folder.glob("weights-*"))
        return sorted(int(name[1]) for name in names if name)

    def append_history(self, row: Mapping[str, Any]) -> None:
        """Add a line to the history, in place of an earlier one of the same "round"; new columns go to the end.

        Arrays become JSON.
        """
        path = self.folder / "history.csv"
        text = {
            key: json.dumps(np.asarray(value).tolist()) if np.ndim(value) else str(value) for key, value in row.items()
        }
        rows = [old for old in self.history() if old.get("round") != text.get("round")] + [text]
        columns = list(dict.fromkeys(column for known in rows for column in known))
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def history(self) -> list[dict[str, str]]:
        """The lines of the history, oldest first; none when there is no file."""
        path = self.folder / "history.csv"
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    def _load_state(self, round_: int) -> Any:
        path = self._state_path(round_)
        if not path.is_file():
            return None
        vector, _ = read_vector(path)
        try:
            return unpack_state(vector)
        except ValueError as error:
            raise ModelError(f"{path}: {error}") from error

    def _weights_path(self, round_: int) -> Path:
        return self.folder / f"weights-{round_:05d}.safetensors"

    def _state_path(self, round_: int) -> Path:
        return self.folder / f"state-{round_:05d}.safetensors"
