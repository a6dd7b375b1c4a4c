"""Trainers as the daemon sees them: ask, get an answer, or learn that the trainer is dead."""

import asyncio
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, Self

from google.protobuf.message import DecodeError

from broker.threads import in_thread
from fl.client.config import LimitsConfig
from fl.client.frames import receive_frame, send_frame
from fl.client.limits import until_above
from fl.client.memory import Memory
from fl.client.shared_memory import SharedMemory
from fl.errors import FluffleError
from fl.wire.trainer_pb2 import TrainerAnswer, TrainerCall

if TYPE_CHECKING:
    from fl.client.desk import Desk  # needs numpy and the data's libraries, which an idle daemon does without

STOP_AFTER_S: Final = 5.0

PROGRAM: Final = "fl.client.trainer_process"


class TrainerDied(FluffleError):
    """The trainer's process ended in the middle of a call, or had to be ended."""


class Trainer(Protocol):
    """Who trains for one run."""

    memory: Memory
    """Where a call's tensors, and those of its answer, lie that are too big for a message; until the next call."""

    async def ask(self, call: TrainerCall) -> TrainerAnswer:
        """Raises `TrainerDied`; whatever else goes wrong is an answer."""

    async def close(self) -> None:
        """End the trainer, and whatever it is doing, at once when this is cancelled. Harmless when repeated."""


class ProcessTrainer:
    """A trainer in a process of its own: what it breaks ends with it, and its memory comes back.

    The process leads a group, so that what it starts ends with it.
    """

    def __init__(self, process: asyncio.subprocess.Process, memory: SharedMemory, limits: LimitsConfig) -> None:
        self._process = process
        self.memory: Memory = memory
        self._limits = limits
        self._ended_for = ""
        """The limit that it went beyond."""
        self._watch = asyncio.create_task(self._watch_memory())

    @classmethod
    async def start(cls, limits: LimitsConfig | None = None, program: str = PROGRAM) -> Self:
        """`program` is a module to run, with the descriptor of the memory as its argument."""
        memory = SharedMemory.create()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                program,
                str(memory.fd),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
                pass_fds=(memory.fd,),
            )
        except BaseException:
            memory.close()
            raise
        return cls(process, memory, limits or LimitsConfig())

    async def ask(self, call: TrainerCall) -> TrainerAnswer:
        try:
            async with asyncio.timeout(self._limits.round_s):
                answer = await self._exchange(call)
        except TimeoutError:
            self._end_for(f"it took longer than {self._limits.round_s:g} s, the round_s of this site's [limits]")
            answer = None
        if answer is None:
            code = await self._process.wait()
            raise TrainerDied(f"the trainer's process {self._ended_for or _how_it_ended(code)}")
        return answer

    async def close(self) -> None:
        self._watch.cancel()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_AFTER_S):
                    await self._process.wait()
        finally:
            self._kill()
            await self._process.wait()
            await in_thread(self.memory.close)  # it is let go of here, where it may be as large as the model

    async def _exchange(self, call: TrainerCall) -> TrainerAnswer | None:
        """The answer; None when the process ends, or sends what is none."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None, "started with pipes"
        assert pipe_out is not None, "started with pipes"
        try:
            await send_frame(pipe_in, call.SerializeToString())
            frame = await receive_frame(pipe_out)
            return None if frame is None else TrainerAnswer.FromString(frame)
        except ConnectionError:
            return None
        except DecodeError:
            self._end_for("it wrote what is no answer to where its answers go")
            return None

    async def _watch_memory(self) -> None:
        most_mb = self._limits.memory_mb
        if most_mb is not None:
            used_mb = await until_above(self._process.pid, most_mb)
            self._end_for(f"it used {used_mb} MiB of memory; the memory_mb of this site's [limits] is {most_mb}")

    def _end_for(self, reason: str) -> None:
        self._ended_for = f"was ended: {reason}"
        self._kill()

    def _kill(self) -> None:
        """End the process and whatever it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


class ThreadTrainer:
    """A trainer in a thread: for runs that are all in one process, and for data that cannot leave it."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk
        self.memory = desk.memory
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trainer")

    async def ask(self, call: TrainerCall) -> TrainerAnswer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._desk.answer, call)

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
        self.memory.close()


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}; its own output says why"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
