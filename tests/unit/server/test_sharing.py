"""Workers that share the sum of a round: the bits of one worker, whatever happens to them."""

import math
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from broker import topology
from broker.base import Binding, Message, Queue, Session
from broker.dead import read_dead_letter
from broker.memory.session import MemorySession
from fl.core.vector import NumpyVector
from fl.main.outcome import Outcome
from fl.main.simulation import simulate
from fl.main.simulation_crowd import VirtualClient
from fl.run.events import (
    ClientsAdmitted,
    Kind,
    LeaderStarted,
    Record,
    RoundClosed,
    RoundCommitted,
    RoundOpened,
    RunPaused,
    Status,
)
from fl.run.optim import OptimConfig
from fl.run.spec import RunSpec
from fl.submit.submission import cancellation
from fl.wire.envelope import Body, seal, wrap
from fl.wire.messages_pb2 import DataInfo, ResumeRequest, TrainReply
from fl.wire.tensors import digest
from tests.integration.parties import Parties, stored
from tests.integration.world import (
    N_FEATURES,
    Puppet,
    Upload,
    garbage,
    make_spec,
    of_kind,
    regression,
    run_here,
    until,
    upload,
)
from tests.small_blocks import small_blocks

START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})
FIVE = ("ant", "bee", "cat", "dog", "elk")
"""Three blocks of up to two."""


@pytest.fixture(autouse=True)
def blocks_of_two() -> Iterator[None]:
    with small_blocks():
        yield


@pytest.fixture
def memory_url() -> str:
    """An embedded broker of this test."""
    return f"memory://{secrets.token_hex(4)}"


def uneven(name: str, **options: Any) -> Puppet:
    """A client whose updates are its own, and of such sizes that every order of additions has other bits."""
    seed = int.from_bytes(name.encode(), "little")
    options = {"weights": None, **options}

    def update(weights: NumpyVector) -> NumpyVector:
        rng = np.random.default_rng(seed)
        return NumpyVector(weights.layout, rng.normal(size=weights.flat.size) * 10.0 ** rng.integers(-8, 8))

    return Puppet(name, update=update, **options)


async def played(
    url: str, spec: RunSpec, *puppets: Puppet, workers: int = 1, start: NumpyVector = START
) -> tuple[Outcome, list[Record]]:
    """A whole run of these clients; fails unless it leaves nothing but what runs leave."""
    async with Parties(url) as parties:
        submission = await parties.submit(spec, start)
        for number in range(workers):
            parties.worker(f"worker-{number}")
        for puppet in puppets:
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)
        await parties.until_closed(submission)
        left = {name for name in stored(url) if name.startswith(f"fl.run.{submission.run}.")}
        weights = {name for name in left if name.startswith(f"fl.run.{submission.run}.w.")}
        assert left - weights == {topology.run_log(submission.run)}
        return outcome, await parties.records(submission)


async def alone(spec: RunSpec, *puppets: Puppet, start: NumpyVector = START) -> Outcome:
    """The same run without shards."""
    url = f"memory://{secrets.token_hex(4)}"
    one = spec.model_copy(update={"run": spec.run.model_copy(update={"shards": 1})})
    return (await played(url, one, *puppets, start=start))[0]


def trained(records: list[Record]) -> list[RoundCommitted]:
    return [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.TRAIN]


# ---- bits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("shards", [2, 3, 7])
async def test_any_number_of_shards_and_of_workers_comes_to_the_same_bits(
    memory_url: str, shards: int, workers: int
) -> None:
    # Given
    spec = make_spec(rounds=2, clients=5, shards=shards)
    expected = await alone(spec, *map(uneven, FIVE))

    # When
    outcome, records = await played(memory_url, spec, *map(uneven, FIVE), workers=workers)

    # Then
    assert outcome.weights == expected.weights
    assert [[one.client for one in commit.participants] for commit in trained(records)] == [[*FIVE]] * 2


async def test_what_optimizers_tell_is_added_up_in_the_same_shape(memory_url: str) -> None:
    # Given sites that correct each other's drift, and a server with a state
    optim = {
        "client_opt": {"lrate": 0.01, "modules": ["scaffold-client"]},
        "server_opt": {"lrate": 0.1, "modules": ["scaffold-server", "adam"]},
    }
    plain = make_spec(rounds=3, clients=5).model_copy(update={"optim": OptimConfig.from_params(**optim)})
    shared = plain.model_copy(update={"run": plain.run.model_copy(update={"shards": 2})})
    data = {name: regression(seed) for seed, name in enumerate(FIVE)}

    # When
    one, _ = await run_here(memory_url, plain, data)
    other, records = await run_here(memory_url + "-shared", shared, data)

    # Then
    assert len(of_kind(records, RoundClosed)) == 3
    assert one.weights == other.weights
    assert one.weights == simulate(shared, [VirtualClient(*each) for each in data.items()]).weights


