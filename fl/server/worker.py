"""A server worker: stands by every run of the broker, and leads those whose queue the broker gives it.

It keeps nothing: whatever it knows it has read from the broker, and another worker can read it again.
"""

import uuid
from collections.abc import AsyncIterator

from broker import topology
from broker.base import Message, Session
from broker.errors import Late, NotFound, Rejected, Retryable, SubscriptionLost
from broker.topology import MARKER
from fl.errors import BadMessage
from fl.log import EventLog
from fl.server.hands import announce_end
from fl.server.leader import Seat, StartOver, empty, lead
from fl.server.post import QueueGone
from fl.server.quarantine import Quarantine
from fl.server.run_log import Deposed, Outdated, RunLog, RunOver
from fl.server.standby import LEADING, MOST_REFUSALS, Duties, attend_shard
from fl.tasks import together
from fl.wire.envelope import seal, wrap
from fl.wire.messages_pb2 import Baton
from fl.wire.runs import Closed, Submitted, read_announcement


async def serve(seat: Seat) -> None:
    """Attend every run, the present and the coming ones, until the session is lost."""
    await seat.session.declare(*topology.base())
    found: set[str] = set()
    async with together() as group:
        async for submitted in open_runs(seat.session, seat.log):
            if submitted.run not in found:  # a submitter that lost its connection announces again
                found.add(submitted.run)
                seat.log.info("run_found", run=submitted.run)
                group.create_task(_attend_once(seat, submitted, found))


async def _attend_once(seat: Seat, submitted: Submitted, found: set[str]) -> None:
    """A run that is announced again after its end, by a submitter that lost its connection, is ended again."""
    await attend(seat, submitted)
    found.discard(submitted.run)


async def attend(seat: Seat, submitted: Submitted) -> None:
    """Stand by one run until it is over; lead it, and sum for its shards, whenever the broker says so."""
    duties, shards = Duties(), submitted.spec.run.shards
    async with together() as group:
        for number in range(shards if shards > 1 else 0):
            group.create_task(attend_shard(seat, submitted, number, duties))
        await _attend_queue(seat, submitted, duties)


async def _attend_queue(seat: Seat, submitted: Submitted, duties: Duties) -> None:
    """Stand by the lead of a run."""
    quarantine, refusals = Quarantine(), 0
    while True:
        try:
            deliveries = await seat.session.consume(
                topology.run_queue(submitted.run), prefetch=topology.LEADER_PREFETCH
            )
        except NotFound:
            if await _is_over(seat, submitted):
                return
            continue
        async with deliveries:
            try:
                first = await anext(deliveries, None)
                if first is not None:
                    with duties.on(LEADING):
                        await lead(seat, submitted, deliveries, first=first, quarantine=quarantine)
            except Deposed:
                seat.log.warning("deposed", run=submitted.run)
                continue
            except (StartOver, SubscriptionLost, Late) as error:
                seat.log.warning("leading_again", run=submitted.run, reason=error)
                continue
            except Rejected as error:  # what it used was deleted: it was replaced, and has not noticed yet
                refusals += 1
                if refusals <= MOST_REFUSALS:
                    seat.log.warning("leading_again", run=submitted.run, reason=error)
                    continue
                seat.log.exception("run_left_to_others", run=submitted.run)
            except Outdated as error:
                seat.log.warning("stands_back", run=submitted.run, reason=error)
            except BadMessage as error:
                seat.log.warning("run_left_to_others", run=submitted.run, reason=error)
            except (QueueGone, RunOver):
                seat.log.info("run_over", run=submitted.run)
            except Retryable:
                raise
            except Exception:  # an error of ours must not end the other runs of this worker
                seat.log.exception("run_left_to_others", run=submitted.run)
            return


async def _is_over(seat: Seat, submitted: Submitted) -> bool:
    """Whether a run that has no queue is over, as it should be; announce so, as its leader may have died before it did.

    A broker that crashed may have lost the queue of a run that goes on: then it is declared again. What clients had
    sent there is gone, and the next leader asks for it again.
    """
    try:
        state = await RunLog.look(seat.session, empty(submitted))
    except RunOver:
        return True
    if state.ended is not None:
        await announce_end(seat.session, state, sender=seat.worker, now=seat.clock())
        return True
    seat.log.warning("queue_declared_again", run=submitted.run)
    await seat.session.declare(*topology.run(submitted.run))
    baton = seal(wrap(submitted.run, seat.worker, Baton(), now=seat.clock()), user=seat.session.user)
    await seat.session.publish(baton, routing_key=topology.run_queue(submitted.run))
    return False


async def open_runs(session: Session, log: EventLog) -> AsyncIterator[Submitted]:
    """Runs that have not ended, and then each new one.

    A marker of our own tells where the past ends: runs that are over by then are never looked at.
    """
    marker = uuid.uuid4().hex
    past: dict[str, Submitted] = {}
    live = False
    async with await session.read(topology.RUNS.name) as announcements:
        await session.publish(Message(b"", type=MARKER, message_id=marker), routing_key=topology.RUNS.name)
        async for delivery in announcements:
            await delivery.ack()
            match _understand(delivery.message, log):
                case Submitted() as submitted if live:
                    yield submitted
                case Submitted() as submitted:
                    past[submitted.run] = submitted
                case Closed(run=run):
                    past.pop(run, None)
                case None if delivery.message.message_id == marker:
                    live = True
                    for submitted in past.values():
                        yield submitted


def _understand(message: Message, log: EventLog) -> Submitted | Closed | None:
    """None for a marker, and for an announcement that makes no sense here."""
    if message.type == MARKER:
        return None
    try:
        return read_announcement(message)
    except BadMessage as error:
        log.warning("announcement_ignored", reason=error)
        return None
