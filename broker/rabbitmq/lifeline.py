"""Ends every wait on a session when the session ends."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from broker.errors import ConnectionLost
from broker.rabbitmq.translate import is_library_error, translate


@dataclass(slots=True, eq=False)
class _Wait:
    task: asyncio.Task[Any]
    struck: bool = False


class Lifeline:
    """Whether a session lives, and who waits on it.

    The library has calls that wait for ever when the connection dies under them, and others that raise
    `CancelledError` though nobody cancelled. Under `held` all of them raise `ConnectionLost`, at once.
    """

    def __init__(self) -> None:
        self._end: str | None = None
        self._ended = asyncio.Event()
        self._waits: set[_Wait] = set()
        self._last_calls: list[Callable[[], None]] = []

    def cut(self, reason: str) -> None:
        """End the session for everyone who waits on it. Harmless when repeated; the first reason stays."""
        if self._end is not None:
            return
        self._end = reason
        self._ended.set()
        for wait in self._waits:
            wait.struck = True
            wait.task.cancel()
        for call in self._last_calls:
            call()

    def at_end(self, call: Callable[[], None]) -> None:
        """Have this called when the session ends."""
        self._last_calls.append(call)

    @property
    def lasts(self) -> bool:
        return self._end is None

    async def wait_cut(self) -> None:
        await self._ended.wait()

    def check(self) -> None:
        """Raise `ConnectionLost` if the session has ended."""
        if self._end is not None:
            raise ConnectionLost(f"{self._end}; open another session")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raise `ConnectionLost` when the session ends, and translate what the library raises."""
        self.check()
        task = asyncio.current_task()
        assert task is not None
        wait = _Wait(task)
        self._waits.add(wait)
        try:
            yield
        except asyncio.CancelledError:
            _forgive(wait)
            if task.cancelling():  # by somebody else, be it before this began: a task hears of it where it waits
                raise
            self.check()
            raise ConnectionLost("the AMQP library gave up the call; open another session") from None
        except Exception as error:
            _forgive(wait)
            if not is_library_error(error):
                raise
            self.check()
            raise translate(error) from error
        finally:
            self._waits.discard(wait)


def _forgive(wait: _Wait) -> None:
    """Take back our own cancellation, as `asyncio.timeout` does, so that only a foreign one still counts."""
    if wait.struck:
        wait.task.uncancel()
