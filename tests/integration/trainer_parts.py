"""One site's part in a run, asked as a leader does: bulk in streams, answers looked up where they refer to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from broker import blob, topology
from broker.base import Session
from broker.connect import open_session
from fl.client.config import LimitsConfig
from fl.client.letters import Request
from fl.client.part import Part
from fl.client.setup import describe, new_setup, new_site
from fl.client.site import Site
from fl.client.state import NoState
from fl.client.trainer import ProcessTrainer
from fl.core.compression import Compression
from fl.core.vector import SHARED, NumpyVector, Role
from fl.run.spec import RunSpec
from fl.wire.bulk import fetch
from fl.wire.envelope import Body
from fl.wire.messages_pb2 import EvaluateRequest, InitReply, InitRequest, TrainReply, TrainRequest
from fl.wire.tensors import NONE, referring, specs, tag
from fl.wire.tensors_pb2 import Tensors
from tests.integration.site_files import config_of
from tests.integration.world import make_spec

BULK: Final = 100_000
"""Features of a model too big for a message: 0.8 MB in float64."""

PROGRAM: Final = "tests.integration.bad_trainer"
RUN: Final = "trial"
LEADER: Final = "leader"


def weights_of(n_features: int, value: float = 0.5) -> NumpyVector:
    return NumpyVector.from_arrays({"coef": np.full((1, n_features), value), "intercept": np.ones(1)})


async def site_with_process(folder: Path) -> Site:
    """Its trainers fail in the way that a file `fault` says."""
    config = config_of(folder, "ant", n_features=BULK)
    setup = new_setup("ant", describe(config.train), None, device=config.device, share_metrics=True)
    return await new_site(setup, start=partial(ProcessTrainer.start, LimitsConfig(), PROGRAM), state=NoState())


class Asker:
    """What a leader is to one part: it keeps weights in streams, and makes rooms for updates."""

    def __init__(self, session: Session, part: Part) -> None:
        self._session = session
        self.part = part

    async def keep(self, vector: NumpyVector, name: str = "weights", *, compression: Compression = NONE) -> Tensors:
        """Weights in a stream, however small they are."""
        ref = await blob.put(self._session, name, compression.encode(vector))
        return referring(vector.layout, ref, tag(compression))

    async def ask(self, request: Request) -> Body:
        if isinstance(request, TrainRequest):
            for part in ("u", "x"):
                room = topology.Room(RUN, request.round, "ant", LEADER, part)
                await self._session.declare(*room.declaration(max_bytes=64 << 20))
        reply = await self.part.answer(request, leader=LEADER)
        assert reply is not None
        return reply

    async def train(self, weights: Tensors, round_: int = 1) -> Body:
        return await self.ask(TrainRequest(round=round_, weights=weights, counted=round_ - 1))

    async def evaluate(self, weights: Tensors, round_: int = 1) -> Body:
        return await self.ask(EvaluateRequest(round=round_, weights=weights, counted=round_))

    async def update(self, reply: Body) -> NumpyVector:
        """What a reply refers to; a stream of the broker, and not the daemon's memory, is where it must be."""
        assert isinstance(reply, TrainReply), reply
        assert reply.update.WhichOneof("data") == "ref"
        return await fetch(self._session, reply.update)


@asynccontextmanager
async def asked(
    url: str, site: Site, *, spec: RunSpec | None = None, start: NumpyVector | None = None
) -> AsyncIterator[Asker]:
    """A part that has a run's model, by default a linear regression; it is closed at the end of the block.

    Of `start`, all tensors of a model, those that no round changes come in a stream.
    """
    start = start or weights_of(BULK)
    session = await open_session(url, name="trial")
    await session.declare(topology.UP)
    part = Part(site, session, RUN)
    asker = Asker(session, part)
    request = InitRequest(
        spec_json=(spec or make_spec()).to_json(),
        data_info=site.data_info,
        layout=specs(start.layout.select(*SHARED)),
    )
    if Role.FIXED in start.layout.roles:
        request.fixed.CopyFrom(await asker.keep(start.select(Role.FIXED), "fixed"))
    try:
        reply = await asker.ask(request)
        assert isinstance(reply, InitReply), reply
        yield asker
    finally:
        await part.close()
        await session.close()


def memories(pid: int | str = "self") -> list[str]:
    """Files without a name that a process has of its trainers, and maps of them."""
    process = Path(f"/proc/{pid}")
    files = [str(link.readlink()) for link in (process / "fd").iterdir() if link.is_symlink()]
    maps = (process / "maps").read_text().splitlines()
    return [line for line in (*files, *maps) if "fluffle-trainer" in line]
