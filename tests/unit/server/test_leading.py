"""Leading on the embedded broker: connections that are cut, leaders that are replaced, and what a run leaves."""

import asyncio
from contextlib import suppress

import numpy as np
import pytest

from broker import topology
from fl.core.vector import NumpyVector
from fl.run.events import (
    ClientsAdmitted,
    Kind,
    LeaderStarted,
    Record,
    RoundCommitted,
    RoundOpened,
    RunInitialised,
    Status,
)
from fl.run.step import LOGIC_VERSION
from fl.wire.messages_pb2 import TrainRequest
from fl.wire.records import read_record, write_record
from tests.integration.parties import Parties
from tests.integration.world import N_FEATURES, Puppet, make_spec, of_kind, regression, run_here, sites_of

START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})
TWO = {name: regression(seed) for seed, name in enumerate(("ant", "bee"))}


@pytest.fixture
def memory_url(request: pytest.FixtureRequest) -> str:
    """An embedded broker that no other test uses."""
    return f"memory://leading-{abs(hash(request.node.nodeid))}"


async def until_asked(puppet: Puppet, round_: int) -> None:
    async with asyncio.timeout(20.0):
        while not puppet.was_asked(round_):
            await asyncio.sleep(0.005)


async def test_a_late_joiner_takes_part_from_the_next_round_on(memory_url: str) -> None:
    ant, late = Puppet("ant"), Puppet("late")
    ant.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=2, register={"min_clients": 1}), START)
        parties.worker()
        parties.puppet(ant, submission.run)
        await until_asked(ant, 1)
        parties.puppet(late, submission.run)
        await parties.until_record(
            submission, lambda record: isinstance(record, ClientsAdmitted) and record.clients[0][0] == "late"
        )
        async with asyncio.timeout(20.0):
            while len(late.heard) < 2:
                await asyncio.sleep(0.005)
        ant.let_go(1)
        await parties.outcome(submission)
        opened = of_kind(await parties.records(submission), RoundOpened)

    assert [one.participants for one in opened if one.kind is Kind.TRAIN] == [("ant",), ("ant", "late")]


async def test_a_deadline_closes_a_round_and_names_who_is_missing(memory_url: str) -> None:
    slow = Puppet("slow")
    slow.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2, deadline=0.3), START)
        parties.worker()
        for puppet in (Puppet("ant"), slow):
            parties.puppet(puppet, submission.run)
        await parties.outcome(submission)
        first = of_kind(await parties.records(submission), RoundCommitted)[0]

    assert [one.client for one in first.participants] == ["ant"]
    assert [(note.client, note.reason) for note in first.dropped] == [("slow", "no answer in time")]


CUTS = [
    ("worker", ClientsAdmitted), ("worker", RunInitialised), ("worker", RoundOpened), ("worker", RoundCommitted),
    ("ant", ClientsAdmitted), ("ant", RunInitialised), ("ant", RoundOpened), ("ant", RoundCommitted),
    ("all", ClientsAdmitted), ("all", RoundOpened), ("all", RoundCommitted),
]  # fmt: skip


@pytest.mark.parametrize(("who", "when"), CUTS)
async def test_no_cut_connection_changes_a_bit_of_the_result(memory_url: str, who: str, when: type[Record]) -> None:
    spec = make_spec(rounds=3, clients=2)
    undisturbed, _ = await run_here(memory_url + "-undisturbed", spec, TWO)

    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec)
        parties.worker()
        for site in await sites_of(TWO):
            parties.daemon(site)
        await parties.until_record(submission, lambda record: isinstance(record, when))
        if who == "all":
            parties.cut_all()
        else:
            parties.cut(who)
        outcome = await parties.outcome(submission)
        commits = of_kind(await parties.records(submission), RoundCommitted)

    assert outcome.weights == undisturbed.weights
    assert [(one.round, len(one.participants)) for one in commits if one.kind is Kind.TRAIN] == [(1, 2), (2, 2), (3, 2)]


async def test_a_client_that_is_restarted_in_a_round_is_initialised_again_and_no_bit_changes(memory_url: str) -> None:
    spec = make_spec(rounds=3, clients=2)
    bee = Puppet("bee")
    bee.withhold(2)
    async with Parties(memory_url + "-undisturbed") as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        (site,) = await sites_of({"ant": TWO["ant"]})
        parties.daemon(site)
        parties.puppet(Puppet("bee"), submission.run)
        undisturbed = await parties.outcome(submission)

    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        (site,) = await sites_of({"ant": TWO["ant"]})
        parties.daemon(site)
        parties.puppet(bee, submission.run)
        await until_asked(bee, 2)
        await parties.stop("ant")
        (fresh,) = await sites_of({"ant": TWO["ant"]})
        parties.daemon(fresh)
        bee.let_go(2)
        outcome = await parties.outcome(submission)

    assert outcome.status is Status.FINISHED
    assert outcome.weights == undisturbed.weights


async def test_a_deposed_leader_resigns_and_changes_nothing(memory_url: str, caplog: pytest.LogCaptureFixture) -> None:
    ant = Puppet("ant")
    ant.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=1), START)
        parties.worker()
        parties.puppet(ant, submission.run)
        await until_asked(ant, 1)
        usurper = write_record("usurper", LeaderStarted("usurper", "by hand", LOGIC_VERSION), number=0, now=0.0)
        await parties.owner.publish(usurper, routing_key=topology.run_log(submission.run))

        ant.let_go(1)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)

    assert any(record.getMessage().startswith("deposed") for record in caplog.records)
    assert len(of_kind(records, LeaderStarted)) == 3  # the first, the usurper, and the worker's next try
    assert [one.kind for one in of_kind(records, RoundCommitted)] == [Kind.TRAIN, Kind.EVALUATE]
    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, START.flat * 0.9)


async def test_a_request_that_comes_twice_gets_the_same_answer(memory_url: str) -> None:
    bee = Puppet("bee")
    bee.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=2, clients=2), START)
        parties.worker()
        (site,) = await sites_of({"ant": TWO["ant"]})
        parties.daemon(site)
        parties.puppet(bee, submission.run)
        await until_asked(bee, 1)

        # A new leader asks everybody again: the worker's connection is cut.
        parties.cut("worker")
        async with asyncio.timeout(20.0):
            while len(of_kind(await so_far(parties, submission.run), LeaderStarted)) < 2:
                await asyncio.sleep(0.01)
        bee.let_go(1)
        outcome = await parties.outcome(submission)
        commits = of_kind(await parties.records(submission), RoundCommitted)

    assert len(bee.heard_of(TrainRequest)) == 3
    assert outcome.status is Status.FINISHED
    assert [len(one.participants) for one in commits] == [2] * 4


async def so_far(parties: Parties, run: str) -> list[Record]:
    """Records in a run's log at the moment."""
    found: list[Record] = []
    async with await parties.owner.read(topology.run_log(run)) as entries:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                async for delivery in entries:
                    await delivery.ack()
                    if delivery.message.type != topology.MARKER:
                        found.append(read_record(delivery.message)[1])
    return found
