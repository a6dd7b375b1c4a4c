"""Workers that share the sum of a round: the bits of one worker, whatever its clients do."""

import math
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from broker import topology
from broker.base import Session
from fl.main.simulation import simulate
from fl.main.simulation_crowd import VirtualClient
from fl.run.events import (
    RoundClosed,
    RunPaused,
    Status,
)
from fl.run.optim import OptimConfig
from fl.wire.envelope import Body, seal, wrap
from fl.wire.messages_pb2 import ResumeRequest, TrainReply
from fl.wire.tensors import digest
from tests.integration.parties import Parties
from tests.integration.world import (
    Puppet,
    make_spec,
    of_kind,
    regression,
    run_here,
)
from tests.small_blocks import small_blocks
from tests.unit.server.shared_rounds import FIVE, START, alone, played, trained, uneven


@pytest.fixture(autouse=True)
def blocks_of_two() -> Iterator[None]:
    with small_blocks():
        yield


@pytest.fixture
def memory_url() -> str:
    """An embedded broker of this test."""
    return f"memory://{secrets.token_hex(4)}"


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
