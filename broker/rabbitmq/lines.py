"""The connections for bulk of one session: opened when needed, kept while bulk goes on."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from broker.errors import ConnectionLost
from broker.rabbitmq.lifeline import Lifeline
from broker.rabbitmq.line import Line

IDLE_S: Final = 20.0
"""How long a line without work is kept."""

T = TypeVar("T")


class Lines:
    """Does work on lines, each piece in a thread of its own. A line that is lost takes the session with it."""

    def __init__(self, connect: Callable[[], Line], lifeline: Lifeline, *, log_in: Callable[[Line], None]) -> None:
        self._connect = connect
        self._log_in = log_in
        self._lifeline = lifeline
        self._idle: list[_Crew] = []
        self._busy: set[_Crew] = set()
        lifeline.at_end(self._close)

    async def do(self, work: Callable[[Line], T]) -> T:
        """Raises what `work` raises, and ends only when that has ended: it may be writing to memory of the caller's."""
        crew = self._idle.pop() if self._idle else _Crew(self._connect, self._log_in)
        self._busy.add(crew)
        crew.keep()
        running = asyncio.get_running_loop().run_in_executor(crew.thread, crew.do, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            crew.shut()
            await asyncio.wait({running})
            running.exception()  # it was shut: what it says of that is known
            raise
        except ConnectionLost as error:
            self._lifeline.cut(f"bulk: {error}")
            raise
        finally:
            self._busy.discard(crew)
            self._put_away(crew)

    def _put_away(self, crew: "_Crew") -> None:
        if crew.is_idle and self._lifeline.lasts:
            self._idle.append(crew)
            crew.dismiss_in(IDLE_S, self._dismiss)
        else:
            crew.dismiss()

    def _dismiss(self, crew: "_Crew") -> None:
        self._idle.remove(crew)
        crew.dismiss()

    def _close(self) -> None:
        while self._idle:
            self._idle.pop().dismiss()
        for crew in self._busy:
            crew.shut()


class _Crew:
    """A thread with its line."""

    def __init__(self, connect: Callable[[], Line], log_in: Callable[[Line], None]) -> None:
        self._connect = connect
        self._log_in = log_in
        self._line: Line | None = None
        self._is_shut = False
        self._timer: asyncio.TimerHandle | None = None
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="bulk")

    @property
    def is_idle(self) -> bool:
        return self._line is not None and self._line.is_idle and not self._is_shut

    def do(self, work: Callable[[Line], T]) -> T:
        """In the thread."""
        if self._line is None:
            self._line = self._connect()
            if self._is_shut:  # while it connected; from here on it can be shut
                raise ConnectionLost("the session has ended, or nobody waits any more")
            self._log_in(self._line)
        return work(self._line)

    def shut(self) -> None:
        """Make work under way raise `ConnectionLost`, and work to come."""
        self._is_shut = True
        if self._line is not None:
            self._line.shut()

    def dismiss_in(self, seconds: float, dismiss: Callable[["_Crew"], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, dismiss, self)

    def keep(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def dismiss(self) -> None:
        """Close the line, which nobody works on."""
        self.keep()
        if self._line is not None:
            self._line.close()
        self.thread.shutdown(wait=False)
