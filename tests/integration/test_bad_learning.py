"""Whole runs with somebody whose data cannot be learned from: who is told, in which words, and who goes on."""

import pytest

from fl.client.learner import Data
from fl.core.dataset import InMemoryDataset
from fl.core.model.sklearn import SklearnSGDModel
from fl.run.events import Kind, Status
from tests.integration.bad_data import (
    FEATURES,
    GOOD,
    LABELS,
    MODELS,
    NETWORKS,
    Claiming,
    commits,
    dataset,
    is_told,
    names,
    run,
    spec_of,
)

# ---- one client, in rounds -------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[Data, str]] = {
    "a label that nobody told of": (Data(Claiming(FEATURES, LABELS + 5)), "label 5"),
    "values in the place of labels": (Data(Claiming(FEATURES, FEATURES[:, 0])), "label "),
    "no target": (Data(Claiming(FEATURES)), "have no target: name one"),
    "fewer samples than a batch": (Data(dataset(FEATURES[:5], LABELS[:5])), "use drop_remainder=False"),
}
"""What shows only in training."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", MODELS)
async def test_a_client_that_cannot_learn_is_told_why_and_the_others_finish(
    memory_url: str, kind: str, fault: str
) -> None:
    cat, word = FAULTS[fault]

    outcome, records = await run(memory_url, MODELS[kind](), cat)

    trainings = commits(records, Kind.TRAIN)
    assert outcome.status is Status.FINISHED
    assert [names(one.participants) for one in trainings] == [["ant", "bee"]] * 2
    assert all(is_told(one.dropped, "cat", word) for one in trainings)


@pytest.mark.parametrize("kind", MODELS)
async def test_a_run_that_needs_everybody_fails_with_the_reason_of_the_one_that_cannot(
    memory_url: str, kind: str
) -> None:
    cat, word = FAULTS["fewer samples than a batch"]
    model = MODELS[kind]()

    outcome, _ = await run(memory_url, model, cat, spec=spec_of(model, min_replies=3))

    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("train round 1: 2 of at least 3 replies; cat: batch_size=8 with drop_remainder")
    assert word in outcome.reason


@pytest.mark.parametrize("kind", MODELS)
async def test_a_client_that_cannot_be_evaluated_still_trains(memory_url: str, kind: str) -> None:
    cat = Data(dataset(), Claiming(FEATURES, LABELS + 5))

    outcome, records = await run(memory_url, MODELS[kind](), cat)

    assert outcome.status is Status.FINISHED
    assert [names(one.participants) for one in commits(records, Kind.TRAIN)] == [["ant", "bee", "cat"]] * 2
    assert all(is_told(one.dropped, "cat", "label 5") for one in commits(records, Kind.EVALUATE))


# ---- divergence ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "scale", "lrate"), [("sklearn", 1e306, 1e8), *((one, 1e30, 0.05) for one in NETWORKS)]
)
async def test_a_client_that_diverges_says_so_itself_and_the_others_finish(
    memory_url: str, kind: str, scale: float, lrate: float
) -> None:
    model, cat = MODELS[kind](), Data(dataset(FEATURES.astype(float) * scale))

    outcome, records = await run(memory_url, model, cat, spec=spec_of(model, lrate=lrate))

    trainings = commits(records, Kind.TRAIN)
    assert outcome.status is Status.FINISHED
    assert [names(one.participants) for one in trainings] == [["ant", "bee"]] * 2
    assert all(is_told(one.dropped, "cat", "use a smaller learning rate") for one in trainings)


@pytest.mark.parametrize("kind", MODELS)
async def test_a_rate_that_is_too_large_for_all_fails_the_run_and_says_to_use_a_smaller_one(
    memory_url: str, kind: str
) -> None:
    model = MODELS[kind]()

    outcome, records = await run(
        memory_url, model, GOOD, spec=spec_of(model, lrate=1e300 if kind == "sklearn" else 1e38)
    )

    assert outcome.status is Status.FAILED
    assert "0 of at least 2 replies; ant, bee, cat: training of round 1 diverged: tensor " in outcome.reason
    assert "use a smaller learning rate" in outcome.reason
    assert not commits(records, Kind.TRAIN)


async def test_metrics_of_weights_that_diverge_name_the_metric_and_the_cure(memory_url: str) -> None:
    model = SklearnSGDModel.from_parameters("regressor", penalty=None)
    values = Data(InMemoryDataset(FEATURES, FEATURES[:, 0] * 10))
    spec = spec_of(model, lrate=1e150, metrics=("mse",))

    outcome, _ = await run(memory_url, model, values, spec=spec, others=values)

    assert outcome.status is Status.FAILED
    assert "; ant, bee, cat: metric 'mse' is NaN or infinite here: the weights have diverged" in outcome.reason
    assert "use a smaller learning rate" in outcome.reason
