"""Cutting a dataset into shares: nothing lost, nothing twice, nobody empty, and as unlike as asked."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.dataset import split
from fl.core.vector import Array
from fl.errors import ConfigError, DataError

Cut = Callable[[Array, int, np.random.Generator], split.Shares]
CUTS: dict[str, Cut] = {
    "iid": lambda labels, clients, rng: split.iid(len(labels), clients, rng=rng),
    "size": lambda labels, clients, rng: split.by_size(len(labels), clients, sigma=2.0, rng=rng),
    "label": lambda labels, clients, rng: split.by_label(
        labels, clients, labels_per_client=len(np.unique(labels)), rng=rng
    ),
    "dirichlet": lambda labels, clients, rng: split.dirichlet(labels, clients, alpha=0.1, rng=rng),
    "dirichlet, hardly any label": lambda labels, clients, rng: split.dirichlet(labels, clients, alpha=1e-6, rng=rng),
}
LABELS = st.lists(st.integers(0, 5), min_size=8, max_size=80).map(np.array)
EVERY_CUT = pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ten_labels(each: int) -> Array:
    return np.repeat(np.arange(10), each)


@EVERY_CUT
@given(labels=LABELS, clients=st.integers(1, 8), seed=st.integers(0, 99))
def test_every_sample_is_in_exactly_one_share(cut: Cut, labels: Array, clients: int, seed: int) -> None:
    shares = cut(labels, clients, generator(seed))
    assert len(shares) == clients
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(labels)))


@EVERY_CUT
@given(labels=LABELS, clients=st.integers(1, 8), seed=st.integers(0, 99))
def test_no_share_is_empty(cut: Cut, labels: Array, clients: int, seed: int) -> None:
    assert all(len(share) > 0 for share in cut(labels, clients, generator(seed)))


@EVERY_CUT
def test_the_same_seed_gives_the_same_shares(cut: Cut) -> None:
    for left, right in zip(cut(ten_labels(9), 5, generator(3)), cut(ten_labels(9), 5, generator(3)), strict=True):
        np.testing.assert_array_equal(left, right)


@EVERY_CUT
def test_another_seed_gives_other_shares(cut: Cut) -> None:
    one, other = cut(ten_labels(9), 5, generator(3)), cut(ten_labels(9), 5, generator(4))
    assert any(left.tolist() != right.tolist() for left, right in zip(one, other, strict=True))


@EVERY_CUT
def test_too_few_samples_are_refused(cut: Cut) -> None:
    with pytest.raises(DataError, match="3 samples are too few for 4 clients with at least 1 each"):
        cut(np.array([0, 1, 1]), 4, generator())


@EVERY_CUT
def test_no_clients_are_refused(cut: Cut) -> None:
    with pytest.raises(ConfigError, match="0 clients: use at least 1"):
        cut(np.array([0, 1, 1]), 0, generator())


@given(n_samples=st.integers(8, 99), clients=st.integers(1, 8))
def test_iid_shares_have_the_same_size_but_for_one(n_samples: int, clients: int) -> None:
    sizes = [len(share) for share in split.iid(n_samples, clients, rng=generator())]
    assert max(sizes) - min(sizes) <= 1


@given(labels=LABELS, clients=st.integers(1, 8), alpha=st.floats(1e-3, 1e3))
def test_dirichlet_shares_have_the_same_size_but_for_one(labels: Array, clients: int, alpha: float) -> None:
    sizes = [len(share) for share in split.dirichlet(labels, clients, alpha=alpha, rng=generator())]
    assert max(sizes) - min(sizes) <= 1


def test_dirichlet_of_a_large_alpha_gives_everybody_the_mixture_of_all() -> None:
    # Given labels of which one is far more common
    labels = np.repeat([0, 1, 2], [60_000, 30_000, 10_000])
    # When alpha is as good as infinite
    counts = split.label_counts(labels, split.dirichlet(labels, 5, alpha=1e9, rng=generator()))
    # Then the mixtures differ from that of all by no more than multinomial draws do
    p = np.array([0.6, 0.3, 0.1])
    assert (np.abs(counts / 20_000 - p) < 5 * np.sqrt(p * (1 - p) / 20_000)).all()


def test_dirichlet_mixtures_have_the_moments_of_their_law() -> None:
    # Given labels of which one is three times as common
    labels, alpha, p = np.repeat([0, 1], [150_000, 50_000]), 2.0, 0.75
    # When many clients draw their mixtures
    mixtures = split._mixtures(alpha * np.array([p, 1 - p]), 100_000, generator())
    # Then mean and variance are those of Dir(alpha·p), with a total of alpha: p and p(1-p)/(alpha+1)
    variance = p * (1 - p) / (alpha + 1)
    assert abs(mixtures[:, 0].mean() - p) < 5 * np.sqrt(variance / 100_000)
    assert abs(mixtures[:, 0].var() - variance) < 0.02 * variance
    # And about the same holds of what they get, though both labels end somewhere
    shares = split.dirichlet(labels, 2_000, alpha=alpha / 2, rng=generator())  # of two labels
    fractions = split.label_counts(labels, shares)[:, 0] / 100
    assert abs(fractions.var() - variance) < 0.15 * variance


def test_a_smaller_alpha_makes_clients_less_alike() -> None:
    figures = [
        split.heterogeneity(
            split.label_counts(ten_labels(200), split.dirichlet(ten_labels(200), 10, alpha=alpha, rng=generator()))
        )
        for alpha in (100.0, 1.0, 0.01)
    ]
    assert figures == sorted(figures)
    assert figures[0] < 0.15
    assert figures[2] > 0.6


@given(clients=st.integers(5, 12), each=st.integers(2, 5), seed=st.integers(0, 20))
def test_a_client_has_at_most_as_many_labels_as_asked_for(clients: int, each: int, seed: int) -> None:
    shares = split.by_label(ten_labels(30), clients, labels_per_client=each, rng=generator(seed))
    assert ((split.label_counts(ten_labels(30), shares) > 0).sum(axis=1) <= each).all()


def test_labels_are_dealt_to_equally_many_clients_but_for_one() -> None:
    shares = split.by_label(ten_labels(30), 7, labels_per_client=2, rng=generator())
    holders = (split.label_counts(ten_labels(30), shares) > 0).sum(axis=0)
    assert set(holders.tolist()) == {1, 2}


def test_a_label_is_dealt_evenly_to_its_clients() -> None:
    shares = split.by_label(ten_labels(30), 10, labels_per_client=2, rng=generator())
    counts = split.label_counts(ten_labels(30), shares)
    assert set(counts[counts > 0].tolist()) == {15}


def test_a_client_whose_labels_are_too_rare_takes_from_the_richest() -> None:
    # Given a label with one sample, for two clients
    labels = np.array([0] * 20 + [1])
    shares = split.by_label(labels, 4, labels_per_client=1, min_samples=3, rng=generator())
    assert min(len(share) for share in shares) == 3
    assert sum(len(share) for share in shares) == 21


def test_labels_that_would_be_nobodys_are_refused_with_the_number_that_suffices() -> None:
    with pytest.raises(ConfigError, match=r"3 clients of 2 labels each .* labels_per_client=4 or more"):
        split.by_label(ten_labels(3), 3, labels_per_client=2, rng=generator())


@pytest.mark.parametrize("each", [0, 11])
def test_more_labels_than_there_are_and_none_are_refused(each: int) -> None:
    with pytest.raises(ConfigError, match=f"labels_per_client is {each}: use 1 to 10"):
        split.by_label(ten_labels(3), 3, labels_per_client=each, rng=generator())


def test_sizes_of_sigma_0_are_equal() -> None:
    assert [len(share) for share in split.by_size(100, 4, sigma=0.0, rng=generator())] == [25] * 4


def test_sizes_are_lognormal() -> None:
    # Given so many samples that rounding and the first sample of each hardly count
    sizes = [len(share) for share in split.by_size(20_000_000, 2_000, sigma=1.5, rng=generator())]
    # Then the deviation of their logarithms is sigma
    assert abs(np.log(sizes).std() - 1.5) < 0.1


@given(sigma=st.floats(0, 100), min_samples=st.integers(1, 10))
def test_unlike_sizes_have_the_least_number_of_samples(sigma: float, min_samples: int) -> None:
    shares = split.by_size(50, 5, sigma=sigma, min_samples=min_samples, rng=generator())
    assert min(len(share) for share in shares) >= min_samples


@pytest.mark.parametrize("sigma", [-1.0, np.nan, np.inf])
def test_a_sigma_out_of_range_is_refused(sigma: float) -> None:
    with pytest.raises(ConfigError, match="sigma is"):
        split.by_size(50, 5, sigma=sigma, rng=generator())


@pytest.mark.parametrize("alpha", [0.0, -1.0, np.nan, np.inf])
def test_an_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha is"):
        split.dirichlet(ten_labels(3), 3, alpha=alpha, rng=generator())


def test_at_least_no_samples_is_refused() -> None:
    with pytest.raises(ConfigError, match="min_samples is 0"):
        split.by_size(50, 5, min_samples=0, rng=generator())


def test_labels_may_be_text() -> None:
    counts = split.label_counts(["b", "a", "b"], [np.array([0, 2]), np.array([1])])
    assert counts.tolist() == [[0, 2], [1, 0]]


def test_labels_of_two_axes_are_refused() -> None:
    with pytest.raises(DataError, match="give one a sample"):
        split.dirichlet(np.zeros((3, 2)), 2, rng=generator())


def test_quantile_bins_hold_equally_many_values() -> None:
    bins = split.quantile_bins(generator().normal(size=1_000), 4)
    assert np.bincount(bins).tolist() == [250] * 4


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(1, 12))
def test_quantile_bins_keep_the_order_of_values(values: list[float], n_bins: int) -> None:
    bins = split.quantile_bins(values, n_bins)
    assert (np.diff(bins[np.argsort(values, kind="stable")]) >= 0).all()
    assert set(bins.tolist()) == set(range(bins.max() + 1))
    assert bins.max() < n_bins


def test_bins_of_missing_values_are_refused() -> None:
    with pytest.raises(DataError, match="finite"):
        split.quantile_bins([1.0, np.nan])


def test_no_bins_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_bins is 0"):
        split.quantile_bins([1.0], 0)


def test_heterogeneity_is_0_when_all_have_the_same_mixture() -> None:
    assert split.heterogeneity(np.array([[10, 20], [1, 2]])) == pytest.approx(0)


def test_heterogeneity_is_what_would_have_to_change_hands() -> None:
    # two of four samples go over for both clients to have both labels
    assert split.heterogeneity(np.array([[2, 0], [0, 2]])) == pytest.approx(0.5)
