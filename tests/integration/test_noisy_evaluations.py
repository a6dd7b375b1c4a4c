"""Sites that give evaluations noise: what a run learns of them, what they pay, and what is left when they cannot."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.connect import open_session
from fl.client.config import SitePrivacyConfig
from fl.client.learner import Data
from fl.client.setup import site_from_data
from fl.client.site import Site
from fl.client.state import StateDirectory
from fl.core.dataset import InMemoryDataset
from fl.core.privacy.accounting import Spending, epsilon
from fl.core.privacy.ledger import Ledger, Line, epsilons
from fl.core.vector import Array
from fl.main.embedded import run_embedded
from fl.main.outcome import Outcome
from fl.run.events import ClientsReady, Kind, Parcel, Record, RoundCommitted, Status
from fl.run.spec import RunSpec
from fl.submit.history import Happened
from tests.integration.world import of_kind, submission_of

NAMES = ("ant", "bee", "cat")
N, B, D, DELTA = 400, 100, 4, 1e-5
METRICS: list[Any] = ["binary-classif", ("binary-roc", {"bound": [0.0, 1.0]}), "log-loss", "loss", "mse"]
SIGMA = 2.0
ONE = Spending(SIGMA, 1.0, 1)
AMPLE: dict[str, Any] = {"metric_noise": SIGMA, "max_epsilon": 50.0, "delta": DELTA}
DP: dict[str, Any] = {"budget": (8.0, DELTA), "sclip_norm": 1.0}


def classes(seed: int) -> Data:
    """Two classes on either side of a plane."""
    parts = []
    for part in (seed, seed + 100):
        rng = np.random.default_rng(part)
        x = rng.normal(size=(N, D))
        parts.append(InMemoryDataset(x, (x.sum(axis=1) > 0).astype(int), expose_classes=True))
    return Data(*parts)


def a_spec(*, rounds: int = 3, clients: int = 3, metrics: list[Any] = METRICS, **run: Any) -> RunSpec:
    return RunSpec.parse(
        {
            "name": "test",
            "model": {"kind": "sklearn-sgd", "config": {"kind": "classifier", "loss": "log_loss"}},
            "optim": {"client_opt": 0.5},
            "metrics": [list(one) if isinstance(one, tuple) else one for one in metrics],
            "run": {"rounds": rounds, "register": clients, "seed": 7, "training": {"batch_size": B}, **run},
        },
        "test",
    )


async def site(name: str, folder: Path | None = None, *, data: Data | None = None, **privacy: Any) -> Site:
    state = None if folder is None else StateDirectory(folder / name)
    data = data or classes(NAMES.index(name))
    return await site_from_data(name, data, privacy=SitePrivacyConfig.from_params(**privacy), state=state)


async def play(url: str, spec: RunSpec, sites: list[Site]) -> tuple[Outcome, list[Record]]:
    records: list[Record] = []

    def note(happened: Happened) -> None:
        records.append(happened.record)

    outcome = await run_embedded(submission_of(spec), sites, lambda name: open_session(url, name=name), on_event=note)
    assert outcome.status is Status.FINISHED, outcome.reason
    return outcome, records


def evaluations(records: list[Record]) -> list[RoundCommitted]:
    return [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.EVALUATE]


def weights(records: list[Record]) -> list[Parcel | None]:
    """After each training round."""
    return [one.weights for one in of_kind(records, RoundCommitted) if one.kind is Kind.TRAIN]


def is_kept(loss: float | None) -> bool:
    """Whether nobody has told it."""
    assert loss is not None, "evaluations have one"
    return math.isnan(loss)


def values(evaluation: RoundCommitted) -> dict[str, Array]:
    return {one.name: np.array(one.values) for one in evaluation.metrics}


def lines(folder: Path, name: str) -> list[Line]:
    return Ledger(folder / name / "ledger.jsonl").lines()


def cost(*spendings: Spending) -> float:
    return epsilon(spendings, delta=DELTA, accountant="rdp")


async def test_a_run_over_sites_with_noise_tells_nearly_what_it_would_without(memory_url: str) -> None:
    # Given the same run over sites without noise and with some
    _, plain_records = await play(memory_url, a_spec(), [await site(name) for name in NAMES])
    _, noisy_records = await play(memory_url, a_spec(), [await site(name, **AMPLE) for name in NAMES])
    # Then it learns the same, and what it is told is another thing, near by
    assert weights(plain_records) == weights(noisy_records)
    for truth, told in zip(evaluations(plain_records), evaluations(noisy_records), strict=True):
        true, near = values(truth), values(told)
        assert told.loss != truth.loss
        assert told.loss == pytest.approx(truth.loss, abs=0.3)
        for name, off in (("accuracy", 0.06), ("roc_auc", 0.1), ("log-loss", 1.2)):
            assert near[name] != true[name]
            assert near[name] == pytest.approx(true[name], abs=off)
        assert near["binary-classif/n"] == pytest.approx(3 * N, abs=100)


async def test_a_metric_in_which_noise_hides_nobody_is_told_of_nobody(
    memory_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _, records = await play(memory_url, a_spec(clients=2), [await site("ant"), await site("bee", **AMPLE)])

    assert {int(values(one)["mse/n"][0]) for one in evaluations(records)} == {N}
    assert sum("'mse' has no bound on what one sample adds" in message for message in caplog.messages) == 1


async def test_a_seed_of_the_run_does_not_say_which_noise_a_site_adds(memory_url: str) -> None:
    told = []
    for _ in range(2):
        _, records = await play(memory_url, a_spec(rounds=1, clients=1), [await site("ant", **AMPLE)])
        told.append(evaluations(records)[0].loss)

    assert told[0] != told[1]


async def test_every_evaluation_is_in_the_ledger_of_the_data_that_it_looks_at(memory_url: str, tmp_path: Path) -> None:
    await play(memory_url, a_spec(clients=1), [await site("ant", tmp_path, **AMPLE)])

    valid = classes(0).valid
    assert valid is not None
    spent = lines(tmp_path, "ant")
    assert [line.entry.round_ for line in spent] == [1, 2, 3]
    assert {(line.entry.paid, line.entry.purpose, line.entry.dataset) for line in spent} == {
        (ONE, "evaluation", valid.fingerprint())
    }
    assert epsilons(spent) == pytest.approx([cost(*[ONE] * n) for n in (1, 2, 3)])


async def test_when_the_cap_is_reached_nothing_more_is_told_and_the_run_goes_on(
    memory_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a site whose cap is what two evaluations cost, among others
    cap: dict[str, Any] = {"metric_noise": SIGMA, "max_epsilon": cost(ONE, ONE) * 1.0001, "delta": DELTA}
    sites = [await site("ant"), await site("bee", tmp_path, **cap)]
    # When there are four
    with caplog.at_level(logging.WARNING):
        _, records = await play(memory_url, a_spec(rounds=4, clients=2), sites)
    # Then the last two are of the other site alone, and that was said once
    found = evaluations(records)
    assert len(found) == 4
    for number, one in enumerate(found, start=1):
        ant, bee = one.participants
        assert is_kept(bee.loss) == (number > 2)
        assert (bee.n_samples == 0) == (number > 2)
        assert (one.loss == ant.loss) == (number > 2)
        assert (values(one)["binary-classif/n"] == N) == (number > 2)
    assert len(lines(tmp_path, "bee")) == 2
    assert epsilons(lines(tmp_path, "bee"))[-1] <= cap["max_epsilon"]
    assert sum("with the evaluation of round 3, all runs on dataset" in message for message in caplog.messages) == 1
    assert not any("round 4" in message for message in caplog.messages)


async def test_a_run_that_is_told_of_no_evaluation_at_all_comes_to_its_end(memory_url: str) -> None:
    none: dict[str, Any] = {"metric_noise": 0.5, "max_epsilon": 0.1}

    outcome, records = await play(memory_url, a_spec(clients=1), [await site("ant", **none)])

    assert all(is_kept(one.loss) for one in evaluations(records))
    assert outcome.best_round == 3


async def test_what_one_run_has_spent_on_evaluations_is_not_there_for_the_next(memory_url: str, tmp_path: Path) -> None:
    cap: dict[str, Any] = {"metric_noise": SIGMA, "max_epsilon": cost(ONE, ONE, ONE) * 1.0001, "delta": DELTA}
    told = []
    for _ in range(2):
        _, records = await play(memory_url, a_spec(rounds=2, clients=1), [await site("ant", tmp_path, **cap)])
        told += [not is_kept(one.loss) for one in evaluations(records)]

    assert told == [True, True, True, False]
    assert len(lines(tmp_path, "ant")) == 3


async def test_losses_that_a_site_keeps_are_in_no_metric_either(memory_url: str) -> None:
    for noise in ({}, AMPLE):
        spec = a_spec(rounds=1, clients=1, metrics=["loss", "binary-classif"])

        _, records = await play(memory_url, spec, [await site("ant", share_loss=False, **noise)])

        (one,) = evaluations(records)
        assert is_kept(one.loss)
        told = values(one)
        assert told["loss"] == told["loss/n"] == 0
        assert told["binary-classif/n"] > 0


async def test_a_number_of_samples_may_be_told_beside_metrics_that_have_noise(memory_url: str) -> None:
    _, records = await play(memory_url, a_spec(rounds=1, clients=1), [await site("ant", n_samples=1000, **AMPLE)])

    (one,) = evaluations(records)
    assert one.participants[0].n_samples == 1000
    assert values(one)["binary-classif/n"] == 1000


# ---- in private runs -------------------------------------------------------------------------------------------------


async def test_a_site_says_how_much_noise_its_evaluations_have_and_what_is_not_told(memory_url: str) -> None:
    _, records = await play(memory_url, a_spec(clients=1, privacy=DP), [await site("ant", **AMPLE)])

    ((_, terms),) = of_kind(records, ClientsReady)[0].terms
    assert terms.metric_noise == SIGMA
    assert terms.unprotected == (
        "how many training steps it takes, and how long",
        "how many samples it has",
        "which classes its targets have",
    )
    (warning,) = terms.warnings
    assert "'mse' has no bound" in warning


async def test_evaluations_on_the_training_data_leave_the_steps_of_the_run_what_they_need(
    memory_url: str, tmp_path: Path
) -> None:
    # Given a site without validation data, whose cap leaves next to nothing beyond the run's budget
    alone = Data(classes(0).train)
    cap: dict[str, Any] = {"metric_noise": SIGMA, "max_epsilon": DP["budget"][0] * 1.01, "delta": DELTA}
    # When
    _, records = await play(memory_url, a_spec(clients=1, privacy=DP), [await site("ant", tmp_path, data=alone, **cap)])
    # Then all steps are done and no evaluation
    assert [line.entry.purpose for line in lines(tmp_path, "ant")] == ["training"] * 3
    assert all(is_kept(one.loss) for one in evaluations(records))


async def test_evaluations_on_the_training_data_are_counted_with_the_steps_and_not_against_the_runs_budget(
    memory_url: str, tmp_path: Path
) -> None:
    alone = Data(classes(0).train)

    await play(memory_url, a_spec(clients=1, privacy=DP), [await site("ant", tmp_path, data=alone, **AMPLE)])

    spent = lines(tmp_path, "ant")
    assert [line.entry.purpose for line in spent] == ["training", "evaluation"] * 3
    assert epsilons(spent)[-1] == pytest.approx(cost(*(line.entry.paid for line in spent)))
    steps = [line.entry.paid for line in spent if line.entry.purpose == "training"]
    assert 0.99 * 8.0 < cost(*steps) <= 8.0 < epsilons(spent)[-1]
