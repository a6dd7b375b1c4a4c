"""declearn: a server and clients as processes, over gRPC or websockets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from broker.processes import free_ports
from tests.bench.contestant import Ground
from tests.bench.figures import Figures
from tests.bench.listening import listen
from tests.bench.rows import Row
from tests.bench.stage import stage
from tests.bench.usage import Meter


@dataclass(frozen=True, slots=True)
class Declearn:
    """`heartbeat_s` is how often its server looks for messages; 1 s unless told otherwise."""

    python: Path
    """Of the environment that has it."""
    protocol: Literal["grpc", "websockets"]
    heartbeat_s: float

    @property
    def label(self) -> str:
        protocol = {"grpc": "gRPC", "websockets": "websockets"}[self.protocol]
        return f"declearn {protocol}, heartbeat {self.heartbeat_s:g} s"

    @property
    def passes(self) -> int:
        return 1 if self._is_slow else 2

    async def measure(self, row: Row, ground: Ground) -> Figures:
        if self._is_slow:
            row = row.shortened()
        (port,) = free_ports(1)
        said = (row.n_bytes, row.n_clients, row.n_rounds, port, self.protocol, self.heartbeat_s)
        async with stage(ground.folder, limit_s=row.limit_s) as play:
            server = await play.script("the server", "declearn_parties", *said, python=self.python)
            idle = await play.next("idle")
            await play.next("listening")
            clients = [
                await play.script(
                    f"client {place}", "declearn_parties", *said, "--client", f"c{place}", python=self.python
                )
                for place in range(row.n_clients)
            ]
            meter = Meter(server=lambda: [server.pid], clients=lambda: [client.pid for client in clients])
            meter.idle_mb = idle["mb"]
            return await listen(play, row, meter)

    @property
    def _is_slow(self) -> bool:
        return self.heartbeat_s >= 1.0
