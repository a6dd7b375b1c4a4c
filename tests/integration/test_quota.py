"""A run that is too large for what the broker may hold: refused with the figures, before it takes any room."""

from pathlib import Path

import numpy as np
import pytest

from broker import topology
from broker.base import Session
from broker.connect import open_session
from broker.errors import NotFound
from broker.quota import record_of
from fl.core.vector import NumpyVector
from fl.errors import ConfigError
from fl.run.events import Status
from fl.submit.submission import submit
from tests.integration.parties import Parties, stored
from tests.integration.processes import run_fluffle
from tests.integration.world import make_spec, regression, sites_of, submission_of

N_FEATURES = 50_000
START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.001), "intercept": np.zeros(1)})
"""400,008 bytes, so that two clients take five times as many, which are 2 MiB."""


async def allow(session: Session, mib: int) -> None:
    await session.declare(topology.QUOTA)
    await session.publish(record_of(mib), routing_key=topology.QUOTA.name)


async def missing(session: Session, name: str) -> bool:
    try:
        await session.count(name)
    except NotFound:
        return True
    return False


async def test_a_run_that_is_too_large_is_refused_at_submit_and_leaves_nothing(broker_url: str) -> None:
    session = await open_session(broker_url, name="owner")
    await allow(session, 1)
    submission = submission_of(make_spec(clients=2), START)

    with pytest.raises(ConfigError, match=r"takes 2 MiB at the broker .* where one run may take 1 MiB"):
        await submit(session, submission)

    weights = topology.weights_stream(submission.run, 0, "submitted-weights")
    names = (topology.run_log(submission.run), topology.run_queue(submission.run), weights)
    assert [await missing(session, name) for name in names] == [True] * 3
    await session.close()


async def test_a_run_that_fits_is_not_refused(broker_url: str) -> None:
    data = {name: regression(seed, n=12, n_features=N_FEATURES) for seed, name in enumerate(("ant", "bee"))}
    async with Parties(broker_url) as parties:
        await allow(parties.owner, 2)
        parties.worker()
        submission = await parties.submit(make_spec(rounds=1, clients=2), START)
        for site in await sites_of(data):
            parties.daemon(site)
        outcome = await parties.outcome(submission)

    assert outcome.status is Status.FINISHED


async def test_a_run_whose_weights_prove_too_large_ends_with_the_figures_before_they_are_written(
    memory_url: str,
) -> None:
    # Given a run whose weights nobody knows before there are data
    async with Parties(memory_url) as parties:
        await allow(parties.owner, 1)
        submission = await parties.submit(make_spec(clients=1))
        parties.worker()
        (site,) = await sites_of({"ant": regression(0, n=12, n_features=N_FEATURES)})

        # When they are known
        parties.daemon(site)
        outcome = await parties.outcome(submission)
        await parties.until_closed(submission)
        left = stored(memory_url)

    # Then
    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("with 1 client in a round this run takes 2 MiB at the broker")
    assert "where one run may take 1 MiB" in outcome.reason
    assert not [name for name in left if ".w." in name]


async def test_clients_that_are_too_many_for_the_broker_end_the_run_at_its_start(memory_url: str) -> None:
    # Given weights that one client would be fine with
    names = ("ant", "bee", "cat")
    async with Parties(memory_url) as parties:
        await allow(parties.owner, 2)
        spec = make_spec(rounds=1, clients=1, register={"min_clients": 1, "max_clients": 3})
        submission = await parties.submit(spec, START)
        parties.worker()

        # When three come
        for site in await sites_of({name: regression(1, n=12, n_features=N_FEATURES) for name in names}):
            parties.daemon(site)
        outcome = await parties.outcome(submission)

    # Then
    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("with 3 clients in a round this run takes 3 MiB at the broker")


@pytest.mark.rabbitmq
def test_the_command_says_and_changes_what_a_run_may_take(rabbit_url: str, tmp_path: Path) -> None:
    told = [
        run_fluffle("quota", *more, folder=tmp_path, FLUFFLE_BROKER=rabbit_url).stdout for more in ([], ["300"], [])
    ]

    assert told == [f"one run may take {mib} MiB of this broker\n" for mib in (65_536, 300, 300)]
