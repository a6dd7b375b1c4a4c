"""What must survive a daemon: files written whole or not at all, for no other eyes."""

import os
import secrets
import shutil
from pathlib import Path

from fl.core.files import replacing
from fl.errors import ConfigError

SEED_BYTES = 32


class StateDirectory:
    """A daemon's own directory. Raises `ConfigError` where it cannot be made or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = path / f".probe-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ConfigError(
                f"state directory {path}: {error.strerror}; set `state` to one that can be written"
            ) from None

    def secret_seed(self, run: str) -> bytes:
        """This site's seed for a run: drawn once, the same after every restart, known to nobody else.

        Raises `ConfigError` for a file that is not what was written, or cannot be written.
        """
        path = self._seed(run)
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with replacing(path) as draft:
                    draft.touch(mode=0o600)
                    draft.write_bytes(secrets.token_bytes(SEED_BYTES))
            seed = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"state of run {run}: {path}: {error.strerror}; this site cannot take part") from None
        if len(seed) != SEED_BYTES:
            raise ConfigError(
                f"{path}: holds {len(seed)} bytes, not a seed of {SEED_BYTES}; remove it to leave the run"
            )
        return seed

    def knows(self, run: str) -> bool:
        """Whether this site has begun to take part in a run that is not over for it."""
        return self._seed(run).exists()

    def folder(self, run: str) -> Path:
        """Where a trainer keeps what it must know in the next round."""
        return self._path / "runs" / run

    def forget(self, run: str) -> None:
        """Remove what was kept for a run that is over."""
        shutil.rmtree(self.folder(run), ignore_errors=True)

    def _seed(self, run: str) -> Path:
        return self.folder(run) / "seed"


class NoState:
    """State that lives as long as the process: for runs that are all in one."""

    def __init__(self) -> None:
        self._seeds: dict[str, bytes] = {}

    def secret_seed(self, run: str) -> bytes:
        return self._seeds.setdefault(run, secrets.token_bytes(SEED_BYTES))

    def knows(self, run: str) -> bool:
        return run in self._seeds

    def folder(self, run: str) -> None:
        return None

    def forget(self, run: str) -> None:
        self._seeds.pop(run, None)
