"""Aggregators that withstand hostile clients, against brute force and scipy."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from fl.core.aggregator import Aggregator, KrumAggregator, MedianAggregator, MultiKrumAggregator, TrimmedMeanAggregator
from fl.core.vector import Array
from fl.errors import ConfigError
from tests.unit.core.aggregator_rounds import Part, fold, folded, prepared, vector

TABLES = hnp.arrays("float64", st.tuples(st.integers(1, 9), st.just(4)), elements=st.floats(-1e6, 1e6))
"""One row a client."""

ROBUST: list[Aggregator] = [
    MedianAggregator(),
    TrimmedMeanAggregator(0.15),
    KrumAggregator(1),
    MultiKrumAggregator(1, 4),
]


def parts_of(table: Any, dtype: str = "float64") -> list[Part]:
    return [Part(vector(row, dtype), f"c{i}") for i, row in enumerate(table)]


def krum_order(table: Array, f: int) -> list[int]:
    """Clients from best to worst: the smallest sum of squared distances over any n - f - 2 of the others."""

    def score(i: int) -> float:
        others = [float(np.sum((table[i] - row) ** 2)) for j, row in enumerate(table) if j != i]
        return min(sum(nearest) for nearest in combinations(others, len(table) - f - 2))

    return sorted(range(len(table)), key=score)


@given(TABLES)
def test_the_median_is_numpys(table: Array) -> None:
    np.testing.assert_allclose(folded(MedianAggregator(), parts_of(table)).flat, np.median(table, axis=0), atol=1e-9)


@given(TABLES, st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.49]))
def test_the_trimmed_mean_is_scipys(table: Array, beta: float) -> None:
    result = folded(TrimmedMeanAggregator(beta), parts_of(table))

    np.testing.assert_allclose(result.flat, stats.trim_mean(table, beta, axis=0), rtol=1e-9, atol=1e-6)


def test_a_share_that_is_a_whole_number_of_clients_is_trimmed_whole() -> None:
    # 0.29 times 100 is 28.999999999999996 to a float
    table = np.array([[0.0]] * 71 + [[1.0]] * 29)

    assert fold(TrimmedMeanAggregator(0.29), parts_of(table)) == vector([0.0], "float64")


@pytest.mark.parametrize("aggregator", [MedianAggregator(), TrimmedMeanAggregator(0)], ids=lambda one: one.name)
def test_means_of_values_near_the_largest_float_do_not_overflow(aggregator: Aggregator) -> None:
    assert fold(aggregator, parts_of([[3e38], [3e38]], "float32")) == vector([3e38])


@given(st.integers(0, 99), st.integers(5, 8), st.integers(0, 1))
def test_krum_chooses_whom_trying_all_neighbourhoods_chooses(seed: int, clients: int, f: int) -> None:
    table = np.random.default_rng(seed).normal(size=(clients, 3))

    result = folded(KrumAggregator(f), parts_of(table))

    assert np.array_equal(result.flat, table[krum_order(table, f)[0]])


@given(st.integers(0, 99), st.integers(5, 8), st.integers(1, 4))
def test_multi_krum_is_the_mean_of_the_best(seed: int, clients: int, m: int) -> None:
    table = np.random.default_rng(seed).normal(size=(clients, 3))

    result = folded(MultiKrumAggregator(1, m), parts_of(table))

    np.testing.assert_allclose(result.flat, table[krum_order(table, 1)[:m]].mean(axis=0))


def test_krum_sees_small_distances_beside_a_huge_update() -> None:
    # ‖u‖² + ‖v‖² - 2·u·v would be 0 for all of these: they are far from the origin and close to each other
    table = 1e9 + np.array([[0.0], [3.0], [4.0], [5.0], [9.0], [1e15]])

    assert fold(KrumAggregator(1), parts_of(table)) == vector([1e9 + 3], "float64")


@given(st.permutations("abc"))
def test_a_tie_goes_to_the_client_whose_name_comes_first(order: list[str]) -> None:
    # Given three clients side by side, who all have a neighbour at distance 1
    updates = {"a": 2.0, "b": 1.0, "c": 0.0}

    result = fold(KrumAggregator(0), [Part(vector([updates[client]]), client) for client in order])

    assert result == vector([2.0])


@pytest.mark.parametrize("aggregator", ROBUST, ids=lambda one: one.name)
@given(seed=st.integers(0, 99), sign=st.sampled_from([-1.0, 1.0]), place=st.integers(0, 6))
def test_a_hostile_client_with_a_huge_update_moves_the_result_no_further_than_the_others_lie_apart(
    aggregator: Aggregator, seed: int, sign: float, place: int
) -> None:
    # Given six honest clients, and one among them whose update is a million times theirs
    honest = np.random.default_rng(seed).normal(size=(6, 5))
    parts = parts_of(np.insert(honest, place, sign * 1e6 * honest[0], axis=0))
    # Then each coordinate is within what the honest ones say
    result = folded(aggregator, parts).flat
    assert np.all((honest.min(axis=0) <= result) & (result <= honest.max(axis=0)))


@pytest.mark.parametrize("aggregator", ROBUST, ids=lambda one: one.name)
def test_a_client_that_claims_much_work_counts_no_more(aggregator: Aggregator) -> None:
    parts = parts_of(np.random.default_rng(0).normal(size=(7, 5)))
    boastful = [parts[0]._replace(n_steps=10**9, n_samples=10**9), *parts[1:]]

    assert fold(aggregator, boastful) == fold(aggregator, parts)


@pytest.mark.parametrize("aggregator", ROBUST, ids=lambda one: one.name)
def test_a_client_that_comes_twice_is_refused(aggregator: Aggregator) -> None:
    part = prepared(aggregator, Part(vector([1.0]), "a"))

    with pytest.raises(ValueError, match="client 'a' is in both parts"):
        part.merge(part)


@pytest.mark.parametrize(
    ("aggregator", "needed"),
    [(KrumAggregator(0), 3), (KrumAggregator(2), 7), (MultiKrumAggregator(1, 2), 5), (MultiKrumAggregator(1, 6), 7)],
    ids=lambda one: str(one.get_config()) if isinstance(one, Aggregator) else str(one),
)
def test_a_round_of_too_few_clients_is_an_error_that_says_how_many_it_needs(
    aggregator: Aggregator, needed: int
) -> None:
    # Given one client less than needed, not counting those who took no step
    table = np.random.default_rng(0).normal(size=(needed, 2))
    enough = parts_of(table)
    too_few = [*enough[:-1], enough[-1]._replace(n_steps=0)]
    # Then the round cannot be aggregated, and one more client is enough
    with pytest.raises(ConfigError, match=f"{needed - 1} clients took steps in this round.* needs {needed}: set"):
        fold(aggregator, too_few)
    assert fold(aggregator, enough) is not None
    assert aggregator.min_updates == needed


@pytest.mark.parametrize("aggregator", [MedianAggregator(), TrimmedMeanAggregator(0.4)], ids=lambda one: one.name)
def test_one_client_is_enough_where_coordinates_are_ordered(aggregator: Aggregator) -> None:
    assert fold(aggregator, [Part(vector([1.0, 2.0]), "a")]) == vector([1.0, 2.0])
    assert aggregator.min_updates == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TrimmedMeanAggregator(0.5), "beta is 0.5"),
        (lambda: TrimmedMeanAggregator(-0.1), "beta is -0.1"),
        (lambda: TrimmedMeanAggregator(float("nan")), "beta is nan"),
        (lambda: KrumAggregator(-1), "krum: f is -1"),
        (lambda: KrumAggregator(1.5), "krum: f is 1.5"),  # type: ignore[arg-type]  # as TOML may have it
        (lambda: KrumAggregator(True), "krum: f is True"),
        (lambda: MultiKrumAggregator(0, 0), "multi-krum: m is 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(build: Callable[[], Aggregator], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()
