"""Averaging, masked averaging and sums: their formulas, by steps, samples and clients' weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.aggregator import Aggregator, AveragingAggregator, GradientMaskedAveraging, SumAggregator
from fl.errors import ConfigError
from tests.unit.core.aggregator_rounds import Part, fold, folded, vector, with_buffer

WORK = st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 10_000)), min_size=2, max_size=6)
WEIGHTED = [AveragingAggregator, GradientMaskedAveraging]


def parts_of(work: list[tuple[int, int]]) -> list[Part]:
    """Updates drawn at random, and what work was behind them."""
    rng = np.random.default_rng(len(work))
    return [
        Part(vector(rng.normal(size=8), "float64"), f"c{i}", steps, samples) for i, (steps, samples) in enumerate(work)
    ]


@given(work=WORK, steps=st.booleans(), samples=st.booleans(), weight=st.floats(0.125, 8))
def test_averaging_is_numpys_average_with_the_weights_that_were_asked_for(
    work: list[tuple[int, int]], steps: bool, samples: bool, weight: float
) -> None:
    parts = parts_of(work)
    by_client = [weight if part.client == "c1" else 1.0 for part in parts]
    by_work = [part.n_samples if samples else part.n_steps if steps else 1 for part in parts]

    result = folded(AveragingAggregator(steps, {"c1": weight}, samples), parts)

    updates = [part.update.flat for part in parts]
    np.testing.assert_allclose(result.flat, np.average(updates, axis=0, weights=np.multiply(by_client, by_work)))


@given(work=WORK, threshold=st.floats(0, 1))
def test_masked_averaging_is_the_papers_formula(work: list[tuple[int, int]], threshold: float) -> None:
    # Given the weights p and updates of a round
    parts = parts_of(work)
    steps = np.array([part.n_steps for part in parts])
    updates = np.array([part.update.flat for part in parts])
    # When agreement and mean are taken as they are written
    agreement = np.abs(steps @ np.sign(updates)) / steps.sum()
    mean = steps @ updates / steps.sum()
    # Then coordinates of enough agreement keep their mean, and others have it times their agreement
    expected = np.where(agreement >= threshold, mean, agreement * mean)
    np.testing.assert_allclose(folded(GradientMaskedAveraging(threshold), parts).flat, expected, rtol=1e-9, atol=1e-12)


def test_averaging_weighs_by_steps() -> None:
    result = fold(AveragingAggregator(), [Part(vector([1.0, 0.0]), "a", 1, 9), Part(vector([5.0, 4.0]), "b", 3, 1)])
    assert result == vector([4.0, 3.0])


def test_averaging_by_samples_looks_at_samples_only() -> None:
    aggregator = AveragingAggregator(samples_weighted=True)
    assert fold(aggregator, [Part(vector([1.0]), "a", 1, 9), Part(vector([5.0]), "b", 3, 1)]) == vector([1.4])


def test_a_clients_weight_multiplies_its_steps() -> None:
    aggregator = AveragingAggregator(client_weights={"a": 6.0})
    assert fold(aggregator, [Part(vector([1.0]), "a", 1, 9), Part(vector([5.0]), "b", 2, 1)]) == vector([2.0])


@pytest.mark.parametrize("kind", WEIGHTED)
def test_the_weight_of_a_client_that_never_shows_up_does_nothing(kind: type[AveragingAggregator]) -> None:
    parts = [Part(vector([1.0]), "a", 1), Part(vector([5.0]), "b", 2)]
    assert fold(kind(client_weights={"zoe": 6.0}), parts) == fold(kind(), parts)


@pytest.mark.parametrize("kind", WEIGHTED)
def test_a_client_of_weight_zero_is_left_out(kind: type[AveragingAggregator]) -> None:
    parts = [Part(vector([1.0]), "a", 1), Part(vector([5.0]), "b", 2)]
    assert fold(kind(client_weights={"b": 0.0}), parts) == vector([1.0])


@pytest.mark.parametrize("kind", WEIGHTED)
def test_when_all_who_trained_have_weight_zero_there_is_no_update(kind: type[AveragingAggregator]) -> None:
    assert fold(kind(client_weights={"a": 0}), [Part(vector([1.0]), "a"), Part(vector([5.0]), "b", 0)]) is None


@pytest.mark.parametrize("kind", WEIGHTED)
@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), "much", None])
def test_a_client_weight_that_is_no_weight_is_refused(kind: type[AveragingAggregator], weight: float) -> None:
    with pytest.raises(ConfigError, match=r"averaging: the weight of client 'a' is .*: use a number >= 0"):
        kind(client_weights={"a": weight})


@pytest.mark.parametrize("aggregator", [AveragingAggregator(), SumAggregator()], ids=lambda one: one.name)
def test_the_mean_of_float32_updates_is_taken_in_float64(aggregator: Aggregator) -> None:
    # in float32, 1 would be lost beside 2**24
    parts = [Part(vector([value]), f"c{i}") for i, value in enumerate([2.0**24, 1.0, -(2.0**24)])]
    expected = {"averaging": vector([1 / 3]), "sum": vector([1.0])}
    assert fold(aggregator, parts) == expected[aggregator.name]


def test_masked_averaging_keeps_what_all_agree_on_and_damps_the_rest() -> None:
    # Given a coordinate of one sign, one with a dissenter, one with an abstention and one that is torn
    parts = [Part(vector([1, 4, 3, 2]), "a"), Part(vector([2, 4, 3, -2]), "b"), Part(vector([3, -2, 0, 0]), "c")]

    result = folded(GradientMaskedAveraging(), parts)

    np.testing.assert_allclose(result.flat, [2, 2 * 1 / 3, 2 * 2 / 3, 0], rtol=1e-6)


def test_agreement_at_the_threshold_is_enough() -> None:
    parts = [Part(vector([1.0]), f"c{i}") for i in range(4)] + [Part(vector([-1.0]), "c4")]
    assert fold(GradientMaskedAveraging(0.6), parts) == vector([0.6])


def test_full_agreement_keeps_the_mean_exactly_whatever_the_weights() -> None:
    weights = {f"c{i}": 0.1 * i + 0.1 for i in range(7)}
    parts = [Part(vector([float(i + 1)], "float64"), f"c{i}", 3) for i in range(7)]

    assert fold(GradientMaskedAveraging(1.0, client_weights=weights), parts) == fold(
        AveragingAggregator(client_weights=weights), parts
    )


def test_masked_averaging_with_threshold_zero_is_averaging() -> None:
    parts = [Part(vector([1, -4, 3]), "a", 2), Part(vector([2, 4, -3]), "b", 5)]
    assert fold(GradientMaskedAveraging(0), parts) == fold(AveragingAggregator(), parts)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_share_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigError, match="threshold is"):
        GradientMaskedAveraging(threshold)


def test_masks_do_not_touch_buffers() -> None:
    parts = [Part(with_buffer([1.0], [10.0]), "a", 1), Part(with_buffer([-1.0], [-2.0]), "b", 3)]
    assert fold(GradientMaskedAveraging(), parts) == with_buffer([-0.25], [1.0])


def test_a_sum_adds_updates_whatever_the_work_behind_them() -> None:
    parts = [Part(vector([1.0, 2.0]), "a", 1, 9), Part(vector([5.0, 4.0]), "b", 3, 1), Part(vector([9, 9]), "c", 0)]
    assert fold(SumAggregator(), parts) == vector([6.0, 6.0])


def test_a_sum_takes_the_mean_of_buffers() -> None:
    parts = [Part(with_buffer([1.0], [10.0]), "a", 1), Part(with_buffer([2.0], [20.0]), "b", 3)]
    assert fold(SumAggregator(), parts) == with_buffer([3.0], [15.0])
