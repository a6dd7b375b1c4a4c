"""Workers that share the sum of a round, and a broker that loses things: no bit changes."""

import secrets
from collections.abc import Callable, Iterator

import pytest

from broker import topology
from broker.base import Binding, Message, Queue, Session
from broker.dead import read_dead_letter
from broker.memory.session import MemorySession
from fl.run.events import (
    ClientsAdmitted,
    LeaderStarted,
    Record,
    RoundClosed,
    RoundCommitted,
    RoundOpened,
    Status,
)
from fl.submit.submission import cancellation
from fl.wire.messages_pb2 import TrainReply
from tests.integration.parties import Parties, stored
from tests.integration.world import (
    garbage,
    make_spec,
    of_kind,
    until,
    upload,
)
from tests.small_blocks import small_blocks
from tests.unit.server.shared_rounds import BULK, FIVE, START, alone, bulky, played, trained, uneven


@pytest.fixture(autouse=True)
def blocks_of_two() -> Iterator[None]:
    with small_blocks():
        yield


@pytest.fixture
def memory_url() -> str:
    """An embedded broker of this test."""
    return f"memory://{secrets.token_hex(4)}"


# ---- bulk ----------------------------------------------------------------------------------------------------------


async def deleted(session: Session, room: topology.Room, reply: TrainReply, edition: int) -> None:
    await upload(session, room, reply, edition)
    if not edition:
        await session.delete(room.stream)


async def test_a_run_that_is_cancelled_leaves_no_sums(memory_url: str) -> None:
    # Given a block that is summed, and another that lacks a reply
    slow = bulky("elk")
    slow.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=5, shards=2), BULK)
        parties.worker()
        for name in FIVE:
            parties.puppet(slow if name == "elk" else bulky(name), submission.run)
        await until(lambda: sums_of(memory_url) >= 2)

        # When
        asked = cancellation(submission.run, "enough", sender="owner", now=0.0, user=parties.owner.user)
        await parties.owner.publish(asked.message, routing_key=asked.queue)
        await parties.outcome(submission)
        await parties.until_closed(submission)

        # Then
        await until(lambda: sums_of(memory_url) == 0)


def sums_of(url: str) -> int:
    return sum(".p.1." in name for name in stored(url))


@pytest.mark.parametrize("harmed", ["ant", "dog", "elk"])
async def test_an_update_that_came_to_harm_is_asked_for_once_more_and_counts(memory_url: str, harmed: str) -> None:
    # Given
    spec = make_spec(rounds=1, clients=5, shards=2)
    puppets = (bulky(name, deleted) if name == harmed else bulky(name) for name in FIVE)

    # When
    outcome, _ = await played(memory_url, spec, *puppets, workers=2, start=BULK)

    # Then
    assert outcome.weights == (await alone(spec, *map(bulky, FIVE), start=BULK)).weights


async def test_a_sum_that_is_lost_on_the_broker_is_made_again(memory_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a broker that loses the first sum that somebody wants to read
    pour, lost = MemorySession.pour, list[str]()

    async def pour_or_lose(
        session: MemorySession, stream: str, take: Callable[[Message], bool], *, timeout_s: float = 60.0
    ) -> None:
        if ".p.1." in stream and not lost:
            lost.append(stream)
            await session.delete(stream)
        await pour(session, stream, take, timeout_s=timeout_s)

    monkeypatch.setattr(MemorySession, "pour", pour_or_lose)
    spec = make_spec(rounds=1, clients=5, shards=2)

    # When
    outcome, records = await played(memory_url, spec, *map(bulky, FIVE), workers=2, start=BULK)

    # Then somebody leads again, and asks those again who were in it
    assert len(lost) == 1
    assert len(of_kind(records, LeaderStarted)) == 2
    assert outcome.weights == (await alone(spec, *map(bulky, FIVE), start=BULK)).weights


async def test_replies_that_went_with_the_queue_of_a_shard_come_again(memory_url: str) -> None:
    # Given all replies but one
    slow = uneven("cat")
    slow.withhold(1)
    spec = make_spec(rounds=1, clients=5, shards=2)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, START)
        asked = Binding("asked", topology.UP.name, f"{submission.run}.elk.train_reply.#")
        await parties.owner.declare(Queue(asked.queue), asked)
        parties.worker()
        for name in FIVE:
            parties.puppet(slow if name == "cat" else uneven(name), submission.run)
        await until(lambda: slow.was_asked(1))
        async with await parties.owner.consume(asked.queue, prefetch=1) as copies:
            await anext(copies)

        # When the broker loses what a shard holds
        await parties.owner.delete(topology.shard_queue(submission.run, 1))
        slow.let_go(1)
        outcome = await parties.outcome(submission)

    # Then
    assert outcome.weights == (await alone(spec, *map(uneven, FIVE))).weights


# ---- workers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bulk", [False, True], ids=["inside messages", "in streams"])
@pytest.mark.parametrize("when", [ClientsAdmitted, RoundOpened, RoundClosed, RoundCommitted])
@pytest.mark.parametrize("who", ["worker-0", "worker-1", "all"])
async def test_no_cut_connection_changes_a_bit(memory_url: str, who: str, when: type[Record], bulk: bool) -> None:
    # Given
    spec, make, start = make_spec(rounds=2, clients=5, shards=2), bulky if bulk else uneven, BULK if bulk else START
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, start)
        parties.worker("worker-0")
        parties.worker("worker-1")
        for name in FIVE:
            parties.puppet(make(name), submission.run)

        # When
        await parties.until_record(submission, lambda record: isinstance(record, when))
        if who == "all":
            parties.cut_all()
        else:
            parties.cut(who)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)

    # Then
    assert [len(commit.participants) for commit in trained(records)] == [5, 5]
    assert outcome.weights == (await alone(spec, *map(make, FIVE), start=start)).weights


async def test_what_makes_no_sense_to_a_shard_is_buried(memory_url: str) -> None:
    # Given
    slow = uneven("cat")
    slow.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=5, shards=2), START)
        parties.worker()
        for name in FIVE:
            parties.puppet(slow if name == "cat" else uneven(name), submission.run)
        await until(lambda: slow.was_asked(1))

        # When
        key = str(topology.Key(submission.run, "cat", "train_reply", "1"))
        await parties.owner.publish(garbage(), exchange=topology.UP.name, routing_key=key)
        (dead,) = await parties.dead_letters(1)
        slow.let_go(1)
        outcome = await parties.outcome(submission)

    # Then
    assert read_dead_letter(dead, routing_key=key).queue == topology.shard_queue(submission.run, 1)
    assert outcome.status is Status.FINISHED
