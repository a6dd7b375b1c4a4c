"""Trainers as the daemon sees them: ask, get an answer, or learn that the trainer is dead."""

import asyncio
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, Self

from fl.client.frames import receive_frame, send_frame
from fl.errors import FluffleError
from fl.wire.trainer_pb2 import TrainerAnswer, TrainerCall

if TYPE_CHECKING:
    from fl.client.desk import Desk  # needs numpy and the data's libraries, which an idle daemon does without

STOP_AFTER_S = 5.0


class TrainerDied(FluffleError):
    """The trainer's process ended in the middle of a call."""


class Trainer(Protocol):
    """Who trains for one run."""

    async def ask(self, call: TrainerCall) -> TrainerAnswer:
        """Raises `TrainerDied`; whatever else goes wrong is an answer."""

    async def close(self) -> None:
        """End the trainer, and whatever it is doing."""


class ProcessTrainer:
    """A trainer in a process of its own: what it breaks ends with it, and its memory comes back."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> Self:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "fl.client.trainer_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def ask(self, call: TrainerCall) -> TrainerAnswer:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None, "started with pipes"
        assert pipe_out is not None, "started with pipes"
        try:
            await send_frame(pipe_in, call.SerializeToString())
            frame = await receive_frame(pipe_out)
        except ConnectionError:
            frame = None
        if frame is None:
            raise TrainerDied(f"the trainer's process {_how_it_ended(await self._process.wait())}")
        return TrainerAnswer.FromString(frame)

    async def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_AFTER_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class ThreadTrainer:
    """A trainer in a thread: for runs that are all in one process, and for data that cannot leave it."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trainer")

    async def ask(self, call: TrainerCall) -> TrainerAnswer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._desk.answer, call)

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}; its own output says why"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
