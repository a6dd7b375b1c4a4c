"""SCAFFOLD over whole rounds: what it equals, what it finds, and what it exchanges."""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.mergeable import Sum
from fl.core.optimizer import Optimizer
from fl.core.optimizer.scaffold import ScaffoldClientModule, ScaffoldServerModule
from fl.core.state import pack_state, unpack_state
from fl.core.vector import NumpyVector

LRATE = 0.1


def vector(values: Any, dtype: str = "float64") -> NumpyVector:
    return NumpyVector.from_arrays({"w": np.asarray(values, dtype)})


class Client:
    """Descends ½·(w - target)ᵀ·curvature·(w - target), and is made anew from its state before each round."""

    def __init__(self, curvature: Any, target: Any, modules: list[str]) -> None:
        self.curvature, self.target, self.modules = np.asarray(curvature), np.asarray(target), modules
        self.state = pack_state(self.optimizer().get_state())

    def optimizer(self) -> Optimizer:
        return Optimizer(LRATE, modules=self.modules)

    def gradient(self, weights: NumpyVector) -> NumpyVector:
        return vector(self.curvature * (weights.flat - self.target))

    def train(self, start: NumpyVector, aux: Mapping[str, Sum], n_steps: int) -> tuple[NumpyVector, dict[str, Sum]]:
        optimizer, weights = self.optimizer(), start
        optimizer.set_state(unpack_state(self.state))
        optimizer.start_round(start)
        for name, values in aux.items():
            optimizer.process_aux_var({name: values.finish()})
        for _ in range(n_steps):
            weights = weights - optimizer.compute_updates(weights, self.gradient(weights))
        told = optimizer.collect_aux_var()
        self.state = pack_state(optimizer.get_state())
        return start - weights, told


class Server:
    """Averages, and is made anew from its state before each round."""

    def __init__(self, modules: list[str]) -> None:
        self.modules = modules
        self.state = pack_state(Optimizer(1.0, modules=modules).get_state())

    def round(self, weights: NumpyVector, clients: list[Client], n_steps: int) -> NumpyVector:
        optimizer = Optimizer(1.0, modules=self.modules)
        optimizer.set_state(unpack_state(self.state))
        replies = [client.train(weights, optimizer.collect_aux_var(), n_steps) for client in clients]
        optimizer.start_round(weights)
        for name in replies[0][1]:
            total = reduce(Sum.merge, (told[name] for _, told in replies))
            optimizer.process_aux_var({name: total.finish()})
        mean = vector(np.mean([update.flat for update, _ in replies], axis=0))
        weights = weights - optimizer.compute_updates(weights, mean)
        self.state = pack_state(optimizer.get_state())
        return weights


def after_rounds(
    problem: list[tuple[Any, Any]], *, rounds: int, n_steps: int, scaffold: bool, present: Any = None
) -> NumpyVector:
    """Weights after some rounds from zero; `present` gives those who take part in a round."""
    clients = [Client(*each, ["scaffold-client"] if scaffold else []) for each in problem]
    server = Server(["scaffold-server"] if scaffold else [])
    weights = vector(np.zeros(len(problem[0][1])))
    for round_ in range(rounds):
        weights = server.round(weights, present(round_, clients) if present else clients, n_steps)
    return weights


def minimum(problem: list[tuple[Any, Any]]) -> Any:
    """Of the mean of the clients' functions."""
    curvatures, targets = (np.array(part) for part in zip(*problem, strict=True))
    return (curvatures * targets).sum(0) / curvatures.sum(0)


NUMBERS = st.lists(st.floats(-2, 2), min_size=2, max_size=2)
PROBLEMS = st.lists(st.tuples(st.lists(st.floats(0.25, 4), min_size=2, max_size=2), NUMBERS), min_size=1, max_size=5)
HETEROGENEOUS = [([4.0, 0.5], [1.0, -3.0]), ([0.5, 3.0], [-2.0, 1.0]), ([1.0, 1.0], [5.0, 2.0])]


@given(problem=PROBLEMS, rounds=st.integers(1, 6))
def test_with_all_clients_and_one_step_a_round_it_is_sgd_on_the_mean_gradient(
    problem: list[tuple[list[float], list[float]]], rounds: int
) -> None:
    curvatures, targets = (np.array(part) for part in zip(*problem, strict=True))
    expected = np.zeros(2)
    for _ in range(rounds):
        expected = expected - LRATE * np.mean(curvatures * (expected - targets), axis=0)
    weights = after_rounds(problem, rounds=rounds, n_steps=1, scaffold=True)
    np.testing.assert_allclose(weights.flat, expected, rtol=1e-9, atol=1e-9)


def test_with_several_local_steps_on_data_that_differ_it_finds_the_minimum_and_fedavg_does_not() -> None:
    with_it, without = (
        after_rounds(HETEROGENEOUS, rounds=200, n_steps=5, scaffold=scaffold) for scaffold in (True, False)
    )
    np.testing.assert_allclose(with_it.flat, minimum(HETEROGENEOUS), rtol=1e-6)
    assert np.linalg.norm(without.flat - minimum(HETEROGENEOUS)) > 0.1


