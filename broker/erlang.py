"""What RabbitMQ's nodes need of the machine: its programs, and the port mapper through which they find each other."""

import os
import shutil
from pathlib import Path
from typing import Final

from broker.errors import Fatal
from broker.processes import GuardedProcess, free_ports

_PLACES: Final = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/usr/sbin", "/opt/homebrew/sbin", "/opt/rabbitmq/sbin")


def find(program: str) -> str:
    """The path of one of RabbitMQ's programs. Raises `Fatal` where it is not installed."""
    # The packages' wrappers in sbin change the user and the directory; the scripts behind them do not.
    places = os.pathsep.join([*_PLACES, os.environ.get("PATH", os.defpath)])
    found = shutil.which(program, path=places)
    if found is None:
        raise Fatal(f"{program} is not installed here: `apt-get install rabbitmq-server`, or use another broker's URL")
    return found


class PortMapper:
    """A port mapper of our own, as our child: the one that Erlang starts by itself outlives the nodes."""

    def __init__(self) -> None:
        self._command = find("epmd")
        (self.port,) = free_ports(1)
        self._process: GuardedProcess | None = None

    def start(self) -> None:
        """Harmless when repeated."""
        if self._process is None:
            command = [self._command, "-address", "127.0.0.1", "-port", str(self.port)]
            path = {"PATH": os.environ.get("PATH", os.defpath)}
            self._process = GuardedProcess(command, env=path, output=Path(os.devnull))

    def stop(self) -> None:
        """Harmless when repeated."""
        if self._process is not None:
            self._process.kill()
            self._process = None
