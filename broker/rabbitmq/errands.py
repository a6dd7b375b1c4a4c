"""Deleting, over a connection of its own: what a crash has left half-made takes the connection with it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from broker.errors import ConnectionLost

TRIES: Final = 3
PAUSE_S: Final = 1.0
"""Between two tries: a cluster that looks for a leader gives the same answer for a moment."""

_BROKEN: Final = "INTERNAL_ERROR"


class Deleter(Protocol):
    """A session that runs errands for another one."""

    async def delete_here(self, name: str) -> None: ...

    async def close(self) -> None: ...


class Errands:
    """Deletes for a session, and spares it what the broker fails over.

    A node that is killed while it declares a stream knows its name afterwards, and nothing else of it: whatever is
    asked of that name, also to delete it, fails inside the broker, which closes the connection. Only the broker's
    administrator can remove it. It never held anything, so it is left.
    """

    def __init__(self, connect: Callable[[], Awaitable[Deleter]]) -> None:
        self._connect = connect
        self._deleter: Deleter | None = None
        self._turn = asyncio.Lock()

    async def delete(self, name: str) -> None:
        """Delete a queue or stream, or leave what nobody can delete. Raises what connecting and deleting raise."""
        async with self._turn:
            for _ in range(TRIES):
                if await self._try(name):
                    return
                await asyncio.sleep(PAUSE_S)

    async def close(self) -> None:
        deleter, self._deleter = self._deleter, None
        if deleter is not None:
            await deleter.close()

    async def _try(self, name: str) -> bool:
        if self._deleter is None:
            self._deleter = await self._connect()
        try:
            await self._deleter.delete_here(name)
        except ConnectionLost as error:
            await self.close()
            if _BROKEN not in str(error):
                raise
            return False
        return True
