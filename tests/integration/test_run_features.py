"""What a run's table asks for, as its parties see it."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fl.client.setup import site_from_data
from fl.core.checkpoint import Checkpointer
from fl.core.vector import NumpyVector
from fl.main.initial import load_initial
from fl.run.events import Cause, Kind, Note, RoundCommitted, RoundOpened, Status
from fl.run.spec import RunSpec
from fl.wire.envelope import Body
from fl.wire.messages_pb2 import Error, EvaluateReply, EvaluateRequest, TrainRequest
from tests.integration.parties import Parties
from tests.integration.world import N_FEATURES, Puppet, make_spec, of_kind, regression, run_here

START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})
NAMES = ("ant", "bee", "cat")


async def test_a_round_asks_those_that_its_record_names_and_nobody_else(memory_url: str) -> None:
    puppets = {name: Puppet(name) for name in NAMES}
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=6, sampling=1, evaluate={"clients": 2}), START)
        parties.worker()
        for puppet in puppets.values():
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)
        opened: list[RoundOpened] = of_kind(await parties.records(submission), RoundOpened)

    assert outcome.status is Status.FINISHED
    assert [len(one.participants) for one in opened] == [1, 2] * 6
    for name, puppet in puppets.items():
        told = [(one.kind, one.round) for one in opened if name in one.participants]
        trained = [(Kind.TRAIN, body.round) for body in puppet.heard_of(TrainRequest)]
        evaluated = [(Kind.EVALUATE, body.round) for body in puppet.heard_of(EvaluateRequest)]
        assert sorted(trained + evaluated, key=told.index) == told


async def test_a_round_goes_on_with_the_first_replies_and_the_weights_are_theirs(memory_url: str) -> None:
    ant, bee, cat = (Puppet(name) for name in NAMES)
    cat.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, sampling={"take": 2}, evaluate=False), START)
        parties.worker()
        for puppet in (ant, bee, cat):
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)
        (committed,) = of_kind(await parties.records(submission), RoundCommitted)

    assert [result.client for result in committed.participants] == ["ant", "bee"]
    assert committed.dropped == (Note("cat", "not among the first 2 to answer", Cause.LATE),)
    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, START.flat * 0.9)


class Troubled(Puppet):
    """Answers the training requests of some rounds with an error."""

    def __init__(self, name: str, code: Error.Code, rounds: set[int]) -> None:
        super().__init__(name)
        self._code = code
        self._rounds = rounds

    async def _reply(self, body: Body) -> Body | None:
        if isinstance(body, TrainRequest) and body.round in self._rounds:
            return Error(code=self._code, text="no luck", round=body.round, weights_digest=body.weights.digest)
        return await super()._reply(body)


async def test_a_client_that_fails_in_a_round_is_left_out_of_it_and_asked_in_the_next(memory_url: str) -> None:
    ant, bee = Puppet("ant"), Troubled("bee", Error.Code.FAILED, {1})
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=2, clients=2, evaluate=False), START)
        parties.worker()
        for puppet in (ant, bee):
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)
        first, second = of_kind(await parties.records(submission), RoundCommitted)

    assert outcome.status is Status.FINISHED
    assert first.dropped == (Note("bee", "no luck"),)
    assert [result.client for result in second.participants] == ["ant", "bee"]


async def test_a_client_that_never_has_the_model_is_asked_some_times_and_the_round_goes_on(memory_url: str) -> None:
    ant, bee = Puppet("ant"), Troubled("bee", Error.Code.UNINITIALISED, {1})
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2, evaluate=False), START)
        parties.worker()
        for puppet in (ant, bee):
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)
        (committed,) = of_kind(await parties.records(submission), RoundCommitted)

    assert outcome.status is Status.FINISHED
    assert len(bee.heard_of(TrainRequest)) == 4
    assert committed.dropped == (Note("bee", "it lost the model 4 times"),)


async def test_a_run_without_evaluations_leaves_its_last_weights(memory_url: str) -> None:
    datasets = {"ant": regression(0), "bee": regression(1)}

    outcome, records = await run_here(memory_url, make_spec(rounds=3, clients=2, evaluate=False), datasets)

    assert outcome.status is Status.FINISHED
    assert outcome.best_round == 3
    assert {one.kind for one in of_kind(records, RoundCommitted)} == {Kind.TRAIN}


async def test_a_run_may_go_on_from_the_weights_that_another_left(memory_url: str, tmp_path: Path) -> None:
    datasets = {"ant": regression(0), "bee": regression(1)}
    spec = make_spec(rounds=2, clients=2, training={"batch_size": 40, "drop_remainder": False})
    half, _ = await run_here(memory_url, spec, datasets)
    assert half.weights is not None
    Checkpointer(tmp_path).save(2, half.weights, best=True)

    rest, _ = await run_here(memory_url, spec, datasets, weights=load_initial(tmp_path, spec.model))

    whole, _ = await run_here(
        memory_url, spec.model_copy(update={"run": spec.run.model_copy(update={"rounds": 4})}), datasets
    )
    assert rest.weights == whole.weights


@pytest.mark.parametrize("by", ["uniform", "weighted", {"name": "criterion", "criterion": "loss"}])
async def test_the_same_seed_asks_the_same_clients_in_another_run(memory_url: str, by: object) -> None:
    datasets = {name: regression(seed) for seed, name in enumerate(NAMES)}
    spec = make_spec(rounds=4, sampling={"clients": 1, "by": by})

    logs = [(await run_here(memory_url, spec, datasets))[1] for _ in range(2)]

    first, second = ([one.participants for one in of_kind(log, RoundOpened)] for log in logs)
    assert first == second


# ---- evaluations -----------------------------------------------------------------------------------------------------


async def test_evaluations_come_as_often_as_asked_for_and_after_the_last_round(memory_url: str) -> None:
    datasets = {"ant": regression(0), "bee": regression(1)}

    _, records = await run_here(memory_url, make_spec(rounds=5, clients=2, evaluate={"frequency": 2}), datasets)

    assert [one.round for one in of_kind(records, RoundCommitted) if one.kind is Kind.EVALUATE] == [2, 4, 5]


def is_nan(reply: EvaluateReply) -> None:
    reply.loss_sum = math.nan


@pytest.mark.parametrize(
    ("lie", "best_round"),
    [(lambda _: None, 3), (is_nan, 2)],
    ids=["a loss that stays", "a loss that is NaN"],
)
async def test_a_run_stops_early_when_the_loss_is_stuck(
    memory_url: str, lie: Callable[[EvaluateReply], None], best_round: int
) -> None:
    ant = Puppet("ant", lie_about_loss=lie)
    spec = make_spec(rounds=9, clients=1, early_stop={"patience": 2})
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        parties.puppet(ant, submission.run)
        outcome = await parties.outcome(submission)

    assert outcome.status is Status.FINISHED
    assert outcome.reason.startswith("early stopping after round ")
    assert outcome.best_round == best_round


async def test_a_site_that_keeps_its_metrics_counts_in_the_loss_and_the_metrics_are_those_of_the_others(
    memory_url: str,
) -> None:
    datasets = {name: regression(seed) for seed, name in enumerate(NAMES)}
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1))
        parties.worker()
        for name, data in datasets.items():
            parties.daemon(await site_from_data(name, data, share_metrics=name != "cat"))
        await parties.outcome(submission)
        records = await parties.records(submission)

    (evaluation,) = [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.EVALUATE]
    losses = {one.client: one.loss for one in evaluation.participants}
    metrics = {metric.name: metric.values[0] for metric in evaluation.metrics}
    assert list(losses) == list(NAMES)
    assert evaluation.loss == pytest.approx(np.mean(list(losses.values())))
    # the loss of a sample is half its squared error
    assert metrics["mse"] == pytest.approx(losses["ant"] + losses["bee"])
    assert metrics["mse/n"] == 80


# ---- training --------------------------------------------------------------------------------------------------------


async def test_a_round_closes_at_its_deadline_with_enough_replies(memory_url: str) -> None:
    ant, bee, cat = (Puppet(name) for name in NAMES)
    cat.withhold(1)
    spec = make_spec(rounds=1, deadline=0.5, min_replies=2, evaluate=False)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        for puppet in (ant, bee, cat):
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)
        (committed,) = of_kind(await parties.records(submission), RoundCommitted)

    assert outcome.status is Status.FINISHED
    assert [result.client for result in committed.participants] == ["ant", "bee"]
    assert committed.dropped == (Note("cat", "no answer in time", Cause.LATE),)


async def test_a_round_with_too_few_replies_at_its_deadline_ends_the_run(memory_url: str) -> None:
    ant, bee, cat = (Puppet(name) for name in NAMES)
    cat.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, deadline=0.5, min_replies=3, patience=0), START)
        parties.worker()
        for puppet in (ant, bee, cat):
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)

    assert outcome.status is Status.FAILED
    assert outcome.reason == "train round 1: 2 of at least 3 replies; cat: no answer in time"


@pytest.mark.parametrize(
    ("limits", "n_steps"),
    [({"n_epoch": 2}, 10), ({"n_epoch": 2, "n_steps": 3}, 3), ({"n_epoch": None, "timeout": 1e-9}, 1)],
    ids=["epochs", "steps", "seconds"],
)
async def test_a_client_trains_as_long_as_the_first_limit_lets_it(
    memory_url: str, limits: dict[str, object], n_steps: int
) -> None:
    spec = make_spec(rounds=2, clients=1, training={"batch_size": 8, **limits})

    _, records = await run_here(memory_url, spec, {"ant": regression(0)})

    trainings = [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.TRAIN]
    assert [one.participants[0].n_steps for one in trainings] == [n_steps] * 2


async def test_a_schedule_by_rounds_reaches_the_clients(memory_url: str) -> None:
    data = regression(0)
    rate = {"name": "cosine-annealing", "base": 0.2, "n": 4, "step_level": False}
    tables = make_spec(rounds=3, clients=1, training={"batch_size": 40}).model_dump(by_alias=True)
    spec = RunSpec.parse({**tables, "optim": {"client_opt": {"lrate": rate}}}, "test")

    outcome, records = await run_here(memory_url, spec, {"ant": data}, weights=START)

    # one step a round over all samples, by the rates 0.1·(1 + cos(π·t/4))
    batch = data.train.take(slice(None))
    x, weights = np.column_stack([batch.x, np.ones(40)]), START.flat.copy()
    updates = []
    for t in range(3):
        step = 0.1 * (1 + math.cos(math.pi * t / 4)) * x.T @ (x @ weights - batch.y) / 40
        updates.append(np.linalg.norm(step))
        weights -= step
    trainings = [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.TRAIN]
    assert [one.participants[0].update_norm for one in trainings] == pytest.approx(updates)
    assert outcome.status is Status.FINISHED
