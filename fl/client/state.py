"""What must survive a daemon: files written whole or not at all, checked when read, for no other eyes."""

import hashlib
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fl.client.disk import damaged, fill, is_full, no_room
from fl.core.files import replacing
from fl.errors import ConfigError

if TYPE_CHECKING:
    from fl.client.round_states import RecalledStates  # needs numpy, which an idle daemon does without

SEED_BYTES: Final = 32


class StateDirectory:
    """A daemon's own directory. Raises `ConfigError` where it cannot be made or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lacks = 0
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._probe(0)
        except OSError as error:
            raise ConfigError(
                f"state directory {path}: {error.strerror}; set `state` to one that can be written"
            ) from None

    def secret_seed(self, run: str) -> bytes:
        """This site's seed for a run: drawn once, the same after every restart, known to nobody else.

        Raises `ConfigError` for a file that is not what was written, `NoRoom` where it cannot be written.
        """
        path = self._seed(run)
        try:
            if not path.exists():
                self._draw_seed(path)
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"state of run {run}: {path}: {error.strerror}; this site cannot take part") from None
        seed, digest = content[:SEED_BYTES], content[SEED_BYTES:]
        if digest != _digest(seed):
            raise ConfigError(damaged(path, "it does not hold the seed that was written"))
        return seed

    def knows(self, run: str) -> bool:
        """Whether this site has begun to take part in a run that is not over for it."""
        return self._seed(run).exists()

    def folder(self, run: str) -> Path:
        """Where a trainer keeps what it must know in the next round."""
        return self._path / "runs" / run

    @property
    def ledger(self) -> Path:
        """What has been spent of the data's privacy, over all runs: it stays when they are forgotten."""
        return self._path / "ledger.jsonl"

    def forget(self, run: str) -> None:
        """Remove what was kept for a run that is over."""
        shutil.rmtree(self.folder(run), ignore_errors=True)

    def lack(self, n_bytes: int) -> None:
        """Note that a file could not be written, and how many bytes should do."""
        self._lacks = n_bytes

    def check_room(self) -> None:
        """Raises `NoRoom` as long as the bytes that lacked cannot be written."""
        try:
            self._probe(self._lacks)
        except OSError as error:
            raise no_room(self._path, error) from None
        self._lacks = 0

    def _probe(self, n_bytes: int) -> None:
        probe = self._path / f".probe-{os.getpid()}"
        try:
            fill(probe, n_bytes)
        finally:
            probe.unlink(missing_ok=True)

    def _draw_seed(self, path: Path) -> None:
        if any(path.parent.glob("after-*")):
            raise ConfigError(damaged(path, "it is missing, though this site has trained in that run"))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        seed = secrets.token_bytes(SEED_BYTES)
        try:
            with replacing(path) as draft:
                draft.touch(mode=0o600)
                draft.write_bytes(seed + _digest(seed))
        except OSError as error:
            if is_full(error):
                raise no_room(path, error) from None
            raise

    def _seed(self, run: str) -> Path:
        return self.folder(run) / "seed"


class NoState:
    """State that lives as long as the process: for runs that are all in one."""

    def __init__(self) -> None:
        self._seeds: dict[str, bytes] = {}
        self._states: dict[str, RecalledStates] = {}

    def secret_seed(self, run: str) -> bytes:
        return self._seeds.setdefault(run, secrets.token_bytes(SEED_BYTES))

    def knows(self, run: str) -> bool:
        return run in self._seeds

    def folder(self, run: str) -> None:
        return None

    @property
    def ledger(self) -> None:
        return None

    def recalled(self, run: str) -> "RecalledStates":
        """What a trainer keeps from round to round, and its successor after a lost connection finds."""
        from fl.client.round_states import RecalledStates  # noqa: PLC0415  # only a process that trains loads it

        return self._states.setdefault(run, RecalledStates())

    def forget(self, run: str) -> None:
        self._seeds.pop(run, None)
        self._states.pop(run, None)

    def lack(self, n_bytes: int) -> None: ...

    def check_room(self) -> None: ...


def _digest(seed: bytes) -> bytes:
    return hashlib.sha256(b"fluffle seed " + seed).digest()
