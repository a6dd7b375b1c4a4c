"""An event that any thread may set."""

import asyncio
import threading


class Bell:
    """Wakes a task of the event loop it was made in, from whichever thread rings."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._event = asyncio.Event()

    def ring(self) -> bool:
        """Wake whoever waits; False if nobody can, because the loop was closed."""
        if self._loop.is_closed():
            return False
        if threading.get_ident() == self._thread:
            self._event.set()
            return True
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:
            # The other thread closed its loop since we looked.
            return False
        return True

    def muffle(self) -> None:
        """Make `wait` wait for the next ring."""
        self._event.clear()

    async def wait(self) -> None:
        await self._event.wait()
