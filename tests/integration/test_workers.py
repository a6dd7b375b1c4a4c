"""Workers as processes, killed in the middle of a round: the next one goes on, and no bit of the result changes."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from broker.local import LocalRabbit
from fl.core.vector import NumpyVector
from fl.run.events import LeaderStarted, Record, RoundCommitted, Status
from fl.run.spec import RunSpec
from fl.wire.messages_pb2 import DataInfo
from tests.integration.parties import Parties
from tests.integration.processes import FRAMEWORKS, Fluffle, fluffle
from tests.integration.world import Puppet, make_spec, of_kind, regression, sites_of

pytestmark = pytest.mark.rabbitmq

SPEC: RunSpec = make_spec(rounds=3, clients=2)
ANT = {"ant": regression(0)}


async def undisturbed(memory_url: str) -> bytes:
    """The final weights where nothing happens: the same run on a broker in memory."""
    async with Parties(memory_url) as parties:
        submission = await parties.submit(SPEC)
        parties.worker()
        (site,) = await sites_of(ANT)
        parties.daemon(site)
        parties.puppet(Puppet("bee"), submission.run)
        outcome = await parties.outcome(submission)
    assert outcome.weights is not None
    return bytes(outcome.weights.pack())


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
async def test_a_worker_that_ends_in_a_round_is_replaced_and_no_bit_changes(
    rabbit_url: str, memory_url: str, tmp_path: Path, how: signal.Signals, code: int
) -> None:
    # Given: two workers, and a round that lasts as long as one client keeps its reply back
    bee = Puppet("bee")
    bee.withhold(2)
    with (
        fluffle("server", "--name", "w1", broker=rabbit_url, folder=tmp_path, name="w1") as one,
        fluffle("server", "--name", "w2", broker=rabbit_url, folder=tmp_path, name="w2") as two,
    ):
        async with Parties(rabbit_url) as parties:
            submission = await parties.submit(SPEC)
            (site,) = await sites_of(ANT)
            parties.daemon(site)
            parties.puppet(bee, submission.run)
            async with asyncio.timeout(30.0):
                while not bee.was_asked(2):
                    await asyncio.sleep(0.02)
            leader, other = (one, two) if " leading " in one.log else (two, one)

            # When: the leader ends, and the reply comes after that
            ended_with = await leader.signal(how)
            await other.until_logged(" leading ")
            bee.let_go(2)
            outcome = await parties.outcome(submission)
            records = await parties.records(submission)

        # Then
        assert ended_with == code
        assert outcome.status is Status.FINISHED
        assert outcome.weights is not None
        assert bytes(outcome.weights.pack()) == await undisturbed(memory_url)
        assert set(Counter(rounds(records)).values()) == {1}
        assert len(rounds(records)) == 6
        assert len(of_kind(records, LeaderStarted)) == 2
        assert await other.signal(signal.SIGTERM) == 0
        assert_framework_free(other)


def rounds(records: list[Record]) -> list[tuple[int, str]]:
    return [(one.round, one.kind.value) for one in of_kind(records, RoundCommitted)]


def assert_framework_free(process: Fluffle) -> None:
    assert not process.imported & set(FRAMEWORKS)
    assert "fl" in process.imported


async def test_a_run_with_bulk_weights_leaves_its_log_and_its_final_weights(
    rabbit: LocalRabbit, rabbit_url: str
) -> None:
    size = 50_000  # 400 kB in float64
    start = NumpyVector.from_arrays({"coef": np.full((1, size), 0.5), "intercept": np.ones(1)})
    info = DataInfo(n_samples=10, n_features=size, input_shape=[0, size])
    async with Parties(rabbit_url) as parties:
        submission = await parties.submit(make_spec(rounds=2, clients=2), start)
        parties.worker()
        for name in ("ant", "bee"):
            parties.puppet(Puppet(name, info=info, weights=start), submission.run)
        await parties.outcome(submission)
        await parties.until_closed(submission)
        listed = rabbit.ctl("list_queues", "-p", rabbit_url.rpartition("/")[2], "--no-table-headers", "name")

    left, weights = set(listed.split()), f"fl.run.{submission.run}.w."
    shared = {"fl.runs", "fl.dead", "fl.client.ant", "fl.client.bee"}
    assert {name for name in left if not name.startswith(weights)} == shared | {f"fl.run.{submission.run}.log"}
    assert len([name for name in left if name.startswith(weights)]) == 1
