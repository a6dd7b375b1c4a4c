"""Standing by the shards of a run, and sharing them among the workers that do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from broker import topology
from broker.errors import NotFound, Rejected, Retryable, SubscriptionLost
from fl.errors import BadMessage
from fl.server.leader import Seat, StartOver, empty
from fl.server.quarantine import Quarantine
from fl.server.run_log import Outdated, RunLog, RunOver
from fl.server.shard import PassedOn, Shard
from fl.wire.envelope import seal, wrap
from fl.wire.messages_pb2 import Baton
from fl.wire.runs import Submitted

MOST_REFUSALS: Final = 5
"""Times that the broker may refuse what somebody asks for a run, before this worker leaves it to others."""

LEADING: Final = -1
"""Comes before every shard."""


class Duties:
    """What one worker does in one run: it leads, or sums for some shards."""

    def __init__(self) -> None:
        self._now: set[int] = set()
        self._passed_on: set[int] = set()

    @contextmanager
    def on(self, duty: int) -> Iterator[None]:
        self._now.add(duty)
        try:
            yield
        finally:
            self._now.discard(duty)

    def pass_on(self, shard: int) -> None:
        """It is left to another worker, once: if it comes back there is none, or the others have more to do."""
        self._passed_on.add(shard)

    def is_too_much(self, shard: int) -> bool:
        """Whether this worker has an earlier duty, and has not tried to leave this shard to another."""
        return min(self._now, default=shard) < shard and shard not in self._passed_on


async def attend_shard(seat: Seat, submitted: Submitted, number: int, duties: Duties) -> None:
    """Stand by one shard of a run until that is over, and sum whenever the broker says so."""
    quarantine, refusals, queue_lost = Quarantine(), 0, False
    log = seat.log.bind(run=submitted.run, shard=number)
    while True:
        try:
            deliveries = await seat.session.consume(
                topology.shard_queue(submitted.run, number), prefetch=topology.LEADER_PREFETCH
            )
        except NotFound:
            if await _is_over(seat, submitted, number):
                return
            queue_lost = True
            continue
        shard = Shard(
            seat,
            submitted,
            number,
            quarantine=quarantine,
            is_busy=lambda: duties.is_too_much(number),
            queue_lost=queue_lost,
        )
        async with deliveries:
            try:
                first = await anext(deliveries, None)
                if first is not None:
                    queue_lost = False
                    with duties.on(number):
                        await shard.work(deliveries, first=first)
            except PassedOn:
                duties.pass_on(number)
                log.info("passed_on")
            except (StartOver, SubscriptionLost) as error:
                log.warning("summing_again", reason=error)
            except Rejected as error:  # what it used was deleted: the run goes on without it, or is over
                refusals += 1
                if refusals > MOST_REFUSALS:
                    log.exception("shard_left_to_others")
                    return
                log.warning("summing_again", reason=error)
            except (Outdated, BadMessage) as error:
                log.warning("shard_left_to_others", reason=error)
                return
            except Retryable:
                raise
            except Exception:  # an error of ours must not end the other runs of this worker
                log.exception("shard_left_to_others")
                return


async def _is_over(seat: Seat, submitted: Submitted, number: int) -> bool:
    """Whether a run that lacks a shard's queue is over; if a broker's crash has lost it, it is declared again.

    Replies that were there are gone: whoever gets the baton says which are lacking.
    """
    try:
        state = await RunLog.look(seat.session, empty(submitted))
    except RunOver:
        return True
    if state.ended is not None:
        return True
    seat.log.warning("queue_declared_again", run=submitted.run, shard=number)
    await seat.session.declare(*topology.shard(submitted.run, number))
    baton = seal(wrap(submitted.run, seat.worker, Baton(), now=seat.clock()), user=seat.session.user)
    await seat.session.publish(baton, routing_key=topology.shard_queue(submitted.run, number))
    return False
