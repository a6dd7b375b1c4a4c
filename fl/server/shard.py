"""Summing for a run that another worker may lead: replies are held, summed block by block, and acknowledged last.

A shard follows the run's log, which says what is open, who is out, and whose updates are to be in the sum. What it
tells the leader is safe in the run's queue before the replies that it is about are acknowledged: whoever dies, either
those come again, or what was made of them is there.
"""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import closing

from broker import topology
from broker.base import Delivery, Message, Subscription
from broker.dead import bury
from broker.errors import BrokerError, Retryable, Unroutable
from broker.topology import MARKER
from fl.errors import BadMessage, FluffleError
from fl.run.apply import apply
from fl.run.events import LeaderStarted, Record, RoundClosed
from fl.run.replay import counts
from fl.server.baton import BatonHolder
from fl.server.leader import Seat, StartOver, empty
from fl.server.letters import Letter, open_letter, sender_of, vet_update
from fl.server.post import QueueGone
from fl.server.quarantine import Quarantine
from fl.server.report import Report
from fl.server.run_log import Outdated, RunLog, RunOver
from fl.server.shard_bench import ShardBench
from fl.server.spool import Spool, Spooled
from fl.tasks import together
from fl.wire.messages_pb2 import RepliesLacking, TrainReply, UpdateRefused
from fl.wire.runs import Submitted

Entry = tuple[str, Record] | str
"""Of the log: a record with its writer, or the id of a marker."""


class PassedOn(Exception):
    """This worker has other work in the run, and leaves the shard to one that waits for it, if any does."""


