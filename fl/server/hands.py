"""The one place where a leader acts: performs commands, each harmless when repeated."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from broker import topology
from broker.base import Session
from broker.dead import bury
from fl.log import EventLog
from fl.run.commands import Append, Close, Command, CompleteWeights, Drop, Fold, Hold, Release, SetTimer, Sweep
from fl.run.events import Event, Kind, UpdateUnusable
from fl.run.state import RunState
from fl.run.step import step
from fl.server.blame import blaming_parts
from fl.server.intake import Unusable
from fl.server.letters import Letter
from fl.server.mail import Mail, Send
from fl.server.post import Post
from fl.server.run_log import RunLog
from fl.server.shelf import Shelf
from fl.server.spool import Spooled
from fl.server.sums import SumLost
from fl.server.telling import tell
from fl.server.workbench import Workbench
from fl.wire.envelope import seal, wrap
from fl.wire.messages_pb2 import BlockSummed, EvaluateReply, RunClosed, TrainReply

Clock = Callable[[], float]


class Hands:
    """Performs what is decided for one run, as long as this worker leads it."""

    def __init__(
        self, session: Session, run: str, *, leader: str, run_log: RunLog, post: Post, clock: Clock, log: EventLog
    ) -> None:
        self.session = session
        self._run = run
        self._run_log = run_log
        self._post = post
        self._leader = leader
        self._clock = clock
        self._log = log
        self._mail = Mail(session, leader=leader, clock=clock, log=log)
        self._shelf = Shelf(session, run, leader)
        self._bench = Workbench(session, self._shelf, self._mail)
        self._held: list[Spooled] = []
        self._replies: dict[str, Spooled] = {}
        """Those of what is held that answer the open round, by client."""
        self._sums: dict[int, Spooled] = {}
        """Those that have the sum of a block of clients, by block."""
        self.dropped: Counter[str] = Counter()
        """Messages without effect, by reason."""
        self.closed = False

    async def take(self, state: RunState, event: Event, cause: Letter | None = None) -> RunState:
        """Decide about an event and do what follows, to the end; return the state after it.

        The letter that was its `cause` is acknowledged last, unless it is held until a commit.
        """
        state, commands = step(state, event)
        state = await self.perform(state, commands, cause)
        if cause is not None and not any(isinstance(command, Hold) for command in commands):
            await cause.delivery.ack()
        return state

    async def perform(self, state: RunState, commands: tuple[Command, ...], cause: Letter | None = None) -> RunState:
        """Perform commands in their order; messages to different clients go out side by side."""
        sends: list[Awaitable[None]] = []
        for command in commands:
            if isinstance(command, Send):
                sends.append(self._mail.send(state, command))
                continue
            await asyncio.gather(*sends)
            sends.clear()
            state = await self._perform_one(state, command, cause)
        await asyncio.gather(*sends)
        return state

    async def refuse(self, delivery: Spooled, reason: str) -> None:
        """Move a message that makes no sense to the dead letters, and say why."""
        self.dropped["dead letter"] += 1
        self._log.warning("message_rejected", key=delivery.routing_key, reason=reason)
        await bury(self.session, delivery, queue=topology.run_queue(self._run), reason=reason)

    async def withdraw(self, state: RunState) -> None:
        """Leave nothing behind but what the log, of which `state` is all, refers to."""
        await self._shelf.withdraw(state)
        if state.ended is not None and state.spec.run.central_privacy is not None:
            await self.session.delete(topology.secret_stream(state.run))

    async def _perform_one(self, state: RunState, command: Command, cause: Letter | None) -> RunState:
        match command:
            case Append(records=records):
                await self._run_log.append(records)
                for record in records:
                    tell(self._log, record)
                    state = await self.take(state, record)
            case CompleteWeights() | Fold():
                state = await self._compute(state, command)
            case SetTimer(timer=timer, seconds=seconds):
                self._post.set_timer(timer, seconds)
            case Hold() if cause is not None:
                self._held.append(cause.delivery)
                state = await self._keep(state, cause)
            case Release():
                await self._release()
            case Drop(reason=reason):
                self.dropped[reason] += 1
                self._log.info("message_dropped", sender=cause.sender if cause else "", reason=reason)
            case Sweep():
                await self._shelf.sweep(command)
                await self._shelf.clear_updates(state)
            case Close():
                await self._close(state)
            case _:
                raise TypeError(f"not a command: {command!r}")
        return state

    async def _keep(self, state: RunState, letter: Letter) -> RunState:
        """Remember what is folded when the round closes."""
        match letter.body:
            case TrainReply() | EvaluateReply():
                self._replies[letter.sender] = letter.delivery
                return await self._take_in(state)
            case BlockSummed(block=block):
                self._sums[block] = letter.delivery
        return state

    async def _compute(self, state: RunState, command: CompleteWeights | Fold) -> RunState:
        """Do what takes arithmetic, and what its outcome leads to."""
        try:
            with blaming_parts(self._log, type(command).__name__):
                outcome = await self._outcome(state, command)
        except Unusable as error:
            return await self._put_aside(state, error)
        except SumLost as error:
            await self._sums.pop(error.block).ack()
            raise
        return await self.take(state, outcome)

    async def _outcome(self, state: RunState, command: CompleteWeights | Fold) -> Event:
        match command:
            case CompleteWeights():
                return await self._bench.complete(state, command)
            case Fold(kind=Kind.TRAIN) if self._sums:
                return await self._bench.fold_sums(state, command, self._sums)
            case Fold(kind=Kind.TRAIN):
                return await self._bench.fold_training(state, command, self._replies)
            case Fold():
                return await self._bench.fold_evaluation(state, command, self._replies)

    async def _take_in(self, state: RunState) -> RunState:
        """Work on what has come while others are awaited."""
        if state.open is None or state.open.opened.kind is not Kind.TRAIN or state.seen.folding:
            return state
        try:
            with blaming_parts(self._log, "TrainReply"):
                await self._bench.take_in(state, self._replies)
        except Unusable as error:
            return await self._put_aside(state, error)
        return state

    async def _put_aside(self, state: RunState, problem: Unusable) -> RunState:
        """Go on without a reply that was held, and settle it: its client is asked again, or is out by the log."""
        delivery = self._replies.pop(problem.client)
        self._held.remove(delivery)
        state = await self.take(state, UpdateUnusable(problem.client, str(problem), again=problem.again))
        await delivery.ack()
        return state

    async def _release(self) -> None:
        """Acknowledge what is held, all of it settled by a record."""
        held, self._held = self._held, []
        self._replies.clear()
        self._sums.clear()
        await asyncio.gather(*(delivery.ack() for delivery in held))

    async def _close(self, state: RunState) -> None:
        if state.spec.run.central_privacy is not None:
            await self.session.delete(topology.secret_stream(state.run))
        for queue in topology.queues_of(state.run, state.spec.run.shards):
            await self.session.delete(queue)
        await announce_end(self.session, state, sender=self._leader, now=self._clock())
        self.closed = True


async def announce_end(session: Session, state: RunState, *, sender: str, now: float) -> None:
    """Tell everybody that a run is over; harmless when repeated."""
    assert state.ended is not None, "only a run that has ended is announced"
    body = RunClosed(status=state.ended.status.value, reason=state.ended.reason)
    message = seal(wrap(state.run, sender, body, now=now), user=session.user)
    await session.publish(message, routing_key=topology.RUNS.name)
