"""`python -m tests.bench.crowd URL RUN FIRST LAST`: light clients that share a process and a connection.

They speak the protocol in full, read the weights of each round, and send an update of the same size; only training and
the daemon around it are left out.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass, field

from broker import blob, topology
from broker.base import Session
from broker.connect import open_session
from broker.errors import Unroutable
from fl.core.vector import NumpyVector
from fl.wire.bulk import INLINE_BYTES, fetch
from fl.wire.envelope import Body, body_of, seal, unseal, what, wrap
from fl.wire.messages_pb2 import (
    DataInfo,
    EvaluateReply,
    EvaluateRequest,
    InitReply,
    InitRequest,
    JoinReply,
    JoinRequest,
    StopRequest,
    TrainReply,
    TrainRequest,
)
from fl.wire.tensors import inline, referring
from fl.wire.tensors_pb2 import Tensors


@dataclass(slots=True)
class LightClient:
    """Answers one run's leader, each request once."""

    session: Session
    run: str
    name: str
    joined: asyncio.Event = field(default_factory=asyncio.Event)

    async def take_part(self) -> None:
        """Join, and answer until the run is over."""
        async with await self.session.consume(topology.client_queue(self.name), prefetch=4) as requests:
            await self._say(JoinRequest(data_info=DataInfo(n_samples=1)))
            async for delivery in requests:
                envelope = unseal(delivery.message)
                if envelope.run != self.run:  # the farewell of the run before
                    await delivery.ack()
                    continue
                body = body_of(envelope)
                reply = await self._reply(body, envelope.sender)
                if reply is not None:
                    await self._say(reply, body.route if isinstance(body, TrainRequest) else "")
                await delivery.ack()
                if isinstance(body, StopRequest) or (isinstance(body, JoinReply) and not body.accepted):
                    return

    async def _reply(self, body: Body, leader: str) -> Body | None:
        match body:
            case InitRequest():
                return InitReply()
            case TrainRequest():
                weights = await fetch(self.session, body.weights)
                update = await self._ship(weights, topology.Room(self.run, body.round, self.name, leader))
                digest = body.weights.digest
                return TrainReply(round=body.round, weights_digest=digest, update=update, n_steps=1, n_samples=1)
            case EvaluateRequest():
                return EvaluateReply(round=body.round, weights_digest=body.weights.digest, loss_sum=1.0, weight_sum=1.0)
        return None

    async def _ship(self, update: NumpyVector, room: topology.Room) -> Tensors:
        if update.layout.nbytes <= INLINE_BYTES:
            return inline(update)
        data = update.pack()
        ref = await blob.write(self.session, room.stream, data, exchange=topology.UP.name, routing_key=room.key)
        return referring(update.layout, ref)

    async def _say(self, body: Body, route: str = "") -> None:
        message = seal(wrap(self.run, self.name, body, now=time.time()))
        key = topology.Key(self.run, self.name, what(body), route)
        try:
            await self.session.publish(message, exchange=topology.UP.name, routing_key=str(key))
        except Unroutable:
            print(f"{self.name}: {self.run} is over", file=sys.stderr)


async def crowd(url: str, run: str, names: list[str]) -> None:
    session = await open_session(url, name=f"crowd of {len(names)}")
    try:
        for name in names:  # a broker makes a queue in some ten milliseconds, and all at once would wait too long
            await session.declare(*topology.client(name))
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(LightClient(session, run, name).take_part())
    finally:
        await session.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("run")
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    options = parser.parse_args()
    names = [f"c{number:04d}" for number in range(options.first, options.last)]
    asyncio.run(crowd(options.url, options.run, names))


if __name__ == "__main__":
    main()
