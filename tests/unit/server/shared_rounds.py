"""Runs whose rounds several workers share: clients that make every other order of additions show."""

import secrets
from typing import Any

import numpy as np

from broker import topology
from fl.core.vector import NumpyVector
from fl.main.outcome import Outcome
from fl.run.events import (
    Kind,
    Record,
    RoundCommitted,
)
from fl.run.spec import RunSpec
from fl.wire.messages_pb2 import DataInfo
from tests.integration.parties import Parties, stored
from tests.integration.world import (
    N_FEATURES,
    Puppet,
    Upload,
    of_kind,
    upload,
)

START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})
FIVE = ("ant", "bee", "cat", "dog", "elk")
"""Three blocks of up to two."""


def uneven(name: str, **options: Any) -> Puppet:
    """A client whose updates are its own, and of such sizes that every order of additions has other bits."""
    seed = int.from_bytes(name.encode(), "little")

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


N_BULK = 50_000
"""400 kB in float64."""
BULK = NumpyVector.from_arrays({"coef": np.full((1, N_BULK), 0.5), "intercept": np.ones(1)})
BULK_INFO = DataInfo(n_samples=10, n_features=N_BULK, input_shape=[0, N_BULK])


def bulky(name: str, how: Upload = upload) -> Puppet:
    return uneven(name, weights=BULK, info=BULK_INFO, upload=how)
