"""The same bytes through RabbitMQ, and nothing else done with them: no digest, no copy, no arithmetic.

Weights are published once and read by all clients while they are still being written, each update by the server alone;
what fits into a message goes through queues. The bytes of the round before are deleted meanwhile.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

from broker.base import Delivery, Message, Queue, Session, Stream
from broker.blob import CHUNK_BYTES
from broker.connect import open_session
from fl.wire.bulk import INLINE_BYTES
from tests.bench.contestant import Ground
from tests.bench.figures import Figures
from tests.bench.listening import listen
from tests.bench.rows import Row
from tests.bench.stage import stage
from tests.bench.telling import tell, tell_done, tell_idle, tell_round
from tests.bench.usage import Meter


class Floor:
    label = "RabbitMQ, bytes only"
    passes = 2

    async def measure(self, row: Row, ground: Ground) -> Figures:
        async with stage(ground.folder, limit_s=row.limit_s) as play:
            said = (row.n_bytes, row.n_clients, row.n_rounds, ground.broker_url, f"floor-{uuid4().hex[:8]}")
            server = await play.script("the server", "floor", *said)
            await play.next("ready")
            clients = [
                await play.script(f"client {place}", "floor", *said, "--place", place) for place in range(row.n_clients)
            ]
            meter = Meter(
                server=lambda: [server.pid],
                clients=lambda: [client.pid for client in clients],
                broker=lambda: [ground.broker_pid],
            )
            return await listen(play, row, meter)


class Names:
    """What all queues and streams of one measurement are called."""

    def __init__(self, prefix: str) -> None:
        self.server = f"{prefix}.server"
        self._prefix = prefix

    def client(self, place: int) -> str:
        return f"{self._prefix}.client.{place}"

    def weights(self, number: int) -> str:
        return f"{self._prefix}.w.{number}"

    def update(self, number: int, place: int) -> str:
        return f"{self._prefix}.u.{number}.{place}"


class Server:
    """Sends the weights to all, and takes what comes."""

    def __init__(self, session: Session, row: Row, names: Names) -> None:
        self._session = session
        self._row = row
        self._names = names
        self._places = range(row.n_clients)
        self._data = b""

    async def serve(self) -> None:
        await self._prepare()
        tell("ready")
        async with await self._session.consume(self._names.server, prefetch=64) as deliveries:
            letters = aiter(deliveries)
            await self._collect(letters)  # each client says that it is there
            tell_idle()
            self._data = bytes(self._row.n_bytes)
            exchange = self._exchange_inline if self._row.n_bytes <= INLINE_BYTES else self._exchange_bulk
            for number in range(self._row.n_rounds + 1):
                await exchange(number, letters)
                tell_round()
        tell_done()

    async def _prepare(self) -> None:
        """Declare everything, for all rounds: that is no part of them."""
        names = self._names
        await self._session.declare(Queue(names.server), *(Queue(names.client(place)) for place in self._places))
        if self._row.n_bytes > INLINE_BYTES:
            for number in range(self._row.n_rounds + 1):
                await self._session.declare(*(Stream(name) for name in self._streams(number)))

    def _streams(self, number: int) -> list[str]:
        return [self._names.weights(number), *(self._names.update(number, place) for place in self._places)]

    async def _exchange_inline(self, _: int, letters: AsyncIterator[Delivery]) -> None:
        async with asyncio.TaskGroup() as group:
            for place in self._places:
                group.create_task(self._ask(place, self._data))
            group.create_task(self._collect(letters))

    async def _exchange_bulk(self, number: int, _: AsyncIterator[Delivery]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forget(number - 1))
            for place in self._places:
                group.create_task(self._ask(place, str(number).encode()))
                group.create_task(receive(self._session, self._names.update(number, place), self._row.n_bytes))
            group.create_task(send(self._session, self._names.weights(number), self._data))

    async def _ask(self, place: int, body: bytes) -> None:
        await self._session.publish(Message(body), routing_key=self._names.client(place))

    async def _collect(self, letters: AsyncIterator[Delivery]) -> None:
        for _ in self._places:
            await (await anext(letters)).ack()

    async def _forget(self, number: int) -> None:
        for name in self._streams(number) if number >= 0 else ():
            await self._session.delete(name)


async def take_part(session: Session, row: Row, names: Names, place: int) -> None:
    """Send an update for all weights that come, until it is killed."""
    data = bytes(row.n_bytes)
    async with await session.consume(names.client(place), prefetch=1) as requests:
        await session.publish(Message(b"here"), routing_key=names.server)
        async for request in requests:
            if row.n_bytes <= INLINE_BYTES:
                await session.publish(Message(data), routing_key=names.server)
            else:
                number = int(bytes(request.message.body))
                await receive(session, names.weights(number), row.n_bytes)
                await send(session, names.update(number, place), data)
            await request.ack()


async def send(session: Session, stream: str, data: bytes) -> None:
    view = memoryview(data)
    chunks = (Message(view[start : start + CHUNK_BYTES]) for start in range(0, len(view), CHUNK_BYTES))
    await session.publish_all(chunks, routing_key=stream)


async def receive(session: Session, stream: str, n_bytes: int) -> None:
    """Read until so many bytes have come."""

    def take(chunk: Message) -> bool:
        nonlocal n_bytes
        n_bytes -= len(chunk.body)
        return n_bytes <= 0

    await session.pour(stream, take)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("n_bytes", "n_clients", "n_rounds"):
        parser.add_argument(name, type=int)
    parser.add_argument("url")
    parser.add_argument("prefix", help="of the names of queues and streams")
    parser.add_argument("--place", type=int, help="be the client of this number")
    options = parser.parse_args()
    row = Row(options.n_bytes, options.n_clients, options.n_rounds)
    names = Names(options.prefix)
    session = await open_session(options.url, name=options.prefix)
    if options.place is None:
        await Server(session, row, names).serve()
    else:
        await take_part(session, row, names, options.place)


if __name__ == "__main__":
    asyncio.run(main())
