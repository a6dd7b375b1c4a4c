"""Whole runs with rounds without samples, weight or steps, and with updates that are finite and too large."""

from typing import Any, Final

import numpy as np
import pytest

from fl.client.learner import Data
from fl.client.setup import site_from_data
from fl.core.vector import NumpyVector
from fl.errors import DataError
from fl.main.outcome import Outcome
from fl.run.events import Kind, Record, Status
from fl.run.spec import RunSpec
from fl.server.fold import NOBODY_TRAINED
from fl.wire.messages_pb2 import EvaluateReply, TrainReply
from fl.wire.tensors import inline
from tests.integration.bad_data import GOOD, MODELS, Empty, commits, dataset, run, spec_of
from tests.integration.parties import Parties
from tests.integration.world import N_FEATURES, Puppet, make_spec

# ---- no samples, no weight, no steps ---------------------------------------------------------------------------------


async def test_a_site_without_samples_says_so_before_it_joins_anything() -> None:
    with pytest.raises(DataError, match="dataset 'empty' has no samples, so there is nothing to train on"):
        await site_from_data("cat", Data(Empty()))


async def test_a_site_with_an_empty_validation_set_says_so_before_it_joins_anything() -> None:
    with pytest.raises(DataError, match="dataset 'empty' for validation has no samples: leave it out"):
        await site_from_data("cat", Data(dataset(), Empty()))


@pytest.mark.parametrize("kind", MODELS)
async def test_poisson_batches_larger_than_the_data_are_all_of_it(memory_url: str, kind: str) -> None:
    model = MODELS[kind]()
    spec = spec_of(model, training={"batch_size": 100, "poisson": True})

    outcome, records = await run(memory_url, model, GOOD, spec=spec)

    assert outcome.status is Status.FINISHED
    assert {(one.n_steps, one.n_samples) for one in commits(records, Kind.TRAIN)[0].participants} == {(1, 30)}


START: Final = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})


async def run_of(url: str, *puppets: Puppet, **optim: Any) -> tuple[Outcome, list[Record]]:
    """One round of clients that do as they are told."""
    tables = make_spec(rounds=1, clients=len(puppets)).model_dump(by_alias=True)
    tables["optim"].update(optim)
    async with Parties(url) as parties:
        submission = await parties.submit(RunSpec.parse(tables, "test"), START)
        parties.worker()
        for puppet in puppets:
            parties.puppet(puppet, submission.run)
        return await parties.outcome(submission), await parties.records(submission)


def no_steps(reply: TrainReply) -> None:
    reply.n_steps = reply.n_samples = 0


async def test_a_client_that_took_no_step_has_no_part_in_the_mean(memory_url: str) -> None:
    outcome, _ = await run_of(memory_url, Puppet("ant"), Puppet("bee"), Puppet("cat", lie=no_steps))

    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, START.flat * 0.9)


async def test_a_round_without_any_step_changes_nothing_and_says_so(memory_url: str) -> None:
    outcome, records = await run_of(memory_url, *(Puppet(name, lie=no_steps) for name in ("ant", "bee", "cat")))

    assert outcome.weights == START
    assert [one.note for one in commits(records, Kind.TRAIN)] == [NOBODY_TRAINED]


def weightless(reply: EvaluateReply) -> None:
    reply.loss_sum = reply.weight_sum = 0.0


async def test_an_evaluation_of_samples_without_weight_has_no_loss_and_is_nobodys_best(memory_url: str) -> None:
    puppets = (Puppet(name, lie_about_loss=weightless) for name in ("ant", "bee", "cat"))

    outcome, records = await run_of(memory_url, *puppets)

    (evaluation,) = commits(records, Kind.EVALUATE)
    assert outcome.status is Status.FINISHED
    assert evaluation.loss is not None
    assert np.isnan(evaluation.loss)
    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, START.flat * 0.9)


# ---- updates that are finite, and too large --------------------------------------------------------------------------


def enormous(reply: TrainReply) -> None:
    """Ten steps, by which an average counts it ten times, to the edge of what a number holds."""
    reply.n_steps = 10
    reply.update.CopyFrom(inline(START * np.finfo(np.float64).max))


HOSTILE: Final = ("ant", "bee", "cat", "dog")


async def test_an_average_that_overflows_ends_the_run_and_never_becomes_its_weights(memory_url: str) -> None:
    liar = Puppet("liar", lie=enormous)

    outcome, records = await run_of(memory_url, *map(Puppet, HOSTILE), liar)

    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("round 1 diverged: ")
    assert "trimmed-mean" in outcome.reason
    assert outcome.weights == START
    assert not commits(records, Kind.TRAIN)


async def test_a_trimmed_mean_goes_on_without_an_update_that_is_too_large(memory_url: str) -> None:
    liar = Puppet("liar", lie=enormous)

    outcome, _ = await run_of(
        memory_url, *map(Puppet, HOSTILE), liar, aggregator={"name": "trimmed-mean", "config": {"beta": 0.2}}
    )

    assert outcome.status is Status.FINISHED
    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, START.flat * 0.9)
