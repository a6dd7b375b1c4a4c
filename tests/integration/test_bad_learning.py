"""Whole runs with somebody whose data cannot be learned from: who is told, in which words, and who goes on."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import keras
import numpy as np
import pytest
import torch
from torch import nn

from fl.client.learner import Data
from fl.client.setup import site_from_data
from fl.core.data_info import DataInfo
from fl.core.dataset import Dataset, InMemoryDataset
from fl.core.dataset.api import Batch
from fl.core.model import Model
from fl.core.model.doors import Doors, get_doors, set_doors
from fl.core.model.sklearn import SklearnSGDModel
from fl.core.model.tensorflow import TensorflowModel
from fl.core.model.torch import TorchModel
from fl.core.vector import Array, NumpyVector
from fl.errors import DataError
from fl.main.outcome import Outcome
from fl.run.events import (
    ClientResult,
    ClientsAdmitted,
    ClientsReady,
    Kind,
    Note,
    Record,
    RoundCommitted,
    Status,
)
from fl.run.spec import RunSpec
from fl.server.fold import NOBODY_TRAINED
from fl.wire.messages_pb2 import EvaluateReply, TrainReply
from fl.wire.tensors import inline
from tests.integration.parties import Parties
from tests.integration.world import N_FEATURES, Puppet, make_spec, of_kind, run_here

FEATURES: Final = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
LABELS: Final = np.arange(30) % 3


def sklearn_model() -> Model:
    return SklearnSGDModel.from_parameters("classifier", loss="log_loss")


def torch_model(n_features: int = 4) -> Model:
    torch.manual_seed(1)
    return TorchModel(nn.Sequential(nn.Linear(n_features, 5), nn.ReLU(), nn.Linear(5, 3)), nn.CrossEntropyLoss())


def keras_model(n_features: int = 4) -> Model:
    layers = [
        keras.layers.Input((n_features,)),
        keras.layers.Dense(5, activation="relu", kernel_initializer=keras.initializers.GlorotUniform(seed=1)),
        keras.layers.Dense(3, kernel_initializer=keras.initializers.GlorotUniform(seed=2)),
    ]
    return TensorflowModel(keras.Sequential(layers), keras.losses.SparseCategoricalCrossentropy(from_logits=True))


MODELS: dict[str, Callable[[], Model]] = {"sklearn": sklearn_model, "torch": torch_model, "tensorflow": keras_model}
NETWORKS: dict[str, Callable[[int], Model]] = {"torch": torch_model, "tensorflow": keras_model}


class Claiming(InMemoryDataset, register=False):
    """Tells of classes 0 to 2, whatever its labels are."""

    def get_data_specs(self) -> DataInfo:
        return replace(super().get_data_specs(), classes=(0, 1, 2))


class Empty(Dataset, register=False):
    """Has no samples."""

    name = "empty"
    n_samples = 0

    def get_data_specs(self) -> DataInfo:
        return DataInfo(0, n_features=4, classes=(0, 1, 2))

    def take(self, index: "slice | Array") -> Batch:
        return Batch(FEATURES[:0][index], LABELS[:0][index])

    def describe(self) -> None:
        return None


def dataset(x: Any = FEATURES, y: Any = LABELS, *, expose_classes: bool = True) -> Dataset:
    return InMemoryDataset(x, y, expose_classes=expose_classes)


GOOD: Final = Data(dataset())


def spec_of(model: Model, *, lrate: float = 0.05, metrics: tuple[Any, ...] = (), **changes: Any) -> RunSpec:
    """Two rounds with three clients, of which two are enough; `changes` go to the run's table."""
    run = {"rounds": 2, "register": 3, "min_replies": 2, "seed": 3, "training": {"batch_size": 8}, **changes}
    tables = {"name": "bad", "optim": {"client_opt": lrate}, "run": run, "metrics": list(metrics)}
    return RunSpec.parse({**tables, "model": {"kind": model.name, "config": model.get_config()}}, "test")


async def run(
    url: str, model: Model, cat: Data, *, spec: RunSpec | None = None, others: Data = GOOD
) -> tuple[Outcome, list[Record]]:
    """A run of ant and bee, who are alike, and cat."""
    weights = None if isinstance(model, SklearnSGDModel) else model.get_weights().to_numpy()
    return await run_here(url, spec or spec_of(model), {"ant": others, "bee": others, "cat": cat}, weights=weights)


def commits(records: list[Record], kind: Kind) -> list[RoundCommitted]:
    return [one for one in of_kind(records, RoundCommitted) if one.kind is kind]


def names(results: tuple[ClientResult, ...]) -> list[str]:
    return [one.client for one in results]


def is_told(notes: tuple[Note, ...], client: str, word: str) -> bool:
    """Whether this client alone is told, in one line of words for people."""
    (note,) = notes
    return note.client == client and word in note.reason and "\n" not in note.reason and "Traceback" not in note.reason


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


# ---- before the first round ------------------------------------------------------------------------------------------

STRANGERS: dict[str, tuple[Data, str]] = {
    "fewer features": (Data(dataset(FEATURES[:, :3])), "n_features"),
    "labels as text": (Data(dataset(y=np.array(["a", "b", "c"])[LABELS])), "['a', 'b', 'c']"),
}
"""What shows as clients register."""

