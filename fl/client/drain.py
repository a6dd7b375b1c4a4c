"""How a daemon is asked to end: it answers what it has in work, and takes nothing more."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Drain:
    """A request to end, which outlives sessions."""

    def __init__(self) -> None:
        self._wanted = asyncio.Event()
        self._heard = False

    def begin(self) -> bool:
        """Ask to end; False where nobody will by itself: nothing is served now, or it was asked before."""
        if self.wanted or not self._heard:
            return False
        self._wanted.set()
        return True

    @property
    def wanted(self) -> bool:
        return self._wanted.is_set()

    async def wait(self) -> None:
        """Return when it was asked for."""
        await self._wanted.wait()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """The block ends by itself when it is asked to."""
        self._heard = True
        try:
            yield
        finally:
            self._heard = False
