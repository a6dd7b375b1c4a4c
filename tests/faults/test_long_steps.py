"""Steps that take longer than the broker waits for an acknowledgement: it delivers again, and nothing is done twice."""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial

import pytest

from broker.local import LocalRabbit
from fl.client.learner import Data
from fl.client.setup import site_from_data
from fl.client.site import Site
from fl.client.trainer import Trainer
from fl.core.dataset import InMemoryDataset
from fl.run.events import Kind, RoundCommitted, Status
from fl.run.spec import RunSpec
from fl.wire.trainer_pb2 import TrainerAnswer, TrainerCall
from tests.integration.parties import Parties
from tests.integration.world import N_FEATURES, make_spec, of_kind, run_here, samples, until
from tests.rabbit_tools import impatience

pytestmark = pytest.mark.rabbitmq

TIMEOUT_MS = 1_000
BULK = 60_000
"""Features of a model whose weights and updates go through streams."""

MOMENTUM = {"client_opt": {"lrate": 1e-6, "modules": [["momentum", {"beta": 0.9}]]}}


@pytest.fixture
async def impatient_url(rabbit: LocalRabbit, vhosts: Iterator[str]) -> AsyncIterator[str]:
    """A virtual host of a broker that waits a second for an acknowledgement, and looks ten times a second."""
    async with impatience(rabbit, TIMEOUT_MS):
        yield f"{rabbit.url}{next(vhosts)}"


@pytest.fixture
def memory_url() -> str:
    return f"memory://{secrets.token_hex(4)}"


class Losses:
    """How often each daemon has lost its subscription, as its log tells."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def of(self, client: str) -> int:
        lines = (record.getMessage() for record in self._caplog.records)
        return sum(line.startswith(f"subscribing_again client={client} ") for line in lines)


class SlowTrainer:
    """Trains as another does, and takes until its daemon has lost the subscription twice."""

    def __init__(self, trainer: Trainer, client: str, losses: Losses, trained: Counter[tuple[str, int]]) -> None:
        self._trainer = trainer
        self.memory = trainer.memory
        self._client = client
        self._losses = losses
        self._trained = trained

    async def ask(self, call: TrainerCall) -> TrainerAnswer:
        answer = await self._trainer.ask(call)
        if call.HasField("train"):
            self._trained[self._client, call.train.round] += 1
            enough = self._losses.of(self._client) + 2
            await until(lambda: self._losses.of(self._client) >= enough)
        return answer

    async def close(self) -> None:
        await self._trainer.close()


def slow(site: Site, losses: Losses, trained: Counter[tuple[str, int]]) -> Site:
    async def new_trainer(run: str) -> Trainer:
        return SlowTrainer(await site.new_trainer(run), site.name, losses, trained)

    return replace(site, new_trainer=new_trainer)


def spec_of(rounds: int, clients: int) -> RunSpec:
    plain = make_spec(rounds=rounds, clients=clients, training={"batch_size": 8})
    return RunSpec.parse({**plain.model_dump(by_alias=True), "optim": MOMENTUM}, "test")


@pytest.mark.parametrize("n_features", [N_FEATURES, BULK], ids=["inline", "bulk"])
async def test_a_training_that_outlasts_the_brokers_patience_is_done_once_and_changes_no_bit(
    impatient_url: str, memory_url: str, caplog: pytest.LogCaptureFixture, n_features: int
) -> None:
    # Given what an undisturbed run comes to
    spec = spec_of(rounds=2, clients=3)
    made = partial(samples, n=8, n_features=n_features)
    datasets = {name: Data(InMemoryDataset(*made(seed))) for seed, name in enumerate(("ant", "bee", "cat"))}
    undisturbed, _ = await run_here(memory_url, spec, datasets)

    # When each training lasts several of the broker's timeouts
    caplog.set_level("WARNING", "fl.client")
    losses, trained = Losses(caplog), Counter[tuple[str, int]]()
    async with Parties(impatient_url) as parties:
        submission = await parties.submit(spec)
        parties.worker()
        for name, data in datasets.items():
            parties.daemon(slow(await site_from_data(name, data), losses, trained))
        for round_ in (1, 2):
            await parties.until_record(submission, partial(_has_trained, round_))
        outcome = await parties.outcome(submission)
        commits = [one for one in of_kind(await parties.records(submission), RoundCommitted) if one.kind is Kind.TRAIN]

    # Then each has trained once in each round, all counted, and no bit is different
    assert outcome.status is Status.FINISHED
    assert trained == {(name, round_): 1 for name in datasets for round_ in (1, 2)}
    assert [[part.client for part in commit.participants] for commit in commits] == [list(datasets)] * 2
    assert outcome.weights == undisturbed.weights


def _has_trained(round_: int, record: object) -> bool:
    return isinstance(record, RoundCommitted) and record.kind is Kind.TRAIN and record.round == round_
