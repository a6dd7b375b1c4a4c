"""What a leader waits for, and what it must not hear any more."""

import asyncio
import secrets

from broker.base import Queue
from broker.memory import MemoryBroker
from fl.log import get_log
from fl.run.events import ClientsGone, Timer, TimeUp
from fl.server.post import Post
from fl.server.spool import Spool

SOON_S = 0.001


async def post_of_an_empty_queue() -> Post:
    session = MemoryBroker.named(secrets.token_hex(4)).connect()
    await session.declare(Queue("q"))
    spool = Spool(get_log("test"))
    return Post(session, await session.consume("q", prefetch=1), spool=spool, gone_after_s=60.0)


async def test_a_timer_that_runs_out_is_announced() -> None:
    post = await post_of_an_empty_queue()

    post.set_timer(Timer.ROUND, SOON_S)

    assert await post.next() == TimeUp(Timer.ROUND)


async def test_a_timer_that_ran_out_before_it_was_replaced_is_not_announced() -> None:
    # Given a deadline that passes while the leader is busy with a fold
    post = await post_of_an_empty_queue()
    post.set_timer(Timer.ROUND, SOON_S)
    await asyncio.sleep(10 * SOON_S)

    # When the next round has its own deadline
    post.set_timer(Timer.ROUND, 60.0)
    post.put(ClientsGone(("ant",)))

    # Then the old one does not close it
    assert await post.next() == ClientsGone(("ant",))


async def test_a_timer_that_was_taken_back_is_not_announced() -> None:
    post = await post_of_an_empty_queue()
    post.set_timer(Timer.ROUND, SOON_S)
    await asyncio.sleep(10 * SOON_S)

    post.set_timer(Timer.ROUND, None)
    post.put(ClientsGone(("ant",)))

    assert await post.next() == ClientsGone(("ant",))
