"""The baton: a message that the leader of a run holds, so that its death is a delivery to the next worker.

Nothing tells a consumer that it has become the active one, and a run may wait long for its next reply. The baton lies
in the run's queue from the submission on; whoever gets it leads. It is replaced after each takeover, since a message
may not come back too often, and now and then, since none may stay unacknowledged for too long.
"""

import asyncio
from collections.abc import Callable

from broker import topology
from broker.base import Delivery, Session
from broker.errors import Unroutable
from fl.wire.envelope import seal, wrap
from fl.wire.messages_pb2 import Baton

RENEW_EVERY_S = 600.0
"""Well below the 30 minutes that RabbitMQ lets a delivery go unacknowledged."""


class BatonHolder:
    """One worker's hold on the baton of a run, or of one of its shards."""

    def __init__(
        self, session: Session, run: str, *, sender: str, clock: Callable[[], float], queue: str | None = None
    ) -> None:
        """`queue` is where the baton lies: without it, that of the run's leader."""
        self._session = session
        self._run = run
        self._queue = queue or topology.run_queue(run)
        self._sender = sender
        self._clock = clock
        self._held: Delivery | None = None

    async def receive(self, baton: Delivery) -> None:
        """Hold it, or put a fresh one in place of one that came back, or let go of one too many."""
        if self._held is None and not baton.redelivered:
            self._held = baton
            return
        if self._held is None:
            await self._put_fresh_one()
        await baton.ack()

    async def keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            held, self._held = self._held, None
            if held is not None:
                await self._put_fresh_one()
                await held.ack()

    async def _put_fresh_one(self) -> None:
        message = seal(wrap(self._run, self._sender, Baton(), now=self._clock()), user=self._session.user)
        try:
            await self._session.publish(message, routing_key=self._queue)
        except Unroutable:
            return  # the run has just ended