TWO_SUFFICE: Final = {"min_clients": 2, "max_clients": 3}


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_a_client_whose_data_are_unlike_the_others_is_refused_and_they_go_on(
    memory_url: str, stranger: str
) -> None:
    cat, word = STRANGERS[stranger]
    model = sklearn_model()

    outcome, records = await run(memory_url, model, cat, spec=spec_of(model, register=TWO_SUFFICE))

    admitted = of_kind(records, ClientsAdmitted)[0]
    assert outcome.status is Status.FINISHED
    assert [name for name, _ in admitted.clients] == ["ant", "bee"]
    assert is_told(admitted.refused, "cat", word)


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_a_run_that_needs_the_one_whose_data_are_unlike_the_others_fails_and_says_who_has_what(
    memory_url: str, stranger: str
) -> None:
    cat, word = STRANGERS[stranger]

    outcome, _ = await run(memory_url, sklearn_model(), cat)

    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("clients disagree on ")
    assert word.strip("[]") in outcome.reason
    assert "ant has " in outcome.reason


async def test_a_classifier_without_classes_names_the_site_that_does_not_tell_them_and_the_option(
    memory_url: str,
) -> None:
    outcome, _ = await run(memory_url, sklearn_model(), Data(dataset(expose_classes=False)))

    assert outcome.status is Status.FAILED
    assert "give expose_classes=True to the dataset of every client (not told by cat)" in outcome.reason


@pytest.mark.parametrize("kind", NETWORKS)
async def test_text_labels_without_classes_cost_their_client_the_round_and_name_the_option(
    memory_url: str, kind: str
) -> None:
    cat = Data(dataset(y=np.array(["a", "b", "c"])[LABELS], expose_classes=False))

    outcome, records = await run(memory_url, NETWORKS[kind](4), cat)

    assert outcome.status is Status.FINISHED
    assert all(is_told(one.dropped, "cat", "expose_classes") for one in commits(records, Kind.TRAIN))


@pytest.mark.parametrize("kind", NETWORKS)
async def test_text_labels_with_classes_are_learned(memory_url: str, kind: str) -> None:
    text = Data(dataset(y=np.array(["a", "b", "c"])[LABELS]))

    outcome, records = await run(memory_url, NETWORKS[kind](4), text, others=text)

    assert outcome.status is Status.FINISHED
    assert not any(one.dropped for one in of_kind(records, RoundCommitted))


async def test_one_class_in_all_data_is_nothing_to_tell_apart(memory_url: str) -> None:
    ones = Data(dataset(y=np.ones(30, int)))

    outcome, _ = await run(memory_url, sklearn_model(), ones, others=ones)

    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("one-class data: a classifier needs at least two classes")


@pytest.mark.parametrize("kind", MODELS)
async def test_a_client_with_one_of_several_classes_takes_part(memory_url: str, kind: str) -> None:
    outcome, records = await run(memory_url, MODELS[kind](), Data(dataset(y=np.ones(30, int))))

    assert outcome.status is Status.FINISHED
    assert [names(one.participants) for one in commits(records, Kind.TRAIN)] == [["ant", "bee", "cat"]] * 2


@pytest.mark.parametrize("kind", NETWORKS)
async def test_a_network_for_other_samples_says_which_shape_the_data_has(memory_url: str, kind: str) -> None:
    outcome, records = await run(memory_url, NETWORKS[kind](5), GOOD)

    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("0 of at least 3 clients could be initialised; ant, bee, cat: ")
    assert "4" in outcome.reason
    assert [note.client for note in of_kind(records, ClientsReady)[0].failed] == ["ant", "bee", "cat"]


@pytest.mark.parametrize("kind", NETWORKS)
async def test_a_network_with_too_few_outputs_for_the_classes_says_so_before_it_trains(
    memory_url: str, kind: str
) -> None:
    outcome, _ = await run(memory_url, NETWORKS[kind](4), Data(dataset(y=LABELS + 1)))

    assert outcome.status is Status.FAILED
    assert "ant, bee, cat: the data has 4 classes" in outcome.reason


@pytest.mark.parametrize("kind", NETWORKS)
async def test_weights_of_another_model_are_refused_at_every_site_by_the_name_of_a_tensor(
    memory_url: str, kind: str
) -> None:
    model, other = NETWORKS[kind](4), NETWORKS[kind](5)
    datasets = dict.fromkeys(("ant", "bee", "cat"), GOOD)

    outcome, _ = await run_here(memory_url, spec_of(model), datasets, weights=other.get_weights().to_numpy())

    name = other.get_weights().layout.names[0]
    assert outcome.status is Status.FAILED
    assert "ant, bee, cat: the run's model is not what this site makes of its config" in outcome.reason
    assert repr(name) in outcome.reason


async def test_metrics_without_a_label_that_occurs_fail_the_run_and_name_the_metric(memory_url: str) -> None:
    model = sklearn_model()
    spec = spec_of(model, metrics=(("multi-classif", {"labels": [0, 1]}),))

    outcome, _ = await run(memory_url, model, GOOD, spec=spec)

    assert outcome.status is Status.FAILED
    assert "ant, bee, cat: multi-classif: " in outcome.reason
    assert "the labels are [0, 1]" in outcome.reason


# ---- losses of others ------------------------------------------------------------------------------------------------


class Together(nn.Module):
    """One loss for all samples, and nothing that could be asked for more."""

    def forward(self, raw: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(raw, y)


def with_one_loss_for_all() -> tuple[nn.Module, nn.Module]:
    return nn.Linear(4, 3), Together()


@pytest.fixture
def open_door() -> Iterator[str]:
    """The path of a factory in this file, which sites allow."""
    before, path = get_doors(), f"{__name__}:with_one_loss_for_all"
    set_doors(Doors(factories=(path,)))
    yield path
    set_doors(before)


async def test_a_loss_that_is_not_one_value_a_sample_says_so_before_it_trains(memory_url: str, open_door: str) -> None:
    outcome, _ = await run(memory_url, TorchModel.from_factory(open_door), GOOD)

    assert outcome.status is Status.FAILED
    assert "ant, bee, cat: loss Together gives () for 2 samples where one value a sample is needed" in outcome.reason


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
