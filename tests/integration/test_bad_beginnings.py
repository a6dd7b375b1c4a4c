"""Whole runs with data, models or metrics that cannot be: told before the first round, in which words, and to whom."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pytest
import torch
from torch import nn

from fl.client.learner import Data
from fl.core.doors import Doors, get_doors, set_doors
from fl.core.model.torch import TorchModel
from fl.run.events import ClientsAdmitted, ClientsReady, Kind, RoundCommitted, Status
from tests.integration.bad_data import (
    FEATURES,
    GOOD,
    LABELS,
    MODELS,
    NETWORKS,
    commits,
    dataset,
    is_told,
    names,
    run,
    sklearn_model,
    spec_of,
)
from tests.integration.world import of_kind, run_here

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
    assert outcome.reason.startswith("0 of at least 3 clients can take part; ant, bee, cat: ")
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
