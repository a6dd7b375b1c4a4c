"""A private RabbitMQ node on the loopback interface, for development and tests."""

import atexit
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from broker.access import Permissions
from broker.erlang import PortMapper, find
from broker.errors import Fatal
from broker.processes import GuardedProcess, free_ports

_LOOPBACK_ONLY: Final = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"
_AMQP_HEADER: Final = b"AMQP\x00\x00\x09\x01"
_POLL_S: Final = 0.05
_TAIL_LINES: Final = 60
"""A failed start gives its reason about 50 lines before the end of its log."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What a node is called in its cluster, and what it shares with the others."""

    name: str
    cookie: str
    mapper: PortMapper


class LocalRabbit:
    """One node with ports, port mapper, cookie and data of its own; nothing else on the machine sees it.

    Data stay in `directory` for the next start; without one they go to a temporary directory and vanish with
    the node. `extra_config` adds lines to `rabbitmq.conf`; `membership` makes it one of several (`broker.cluster`).
    Raises `Fatal` where RabbitMQ is not installed.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        heartbeat_s: int = 60,
        extra_config: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        membership: Membership | None = None,
    ) -> None:
        self._server_command = find("rabbitmq-server")
        self._ctl_command = find("rabbitmqctl")
        self._kept = directory
        self._timeout_s = timeout_s
        self._alone = membership is None
        self._membership = membership or Membership("fluffle@localhost", secrets.token_hex(16), PortMapper())
        free = free_ports(2)
        self._port, self._dist_port = port or free[0], free[1]
        self._config = {
            "listeners.tcp.1": f"127.0.0.1:{self._port}",
            "heartbeat": str(heartbeat_s),
            "disk_free_limit.absolute": "64MB",
            "log.console": "false",
        } | dict(extra_config or {})
        self._directory: Path | None = None
        self._server: GuardedProcess | None = None

    @property
    def url(self) -> str:
        """Where the node's default user connects."""
        return self.url_of("guest", "guest")

    def url_of(self, user: str, password: str) -> str:
        return f"amqp://{user}:{password}@127.0.0.1:{self._port}/"

    def start(self) -> Self:
        """Start and wait until clients can connect. Raises `Fatal` with the end of the node's log if it does not."""
        if self._directory is None:
            self._prepare()
        if self._server is None:
            self._start_server()
        return self

    def stop(self) -> None:
        """End the node and its port mapper; a temporary directory goes too. Harmless when repeated."""
        atexit.unregister(self.stop)
        if self._server is not None and self._kept is not None:
            self._server.terminate(self._timeout_s)
        self.kill()
        if self._alone:
            self._membership.mapper.stop()
        if self._directory is not None and self._kept is None:
            shutil.rmtree(self._directory)
        self._directory = None

    def kill(self) -> None:
        """End the node with SIGKILL. Its data are kept until `stop`."""
        if self._server is not None:
            self._server.kill()
            self._server = None

    def restart(self) -> None:
        """Kill the node if it runs and start it again, with its data and at the same URL."""
        self.kill()
        self.start()

    def ctl(self, *arguments: str, secret: str | None = None) -> str:
        """Run `rabbitmqctl` and return its output; `secret` goes to its standard input. Raises `Fatal`."""
        done = subprocess.run(  # noqa: S603 - RabbitMQ's own tool, without a shell
            [self._ctl_command, "--quiet", "--node", self._membership.name, *arguments],
            env=self._environment(),
            input=secret or "",
            capture_output=True,
            text=True,
            timeout=self._timeout_s,
            check=False,
        )
        if done.returncode != 0:
            raise Fatal(f"rabbitmqctl {arguments[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def add_user(self, name: str, password: str, may: Permissions, *, vhost: str = "/") -> None:
        """Add a user who may do this in one virtual host. Raises `Fatal`."""
        self.ctl("add_user", name, secret=password)
        self.ctl("set_permissions", "-p", vhost, name, may.configure, may.write, may.read)
        for exchange, keys in may.topics.items():
            self.ctl("set_topic_permissions", "-p", vhost, name, exchange, *keys)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _prepare(self) -> None:
        atexit.register(self.stop)
        self._directory = self._kept or Path(tempfile.mkdtemp(prefix="fluffle-rabbit-"))
        self._log_directory.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{key} = {value}\n" for key, value in self._config.items())
        self._file("rabbitmq.conf").write_text(lines)
        self._file("enabled_plugins").write_text("[].\n")
        self._write_cookie(self._file(".erlang.cookie"))
        if self._alone:
            self._membership.mapper.start()

    def _write_cookie(self, file: Path) -> None:
        """Write down what nodes know each other by, for our eyes only; a kept directory has one already."""
        if not file.exists():
            file.touch(0o600)
            file.write_text(self._membership.cookie)
            file.chmod(0o400)

    def _start_server(self) -> None:
        output = self._log_directory / "startup.log"
        self._server = GuardedProcess([self._server_command], env=self._environment(), output=output)
        try:
            self._wait_until_up(self._server)
        except BaseException:
            self.stop()
            raise

    def _wait_until_up(self, server: GuardedProcess) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not _speaks_amqp(self._port):
            if not server.running:
                raise Fatal(f"the RabbitMQ node ended while starting; its log ends so:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise Fatal(f"no RabbitMQ after {self._timeout_s:g} s; its log ends so:\n{self._log_tail()}")
            time.sleep(_POLL_S)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self._file("")),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_EPMD_PORT": str(self._membership.mapper.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._membership.name,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _LOOPBACK_ONLY,
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK_ONLY,
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self._file("rabbitmq.conf")),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._file("enabled_plugins")),
            "RABBITMQ_PID_FILE": str(self._file("pid")),
            "RABBITMQ_MNESIA_BASE": str(self._file("data")),
            "RABBITMQ_LOG_BASE": str(self._log_directory),
        }

    @property
    def _log_directory(self) -> Path:
        return self._file("log")

    def _file(self, name: str) -> Path:
        if self._directory is None:
            raise Fatal("the local RabbitMQ node is not running: start it first")
        return self._directory / name

    def _log_tail(self) -> str:
        logs = sorted(self._log_directory.glob("*.log"), key=lambda log: log.stat().st_mtime)
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        return "\n".join(lines[-_TAIL_LINES:])


def _speaks_amqp(port: int) -> bool:
    """Whether a broker answers the protocol header with its first frame."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
        connection.sendall(_AMQP_HEADER)
        return connection.recv(1) == b"\x01"
    return False
