"""What a site keeps of a run from round to round: its optimizer's state, and statistics that are its own.

Kept by round, because a round may have to be done again, and a reply may come too late to count: each request says
after which round the site's own state goes on.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

from fl.client.disk import damaged, is_full, no_room
from fl.core.files import read_vector, write_vector
from fl.core.state import pack_state, unpack_state
from fl.core.vector import NumpyVector
from fl.errors import ModelError


class RoundStates(Protocol):
    """States by the round after which they were taken."""

    def after(self, round_: int) -> Any | None:
        """The state after a round; None where there is none. Raises `ModelError` for one that is not what was kept."""

    def keep(self, round_: int, state: Any, *, counted: int) -> None:
        """Keep the state after `round_`, and the one after `counted`, where the round began; forget all others.

        Raises `ModelError` for a round that is over, as a request for a later one has shown: what later rounds go on
        from must stay. Raises `NoRoom`.
        """


class RecalledStates:
    """States in memory, for as long as the process lives."""

    def __init__(self) -> None:
        self._states: dict[int, Any] = {}

    def after(self, round_: int) -> Any | None:
        return self._states.get(round_)

    def keep(self, round_: int, state: Any, *, counted: int) -> None:
        _check_order(round_, max(self._states, default=0))
        kept = {known: value for known, value in self._states.items() if known == counted}
        self._states = {**kept, round_: state}


class StateFiles:
    """States in a folder, each whole or not there, and refused when a bit of it has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def after(self, round_: int) -> Any | None:
        path = self._path(round_)
        if not path.is_file():
            return None
        try:
            packed, facts = read_vector(path)
            state = unpack_state(packed)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(damaged(path, f"not a state that can be read ({error})")) from None
        if facts.get("sha256") != _digest(packed, round_):
            raise ModelError(damaged(path, "it does not hold the state that was written"))
        return state

    def keep(self, round_: int, state: Any, *, counted: int) -> None:
        path = self._path(round_)
        _check_order(round_, self._newest())
        packed = pack_state(state)
        try:
            write_vector(path, packed, {"sha256": _digest(packed, round_)})
        except Exception as error:  # safetensors has errors of its own
            if is_full(error):
                raise no_room(path, error) from None
            raise
        outdated = {*self._folder.glob("after-*"), *self._folder.glob(".after-*")}  # also drafts of who was killed
        for old in outdated - {path, self._path(counted)}:
            old.unlink()

    def _newest(self) -> int:
        return max((int(path.stem.removeprefix("after-")) for path in self._folder.glob("after-*")), default=0)

    def _path(self, round_: int) -> Path:
        return self._folder / f"after-{round_:06d}.safetensors"


def _check_order(round_: int, newest: int) -> None:
    if round_ < newest:
        raise ModelError(f"round {round_} is over: this site has trained in round {newest} since")


def _digest(packed: NumpyVector, round_: int) -> str:
    """Over all that a state is: its tensors' names, kinds, shapes and roles, their values, and the round."""
    layout = [[spec.name, spec.dtype, spec.shape, spec.role] for spec in packed.layout.specs]
    digest = hashlib.sha256(json.dumps([round_, layout]).encode())
    digest.update(packed.pack())
    return digest.hexdigest()