async def test_two_workers_have_a_shard_each(memory_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    await played(memory_url, make_spec(rounds=2, clients=5, shards=2), *map(uneven, FIVE), workers=2)

    last: dict[str, str] = {}
    for record in caplog.records:
        words = dict(word.split("=", 1) for word in record.getMessage().split() if "=" in word)
        if record.getMessage().startswith("summing "):
            last[words["shard"]] = words["worker"]
    assert sorted(last.values()) == ["worker-0", "worker-1"]


# ---- clients -------------------------------------------------------------------------------------------------------


def spoil_last(reply: TrainReply) -> None:
    values = np.frombuffer(reply.update.inline, np.float64).copy()
    values[-1] = math.nan
    reply.update.inline = values.tobytes()
    reply.update.digest = digest(reply.update.inline)


def other_layout(reply: TrainReply) -> None:
    reply.update.layout[0].name = "something else"


LIES = {
    "its numbers are none": (spoil_last, "tensor 'intercept' has values that are NaN or infinite"),
    "it is of another layout": (other_layout, "tensor 'something else'"),
}


@pytest.mark.parametrize("liar", FIVE)
@pytest.mark.parametrize("lie", LIES)
async def test_a_lying_client_leaves_no_trace_in_the_sum_and_is_named(memory_url: str, lie: str, liar: str) -> None:
    # Given
    how, why = LIES[lie]
    spec = make_spec(rounds=1, clients=5, shards=2)
    liars = {liar: {"lie": how}}

    # When
    outcome, records = await played(memory_url, spec, *(uneven(one, **liars.get(one, {})) for one in FIVE), workers=2)

    # Then
    expected = await alone(spec, *(uneven(one, **liars.get(one, {})) for one in FIVE))
    (commit,) = trained(records)
    assert outcome.weights == expected.weights
    assert [(note.client, why in note.reason) for note in commit.dropped] == [(liar, True)]


async def test_an_update_that_came_by_another_way_than_it_was_asked_to_does_not_count(memory_url: str) -> None:
    # Given a client that does not know of routes, as those of older releases
    class Older(Puppet):
        async def say(self, session: Session, run: str, body: Body, *, route: str = "", **changes: Any) -> None:
            await super().say(session, run, body, **changes)

    others = [uneven(name) for name in FIVE if name != "cat"]

    # When
    outcome, records = await played(memory_url, make_spec(rounds=1, clients=5, shards=2), Older("cat"), *others)

    # Then
    (note,) = trained(records)[0].dropped
    assert (note.client, outcome.status) == ("cat", Status.FINISHED)
    assert note.reason.startswith("its reply came by another way than the request says: is its release older")


async def test_a_deadline_closes_a_round_that_shards_sum(memory_url: str) -> None:
    slow = uneven("cat")
    slow.withhold(1)
    spec = make_spec(rounds=1, clients=5, shards=2, deadline=0.5)

    _, records = await played(memory_url, spec, slow, *(uneven(name) for name in FIVE if name != "cat"))

    (commit,) = trained(records)
    assert [one.client for one in commit.participants] == ["ant", "bee", "dog", "elk"]
    assert [(note.client, note.reason) for note in commit.dropped] == [("cat", "no answer in time")]


async def test_a_round_takes_the_first_replies_and_no_more_whichever_shards_have_them(memory_url: str) -> None:
    slow = [uneven(name) for name in ("ant", "dog")]
    for puppet in slow:
        puppet.withhold(1)
    spec = make_spec(rounds=1, clients=5, shards=2, sampling={"take": 3}, evaluate=False)

    _, records = await played(memory_url, spec, *slow, *map(uneven, ("bee", "cat", "elk")))

    assert [one.client for one in trained(records)[0].participants] == ["bee", "cat", "elk"]


async def test_a_run_that_pauses_goes_on_with_whoever_comes_back(memory_url: str) -> None:
    # Given one whose update is of no use the first time, in a round that needs all of them
    spoiled = [True]

    def lie(reply: TrainReply) -> None:
        if spoiled:
            spoiled.clear()
            spoil_last(reply)

    spec = make_spec(rounds=1, clients=5, shards=2, min_replies=5, patience=60)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        for name in FIVE:
            parties.puppet(uneven(name, lie=lie) if name == "dog" else uneven(name), submission.run)
        await parties.until_record(submission, lambda record: isinstance(record, RunPaused))

        # When
        request = seal(wrap(submission.run, "owner", ResumeRequest(), now=0.0))
        await parties.owner.publish(request, routing_key=topology.run_queue(submission.run))
        outcome = await parties.outcome(submission)

    # Then
    assert outcome.weights == (await alone(spec, *map(uneven, FIVE))).weights


# ---- bulk ----------------------------------------------------------------------------------------------------------

N_BULK = 50_000
"""400 kB in float64."""
BULK = NumpyVector.from_arrays({"coef": np.full((1, N_BULK), 0.5), "intercept": np.ones(1)})
BULK_INFO = DataInfo(n_samples=10, n_features=N_BULK, input_shape=[0, N_BULK])


def bulky(name: str, how: Upload = upload) -> Puppet:
    return uneven(name, weights=BULK, info=BULK_INFO, upload=how)


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
