"""Batches: which samples, how many, and the same again for the same generator."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.dataset import Batching, InMemoryDataset
from fl.core.vector import Array
from fl.errors import ConfigError, DataError

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 60))


def draw(batching: Batching, n_samples: int, seed: int = 0) -> list[Array]:
    places = np.arange(n_samples)
    return [places[index] for index in batching.indices(n_samples, np.random.default_rng(seed))]


@given(SIZES)
def test_in_order_every_sample_is_in_one_batch(sizes: tuple[int, int]) -> None:
    n_samples, batch_size = sizes
    batches = draw(Batching(batch_size, drop_remainder=False), n_samples)
    assert np.concatenate(batches).tolist() == list(range(n_samples))
    assert all(len(batch) == batch_size for batch in batches[:-1])


@given(SIZES)
def test_shuffled_every_sample_is_in_one_batch(sizes: tuple[int, int]) -> None:
    n_samples, batch_size = sizes
    batches = draw(Batching(batch_size, shuffle=True, drop_remainder=False), n_samples)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n_samples))


@given(SIZES.filter(lambda sizes: sizes[0] >= sizes[1]), st.booleans(), st.booleans())
def test_without_remainder_all_batches_are_full(sizes: tuple[int, int], shuffle: bool, replacement: bool) -> None:
    n_samples, batch_size = sizes
    batches = draw(Batching(batch_size, shuffle=shuffle, replacement=replacement), n_samples)
    assert [len(batch) for batch in batches] == [batch_size] * (n_samples // batch_size)


@given(SIZES, st.booleans())
def test_poisson_has_as_many_batches_as_one_expects(sizes: tuple[int, int], drop: bool) -> None:
    n_samples, batch_size = sizes
    batches = draw(Batching(batch_size, drop_remainder=drop, poisson=True), n_samples)
    assert len(batches) == (max(n_samples // batch_size, 1) if drop else -(-n_samples // batch_size))


@given(SIZES)
def test_a_poisson_batch_holds_no_sample_twice(sizes: tuple[int, int]) -> None:
    n_samples, batch_size = sizes
    for batch in draw(Batching(batch_size, poisson=True), n_samples):
        assert (np.diff(batch) > 0).all()
        assert ((batch >= 0) & (batch < n_samples)).all()


def test_poisson_takes_each_sample_independently_with_probability_b_over_n() -> None:
    # Given 20,000 batches that expect 3 of 10 samples
    batching, rng = Batching(3, poisson=True), np.random.default_rng(3)
    member = np.zeros((20_001, 10))
    for row in range(0, 20_001, 3):
        for offset, batch in enumerate(batching.indices(10, rng)):
            member[row + offset, batch] = 1.0
    # Then each place is taken as often as its probability says, and no two places know of each other
    spread = np.sqrt(0.3 * 0.7 / len(member))
    assert (np.abs(member.mean(axis=0) - 0.3) < 5 * spread).all()
    covariance = np.cov(member.T) - np.diag(np.full(10, 0.3 * 0.7))
    assert (np.abs(covariance) < 5 * np.sqrt(2) * 0.21 / np.sqrt(len(member))).all()


def test_a_poisson_batch_may_be_empty() -> None:
    sizes = {len(batch) for seed in range(50) for batch in draw(Batching(1, poisson=True), 8, seed)}
    assert 0 in sizes


def test_poisson_sampling_takes_memory_for_the_batch_only() -> None:
    # Given a dataset whose indices alone would take 80 MB
    indices = Batching(100, poisson=True).indices(10_000_000, np.random.default_rng(0))
    tracemalloc.start()
    batch = next(indices)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(batch, np.ndarray)
    assert 50 < len(batch) < 150
    assert peak < 100_000


def test_with_replacement_samples_come_from_all_places_and_repeat() -> None:
    batches = draw(Batching(1000, replacement=True), 1000)
    assert 500 < len(set(batches[0].tolist())) < 750  # 1 - 1/e of them


@pytest.mark.parametrize("options", [{"shuffle": True}, {"poisson": True}, {"replacement": True}])
def test_the_same_generator_gives_the_same_batches(options: dict[str, bool]) -> None:
    batching = Batching(7, **options)
    for left, right in zip(draw(batching, 50, seed=1), draw(batching, 50, seed=1), strict=True):
        np.testing.assert_array_equal(left, right)


def test_fewer_samples_than_a_batch_are_one_batch_when_the_remainder_is_kept() -> None:
    assert draw(Batching(32, drop_remainder=False), 5)[0].tolist() == [0, 1, 2, 3, 4]


def test_fewer_samples_than_a_batch_are_an_error_at_once_when_the_remainder_is_dropped() -> None:
    dataset = InMemoryDataset(np.zeros((5, 2)))
    with pytest.raises(
        DataError, match=r"of the 5 samples here: use drop_remainder=False, or a batch_size of at most 5"
    ):
        dataset.generate_batches(batch_size=32, rng=np.random.default_rng(0))


def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size is 0"):
        Batching(0)


def test_two_ways_to_draw_are_refused() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        Batching(1, poisson=True, replacement=True)
