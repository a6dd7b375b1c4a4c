"""What tests share about the real broker: its limits, virtual hosts, and a wire to it that a test can cut or freeze."""

import asyncio
import json
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

from broker.base import Stream
from broker.blocking import BlockingBroker
from broker.errors import Fatal
from broker.local import LocalRabbit

MAX_MESSAGE_BYTES: Final = 2 * 1024 * 1024
MAX_CHANNELS: Final = 64
HOSTS_AT_A_TIME: Final = 8

_ALARMS: Final = {
    "memory": (("set_vm_memory_high_watermark", "absolute", "1"), ("set_vm_memory_high_watermark", "0.4")),
    "disk": (("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "64MB")),
}
"""How to raise each alarm of a node, and how to clear it."""


def age(node: LocalRabbit) -> None:
    """Let a new node have held a stream for a while: the first one of its life is safe only after a second."""
    with BlockingBroker(node.url) as broker:
        broker.declare(Stream("first"))
        broker.delete("first")
    node.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")


def virtual_hosts(node: LocalRabbit) -> Iterator[str]:
    """Names of virtual hosts that nobody has seen, made some at a time: `rabbitmqctl` takes a second whatever it does.

    They go with the node.
    """
    all_of_it = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
    while True:
        names = [f"test-{secrets.token_hex(4)}" for _ in range(HOSTS_AT_A_TIME)]
        permissions = [{"vhost": name, **all_of_it} for name in names]
        with TemporaryDirectory() as folder:
            definitions = Path(folder) / "definitions.json"
            definitions.write_text(
                json.dumps({"vhosts": [{"name": name} for name in names], "permissions": permissions})
            )
            node.ctl("import_definitions", str(definitions))
        yield from names


def evaluate(node: LocalRabbit, expression: str) -> str:
    """The string that an expression of Erlang is on a node. Raises `Fatal` where it fails.

    A campaign asks several times: Erlang's own `erl_call`, where it is installed, takes a hundredth of what
    `rabbitmqctl` takes.
    """
    erl_call = shutil.which("erl_call")
    if erl_call is None:
        return node.ctl("eval", f"{expression}.").strip().strip('"')
    member = node._membership
    command = [erl_call, "-n", member.name, "-c", member.cookie, "-e"]
    asked = subprocess.run(
        command,
        env=node._environment(),
        input=f"{expression}.\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "failed to connect" in asked.stderr:  # as it does at times where much goes on
        return node.ctl("eval", f"{expression}.").strip().strip('"')
    if asked.stdout == "{ok, []}":
        return ""
    if not asked.stdout.startswith('{ok, "'):
        raise Fatal(f"erl_call failed: {asked.stderr or asked.stdout}")
    return asked.stdout.removeprefix('{ok, "').removesuffix('"}')


@asynccontextmanager
async def impatience(node: LocalRabbit, timeout_ms: int, *, look_every_ms: int = 100) -> AsyncIterator[None]:
    """Within this block new channels wait so long for acknowledgements, and look so often whether that is over."""
    set_both = (
        "application:set_env(rabbit, consumer_timeout, {}), application:set_env(rabbit, channel_tick_interval, {})"
    )
    get = "{ok, Known} = application:get_env(rabbit, consumer_timeout)"
    impatient = f"{get}, {set_both.format(timeout_ms, look_every_ms)}, integer_to_list(Known)"
    known = await asyncio.to_thread(evaluate, node, impatient)
    try:
        yield
    finally:
        await asyncio.to_thread(evaluate, node, f'{set_both.format(known, 60_000)}, "patient"')


@asynccontextmanager
async def alarm(node: LocalRabbit, what: str) -> AsyncIterator[None]:
    """Within this block a node takes no messages for lack of `memory` or `disk`."""
    raised, cleared = _ALARMS[what]
    await asyncio.to_thread(node.ctl, *raised)
    try:
        yield
    finally:
        await asyncio.to_thread(node.ctl, *cleared)


class Cuttable:
    """Listens on a port of its own and passes bytes to and from the real one, for one client."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def cut(self) -> None:
        """Reset both ends, without a word of AMQP."""
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Pass nothing on any more, and tell nobody."""
        for pump in self._pumps:
            pump.cancel()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        self.freeze()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _accept(self, near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers += [near_writer, far_writer]
        for reader, writer in ((near_reader, far_writer), (far_reader, near_writer)):
            self._pumps.add(asyncio.create_task(_pump(reader, writer)))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # cut
    writer.close()
