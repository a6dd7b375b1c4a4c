"""Updates whose bulk is not what was announced: none of them leaves a trace in the sum, and each is named."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from broker import blob, topology
from broker.base import Binding, Message, Queue, Session
from broker.blob import CHUNK_BYTES, BlobRef
from fl.client.learner import Data
from fl.core.vector import NumpyVector
from fl.run.events import Kind, LeaderStarted, RoundCommitted, Status
from fl.wire.messages_pb2 import DataInfo, TrainReply
from fl.wire.tensors import read_layout, referring
from tests.integration.parties import Parties, stored, until_looked_at
from tests.integration.world import (
    Gated,
    Puppet,
    Upload,
    make_spec,
    of_kind,
    regression,
    run_here,
    sites_of,
    until,
    upload,
)

N_FEATURES = 300_000
"""2.4 MB in float64: three chunks."""

INFO = DataInfo(n_samples=10, n_features=N_FEATURES, input_shape=[0, N_FEATURES])
START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})
NAMES = ("ant", "bee", "cat")

Announce = Callable[[BlobRef], BlobRef]


def announcing(change: Announce) -> Upload:
    """Writes what it should, and says something else of it."""

    async def lie(session: Session, room: topology.Room, reply: TrainReply, edition: int) -> None:
        data, up = reply.update.inline, topology.UP.name
        ref = await blob.write(session, room.stream, data, exchange=up, routing_key=room.key, edition=edition)
        reply.update.CopyFrom(referring(read_layout(reply.update.layout), change(ref)))

    return lie


def writing(change: Callable[[list[Message]], list[Message]]) -> Upload:
    """Says what it should, and writes something else."""

    async def lie(session: Session, room: topology.Room, reply: TrainReply, edition: int) -> None:
        data = reply.update.inline
        for chunk in change(list(blob.cut(data, edition=edition))):
            await session.publish(chunk, exchange=topology.UP.name, routing_key=room.key)
        ref = replace(blob.ref_of(room.stream, data), edition=edition)
        reply.update.CopyFrom(referring(read_layout(reply.update.layout), ref))

    return lie


async def ending_in_no_number(session: Session, room: topology.Room, reply: TrainReply, edition: int) -> None:
    values = np.frombuffer(reply.update.inline, np.float64).copy()
    values[-1] = math.nan
    reply.update.inline = values.tobytes()
    await upload(session, room, reply, edition)


async def deleted(session: Session, room: topology.Room, reply: TrainReply, edition: int) -> None:
    await upload(session, room, reply, edition)
    await session.delete(room.stream)


LIES: dict[str, tuple[Upload, str]] = {
    "its last number is none": (ending_in_no_number, "'intercept' has values that are NaN or infinite"),
    "another digest": (announcing(lambda ref: replace(ref, sha256=bytes(32))), "SHA-256"),
    "another size": (announcing(lambda ref: replace(ref, size=ref.size + 8)), "another digest or size"),
    "fewer chunks than there are": (announcing(lambda ref: replace(ref, chunks=ref.chunks - 1)), "were announced"),
    "more chunks than there are": (announcing(lambda ref: replace(ref, chunks=ref.chunks + 1)), "did not come"),
    "chunks in another order": (writing(lambda chunks: [chunks[0], chunks[2], chunks[1]]), "came where chunk 1"),
    "a chunk is missing": (writing(lambda chunks: chunks[:1] + chunks[2:]), "came where chunk 1"),
    "the last chunk is missing": (writing(lambda chunks: chunks[:-1]), "did not come"),
    "a chunk is cut short": (
        writing(lambda chunks: [chunks[0], replace(chunks[1], body=bytes(CHUNK_BYTES - 3)), chunks[2]]),
        "were announced",
    ),
    "something that is no chunk": (
        writing(lambda chunks: [replace(chunks[0], type="note"), *chunks]),
        "no numbered chunk",
    ),
    "deleted after it was announced": (deleted, "deleted or never written"),
}


def tenth_of(scale: float) -> Callable[[NumpyVector], NumpyVector]:
    return lambda weights: weights * scale


@pytest.mark.parametrize("liar", NAMES, ids=["first", "between the others", "last"])
@pytest.mark.parametrize("lie", LIES)
async def test_bulk_that_is_not_what_was_announced_leaves_no_trace_in_the_sum(
    memory_url: str, monkeypatch: pytest.MonkeyPatch, lie: str, liar: str
) -> None:
    monkeypatch.setattr("fl.wire.bulk.NEXT_CHUNK_S", 0.1)
    how, reason = LIES[lie]
    scales = {"ant": 0.1, "bee": 0.01, "cat": 0.001}
    async with Parties(memory_url) as parties:
        # When
        submission = await parties.submit(make_spec(rounds=1, clients=3), START)
        parties.worker()
        for name, scale in scales.items():
            sends = how if name == liar else upload
            parties.puppet(Puppet(name, weights=START, info=INFO, update=tenth_of(scale), upload=sends), submission.run)
        outcome = await parties.outcome(submission)

        # Then the sum is that of the others alone, to the bit
        committed = next(
            one for one in of_kind(await parties.records(submission), RoundCommitted) if one.kind is Kind.TRAIN
        )
        others = [START.flat * scale for name, scale in scales.items() if name != liar]
        assert outcome.status is Status.FINISHED
        assert outcome.weights is not None
        np.testing.assert_array_equal(outcome.weights.flat, START.flat - (others[0] + others[1]) / 2)
        assert [(note.client, reason in note.reason) for note in committed.dropped] == [(liar, True)]
        await parties.until_closed(submission)
        assert {name for name in stored(memory_url) if ".u." in name} == set()


def once(lie: Upload) -> Upload:
    """Lies the first time."""

    async def send(session: Session, room: topology.Room, reply: TrainReply, edition: int) -> None:
        await (upload if edition else lie)(session, room, reply, edition)

    return send


@pytest.mark.parametrize("liar", ["ant", "cat"])
@pytest.mark.parametrize("lie", ["another digest", "a chunk is missing", "deleted after it was announced"])
async def test_bulk_that_came_to_harm_is_sent_once_more_and_counts(memory_url: str, lie: str, liar: str) -> None:
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=3), START)
        parties.worker()
        for name in NAMES:
            sends = once(LIES[lie][0]) if name == liar else upload
            parties.puppet(Puppet(name, weights=START, info=INFO, upload=sends), submission.run)
        outcome = await parties.outcome(submission)
        commits = of_kind(await parties.records(submission), RoundCommitted)

    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, START.flat * 0.9, rtol=1e-12)
    assert commits[0].dropped == ()


async def test_a_daemon_does_a_round_again_whose_update_was_lost_on_the_broker(memory_url: str) -> None:
    # Given a daemon whose update lies in its room, while another client before it is awaited
    n_features = 50_000
    start = NumpyVector.from_arrays({"coef": np.zeros((1, n_features)), "intercept": np.zeros(1)})
    data = {name: regression(seed, n=12, n_features=n_features) for seed, name in enumerate(("ant", "bee"))}
    calm, _ = await run_here(memory_url + "-calm", make_spec(rounds=1, clients=2), data, weights=start)
    gated = Gated(data["ant"].train)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2), start)
        replies = Binding("replies", topology.UP.name, f"{submission.run}.bee.train_reply")
        await parties.owner.declare(Queue(replies.queue), replies)
        parties.worker()
        for site in await sites_of({**data, "ant": Data(gated, data["ant"].valid)}):
            parties.daemon(site)
        await until_looked_at(parties, replies)

        # When the broker loses it
        room = topology.Room(submission.run, 1, "bee", await parties.leader(submission))
        await parties.owner.delete(room.stream)
        gated.gate.set()
        outcome = await parties.outcome(submission)

    # Then no bit is different
    assert outcome.weights == calm.weights


async def test_a_sum_that_is_spoilt_is_made_again_of_messages_that_are_in_it_already(memory_url: str) -> None:
    # Given updates inside their messages, the first of them in the sum
    size = 20_000
    start = NumpyVector.from_arrays({"coef": np.full((1, size), 0.5), "intercept": np.ones(1)})
    info = DataInfo(n_samples=10, n_features=size, input_shape=[0, size])

    def wrong_digest(reply: TrainReply) -> None:
        reply.update.digest = bytes(32)

    ant, bee = Puppet("ant", info=info, weights=start), Puppet("bee", info=info, weights=start, lie=wrong_digest)
    bee.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2), start)
        replies = Binding("replies", topology.UP.name, f"{submission.run}.ant.train_reply")
        await parties.owner.declare(Queue(replies.queue), replies)
        parties.worker()
        for puppet in (ant, bee):
            parties.puppet(puppet, submission.run)
        await until(lambda: bee.was_asked(1))
        await until_looked_at(parties, replies)

        # When
        bee.let_go(1)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)

    # Then it is of the good one alone, and nobody had to lead anew
    assert outcome.weights is not None
    np.testing.assert_array_equal(outcome.weights.flat, start.flat - start.flat * 0.1)
    assert len(of_kind(records, LeaderStarted)) == 1
