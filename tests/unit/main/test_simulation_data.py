"""All samples of some clients, dealt to others: nothing lost, nothing twice, and each with its own target."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from fl.client.learner import Data
from fl.core.dataset import InMemoryDataset
from fl.errors import DataError
from fl.main.simulation_crowd import VirtualClient
from fl.main.simulation_data import Deal, Pool


def numbered(first: int, n: int) -> InMemoryDataset:
    """Samples whose features, targets and weights tell their number."""
    numbers = np.arange(first, first + n, dtype=float)
    return InMemoryDataset(np.stack([numbers, -numbers], axis=1), 10 * numbers, numbers + 1)


def pool_of_two() -> Pool:
    return Pool.of(
        [
            VirtualClient("ant", Data(numbered(0, 5), numbered(5, 3))),
            VirtualClient("bee", Data(numbered(8, 4))),
        ]
    )


def held(client: VirtualClient) -> list[float]:
    parts = [client.data.train] if client.data.valid is None else [client.data.train, client.data.valid]
    batches = [part.take(slice(None)) for part in parts]
    for batch in batches:
        np.testing.assert_array_equal(batch.y, 10 * batch.x[:, 0])
        np.testing.assert_array_equal(batch.weights, batch.x[:, 0] + 1)
    return [number for batch in batches for number in batch.x[:, 0]]


@given(order=st.permutations(range(12)), cuts=st.lists(st.integers(1, 11), min_size=3, max_size=3, unique=True))
def test_every_sample_is_with_one_client_and_keeps_its_target_and_weight(order: list[int], cuts: list[int]) -> None:
    first, second, third = sorted(cuts)
    places = np.array(order)
    deals = [
        Deal("one", places[:first], places[first:second]),
        Deal("two", places[second:third], places[third:]),
    ]

    clients = pool_of_two().deal(deals)

    assert sorted(number for client in clients for number in held(client)) == list(range(12))
    assert clients[0].data.train.n_samples == first


def test_what_a_client_trains_on_is_a_view_of_what_all_have() -> None:
    one, two = pool_of_two().deal([Deal("one", np.arange(4), np.arange(0)), Deal("two", np.arange(4, 8), np.arange(0))])

    x, other = one.data.train.take(slice(0, 2)).x, two.data.train.take(slice(0, 2)).x
    assert x.base is not None
    assert x.base is other.base


def test_a_client_without_anything_to_evaluate_on_evaluates_on_what_it_trains_on() -> None:
    (one,) = pool_of_two().deal([Deal("one", np.arange(4), np.arange(0))])

    assert one.data.held_out is one.data.train


def test_the_classes_are_those_that_all_clients_have_together() -> None:
    datasets = [InMemoryDataset(np.eye(2), np.array(labels), expose_classes=True) for labels in ([0, 1], [1, 2])]
    pool = Pool.of([VirtualClient(f"c{number}", Data(data)) for number, data in enumerate(datasets)])

    (one,) = pool.deal([Deal("one", np.arange(4), np.arange(0))])

    assert one.data_info.classes == (0, 1, 2)
    assert one.data_info.n_samples == 4


def test_sparse_samples_stay_sparse() -> None:
    dataset = InMemoryDataset(scipy.sparse.csr_matrix(np.eye(4)), np.arange(4.0))

    (one,) = Pool.of([VirtualClient("ant", Data(dataset))]).deal([Deal("one", np.array([2, 0]), np.array([1]))])

    np.testing.assert_array_equal(one.data.train.take(slice(None)).x.toarray(), np.eye(4)[[2, 0]])


def test_data_of_which_only_some_have_a_target_are_refused_with_names() -> None:
    clients = [VirtualClient("ant", Data(numbered(0, 2))), VirtualClient("bee", Data(InMemoryDataset(np.eye(2))))]

    with pytest.raises(DataError, match="the data of bee have no target, and others have"):
        Pool.of(clients)


def test_data_of_other_shapes_are_refused() -> None:
    clients = [VirtualClient(f"c{n}", Data(InMemoryDataset(np.ones((3, n)), np.ones(3)))) for n in (2, 3)]

    with pytest.raises(DataError, match="clients disagree on n_features"):
        Pool.of(clients)
