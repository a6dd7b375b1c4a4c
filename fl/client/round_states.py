"""What a site keeps of a run from round to round: its optimizer's state, and statistics that are its own.

Kept by round, because a round may have to be done again, and a reply may come too late to count: each request says
after which round the site's own state goes on.
"""

from pathlib import Path
from typing import Any, Protocol

from fl.core.files import read_vector, write_vector
from fl.core.state import pack_state, unpack_state
from fl.errors import ModelError


class RoundStates(Protocol):
    """States by the round after which they were taken."""

    def after(self, round_: int) -> Any | None:
        """The state after a round; None where there is none. Raises `ModelError` for one that cannot be read."""

    def keep(self, round_: int, state: Any, *, counted: int) -> None:
        """Keep the state after `round_`, and the one after `counted`, where the round began; forget all others."""


class RecalledStates:
    """States in memory, for as long as the process lives."""

    def __init__(self) -> None:
        self._states: dict[int, Any] = {}

    def after(self, round_: int) -> Any | None:
        return self._states.get(round_)

    def keep(self, round_: int, state: Any, *, counted: int) -> None:
        kept = {known: value for known, value in self._states.items() if known == counted}
        self._states = {**kept, round_: state}


class StateFiles:
    """States in a folder, each whole or not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def after(self, round_: int) -> Any | None:
        path = self._path(round_)
        if not path.is_file():
            return None
        try:
            return unpack_state(read_vector(path)[0])
        except ValueError as error:
            raise ModelError(f"{path}: not a state that can be read: {error}; remove it to start afresh") from None

    def keep(self, round_: int, state: Any, *, counted: int) -> None:
        write_vector(self._path(round_), pack_state(state), {"round": str(round_)})
        for path in self._folder.glob("after-*.safetensors"):
            if path not in {self._path(round_), self._path(counted)}:
                path.unlink()

    def _path(self, round_: int) -> Path:
        return self._folder / f"after-{round_:06d}.safetensors"
