"""Workers that share the sum of a round: the bits of one worker, for any number of shards and of workers."""

import asyncio
import secrets

import numpy as np
import pytest

from fl.core.vector import NumpyVector
from fl.run.events import Kind, RoundClosed, RoundCommitted, Status
from tests.integration.parties import Parties, stored
from tests.integration.world import N_FEATURES, Puppet, make_spec, of_kind

START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})
NAMES = tuple(f"c{number:03}" for number in range(130))
"""Three blocks."""


@pytest.fixture
def memory_url() -> str:
    """An embedded broker of this test."""
    return f"memory://{secrets.token_hex(4)}"


async def test_smoke(memory_url: str) -> None:
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=2, clients=len(NAMES), shards=2), START)
        for name in ("one", "other"):
            parties.worker(name)
        for name in NAMES:
            parties.puppet(Puppet(name), submission.run)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)
        print([type(r).__name__ for r in records])
        assert outcome.status is Status.FINISHED
        await parties.until_closed(submission)
        print(sorted(n for n in stored(memory_url) if "client" not in n))
