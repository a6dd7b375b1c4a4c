"""Aggregators: closed forms, and the law that merging parts gives the whole."""

from itertools import starmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fl.core.aggregator import Aggregator, AveragingAggregator, Fold
from fl.core.mergeable import Mergeable
from fl.core.vector import CHUNK, NumpyVector, Vector
from fl.errors import ConfigError

EVERY = [
    AveragingAggregator(),
    AveragingAggregator(steps_weighted=False),
    AveragingAggregator(client_weights={"c0": 3.0}, samples_weighted=True),
]
"""A new aggregator is one line here, and held to every law below."""

Part = tuple[NumpyVector, str, int, int]

ROUNDS = st.lists(
    st.tuples(
        hnp.arrays("float32", 5, elements=st.floats(-1e6, 1e6, width=32)),
        st.integers(0, 1000),
        st.integers(1, 10_000),
    ),
    min_size=1,
    max_size=5,
).map(lambda rows: [(vector(row[0]), f"c{i}", row[1], row[2]) for i, row in enumerate(rows)])


def vector(values: object) -> NumpyVector:
    return NumpyVector.from_arrays({"a": np.asarray(values, dtype="float32")})


def fold(aggregator: Aggregator, parts: list[Part]) -> NumpyVector | None:
    running: Fold = aggregator.start(parts[0][0].layout)
    for update, client, n_steps, n_samples in parts:
        running.add(update, client=client, n_steps=n_steps, n_samples=n_samples)
    return running.finish()


def prepare(aggregator: Aggregator, parts: list[Part]) -> list[Mergeable]:
    def one(update: Vector, client: str, n_steps: int, n_samples: int) -> Mergeable:
        return aggregator.prepare(update, client=client, n_steps=n_steps, n_samples=n_samples)

    return list(starmap(one, parts))


@pytest.mark.parametrize("aggregator", EVERY, ids=lambda aggregator: str(aggregator.get_config()))
@given(parts=ROUNDS)
def test_folding_updates_is_merging_prepared_parts_bit_for_bit(aggregator: Aggregator, parts: list[Part]) -> None:
    first, *rest = prepare(aggregator, parts)
    for part in rest:
        first = first.merge(part)
    assert fold(aggregator, parts) == first.finish()


@pytest.mark.parametrize("aggregator", EVERY, ids=lambda aggregator: str(aggregator.get_config()))
@given(parts=ROUNDS, cut=st.integers(0, 5))
def test_parts_may_be_merged_in_any_grouping_and_order(aggregator: Aggregator, parts: list[Part], cut: int) -> None:
    prepared = prepare(aggregator, parts)
    whole, *rest = prepared
    for part in rest:
        whole = whole.merge(part)
    rotated = [*prepared[cut:], *prepared[:cut]]
    other = rotated.pop()
    while rotated:
        other = rotated.pop().merge(other)
    left, right = whole.finish(), other.finish()
    assert (left is None) == (right is None)
    if left is not None:
        np.testing.assert_allclose(left.flat, right.flat, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("aggregator", EVERY, ids=lambda aggregator: str(aggregator.get_config()))
def test_the_result_has_the_dtype_of_the_updates(aggregator: Aggregator) -> None:
    result = fold(aggregator, [(vector([1, 2]), "c0", 1, 1), (vector([3, 4]), "c1", 1, 1)])
    assert result is not None
    assert result.flat.dtype == np.float32


@pytest.mark.parametrize("aggregator", EVERY, ids=lambda aggregator: str(aggregator.get_config()))
def test_a_copy_from_its_config_weighs_the_same(aggregator: Aggregator) -> None:
    parts = [(vector([1, 2]), "c0", 3, 10), (vector([3, 5]), "c1", 4, 20)]
    again = Aggregator.registry.build((aggregator.name, aggregator.get_config()))
    assert fold(again, parts) == fold(aggregator, parts)


def test_averaging_weighs_by_steps() -> None:
    result = fold(AveragingAggregator(), [(vector([1.0, 0.0]), "a", 1, 9), (vector([5.0, 4.0]), "b", 3, 1)])
    assert result == vector([4.0, 3.0])


def test_averaging_without_step_weights_is_the_plain_mean() -> None:
    result = fold(AveragingAggregator(steps_weighted=False), [(vector([1.0]), "a", 1, 9), (vector([5.0]), "b", 3, 1)])
    assert result == vector([3.0])


def test_averaging_by_samples_looks_at_samples_only() -> None:
    result = fold(AveragingAggregator(samples_weighted=True), [(vector([1.0]), "a", 1, 9), (vector([5.0]), "b", 3, 1)])
    assert result == vector([1.4])


def test_a_clients_weight_multiplies_its_steps() -> None:
    result = fold(
        AveragingAggregator(client_weights={"a": 6.0}), [(vector([1.0]), "a", 1, 9), (vector([5.0]), "b", 2, 1)]
    )
    assert result == vector([2.0])


def test_when_no_client_took_a_step_there_is_no_update() -> None:
    assert fold(AveragingAggregator(), [(vector([1.0]), "a", 0, 0)]) is None
    assert fold(AveragingAggregator(steps_weighted=False), [(vector([1.0]), "a", 0, 0)]) is None


def test_an_update_longer_than_a_chunk_is_averaged_whole() -> None:
    values = np.arange(CHUNK + 3, dtype="float32")
    assert fold(AveragingAggregator(), [(vector(values), "a", 1, 1), (vector(3 * values), "b", 1, 1)]) == vector(
        2 * values
    )


def test_an_update_of_another_layout_is_refused() -> None:
    running = AveragingAggregator().start(vector([1.0]).layout)
    with pytest.raises(ValueError, match="tensor 'a' differs"):
        running.add(vector([1.0, 2.0]), client="a", n_steps=1, n_samples=1)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_client_weight_that_is_no_weight_is_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match="weight of client 'a'"):
        AveragingAggregator(client_weights={"a": weight})


def test_an_aggregator_that_only_prepares_is_folded_by_merging() -> None:
    # Given a third party's aggregator with nothing but `prepare`
    class Prepared(Aggregator, register=False):
        def prepare(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> Mergeable:
            return AveragingAggregator().prepare(update, client=client, n_steps=n_steps, n_samples=n_samples)

    # Then its fold is that of the class which folds in place
    parts = [(vector([1, 2]), "c0", 3, 10), (vector([3, 5]), "c1", 4, 20)]
    assert fold(Prepared(), parts) == fold(AveragingAggregator(), parts)
