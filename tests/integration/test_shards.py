"""Runs whose sum several workers share, with as many clients as that takes: the bits of one worker."""

from functools import partial

import numpy as np
import pytest

from fl.core.vector import NumpyVector
from fl.run.events import Kind, RoundClosed, RoundCommitted, Status
from fl.wire.messages_pb2 import TrainReply
from tests.integration.parties import Parties
from tests.integration.world import N_FEATURES, Puppet, make_spec, of_kind

START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})
NAMES = tuple(f"c{number:03}" for number in range(130))
"""Three blocks, of up to 64 clients."""


def update_of(name: str, weights: NumpyVector) -> NumpyVector:
    """Of sizes so different that every other order of additions has other bits."""
    rng = np.random.default_rng(int(name[1:]))
    size = weights.flat.size
    return NumpyVector(weights.layout, rng.normal(size=size) * 10.0 ** rng.integers(-8, 8, size))


def written_out(names: tuple[str, ...]) -> np.ndarray:
    """The weights after a round of these clients, each of whom took one step."""
    total = np.zeros(START.flat.size)
    for first in range(0, len(NAMES), 64):
        block = np.zeros(START.flat.size)
        for name in NAMES[first : first + 64]:
            if name in names:
                block += update_of(name, START).flat
        total += block
    return np.asarray(START.flat - total / len(names))


def spoil(reply: TrainReply) -> None:
    reply.update.digest = bytes(32)


def honest(_: TrainReply) -> None: ...


@pytest.mark.parametrize("broker_url", ["memory", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)], indirect=True)
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_round_of_three_blocks_has_the_bits_of_sums_that_are_written_out(broker_url: str, workers: int) -> None:
    # Given two shards, and one client whose update is not what it says
    async with Parties(broker_url) as parties:
        for number in range(workers):
            parties.worker(f"worker-{number}")
        submission = await parties.submit(make_spec(rounds=1, clients=130, shards=2), START)

        # When
        for name in NAMES:
            lie = spoil if name == "c070" else honest
            parties.puppet(Puppet(name, update=partial(update_of, name), lie=lie), submission.run)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)

    # Then
    others = tuple(name for name in NAMES if name != "c070")
    (commit,) = [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.TRAIN]
    assert outcome.status is Status.FINISHED
    assert outcome.weights is not None
    assert [note.client for note in commit.dropped] == ["c070"]
    np.testing.assert_array_equal(outcome.weights.flat, written_out(others))
    assert of_kind(records, RoundClosed)[-1].clients == others
