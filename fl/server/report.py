"""What a shard tells the leader of the open round, whoever that is, in the order in which it came to pass."""

from broker import topology
from broker.errors import Unroutable
from fl.run.state import RunState
from fl.server.leader import Seat
from fl.server.post import QueueGone
from fl.wire.envelope import seal, wrap
from fl.wire.messages_pb2 import BlockSummed, RepliesHeld, RepliesLacking, SumFailed, UpdateRefused


class Report:
    """The way from one shard to the run's queue."""

    def __init__(self, seat: Seat, run: str) -> None:
        self._seat = seat
        self._run = run
        self._round = 0
        self._base = b""
        self._held: list[str] = []

    def begin(self, state: RunState) -> None:
        """From here on it is about what is open now."""
        self._held.clear()
        if state.open is not None and state.base is not None:
            self._round, self._base = state.open.opened.round, state.base.digest

    def holds(self, client: str) -> None:
        """That a reply is held: told with the next ones, in one message."""
        self._held.append(client)

    async def tell_held(self) -> None:
        if self._held:
            clients, self._held = self._held, []
            await self._send(RepliesHeld(clients=clients))

    async def tell(self, body: UpdateRefused | RepliesLacking | BlockSummed | SumFailed) -> None:
        """Return once it is safe in the leader's queue, after all that is held. Raises `QueueGone`."""
        await self.tell_held()
        await self._send(body)

    async def _send(self, body: RepliesHeld | UpdateRefused | RepliesLacking | BlockSummed | SumFailed) -> None:
        body.round, body.weights_digest = self._round, self._base
        seat = self._seat
        message = seal(wrap(self._run, seat.worker, body, now=seat.clock()), user=seat.session.user)
        try:
            await seat.session.publish(message, routing_key=topology.run_queue(self._run))
        except Unroutable:
            raise QueueGone from None
