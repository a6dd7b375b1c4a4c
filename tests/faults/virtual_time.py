"""An event loop whose time is its own: sleeping costs nothing, and the same program takes the same steps again.

When nothing can go on, time jumps to the next timer. Threads are not started: what is meant for one is computed in
place, and its result comes a moment later, so that others get on meanwhile. Tasks hash by their age, since the order
of a set of them decides who is cancelled first. Garbage in cycles is left until the end, since what is finalized would
take steps of its own.
"""

import asyncio
import gc
import itertools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

COMPUTING_S = 0.001
"""How long a computation takes here, whatever it computes."""


class Stuck(Exception):
    """Everybody waits for somebody, and no timer runs: nothing would ever happen again."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Calls `on_step` before each step of a task or callback: whatever happens unasked can happen there."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_JumpingSelector(self._jump))
        self.on_step: Callable[[], None] = _nothing
        ages = itertools.count()
        self.set_task_factory(lambda loop, coro, **options: _Task(coro, loop=loop, age=next(ages), **options))

    def time(self) -> float:
        return self._now_s

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon(self._step, callback, args, context=context)

    def run_in_executor(  # type: ignore[override]  # of the base class's own type, which typeshed widens for an old form
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        """Compute now; tell a moment later."""
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:  # whoever asked gets what it raised
            self.call_later(COMPUTING_S, _unless_done, future, future.set_exception, error)
        else:
            self.call_later(COMPUTING_S, _unless_done, future, future.set_result, result)
        return future

    def _step(self, callback: Callable[[*Ts], object], args: tuple[*Ts]) -> None:
        self.on_step()
        callback(*args)

    def _jump(self, seconds: float) -> None:
        self._now_s += seconds


class _JumpingSelector(selectors.DefaultSelector):
    """Looks at no socket: there are none but the loop's own, by which threads would wake it."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nobody can go on, and no timer runs")
        if timeout > 0:
            self._jump(timeout)
        return []


class _Task(asyncio.Task[T]):
    def __init__(self, coro: Coroutine[Any, Any, T], *, age: int, **options: Any) -> None:
        self._age = age
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._age


def run(program: Callable[[VirtualTimeLoop], Coroutine[Any, Any, T]], *, most_s: float) -> T:
    """What `program` returns; `TimeoutError` if that takes more than so many seconds of its own time."""
    gc.disable()
    try:
        return _run(program, most_s=most_s)
    finally:
        gc.enable()


def _run(program: Callable[[VirtualTimeLoop], Coroutine[Any, Any, T]], *, most_s: float) -> T:

    async def within_limit() -> T:
        async with asyncio.timeout(most_s):
            return await program(loop)

    loop = VirtualTimeLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(within_limit())


def _unless_done(future: "asyncio.Future[Any]", tell: Callable[[Any], None], what: Any) -> None:
    """A computation that nobody waits for any more tells nobody."""
    if not future.done():
        tell(what)


def _nothing() -> None: ...
