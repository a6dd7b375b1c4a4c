"""Work that takes long, beside the event loop."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

_THREADS: Final = ThreadPoolExecutor(max_workers=1000, thread_name_prefix="beside")
"""So many that nobody ever waits for one: asyncio's own pool has a handful, which as many long computations would take
from everybody else. A thread is started when none is idle."""

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """Run what takes long, without holding up the event loop, nor others that do the same.

    Also when this is cancelled it ends only with the thread, which may be writing to memory of the caller's.
    """
    in_context = partial(contextvars.copy_context().run, work, *args)
    running = asyncio.get_running_loop().run_in_executor(_THREADS, in_context)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise
