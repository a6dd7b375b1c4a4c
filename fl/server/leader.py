"""Leading a run: load → decide → commit → perform → ack."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from broker.base import Delivery, Session, Subscription
from broker.errors import BrokerError, SubscriptionLost
from fl.core.requires import missing
from fl.errors import BadMessage, Fatal, FluffleError
from fl.log import EventLog
from fl.run.commands import Command
from fl.run.ending import fail
from fl.run.events import ClientFailed, ClientsGone, Event, LeaderStarted, TimePassed, TimeUp, Trouble
from fl.run.state import Phase, RunState
from fl.run.step import LOGIC_VERSION, resume
from fl.server.baton import BatonHolder
from fl.server.hands import Hands
from fl.server.letters import Letter, open_letter, read_event, sender_of
from fl.server.post import Item, Post, QueueGone
from fl.server.quarantine import Quarantine
from fl.server.run_log import Deposed, RunLog, RunOver
from fl.server.secret import secret_of
from fl.server.spool import Spool, Spooled
from fl.server.sums import SumLost
from fl.tasks import together
from fl.wire.runs import Submitted


class StartOver(Exception):
    """Something may be half done here: lead again from the log, where what is not settled comes again."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a worker works: its session, name, clock (seconds since the epoch), log, and the rules that it knows."""

    session: Session
    worker: str
    clock: Callable[[], float]
    log: EventLog
    logic_version: int = LOGIC_VERSION


def empty(submitted: Submitted) -> RunState:
    """A run before its first record."""
    return RunState(submitted.run, submitted.spec, weights=submitted.weights, fixed=submitted.fixed)


async def lead(
    seat: Seat, submitted: Submitted, deliveries: Subscription, *, first: Delivery, quarantine: Quarantine
) -> None:
    """Lead a run to its end, from wherever its log stands. Whoever gets a delivery of its queue is the leader.

    Raises `Deposed` when another worker took over, `StartOver`, `ConnectionLost`, `SubscriptionLost`, `Late` where
    weights of the run's own do not come, and for a log that this release cannot lead by `BadMessage` and `Outdated`.
    """
    leader = uuid.uuid4().hex[:12]
    log = seat.log.bind(run=submitted.run)
    start = LeaderStarted(leader, seat.worker, seat.logic_version)
    run_log, state = await RunLog.take_over(seat.session, empty(submitted), start, clock=seat.clock)
    if submitted.spec.run.central_privacy is not None and state.ended is None:
        state = replace(state, secret=await secret_of(seat.session, submitted.run))
    log.info("leading", leader=leader, phase=state.phase.value, round=state.trained)
    spool = Spool(log)
    post = Post(seat.session, deliveries, spool=spool, gone_after_s=submitted.spec.run.gone_after)
    post.put(spool.keep(first))
    baton = BatonHolder(seat.session, submitted.run, sender=leader, clock=seat.clock)
    hands = Hands(seat.session, submitted.run, leader=leader, run_log=run_log, post=post, clock=seat.clock, log=log)
    try:
        async with together() as group:
            jobs = (post.collect(), post.look_out(), baton.keep_fresh(), spool.relieve())
            helpers = [group.create_task(job) for job in jobs]
            state = await hands.perform(state, _first(state))
            while not hands.closed:
                post.awaited = state.awaiting
                item = await post.next()
                async with _at_hand(item):
                    with _blaming(item, quarantine, log):
                        state = await _handle(item, state, hands=hands, baton=baton, quarantine=quarantine)
            for helper in helpers:
                helper.cancel()
    except Deposed:
        await hands.withdraw(await RunLog.look(seat.session, empty(submitted)))
        raise
    except (QueueGone, StartOver, SubscriptionLost):
        known = await RunLog.look(seat.session, empty(submitted))
        if known.ended is not None and not hands.closed:  # whoever ended it could not know what was written meanwhile
            await hands.withdraw(known)
        raise
    finally:
        spool.close()
        await run_log.close()


def _first(state: RunState) -> tuple[Command, ...]:
    """What a leader does before it looks at any message: end a run that it cannot lead, or go on with it."""
    lacking = missing(state.spec.requires)
    if lacking is not None and state.phase in {Phase.INITIALISING, Phase.RUNNING}:
        return (fail(state, f"the worker that took over cannot lead: {lacking}"),)
    return resume(state)


def _at_hand(item: Item) -> AbstractAsyncContextManager[None]:
    return item.at_hand() if isinstance(item, Spooled) else nullcontext()


@contextmanager
def _blaming(item: Item, quarantine: Quarantine, log: EventLog) -> Iterator[None]:
    """Lead again where a message breaks the handling of it, so that nothing is half done, and remember which it was."""
    try:
        yield
    except SumLost as error:
        raise StartOver(str(error)) from error
    except (FluffleError, BrokerError, StartOver, Deposed, RunOver):
        raise
    except Exception as error:
        if isinstance(item, TimeUp | TimePassed | ClientsGone):
            raise
        quarantine.note(item, error)
        log.exception("handling_failed", message=item.message.type, key=item.routing_key)
        raise StartOver(f"handling a {item.message.type} failed: {type(error).__name__}: {error}") from error


async def _handle(item: Item, state: RunState, *, hands: Hands, baton: BatonHolder, quarantine: Quarantine) -> RunState:
    """Decide about one thing that came in, and do what follows."""
    if isinstance(item, TimeUp | TimePassed | ClientsGone):
        return await _take(state, item, hands=hands)
    verdict = quarantine.verdict(item)
    if verdict is not None:
        return await _give_up(item, state, verdict, hands=hands)
    try:
        letter = open_letter(item)
        if letter.is_baton:
            await baton.receive(item)
            return state
        event = read_event(letter, state)
    except BadMessage as error:
        await hands.refuse(item, str(error))
        return state
    return await _take(state, event, letter, hands=hands)


async def _give_up(delivery: Spooled, state: RunState, reason: str, *, hands: Hands) -> RunState:
    """Go on without a message, and so without waiting for what its sender meant to say."""
    await hands.refuse(delivery, reason)
    try:
        sender = sender_of(delivery)
    except BadMessage:
        return state
    return await _take(state, ClientFailed(sender, Trouble.FAILED, reason), hands=hands)


async def _take(state: RunState, event: Event, letter: Letter | None = None, *, hands: Hands) -> RunState:
    try:
        return await hands.take(state, event, letter)
    except Fatal as error:  # such as a plug-in that is not installed here: no other reply will mend that
        return await hands.perform(state, (fail(state, str(error)),))
