"""Federations of the hospitals in one process."""

import asyncio
from functools import cache
from importlib.resources import files
from uuid import uuid4

from broker.connect import open_session
from fl.client.learner import Data
from fl.client.setup import site_from_data
from fl.client.site import Site
from fl.core.dataset import InMemoryDataset
from fl.core.vector import NumpyVector
from fl.examples.heart.compare import Comparison, compare
from fl.examples.heart.hospitals import Hospital, load_hospitals
from fl.examples.heart.rivals import Rivals, train_rivals
from fl.main.embedded import run_embedded
from fl.main.experiment import Experiment
from fl.run.spec import RunSpec
from fl.submit.submission import prepare


def shipped_spec(seed: int | None, **changes: object) -> RunSpec:
    """The run of the example, with another seed and other settings of its `run` table."""
    table = Experiment.from_file(str(files("fl.examples.heart") / "run.toml")).spec.model_dump(by_alias=True)
    table["run"] |= {"seed": seed, **changes}
    return RunSpec.parse(table, "example")


@cache
def hospitals(seed: int) -> tuple[Hospital, ...]:
    return load_hospitals(seed)


@cache
def rivals(seed: int) -> Rivals:
    return train_rivals(shipped_spec(seed), hospitals(seed))


@cache
def comparison(seed: int) -> Comparison:
    """All models, judged by the held-out patients."""
    spec = shipped_spec(seed)
    federated = federate(spec, hospitals(seed))
    return compare(spec.model, hospitals(seed), federated=federated, rivals=rivals(seed))


def federate(spec: RunSpec, members: tuple[Hospital, ...]) -> NumpyVector:
    """The weights that a real run leaves, with a worker and a daemon for each hospital."""
    url = f"memory://{uuid4().hex}"

    async def run() -> NumpyVector:
        submission = prepare(spec, None, sender="test", now=0.0)
        sites = [await _site(hospital) for hospital in members]
        outcome = await run_embedded(submission, sites, lambda name: open_session(url, name=name))
        weights = outcome.require().weights
        assert weights is not None
        return weights

    return asyncio.run(run())


async def _site(hospital: Hospital) -> Site:
    train = InMemoryDataset(hospital.train.x, hospital.train.y, expose_classes=True)
    return await site_from_data(hospital.name, Data(train, InMemoryDataset(hospital.valid.x, hospital.valid.y)))
