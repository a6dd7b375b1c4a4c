"""Messages that wait for their turn, in memory that does not grow with them.

A leader that asks many clients hears them out afterwards, and where it adds up in the order of names it holds those who
come before their turn. Together that may be all that the clients send in a round. The broker has it still, but sends it
once.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from broker.base import Delivery
from broker.errors import Retryable
from fl.log import EventLog
from fl.server.scratch import Bytes, Place, ScratchFile

MEMORY_BYTES: Final = 4 * 2**20
"""What stays in memory, all together; messages beyond that go to a file as soon as they are here."""

LIGHT_BYTES: Final = 4096
"""Up to here a message takes hardly more memory than what remembers it."""


class Spooled:
    """A delivery whose body is in `message` only where it is `at_hand`."""

    def __init__(self, delivery: Delivery, spool: "Spool") -> None:
        self.waiting: Bytes | Place | None = delivery.message.body
        """The body, or where it is; None once it is settled."""
        self.message = delivery.message = replace(delivery.message, body=b"")
        self.exchange = delivery.exchange
        self.routing_key = delivery.routing_key
        self.redelivered = delivery.redelivered
        self._delivery = delivery
        self._spool = spool

    @asynccontextmanager
    async def at_hand(self) -> AsyncGenerator[None, None]:
        """Around what reads the body, also where that is done around this already. Raises `Retryable`."""
        if self.message.body:
            yield
            return
        without = self.message
        self.message = replace(without, body=await self._spool.read(self))
        try:
            yield
        finally:
            self.message = without

    async def ack(self) -> None:
        await self._delivery.ack()
        self._spool.forget(self)

    async def nack(self) -> None:
        await self._delivery.nack()
        self._spool.forget(self)

    async def reject(self) -> None:
        await self._delivery.reject()
        self._spool.forget(self)


class Spool:
    """Where messages of one queue wait. As long as the disk takes none, that is memory after all."""

    def __init__(self, log: EventLog, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._log = log
        self._left = memory_bytes
        """What may still come to stay in memory; less than nothing while some is on its way to the file."""
        self._file = ScratchFile()
        self._excess: list[tuple[Spooled, Bytes]] = []
        """What is to go to the file."""
        self._news = asyncio.Event()
        self._has_warned = False

    def keep(self, delivery: Delivery) -> Spooled:
        """The same delivery, whose body waits here until it is settled."""
        body = delivery.message.body
        spooled = Spooled(delivery, self)
        self._left -= len(body)
        if self._left < 0 and len(body) > LIGHT_BYTES:
            self._excess.append((spooled, body))
            self._news.set()
        return spooled

    async def relieve(self) -> None:
        """Write to the file what is too much for memory, as long as this runs; all that has come meanwhile at once."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._relieve()

    async def read(self, spooled: Spooled) -> Bytes:
        """Raises `Retryable` where the disk has failed: on another connection the message comes again."""
        waiting = spooled.waiting
        assert waiting is not None, "a message that is settled has been read"
        if not isinstance(waiting, Place):
            return waiting
        try:
            return await self._file.read(waiting)
        except OSError as error:
            raise Retryable(f"a message that waited in a temporary file cannot be read: {error}") from error

    def forget(self, spooled: Spooled) -> None:
        waiting, spooled.waiting = spooled.waiting, None
        if isinstance(waiting, Place):
            self._file.free(waiting)
        elif waiting is not None:
            self._left += len(waiting)

    def close(self) -> None:
        """Nothing that waits can be read any more."""
        self._file.close()

    async def _relieve(self) -> None:
        excess, self._excess = [pair for pair in self._excess if pair[0].waiting is not None], []
        try:
            places = await self._file.write([body for _, body in excess])
        except OSError as error:
            self._warn(error)
            return
        for (spooled, body), place in zip(excess, places, strict=True):
            if spooled.waiting is None:  # it has been settled meanwhile
                self._file.free(place)
            else:
                spooled.waiting = place
                self._left += len(body)

    def _warn(self, error: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._log.warning("messages_wait_in_memory", reason=error, to_do="make room for temporary files")
