"""The trainer's process: the framework, the data and the GPU are here, and nowhere else at the site.

Started by the daemon as `python -m fl.client.trainer_process DESCRIPTOR`, as the leader of a process group of its own,
with the descriptor of the memory that both map. It ends when the daemon closes its pipe, or is killed, also in the
middle of a training: it never outlives it.
"""

import logging
import os
import signal
import sys
from queue import SimpleQueue
from threading import Event, Thread
from typing import BinaryIO

from fl.client.desk import Desk
from fl.client.frames import read_frame, write_frame
from fl.client.gpu import count_gpus, only_gpu
from fl.client.shared_memory import SharedMemory
from fl.core.device import DevicePolicy
from fl.core.doors import OURS, Doors, set_doors
from fl.wire.trainer_pb2 import TrainerCall, TrainerSetup


def main() -> None:
    """Answer calls from standard input until it closes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for which in (signal.SIGINT, signal.SIGTERM):  # a Ctrl-C, or a service manager's word to all, is for the daemon
        signal.signal(which, signal.SIG_IGN)
    # What a framework prints must not get between the frames: from here on standard output is standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    memory = SharedMemory(int(sys.argv[1]))
    os.set_inheritable(memory.fd, False)  # what the model starts has no use for it, and may outlive us
    calls, desk = Calls(sys.stdin.buffer), Desk(on_setup=_prepare, memory=memory)
    while (frame := calls.take()) is not None:
        answer = desk.answer(TrainerCall.FromString(frame)).SerializeToString()
        calls.answered()
        try:
            write_frame(answers, answer)
        except BrokenPipeError:
            _end_at_once()  # the daemon was killed while it was answered


class Calls:
    """Calls from a pipe, which is watched while one is in work."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._frames: SimpleQueue[bytes | None] = SimpleQueue()
        self._idle = Event()
        self._idle.set()
        Thread(target=self._receive, name="calls", daemon=True).start()

    def take(self) -> bytes | None:
        """The next call, waiting for it; None when the daemon has closed the pipe."""
        return self._frames.get()

    def answered(self) -> None:
        """The call that was taken is not in work any more."""
        self._idle.set()

    def _receive(self) -> None:
        while (frame := read_frame(self._pipe)) is not None:
            self._idle.clear()
            self._frames.put(frame)
        if not self._idle.is_set():
            _end_at_once()
        self._frames.put(None)


def _end_at_once() -> None:
    """End this process and all that it has started; nobody waits for what they do."""
    try:
        os.killpg(os.getpid(), signal.SIGKILL)
    except ProcessLookupError:  # started by hand, in the group of a shell
        os._exit(1)


def _prepare(setup: TrainerSetup) -> DevicePolicy:
    """Before any framework is imported: let in what the site allows, and see no GPU but its own."""
    set_doors(Doors((OURS, *setup.allow_factories), setup.allow_pickle))
    policy = DevicePolicy(setup.gpu, setup.idx if setup.HasField("idx") else None)
    visible, policy = only_gpu(policy, visible=os.environ.get("CUDA_VISIBLE_DEVICES"), n_gpus=count_gpus())
    os.environ.update({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"})
    # threads that spin while they wait take the cores from the trainers of other runs: three of a small network that
    # share two cores are three times as fast without
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if setup.HasField("threads"):
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), str(setup.threads)))
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    return policy


if __name__ == "__main__":
    main()