def test_it_finds_the_minimum_when_only_two_of_three_clients_take_part_in_a_round() -> None:
    weights = after_rounds(
        HETEROGENEOUS,
        rounds=600,
        n_steps=5,
        scaffold=True,
        present=lambda round_, clients: [client for i, client in enumerate(clients) if i != round_ % 3],
    )
    np.testing.assert_allclose(weights.flat, minimum(HETEROGENEOUS), rtol=1e-4)


def test_a_client_steps_along_the_gradient_less_its_own_drift_plus_that_of_all() -> None:
    # Given a client that has seen gradients 2 and 4 in its first round
    module = ScaffoldClientModule()
    module.start_round(vector([0.0]))
    for value in (2.0, 4.0):
        module.run(vector([value]))
    module.collect_aux_var()
    # When the server says that the mean over all is 10
    module.start_round(vector([0.0]))
    module.process_aux_var({"state": vector([10.0])})
    # Then g - c_i + c = 5 - 3 + 10
    assert module.run(vector([5.0])) == vector([12.0])


def test_what_the_server_tells_may_come_before_the_round_starts() -> None:
    module = ScaffoldClientModule()
    module.process_aux_var({"state": vector([10.0])})
    module.start_round(vector([0.0]))
    assert module.run(vector([5.0])) == vector([15.0])


def test_a_client_sends_how_its_mean_gradient_has_changed_and_is_counted_once() -> None:
    module, told = ScaffoldClientModule(), []
    for values in ((2.0, 4.0), (7.0,)):
        module.start_round(vector([0.0]))
        for value in values:
            module.run(vector([value]))
        told.append(module.collect_aux_var())
    assert told == [Sum({"delta": vector([3.0]), "clients": 1.0}), Sum({"delta": vector([4.0]), "clients": 0.0})]


def test_a_round_without_a_step_sends_no_change_and_counts_nobody() -> None:
    module = ScaffoldClientModule()
    module.start_round(vector([5.0]))
    assert module.collect_aux_var() == Sum({"delta": vector([0.0]), "clients": 0.0})


def test_a_client_that_was_never_in_a_round_sends_nothing() -> None:
    assert ScaffoldClientModule().collect_aux_var() is None


def test_a_round_without_a_step_keeps_what_the_client_knew() -> None:
    # Given a client whose mean gradient was 3, and a round in which it had no step
    module = ScaffoldClientModule()
    for values in ((3.0,), ()):
        module.start_round(vector([0.0]))
        for value in values:
            module.run(vector([value]))
        module.collect_aux_var()
    # When it takes a step again
    module.start_round(vector([0.0]))
    # Then it goes along g - c_i
    assert module.run(vector([5.0])) == vector([2.0])


def test_the_servers_mean_is_over_every_client_that_ever_took_part() -> None:
    # Given two clients in one round, and one of them again in the next
    module = ScaffoldServerModule()
    module.process_aux_var({"delta": vector([6.0]), "clients": 2.0})
    module.process_aux_var({"delta": vector([-2.0]), "clients": 0.0})
    assert module.collect_aux_var() == Sum({"state": vector([2.0])})


def test_a_server_that_has_heard_of_no_client_tells_nothing() -> None:
    module = ScaffoldServerModule()
    assert module.collect_aux_var() is None
    module.process_aux_var({"delta": vector([0.0]), "clients": 0.0})
    assert module.collect_aux_var() is None


@pytest.mark.parametrize(
    ("aux", "message"),
    [
        ({"delta": vector([1.0])}, r"are \['delta'\] where \['clients', 'delta'\] are expected"),
        ({"delta": 1.0, "clients": 1.0}, "'delta' for 'scaffold-server' is a float and no vector"),
        ({"delta": vector([1.0]), "clients": -1.0}, r"count -1.0 clients"),
        ({"delta": vector([1.0]), "clients": vector([1.0])}, "count NumpyVector"),
    ],
)
def test_a_server_refuses_what_no_client_would_send(aux: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScaffoldServerModule().process_aux_var(aux)


def test_a_client_refuses_what_no_server_would_send() -> None:
    with pytest.raises(ValueError, match=r"are \['c'\] where \['state'\] are expected"):
        ScaffoldClientModule().process_aux_var({"c": vector([1.0])})


def test_a_client_of_torch_takes_a_state_and_a_servers_value_of_numpy() -> None:
    from fl.core.vector.torch_vector import TorchVector  # noqa: PLC0415  # takes seconds

    # Given a state from the disk, in the middle of a round
    module, again = ScaffoldClientModule(), ScaffoldClientModule()
    for value in (1.0, 2.0):
        module.start_round(vector([0.0]))
        module.run(vector([value]))
        module.collect_aux_var()
    module.start_round(vector([0.0]))
    module.process_aux_var({"state": vector([8.0])})
    module.run(vector([6.0]))
    again.set_state(unpack_state(pack_state(module.get_state())))
    # When the gradients that follow are of torch
    output = again.run(TorchVector.from_numpy(vector([4.0])))
    # Then it goes on as if they were of numpy
    assert isinstance(output, TorchVector)
    assert output.to_numpy() == vector([4.0 - 2.0 + 8.0])
    told = again.collect_aux_var()
    assert told is not None
    assert told.fields["delta"].to_numpy() == vector([5.0 - 2.0])  # type: ignore[union-attr]  # a vector
