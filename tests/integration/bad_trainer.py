"""A trainer's process as ours, which fails in the ways that frameworks do when a file beside its data says so.

Asked to train, it looks for the file `fault` in its working directory, removes it, and does what it says.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fl.client import trainer_process
from fl.client.desk import Desk
from fl.wire.trainer_pb2 import TrainerAnswer, TrainerCall

MIB: Final = 2**20
ENOUGH_MIB: Final = 4_000
"""Nobody eats more, whatever happens to the limit."""


def touch_null() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(3)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    while True:
        time.sleep(60.0)


def hang_with_the_interpreter() -> None:
    """No other thread of the process runs any more."""
    ctypes.PyDLL(None).pause()


def eat() -> None:
    eaten: list[bytes] = []
    while len(eaten) < ENOUGH_MIB // 16:
        eaten.append(b"x" * (16 * MIB))
        time.sleep(0.02)
    hang()


def let_a_child_eat() -> None:
    subprocess.run([sys.executable, "-c", "from tests.integration.bad_trainer import eat; eat()"], check=True)


def babble() -> None:
    """Write to where answers go."""
    for number in (3, 4, 5, 6, 7, 8):
        try:
            os.write(number, (8).to_bytes(8, "big") + b"\xff" * 8)
        except OSError:
            continue
    hang()


FAULTS: Final[dict[str, Callable[[], None]]] = {
    fault.__name__: fault
    for fault in (touch_null, leave, be_killed, hang, hang_with_the_interpreter, eat, let_a_child_eat, babble)
}


class BadDesk(Desk):
    def answer(self, call: TrainerCall) -> TrainerAnswer:
        order = Path("fault")
        if call.HasField("train") and order.exists():
            fault = FAULTS[order.read_text()]
            order.unlink()
            fault()
        return super().answer(call)


if __name__ == "__main__":
    trainer_process.Desk = BadDesk  # type: ignore[attr-defined]  # the rest of the program stays as it is
    trainer_process.main()
