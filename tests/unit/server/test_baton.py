"""Who holds the baton leads; and it never comes back too often."""

import secrets
from collections.abc import AsyncIterator

import pytest

from broker import topology
from broker.base import Session, Subscription
from broker.memory import MemoryBroker
from fl.server.baton import BatonHolder
from fl.submit.submission import Publish
from tests.integration.world import make_spec, submission_of

QUEUE = topology.run_queue


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    session = MemoryBroker.named(secrets.token_hex(4)).connect()
    yield session
    await session.close()


async def submitted(session: Session) -> str:
    """A run's name, with its queue and its first baton on the broker."""
    submission = submission_of(make_spec())
    steps = submission.steps(user=session.user)
    await session.declare(*topology.base(), *topology.run(submission.run))
    for step in steps:
        if isinstance(step, Publish):
            await session.publish(step.message, routing_key=step.queue)
    return submission.run


async def consume(session: Session, run: str) -> Subscription:
    return await session.consume(QUEUE(run), prefetch=16)


def holder(session: Session, run: str) -> BatonHolder:
    return BatonHolder(session, run, sender="leader", clock=lambda: 0.0)


async def test_the_first_baton_is_held_and_comes_to_the_next_worker_when_its_holder_goes(session: Session) -> None:
    # Given a leader with the baton
    run = await submitted(session)
    leading = await consume(session, run)
    await holder(session, run).receive(await anext(leading))

    # When it goes
    await leading.close()

    # Then the next worker gets the baton, and knows that it was somebody's
    async with await consume(session, run) as next_one:
        assert (await anext(next_one)).redelivered


async def test_a_baton_that_came_back_is_replaced_by_a_fresh_one(session: Session) -> None:
    # Given a worker that takes over
    run = await submitted(session)
    before = await consume(session, run)
    await anext(before)
    await before.close()
    async with await consume(session, run) as deliveries:
        took_over = holder(session, run)

        # When it receives the baton of the dead leader
        await took_over.receive(await anext(deliveries))

        # Then another one is there, whose deliveries count from zero, and it is the only one
        fresh = await anext(deliveries)
        assert not fresh.redelivered
        await took_over.receive(fresh)
        assert (await session.count(QUEUE(run))).messages == 0


async def test_a_baton_too_many_is_let_go(session: Session) -> None:
    # Given a leader with the baton, and a second one, left by a worker that died while it replaced its own
    run = await submitted(session)
    leading = await consume(session, run)
    leader = holder(session, run)
    first = await anext(leading)
    await leader.receive(first)
    await session.publish(first.message, routing_key=QUEUE(run))

    # When it receives that too, and goes
    await leader.receive(await anext(leading))
    await leading.close()

    # Then one is left
    assert (await session.count(QUEUE(run))).messages == 1


async def test_a_baton_of_a_run_that_has_just_ended_is_no_error(session: Session) -> None:
    # Given a baton that came back, of a run whose queue is deleted meanwhile
    run = await submitted(session)
    before = await consume(session, run)
    await anext(before)
    await before.close()
    deliveries = await consume(session, run)
    baton = await anext(deliveries)
    await session.delete(QUEUE(run))

    # When it is received, then nothing is raised, and nothing comes back to life
    await holder(session, run).receive(baton)
    assert [delivery async for delivery in deliveries] == []