class Shard:
    """One stint at a shard, as long as its queue is this worker's."""

    def __init__(
        self,
        seat: Seat,
        submitted: Submitted,
        number: int,
        *,
        quarantine: Quarantine,
        is_busy: Callable[[], bool],
        queue_lost: bool = False,
    ) -> None:
        """`is_busy` says whether to pass the shard on when there is something to sum.

        `queue_lost`: the queue is a new one, and what was in the one before is gone.
        """
        self._seat = seat
        self._queue = queue = topology.shard_queue(submitted.run, number)
        self._log = seat.log.bind(run=submitted.run, shard=number)
        self._quarantine = quarantine
        self._is_busy = is_busy
        self._baton = BatonHolder(seat.session, submitted.run, sender=seat.worker, clock=seat.clock, queue=queue)
        self._report = Report(seat, submitted.run)
        self._bench = ShardBench(seat, number, self._report, self._log)
        self._state = empty(submitted)
        self._spool = Spool(self._log)
        self._inbox: asyncio.Queue[Spooled | Entry | Exception] = asyncio.Queue()
        self._puzzling: list[Spooled] = []
        """Replies to what is not known here, perhaps only because the log has not been read up to it."""
        self._asked_log: tuple[str, list[Spooled]] | None = None
        """A marker in the log, and those of them that had come before it was written."""
        self._asked_queue = ""
        """A marker in the shard's queue: what was there before has come when it comes."""
        self._is_all_here = self._queue_lost = queue_lost
        """Whether it has come, and the leader is to be told what is lacking still."""

    async def work(self, deliveries: Subscription, *, first: Delivery) -> None:
        """Sum until the run is over.

        Raises `PassedOn`, `StartOver`, `SubscriptionLost`, `ConnectionLost`, and for a log that this release cannot
        follow `BadMessage` and `Outdated`.
        """
        self._inbox.put_nowait(self._spool.keep(first))
        self._log.info("summing", worker=self._seat.worker)
        with closing(self._spool):
            async with together() as group:
                jobs = (self._collect(deliveries), self._follow(), self._baton.keep_fresh(), self._spool.relieve())
                helpers = [group.create_task(job) for job in jobs]
                try:
                    if self._queue_lost:
                        await self._ask_log()
                    await self._go_on()
                except (QueueGone, RunOver):
                    await self._bench.clear()
                for helper in helpers:
                    helper.cancel()

    # ---- what comes in ---------------------------------------------------------------------------------------------

    async def _collect(self, deliveries: Subscription) -> None:
        try:
            async for delivery in deliveries:
                self._inbox.put_nowait(self._spool.keep(delivery))
        except Retryable as error:
            self._inbox.put_nowait(error)
        else:
            self._inbox.put_nowait(QueueGone())

    async def _follow(self) -> None:
        try:
            async for entry in RunLog.watch(self._seat.session, self._state.run):
                self._inbox.put_nowait(entry)
        except (RunOver, Retryable, BadMessage) as error:
            self._inbox.put_nowait(error)

    async def _go_on(self) -> None:
        """Take in all that has come before anything is summed, so that the leader hears of replies at once."""
        while True:
            if self._inbox.empty():
                await self._report.tell_held()
                if await self._bench.sum_on(self._state):
                    continue
            match await self._inbox.get():
                case Exception() as error:
                    raise error
                case str() as marker:
                    await self._on_marker(marker)
                case (writer, record):
                    await self._on_record(writer, record)
                case delivery:
                    async with delivery.at_hand():
                        await self._on_delivery(delivery)

    # ---- the log ---------------------------------------------------------------------------------------------------

    async def _on_record(self, writer: str, record: Record) -> None:
        if isinstance(record, LeaderStarted) and record.logic_version > self._seat.logic_version:
            raise Outdated(f"worker {record.worker} leads it by the rules of version {record.logic_version}")
        if not counts(self._state, writer, record):
            return
        before, self._state = self._state.open, apply(self._state, record)
        open_ = self._state.open
        if (before and before.opened) is not (open_ and open_.opened):
            await self._bench.turn_to(self._state)
            self._report.begin(self._state)
        if isinstance(record, LeaderStarted):
            self._bench.doubt()
        if isinstance(record, LeaderStarted | RoundClosed) and self._bench.lacking(self._state):
            self._asked_queue = uuid.uuid4().hex
            await self._mark(self._queue, self._asked_queue)

    async def _on_marker(self, marker: str) -> None:
        if self._asked_log is None or self._asked_log[0] != marker:
            return
        (_, known), self._asked_log = self._asked_log, None
        for delivery in known:
            async with delivery.at_hand():
                await self._judge(delivery, for_good=True)
        if not self._puzzling:
            await self._tell_lacking()
        await self._ask_log()

    async def _ask_log(self) -> None:
        """Have what is puzzling judged again when the log has been read up to now."""
        if (self._puzzling or self._queue_lost) and self._asked_log is None:
            puzzling, self._puzzling = self._puzzling, []
            self._asked_log = uuid.uuid4().hex, puzzling
            await self._mark(topology.run_log(self._state.run), self._asked_log[0])

    async def _mark(self, place: str, marker: str) -> None:
        try:
            await self._seat.session.publish(Message(b"", type=MARKER, message_id=marker), routing_key=place)
        except Unroutable:
            raise QueueGone from None

    # ---- the queue -------------------------------------------------------------------------------------------------

    async def _on_delivery(self, delivery: Spooled) -> None:
        if delivery.message.type == MARKER:
            await self._on_own_marker(delivery)
            return
        verdict = self._quarantine.verdict(delivery)
        if verdict is not None:
            await self._give_up(delivery, verdict)
            return
        try:
            await self._judge(delivery)
        except (FluffleError, BrokerError, QueueGone, PassedOn):
            raise
        except Exception as error:  # an error of ours; it may lie in what else was going on
            self._quarantine.note(delivery, error)
            self._log.exception("handling_failed", message=delivery.message.type, key=delivery.routing_key)
            raise StartOver(f"handling a {delivery.message.type} failed: {type(error).__name__}: {error}") from error

    async def _on_own_marker(self, delivery: Spooled) -> None:
        await delivery.ack()
        if delivery.message.message_id == self._asked_queue:
            self._is_all_here = True
            await self._tell_lacking()

    async def _tell_lacking(self) -> None:
        """What is lacking when all that was in the queue is here, and judged, will not come by itself."""
        if not self._is_all_here or self._asked_log is not None:
            return
        self._is_all_here = False
        lost, self._queue_lost = self._queue_lost, False
        lacking = self._bench.not_here(self._state) if lost else self._bench.lacking(self._state)
        if lacking:
            self._log.warning("replies_lacking", clients=",".join(lacking))
            await self._report.tell(RepliesLacking(clients=lacking, queue_lost=lost))

    async def _give_up(self, delivery: Spooled, reason: str) -> None:
        """Go on without a message, and so without its sender."""
        try:
            sender = sender_of(delivery)
        except BadMessage:
            sender = ""
        if sender and self._bench.has_work:
            await self._report.tell(UpdateRefused(client=sender, problem=reason))
        await self._bury(delivery, reason)

    async def _bury(self, delivery: Spooled, reason: str) -> None:
        self._log.warning("message_rejected", key=delivery.routing_key, reason=reason)
        await bury(self._seat.session, delivery, queue=self._queue, reason=reason)

    async def _judge(self, delivery: Spooled, *, for_good: bool = False) -> None:
        """Hold a reply to the open round; one to something else may seem so only for now, unless `for_good`."""
        try:
            letter = open_letter(delivery)
        except BadMessage as error:
            await self._bury(delivery, str(error))
            return
        if letter.is_baton:
            await self._baton.receive(delivery)
        elif not isinstance(letter.body, TrainReply):
            await self._bury(delivery, f"a {type(letter.body).__name__} is nothing to send to a shard")
        elif self._would_count(letter, letter.body):
            await self._take_in(letter, letter.body)
        elif for_good:
            self._log.info("message_dropped", sender=letter.sender, reason="it answers nothing that is open")
            await delivery.ack()
        else:
            self._puzzling.append(delivery)
            await self._ask_log()

    def _would_count(self, letter: Letter, reply: TrainReply) -> bool:
        """Whether it answers the open round, as far as that is known here, for a client that may be in its sum."""
        state = self._state
        if not self._bench.has_work or state.open is None or state.base is None:
            return False
        if (reply.round, reply.weights_digest) != (state.open.opened.round, state.base.digest):
            return False
        return letter.sender in state.wanted

    async def _take_in(self, letter: Letter, reply: TrainReply) -> None:
        if self._is_busy():
            raise PassedOn
        if self._bench.has(letter.sender):
            await letter.delivery.ack()
            return
        problem = vet_update(letter, reply, self._state)
        if problem is None:
            self._bench.hold(letter.sender, letter.delivery)
            return
        await self._report.tell(UpdateRefused(client=letter.sender, problem=problem))
        await letter.delivery.ack()
