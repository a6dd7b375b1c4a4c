"""Evaluations with noise: what one sample moves, how much noise there is, and what is made of it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.data_info import DataInfo
from fl.core.dataset import Batching, InMemoryDataset
from fl.core.metrics import MetricSet
from fl.core.model import Model
from fl.core.privacy.evaluation import COUNT, TOTAL, WEIGHT, PrivateEvaluation, Telling
from fl.core.privacy.keys import EvaluationFacts, evaluation_key, noise_key
from fl.core.privacy.noise import NormalSource, keyed_source
from fl.core.training import Effort, EvaluateResult, evaluate_round
from fl.core.vector import Array
from fl.errors import ConfigError

SEED = bytes(range(32))
METRICS: list[Any] = [
    "loss",
    ("binary-classif", {"label": 1}),
    ("binary-roc", {"bound": [0.0, 1.0]}),
    ("log-loss", {"labels": [0, 1]}),
    "mse",
]
BOUND = 2.0


class Silence:
    """Noise that is none: what is left are the sums themselves."""

    def standard_normal(self, size: int) -> Array:
        return np.zeros(size)


def metric_set(*specs: Any) -> MetricSet:
    return MetricSet.from_specs(specs or METRICS)


def telling(sigma: float = 2.0, **options: Any) -> Telling:
    return Telling(**{"noise_multiplier": sigma, "loss_bound": BOUND, **options})


def paid(telling: Telling, metrics: MetricSet, noise: NormalSource, *, alone: bool = False) -> PrivateEvaluation:
    return PrivateEvaluation(telling=telling, bounds=telling.bounds(metrics), noise=noise, alone=alone)


def sums_of(evaluation: PrivateEvaluation, losses: Array, scores: Array, weights: Array) -> dict[str, Array]:
    """What samples that alternate between two classes come to, before any noise."""
    y_true = np.arange(len(losses)) % 2
    metrics, loss = metric_set(), metric_set("loss")
    clipped, bounded = evaluation.clip(losses, weights)
    metrics.update(y_true, scores, bounded, losses=clipped)
    loss.update(y_true, scores, bounded, losses=clipped)
    return {COUNT: np.asarray(float(len(losses))), **metrics.get_state(), **loss.get_state()}


def scaled(sums: Mapping[str, Array], bounds: Mapping[str, float]) -> Array:
    """All that is told, in units of its noise over sigma."""
    return np.concatenate([np.ravel(sums[key]) / (bound * math.sqrt(len(bounds))) for key, bound in bounds.items()])


SAMPLE = st.tuples(st.floats(), st.floats(0.0, 1.0), st.floats(width=32))
"""A loss, a probability and a weight."""


@given(samples=st.lists(SAMPLE, min_size=1, max_size=8), place=st.integers(0, 7))
def test_one_sample_moves_all_that_is_told_by_no_more_than_1(
    samples: list[tuple[float, float, float]], place: int
) -> None:
    # Given samples of any losses and weights, and the same without one, which comes last, as labels are by place
    evaluation = paid(telling(), metric_set(), Silence())
    samples.append(samples.pop(place % len(samples)))
    losses, scores, weights = (np.array(column) for column in zip(*samples, strict=True))
    # When both are summed
    with_it = sums_of(evaluation, losses, scores, weights)
    without = sums_of(evaluation, losses[:-1], scores[:-1], weights[:-1])
    # Then
    moved = scaled(with_it, evaluation.bounds) - scaled(without, evaluation.bounds)
    assert np.linalg.norm(moved) <= 1 + 1e-9


def test_noise_on_each_sum_is_the_multiplier_times_its_bound_times_the_root_of_their_number() -> None:
    # Given four sums
    metrics, one = metric_set(("multi-classif", {"labels": list(range(100))})), telling(3.0)
    sums = {COUNT: np.asarray(1e6), TOTAL: np.asarray(0.0), WEIGHT: np.asarray(1e6), **metrics.get_state()}
    bounds = one.bounds(metrics)
    assert bounds == {COUNT: 1.0, TOTAL: BOUND, WEIGHT: 1.0, "multi-classif/confusion": 1.0}
    # When they are told many times
    told = [paid(one, metrics, np.random.default_rng(seed)).tell(sums) for seed in range(2000)]
    # Then
    for key, bound in bounds.items():
        noise = np.concatenate(
            [np.ravel(each[key] - sums[key]) for each in told[: 100 if sums[key].size > 1 else None]]
        )
        assert noise.std() == pytest.approx(3.0 * bound * 2.0, rel=5 / math.sqrt(2 * noise.size))


def test_the_same_key_has_the_same_noise_and_another_key_another() -> None:
    metrics = metric_set("binary-classif")
    sums = {COUNT: np.asarray(50.0), TOTAL: np.asarray(7.0), WEIGHT: np.asarray(50.0), **metrics.get_state()}

    def tell(key: bytes) -> dict[str, Array]:
        return paid(telling(), metrics, keyed_source(key, secure=True)).tell(sums)

    once, again, other = (tell(key) for key in (SEED, SEED, SEED[::-1]))
    assert all(np.array_equal(once[key], again[key]) for key in once)
    assert not np.any(once["binary-classif/confusion"] == other["binary-classif/confusion"])


FACTS: dict[str, Any] = {
    "run": "r",
    "task": "t",
    "dataset": "d",
    "weights": "w",
    "state": "s",
    "bounds": {"n": 1.0, "loss/total": 2.0},
    "noise_multiplier": 2.0,
}


@pytest.mark.parametrize(
    "change",
    [
        *({field: "other"} for field in ("run", "task", "dataset", "weights", "state")),
        {"bounds": {"n": 1.0}},
        {"bounds": {"n": 1.0, "loss/total": 3.0}},
        {"noise_multiplier": 2.5},
    ],
    ids=str,
)
def test_an_evaluation_that_differs_in_anything_has_another_key(change: dict[str, Any]) -> None:
    assert evaluation_key(SEED, EvaluationFacts(**FACTS)) != evaluation_key(SEED, EvaluationFacts(**FACTS | change))


def test_a_key_of_an_evaluation_depends_on_the_secret_seed() -> None:
    key = evaluation_key(SEED, EvaluationFacts(**FACTS))

    assert evaluation_key(SEED[::-1], EvaluationFacts(**FACTS)) != key
    assert noise_key(SEED, key).hex() != key


# ---- what is told, and what of it -----------------------------------------------------------------------------------


def test_a_metric_without_a_bound_is_told_as_of_no_samples() -> None:
    evaluation = paid(telling(), metric_set(), np.random.default_rng(0))

    told = evaluation.tell(sums_of(evaluation, np.ones(9), np.full(9, 0.5), np.ones(9)))

    assert {key: float(value) for key, value in told.items() if key.startswith("mse/")} == {
        "mse/n": 0.0,
        "mse/total": 0.0,
        "mse/weight": 0.0,
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"share_metrics": False}, {COUNT, TOTAL, WEIGHT}),
        ({"share_loss": False}, {COUNT, "binary-classif/confusion"}),
        ({"n_samples": 100}, {TOTAL, WEIGHT, "binary-classif/confusion"}),
        ({"share_loss": False, "share_metrics": False}, set()),
    ],
)
def test_what_a_site_keeps_is_not_among_what_is_told(options: dict[str, Any], expected: set[str]) -> None:
    assert telling(**options).bounds(metric_set("loss", "binary-classif", "mse")).keys() == expected


def test_a_number_of_samples_that_is_given_is_told_without_noise() -> None:
    metrics = metric_set("binary-classif")
    sums = {COUNT: np.asarray(5.0), TOTAL: np.asarray(1.0), WEIGHT: np.asarray(5.0), **metrics.get_state()}

    told = paid(telling(n_samples=100), metrics, np.random.default_rng(0)).tell(sums)

    assert told[COUNT] == told["binary-classif/n"] == 100


@given(seed=st.integers(0, 1000), sigma=st.sampled_from([0.5, 20.0, 1e4]))
def test_however_much_noise_there_is_the_mean_loss_is_within_its_bound_and_somebody_was_there(
    seed: int, sigma: float
) -> None:
    metrics = metric_set("loss")
    sums = {COUNT: np.asarray(3.0), TOTAL: np.asarray(3.0), WEIGHT: np.asarray(3.0), **metrics.get_state()}

    told = paid(telling(sigma), metrics, np.random.default_rng(seed)).tell(sums)

    assert told[WEIGHT] >= 1
    assert abs(told[TOTAL]) <= BOUND * told[WEIGHT] * (1 + 1e-12)
    assert told[COUNT] >= 1
    assert float(told[COUNT]).is_integer()


def test_losses_and_weights_count_as_no_more_than_they_may() -> None:
    evaluation = paid(telling(), metric_set(), Silence())

    losses, weights = evaluation.clip(
        np.array([1.0, 5.0, np.inf, -np.inf, np.nan]), np.array([0.5, 7.0, np.nan, -1.0, np.inf])
    )

    np.testing.assert_array_equal(losses, [1.0, BOUND, BOUND, -BOUND, BOUND])
    np.testing.assert_array_equal(weights, [0.5, 1.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_multiplier": 0.0}, "noise_multiplier is 0.0"),
        ({"loss_bound": 0.0}, "loss_bound is 0.0: use a number above 0"),
        ({"loss_bound": math.inf}, "loss_bound is inf"),
    ],
)
def test_what_is_no_noise_is_refused_in_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        telling(**options)


# ---- with a model ---------------------------------------------------------------------------------------------------


def evaluate(n: int, *, private: PrivateEvaluation | None, effort: Effort | None = None) -> EvaluateResult:
    """Logistic regression without weights: every sample has the loss ln 2 and the probability 1/2."""
    x, y = np.zeros((n, 2)), np.arange(n) % 2
    model = Model.registry.get("sklearn-sgd").from_config({"kind": "classifier", "loss": "log_loss"})
    model.initialize(DataInfo(n_samples=n, n_features=2, classes=(0, 1)))
    return evaluate_round(
        model,
        metric_set(("binary-classif", {"thresh": 0.4})),
        InMemoryDataset(x, y),
        batching=Batching(4),
        effort=effort,
        clock=lambda: 0.0,
        private=private,
    )


@pytest.mark.parametrize("alone", [False, True])
def test_every_sample_is_seen_whatever_the_effort_and_the_remainder(alone: bool) -> None:
    # Given limits that leave six of ten samples out: one sample less would change which they are
    evaluation = paid(telling(), metric_set("binary-classif"), Silence(), alone=alone)
    # When
    result = evaluate(10, private=evaluation, effort=Effort(n_steps=1))
    # Then
    assert (result.n_samples, result.weight_sum) == (10, 10.0)
    assert result.loss_sum == pytest.approx(10 * math.log(2))
    assert result.metrics["binary-classif/confusion"].tolist() == [[0, 5], [0, 5]]


def test_an_evaluation_with_a_little_noise_says_nearly_what_it_would_without() -> None:
    metrics = metric_set("binary-classif")
    plain = evaluate(400, private=None)

    noised = evaluate(400, private=paid(telling(0.5), metrics, keyed_source(SEED, secure=True)))

    assert noised.loss_sum != plain.loss_sum
    assert noised.loss_sum / noised.weight_sum == pytest.approx(math.log(2), abs=0.05)
    metrics.merge(noised.metrics)
    assert metrics.result()["accuracy"] == pytest.approx(0.5, abs=0.05)
