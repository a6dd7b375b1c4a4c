"""The work of one shard in the open round: replies that are held, and the sums of blocks that are made of them."""

import asyncio
from functools import partial

from broker.threads import in_thread
from fl.errors import Fatal
from fl.log import EventLog
from fl.run.dealing import blocks_of, is_dealt
from fl.run.state import RunState
from fl.server.blame import blaming_parts
from fl.server.block import Block
from fl.server.intake import Intake, Unusable
from fl.server.leader import Seat
from fl.server.letters import said_in
from fl.server.report import Report
from fl.server.spool import Spooled
from fl.server.sums import Place, write_sum
from fl.wire.messages_pb2 import SumFailed, UpdateRefused
from fl.wire.tensors import open_parcel, read_layout


class ShardBench:
    """Sums blocks as their replies come, one block at a time, so that there is one accumulator."""

    def __init__(self, seat: Seat, number: int, report: Report, log: EventLog) -> None:
        self._session = seat.session
        self._number = number
        self._report = report
        self._log = log
        self._blocks: tuple[Block, ...] = ()
        """Those of the open round."""
        self._held: dict[str, Spooled] = {}
        """Replies to it that may enter its sum, by client."""
        self._failed = False
        """Whether this round cannot be summed, as the leader was told."""
        self._written: set[str] = set()
        """Streams with sums of the open round."""

    @property
    def has_work(self) -> bool:
        """Whether a round is open of which this shard sums a part."""
        return bool(self._blocks)

    # ---- rounds ----------------------------------------------------------------------------------------------------

    async def turn_to(self, state: RunState) -> None:
        """Settle what was held for the round before: all of it is in the log, or does not count."""
        held, self._held = self._held, {}
        self._blocks, self._failed = (), False
        await asyncio.gather(*(reply.ack() for reply in held.values()), self.clear())
        if state.open is not None and is_dealt(state.spec, state.open.opened):
            mine = blocks_of(state.spec, state.open.opened, self._number)
            self._blocks = tuple(Block(number, members) for number, members in mine.items())

    async def clear(self) -> None:
        """Delete sums of a round that is over; the leader has done so already, but for what was written since."""
        written, self._written = self._written, set()
        for stream in written:
            await self._session.delete(stream)

    def doubt(self) -> None:
        """Another leader leads: what was sent may be what made its predecessor start over."""
        for block in self._blocks:
            block.sent = None

    def lacking(self, state: RunState) -> tuple[str, ...]:
        """Whose replies are to be in a sum, and are not here."""
        open_ = state.open
        if open_ is None or open_.closed is None:
            return ()
        return tuple(client for block in self._blocks for client in block.lacking(open_, self._held))

    def not_here(self, state: RunState) -> tuple[str, ...]:
        """All whose replies to the open round have not come, or are gone."""
        asked = () if state.open is None else state.open.asked
        return tuple(one for block in self._blocks for one in block.members if one in asked and not self.has(one))

    # ---- replies ---------------------------------------------------------------------------------------------------

    def has(self, client: str) -> bool:
        """Whether its reply is held, or in a sum that was sent."""
        return client in self._held or any(client in (block.sent or ()) for block in self._blocks)

    def hold(self, client: str, reply: Spooled) -> None:
        self._held[client] = reply
        self._report.holds(client)

    async def sum_on(self, state: RunState) -> bool:
        """Do one thing for the first block that is not done; whether there was one. Raises `QueueGone`."""
        if state.open is None or self._failed:
            return False
        try:
            for block in self._blocks:
                if block.is_done(state.open):
                    continue
                ready, is_all = block.ready(state, self._held)
                if not (ready and is_all and block.made_of == ready):
                    return await self._add(block, ready, is_all, state)
                if state.open.closed is not None:
                    await self._send(block)
                    return True
        except Fatal as error:  # no other worker, and no other reply, would mend that
            self._failed = True
            await self._report.tell(SumFailed(reason=str(error)))
        return False

    async def _add(self, block: Block, ready: tuple[str, ...], is_all: bool, state: RunState) -> bool:
        """Add one update to a block's sum, or finish it."""
        if not ready:
            return False
        intake = block.intake
        if intake is None or intake.clients != ready[: len(intake.clients)]:
            with blaming_parts(self._log, "aggregator"):
                intake = block.intake = await self._new_intake(block, state)
            block.made = None
        if len(intake.clients) < len(ready):
            await self._take(block, intake, ready[len(intake.clients)])
        elif is_all:
            await self._finish(block, intake, _place(block, state))
        else:
            return False
        return True

    async def _take(self, block: Block, intake: Intake, client: str) -> None:
        try:
            with blaming_parts(self._log, "TrainReply"):
                await intake.take(client, await said_in(self._held[client]))
        except Unusable as error:
            block.intake = None
            await self._refuse(client, error)

    async def _finish(self, block: Block, intake: Intake, place: Place) -> None:
        self._written.update(place.streams)
        with blaming_parts(self._log, "aggregator"):
            block.made = await write_sum(self._session, intake, place)
        block.intake = None

    async def _refuse(self, client: str, error: Unusable) -> None:
        reply = self._held.pop(client)
        await self._report.tell(UpdateRefused(client=client, problem=str(error), held=True, again=error.again))
        await reply.ack()

    async def _send(self, block: Block) -> None:
        """Hand a sum to the leader; what is in it is acknowledged once that is safe."""
        assert block.made is not None, "it was made before"
        await self._report.tell(block.made)
        block.sent = block.made_of or ()
        summed = [self._held.pop(client) for client in block.sent]
        await asyncio.gather(*(reply.ack() for reply in summed))

    async def _new_intake(self, block: Block, state: RunState) -> Intake:
        assert state.weights is not None, "a round starts from weights"
        layout = read_layout(open_parcel(state.weights).layout)
        return await in_thread(partial(Intake, self._session, state, layout, asked=block.members))


def _place(block: Block, state: RunState) -> Place:
    assert state.open is not None, "blocks are those of an open round"
    assert state.base is not None, "a round starts from weights"
    return Place(state.run, state.open.opened.round, state.base.digest, block.number, state.leader)
