"""The same bytes over bare sockets, and nothing else done with them."""

import argparse
import socket
from concurrent.futures import ThreadPoolExecutor

from tests.bench.contestant import Ground
from tests.bench.figures import Figures
from tests.bench.listening import listen
from tests.bench.rows import Row
from tests.bench.stage import stage
from tests.bench.telling import tell, tell_done, tell_idle, tell_round
from tests.bench.usage import Meter


class RawTcp:
    label = "raw TCP"
    passes = 2

    async def measure(self, row: Row, ground: Ground) -> Figures:
        async with stage(ground.folder, limit_s=row.limit_s) as play:
            server = await play.script("the server", "raw_tcp", row.n_bytes, row.n_clients, row.n_rounds)
            port = (await play.next("port"))["port"]
            clients = [
                await play.script(f"client {number}", "raw_tcp", row.n_bytes, row.n_clients, row.n_rounds, "--to", port)
                for number in range(row.n_clients)
            ]
            meter = Meter(server=lambda: [server.pid], clients=lambda: [client.pid for client in clients])
            return await listen(play, row, meter)


def serve(row: Row) -> None:
    """Send everybody the weights, and take one update of each."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        tell("port", port=listening.getsockname()[1])
        connections = [listening.accept()[0] for _ in range(row.n_clients)]
    tell_idle()
    weights = bytes(row.n_bytes)
    updates = [bytearray(row.n_bytes) for _ in connections]

    def exchange(connection: socket.socket, update: bytearray) -> None:
        connection.sendall(weights)
        _receive(connection, update)

    with ThreadPoolExecutor(row.n_clients) as threads:
        for _ in range(row.n_rounds + 1):
            list(threads.map(exchange, connections, updates))
            tell_round()
        tell_done()


def take_part(row: Row, port: int) -> None:
    """Send an update for all weights that come, until it is killed."""
    data = bytearray(row.n_bytes)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while True:
            _receive(connection, data)
            connection.sendall(data)


def _receive(connection: socket.socket, into: bytearray) -> None:
    view = memoryview(into)
    while view:
        n_bytes = connection.recv_into(view)
        if not n_bytes:
            raise ConnectionError("the other side has hung up")
        view = view[n_bytes:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("n_bytes", "n_clients", "n_rounds"):
        parser.add_argument(name, type=int)
    parser.add_argument("--to", type=int, help="be a client of the server at this port")
    options = parser.parse_args()
    row = Row(options.n_bytes, options.n_clients, options.n_rounds)
    if options.to is None:
        serve(row)
    else:
        take_part(row, options.to)


if __name__ == "__main__":
    main()
