"""Leading a run: load → decide → commit → perform → ack."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from broker.base import Delivery, Session, Subscription
from fl.core.requires import missing
from fl.errors import BadMessage, Fatal
from fl.log import EventLog
from fl.run.commands import Command
from fl.run.events import ClientsGone, Event, TimeUp
from fl.run.follow import fail
from fl.run.state import Phase, RunState
from fl.run.step import resume
from fl.server.baton import BatonHolder
from fl.server.hands import Hands
from fl.server.letters import Letter, open_letter, read_event
from fl.server.post import Item, Post
from fl.server.run_log import RunLog
from fl.tasks import together
from fl.wire.runs import Submitted


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a worker works: its session, name, clock (seconds since the epoch) and log."""

    session: Session
    worker: str
    clock: Callable[[], float]
    log: EventLog


async def lead(seat: Seat, submitted: Submitted, deliveries: Subscription, first: Delivery) -> None:
    """Lead a run to its end, from wherever its log stands. Whoever gets a delivery of its queue is the leader.

    Raises `Deposed` when another worker took over, `ConnectionLost`, and `BadMessage` for a log that this release
    cannot read.
    """
    leader = uuid.uuid4().hex[:12]
    log = seat.log.bind(run=submitted.run)
    empty = RunState(submitted.run, submitted.spec, weights=submitted.weights, fixed=submitted.fixed)
    run_log, state = await RunLog.take_over(seat.session, empty, leader=leader, worker=seat.worker, clock=seat.clock)
    log.info("leading", leader=leader, phase=state.phase.value, round=state.trained)
    post = Post(seat.session, deliveries)
    post.put(first)
    baton = BatonHolder(seat.session, submitted.run, sender=leader, clock=seat.clock)
    hands = Hands(seat.session, submitted.run, leader=leader, run_log=run_log, post=post, clock=seat.clock, log=log)
    try:
        async with together() as group:
            helpers = [group.create_task(job) for job in (post.collect(), post.look_out(), baton.keep_fresh())]
            state = await hands.perform(state, _first(state))
            while not hands.closed:
                post.awaited = state.awaiting
                state = await _handle(await post.next(), state, hands=hands, baton=baton)
            for helper in helpers:
                helper.cancel()
    finally:
        await run_log.close()


def _first(state: RunState) -> tuple[Command, ...]:
    """What a leader does before it looks at any message: end a run that it cannot lead, or go on with it."""
    lacking = missing(state.spec.requires)
    if lacking is not None and state.phase in {Phase.INITIALISING, Phase.RUNNING}:
        return (fail(state, f"the worker that took over cannot lead: {lacking}"),)
    return resume(state)


async def _handle(item: Item, state: RunState, *, hands: Hands, baton: BatonHolder) -> RunState:
    """Decide about one thing that came in, and do what follows."""
    if isinstance(item, TimeUp | ClientsGone):
        return await _take(state, item, hands=hands)
    try:
        letter = open_letter(item)
        if letter.is_baton:
            await baton.receive(item)
            return state
        event = await read_event(hands.session, letter, state)
    except BadMessage as error:
        await hands.refuse(item, str(error))
        return state
    return await _take(state, event, letter, hands=hands)


async def _take(state: RunState, event: Event, letter: Letter | None = None, *, hands: Hands) -> RunState:
    try:
        return await hands.take(state, event, letter)
    except Fatal as error:  # such as a plug-in that is not installed here: no other reply will mend that
        return await hands.perform(state, (fail(state, str(error)),))
