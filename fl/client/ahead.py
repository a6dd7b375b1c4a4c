"""Weights that a site begins to read before it is asked for anything: they are only now being written.

That they will be asked about is a guess. Nothing waits for it but the request that names them; and whatever becomes of
it, that request has fetched what is not there.
"""

import asyncio
from dataclasses import replace

from broker import blob
from broker.base import Session
from broker.blob import BlobRef
from broker.threads import in_thread
from fl.client.memory import Memory
from fl.log import EventLog
from fl.wire.bulk import NEXT_CHUNK_S
from fl.wire.trainer_pb2 import Span

Found = tuple[BlobRef, Span]
"""What has come, and where it lies."""


class Ahead:
    """One blob, at most, on its way into the memory of a trainer that nobody asks for anything meanwhile."""

    def __init__(self, session: Session, log: EventLog) -> None:
        self._session = session
        self._log = log
        self._announced: BlobRef | None = None
        self._reading: asyncio.Task[Found | None] | None = None

    async def begin(self, announced: BlobRef, memory: Memory) -> None:
        """Read a blob whose digest is not known yet, from now on; another one is given up."""
        if announced == self._announced:
            return
        await self.drop()
        self._announced = announced
        self._log.debug("reading_ahead", stream=announced.stream)
        self._reading = asyncio.create_task(self._read(announced, memory))

    async def claim(self, wanted: BlobRef | None) -> Span | None:
        """Where these bytes lie, once they have come; None where others were read, or nothing.

        From here on all memory is the caller's.
        """
        if wanted is None or self._reading is None or self._announced != replace(wanted, sha256=b""):
            await self.drop()
            return None
        found = await self._reading
        await self.drop()
        if found is None or found[0] != wanted:
            return None
        self._log.debug("weights_read_ahead", stream=wanted.stream)
        return found[1]

    async def drop(self) -> None:
        """Give up what is being read. Harmless when repeated."""
        if self._reading is not None:
            self._reading.cancel()
            try:
                await asyncio.wait({self._reading})
            finally:  # also when this is cancelled: the memory may be closed next, and somebody writes to it
                await asyncio.wait({self._reading})
        self._announced = self._reading = None

    async def _read(self, announced: BlobRef, memory: Memory) -> Found | None:
        memory.keep()
        try:
            span = await in_thread(memory.reserve, announced.size)
            into = memory.view(span)
            found = await blob.get_unproven(self._session, announced, into=into, timeout_s=NEXT_CHUNK_S)
        except Exception as error:  # whatever it is, the request that needs these bytes meets it, and tells
            self._log.debug("not_read_ahead", stream=announced.stream, reason=f"{type(error).__name__}: {error}")
            return None
        return found, span
