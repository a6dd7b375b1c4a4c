"""A run's weights at the broker, as its leader writes and clears them away."""

import asyncio
from typing import Final

from broker import topology
from broker.base import Session
from fl.core.aggregator.blocks import blocks
from fl.core.compression import Compression
from fl.core.vector import NumpyVector
from fl.run.commands import Sweep
from fl.run.events import Parcel
from fl.run.state import RunState
from fl.server.mail import bulk_bytes, sums_in_bulk
from fl.wire.bulk import INLINE_BYTES, Announce, ship, tell_nobody
from fl.wire.tensors import NONE, blob_ref, open_parcel, parcel
from fl.wire.tensors_pb2 import Tensors

_WRITTEN: Final = (topology.weights_stream, topology.sent_stream, topology.state_stream, topology.aux_stream)
"""What a leader writes of a round."""


class Shelf:
    """Weights and updates of one run."""

    def __init__(self, session: Session, run: str, leader: str) -> None:
        self._session = session
        self._run = run
        self._writer = leader
        self._written: set[str] = set()
        self._cleared = 0

    async def put_weights(self, weights: NumpyVector, round_: int, announce: Announce = tell_nobody) -> Parcel:
        """Publish weights once, for the next leader and, where they are sent as they are, all clients."""
        stream = topology.weights_stream(self._run, round_, self._writer)
        return parcel(await self._ship(weights, stream, announce=announce))

    async def put_sent(
        self, weights: NumpyVector, round_: int, compression: Compression, *, announce: Announce = tell_nobody
    ) -> Parcel:
        """Publish weights compressed, for all clients."""
        stream = topology.sent_stream(self._run, round_, self._writer)
        return parcel(await self._ship(weights, stream, compression, announce=announce))

    async def put_state(self, state: NumpyVector, round_: int) -> Parcel:
        """Publish the server's optimizer, for the next leader."""
        return parcel(await self._ship(state, topology.state_stream(self._run, round_, self._writer)))

    async def put_aux(self, aux: NumpyVector | None, round_: int) -> Parcel | None:
        """Publish what the server's optimizer tells those of the clients, if it does."""
        if aux is None:
            return None
        return parcel(await self._ship(aux, topology.aux_stream(self._run, round_, self._writer)))

    async def _ship(
        self, vector: NumpyVector, stream: str, compression: Compression = NONE, *, announce: Announce = tell_nobody
    ) -> Tensors:
        self._written.add(stream)
        return await ship(self._session, vector, stream, compression, announce=announce)

    async def withdraw(self, state: RunState) -> None:
        """Delete what was written here and is not in the log, of which `state` is all: nobody else ever reads it."""
        logged = (blob_ref(open_parcel(known)) for known in state.held)
        for stream in self._written - {ref.stream for ref in logged if ref is not None}:
            await self._session.delete(stream)
        self._written.clear()
        if state.ended is not None:  # whoever ended the run could not know of rooms that were made meanwhile
            await self.clear_updates(state)

    async def sweep(self, command: Sweep) -> None:
        """Delete what is named; what is inline, or gone already, needs nothing."""
        for ref in (blob_ref(open_parcel(unused)) for unused in command.parcels):
            if ref is not None:
                await self._session.delete(ref.stream)
        for one in command.fallen:
            for stream in _WRITTEN:
                await self._session.delete(stream(self._run, one.round, one.leader))

    async def clear_updates(self, state: RunState) -> None:
        """Delete what clients have sent, used or not, for rounds that are settled, and sums of it.

        By the names that leaders gave these streams: a reply says where its bytes are, and may lie.
        """
        sizes = bulk_bytes(state) if state.weights else {}
        cargoes = [cargo for cargo, size in sizes.items() if size > INLINE_BYTES]
        sums = sums_in_bulk(state) if state.weights else ()
        if not (cargoes or sums):
            return
        last = state.trained if state.ended is None else state.trained + 1
        asked = {(round_, leader) for round_, leaders in state.asked_by.items() for leader in leaders}
        if state.ended is not None:  # some may have made room for updates of rounds that were over already
            asked |= {(one.round, one.leader) for one in state.fallen}
        settled = [one for one in sorted(asked) if self._cleared < one[0] <= last or state.ended is not None]
        rooms = (
            topology.Room(self._run, round_, name, leader, cargo).stream
            for round_, leader in settled
            for name in state.clients
            for cargo in cargoes
        )
        n_blocks = len(blocks(state.clients))
        totals = (
            stream(self._run, round_, block, leader)
            for round_, leader in settled
            for block in range(n_blocks)
            for stream in sums
        )
        await asyncio.gather(*map(self._session.delete, (*rooms, *totals)))
        self._cleared = last
