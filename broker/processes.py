"""Processes that end with the program that started them, and ports for them to listen on."""

import fcntl
import os
import random
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from broker.errors import Fatal

PORTS: Final = range(15_000, 30_000)
"""Where a port is looked for: neither those that need a privilege, nor those that systems give by themselves."""

_GUARD: Final = """
trap : TERM
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
(trap - TERM; read -r _ <&3; kill -KILL 0) &
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
wait "$child"
"""
# The subshell reads our pipe: it ends when this program does, however that happens, and then kills its process group.
# Waiting is a loop because a trapped signal interrupts `wait`, and the child may take its time to shut down.


class GuardedProcess:
    """A command in a process group of its own, which ends at the latest when this program ends."""

    def __init__(self, command: Sequence[str | Path], *, env: Mapping[str, str], output: Path) -> None:
        pulse, theirs = os.pipe()
        # Above the single digits that a shell script may use.
        inherited = fcntl.fcntl(theirs, fcntl.F_DUPFD, 10)
        with output.open("ab") as log:
            self._guard = subprocess.Popen(  # noqa: S603 - arguments are passed as they are, not parsed by the shell
                ["/bin/sh", "-c", _GUARD, "guard", *command],
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[inherited],
            )
        os.close(theirs)
        os.close(inherited)
        self._pulse = os.fdopen(pulse, "rb")

    @property
    def running(self) -> bool:
        return self._guard.poll() is None

    def terminate(self, timeout_s: float) -> None:
        """Ask it to end and wait; kill it if it does not within `timeout_s`."""
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._guard.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """End it at once, and return when nothing that it started is left. Harmless when repeated."""
        self._signal(signal.SIGKILL)
        self._guard.wait()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        if not self._pulse.closed:
            # Every process it started has inherited the other end of this pipe: the last one to end closes it.
            self._pulse.read()
            self._pulse.close()

    def _signal(self, number: signal.Signals) -> None:
        # Once the guard has been waited for, its id may be another's.
        if self.running:
            os.killpg(self._guard.pid, number)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on at the moment, nor is given for a connection of its own.

    Systems give those from higher up: one of them could be taken before whoever asks here listens.
    """
    with ExitStack() as stack:
        return [_listen_somewhere(stack).getsockname()[1] for _ in range(count)]


def _listen_somewhere(stack: ExitStack) -> socket.socket:
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with suppress(OSError):
            return stack.enter_context(socket.create_server(("127.0.0.1", port)))
    raise Fatal(f"no port of {PORTS.start} to {PORTS.stop - 1} is free on this machine")
