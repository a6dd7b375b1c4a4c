"""What a leader has in memory of replies that wait: no more of many than of few."""

import asyncio
import gc
import secrets
from collections.abc import Callable

import numpy as np
import pytest

from fl.core.vector import NumpyVector
from fl.run.events import RoundCommitted
from fl.server.letters import Letter
from fl.server.spool import LIGHT_BYTES, MEMORY_BYTES, Spooled
from fl.wire.bulk import INLINE_BYTES
from fl.wire.messages_pb2 import DataInfo, TrainReply
from tests.integration.parties import Parties
from tests.integration.world import Puppet, make_spec, of_kind

N_FEATURES = 30_000
"""240 kB in float64: as much as comes inside a reply."""
INFO = DataInfo(n_samples=10, n_features=N_FEATURES, input_shape=[0, N_FEATURES])
START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})
NAMES = tuple(f"c{number:02d}" for number in range(40))
"""What they send in a round is more than twice what may wait in memory."""


def replies_held() -> list[Spooled]:
    """Training replies that wait in this process, in whatever hands."""
    gc.collect()  # hands that have let go
    found = [one for one in gc.get_objects() if type(one) is Spooled]  # asking some others for their class warns
    return [one for one in found if one.message.type == "train_reply" and one.waiting is not None]


def bytes_in_memory() -> int:
    """Of training replies: those that wait, and those that are at hand, or were read and are kept."""
    held = replies_held()
    waiting = [one.waiting for one in held if isinstance(one.waiting, bytes | bytearray | memoryview)]
    bodies = [one.body for one in gc.get_objects() if type(one) is Letter]
    read = [body.update.inline for body in bodies if isinstance(body, TrainReply)]
    return sum(map(len, (*waiting, *read, *(one.message.body for one in held))))


async def until(condition: Callable[[], bool]) -> None:
    """Looks at all objects that there are: not too often."""
    async with asyncio.timeout(50.0):
        while not condition():
            await asyncio.sleep(0.5)


@pytest.mark.parametrize("shards", [1, 2])
async def test_what_a_leader_or_a_shard_holds_of_replies_is_in_memory_up_to_a_bound_and_all_of_it_counts(
    shards: int,
) -> None:
    assert len(NAMES) * INLINE_BYTES > 2 * MEMORY_BYTES
    first, *others = (Puppet(name, info=INFO, weights=START) for name in NAMES)
    async with Parties(f"memory://{secrets.token_hex(4)}") as parties:
        # Given a client whose turn is before that of all others, and who does not answer
        first.withhold(1)
        submission = await parties.submit(make_spec(rounds=1, clients=len(NAMES), evaluate=False, shards=shards), START)
        parties.worker()
        for puppet in (first, *others):
            parties.puppet(puppet, submission.run)

        # When the replies of all others are held
        await until(lambda: len(replies_held()) == len(others))
        await until(lambda: bytes_in_memory() <= MEMORY_BYTES + len(others) * LIGHT_BYTES)

        # Then all of them count once the first one has come
        first.let_go(1)
        await parties.outcome(submission)
        (commit,) = of_kind(await parties.records(submission), RoundCommitted)
    assert tuple(one.client for one in commit.participants) == NAMES
