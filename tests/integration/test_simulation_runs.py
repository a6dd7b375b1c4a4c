"""Simulated runs against the same runs with a leader, daemons and messages: every record, and every bit."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fl.client.learner import Data
from fl.core.dataset import InMemoryDataset
from fl.core.vector import NumpyVector
from fl.errors import ConfigError, DataError
from fl.main.outcome import Outcome
from fl.main.simulation import simulate
from fl.main.simulation_crowd import VirtualClient
from fl.run.events import (
    ClientResult,
    ClientsAdmitted,
    ClientsOut,
    ClientsReady,
    LeaderStarted,
    Parcel,
    Record,
    RoundCommitted,
    RunEnded,
    RunInitialised,
    Status,
)
from fl.run.spec import RunSpec
from fl.wire.tensors import open_parcel
from tests.integration.world import make_spec, regression, run_here

FIVE = {name: regression(seed, n=20 + 7 * seed) for seed, name in enumerate(("ant", "bee", "cat", "dog", "eel"))}


def simulate_here(
    spec: RunSpec, datasets: Mapping[str, Data], *, weights: NumpyVector | None = None
) -> tuple[Outcome, list[Record]]:
    records: list[Record] = []
    clients = [VirtualClient(name, data) for name, data in datasets.items()]
    outcome = simulate(spec, clients, weights=weights, on_event=lambda happened: records.append(happened.record))
    return outcome, records


def timeless(record: Record) -> Record:
    """A record without what differs from one run to the next: who led it, seconds, and where bulk lies."""
    match record:
        case LeaderStarted():
            return replace(record, leader="", worker="")
        case RoundCommitted():
            return replace(
                record,
                participants=tuple(replace(one, seconds=0.0) for one in record.participants),
                weights=bare(record.weights),
                server_state=bare(record.server_state),
                aux=bare(record.aux),
                sent_weights=bare(record.sent_weights),
            )
        case RunInitialised(weights=weights):
            return replace(record, weights=bare(weights) or weights, sent_weights=bare(record.sent_weights))
        case RunEnded():
            return replace(record, weights=bare(record.weights))
        case _:
            return record


def bare(parcel: Parcel | None) -> Parcel | None:
    if parcel is None:
        return None
    tensors = open_parcel(parcel)
    if tensors.WhichOneof("data") == "ref":
        tensors.ref.stream, tensors.ref.chunks = "", 0
    return Parcel(parcel.digest, tensors.SerializeToString())


def with_optim(spec: RunSpec, **tables: Any) -> RunSpec:
    """The same run, stepping otherwise."""
    table = spec.model_dump(by_alias=True)
    return RunSpec.parse({**table, "optim": tables}, "test")


CASES: dict[str, RunSpec] = {
    "plain averaging": make_spec(clients=5),
    "batches drawn by chance": make_spec(clients=5, training={"batch_size": 8, "poisson": True}),
    "several epochs in order": make_spec(clients=5, training={"batch_size": 8, "n_epoch": 3}),
    "a part of the clients, by chance": make_spec(rounds=5, clients=5, sampling=0.5),
    "those whose loss is highest": make_spec(
        rounds=5, clients=5, sampling={"clients": 2, "by": "criterion", "criterion": "loss"}
    ),
    "those whose updates are largest": make_spec(
        rounds=5, clients=5, sampling={"clients": 2, "by": "criterion", "criterion": "update-norm"}
    ),
    "updates in int8, with what is left over at each client": make_spec(
        rounds=5, clients=5, sampling=3, compression="int8"
    ),
    "early stopping": make_spec(rounds=40, clients=5, early_stop={"patience": 2, "tolerance": 0.05}),
    "few evaluations, by some": make_spec(rounds=5, clients=5, evaluate={"frequency": 2, "clients": 2}),
    "no evaluation": make_spec(clients=5, evaluate=False),
    "a client without enough samples": make_spec(clients=5, training={"batch_size": 25}),
    "too few replies": make_spec(clients=5, training={"batch_size": 25}, min_replies=5),
    "a client that is set aside": make_spec(clients=5, training={"batch_size": 25}, set_aside_after=1),
    "SCAFFOLD": with_optim(make_spec(rounds=4, clients=5, sampling=3), preset="SCAFFOLD", client_opt={"lrate": 0.05}),
    "momentum at clients that are not always asked": with_optim(
        make_spec(rounds=6, clients=5, sampling=3),
        client_opt={"lrate": 0.01, "modules": [["momentum", {"beta": 0.9}]]},
    ),
    "FedYogi": with_optim(make_spec(rounds=4, clients=5), preset="FedYogi", client_opt={"lrate": 0.05}),
    "FedProx": with_optim(make_spec(rounds=4, clients=5), preset="FedProx", client_opt={"lrate": 0.05}),
    "a robust aggregator": with_optim(make_spec(rounds=4, clients=5), client_opt=0.05, aggregator="median"),
    "schedules": with_optim(
        make_spec(rounds=4, clients=5),
        client_opt={"lrate": {"name": "exponential", "base": 0.05, "rate": 0.9}},
        aggregator="gradient-masked-averaging",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_simulated_run_is_the_embedded_run_bit_for_bit(case: str, memory_url: str) -> None:
    embedded, logged = await run_here(memory_url, CASES[case], FIVE)

    simulated, records = simulate_here(CASES[case], FIVE)

    assert [timeless(one) for one in records] == [timeless(one) for one in logged]
    assert simulated.weights == embedded.weights
    assert simulated.history.table() == embedded.history.table()


async def test_weights_too_big_for_a_message_come_to_the_same_bits(memory_url: str) -> None:
    # Given
    n_features = 50_000  # 400 kB in float64
    datasets = {name: regression(seed, n=12, n_features=n_features) for seed, name in enumerate(("ant", "bee"))}
    spec = with_optim(make_spec(rounds=2, clients=2), client_opt=1e-6, server_opt={"lrate": 0.9, "modules": ["adam"]})
    start = NumpyVector.from_arrays({"coef": np.full((1, n_features), 0.001), "intercept": np.zeros(1)})

    # When
    embedded, logged = await run_here(memory_url, spec, datasets, weights=start)
    simulated, records = simulate_here(spec, datasets, weights=start)

    # Then
    assert simulated.weights == embedded.weights
    assert [timeless(one) for one in records] == [timeless(one) for one in logged]


async def test_a_network_with_buffers_and_dropout_comes_to_the_same_bits(memory_url: str) -> None:
    # Given
    import torch  # noqa: PLC0415  # only here

    from fl.core.model.torch import TorchModel  # noqa: PLC0415  # likewise

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 2)
    )
    model = TorchModel(network, torch.nn.CrossEntropyLoss())
    rng = np.random.default_rng(0)
    datasets = {
        name: Data(InMemoryDataset(rng.normal(size=(24, 6)).astype(np.float32), rng.integers(2, size=24)))
        for name in ("ant", "bee", "cat")
    }
    spec = RunSpec.parse(
        {
            **make_spec().model_dump(by_alias=True),
            "model": {"kind": "torch", "config": model.get_config()},
            "metrics": [],
        },
        "test",
    )

    # When
    start = model.get_weights().to_numpy()
    embedded, logged = await run_here(memory_url, spec, datasets, weights=start)
    simulated, records = simulate_here(spec, datasets, weights=start)

    # Then
    assert embedded.status is Status.FINISHED, embedded.reason
    assert simulated.weights == embedded.weights
    assert [timeless(one) for one in records] == [timeless(one) for one in logged]


def test_a_thousand_clients_train_in_one_process_and_all_count() -> None:
    # Given
    rng = np.random.default_rng(0)
    datasets = {
        f"client-{number:04}": Data(InMemoryDataset(rng.normal(size=(4, 6)), rng.normal(size=4)))
        for number in range(1000)
    }

    # When
    outcome, records = simulate_here(make_spec(rounds=2, clients=1000), datasets)

    # Then
    committed = [record for record in records if isinstance(record, RoundCommitted)]
    assert [len(record.participants) for record in committed] == [1000] * 4
    assert outcome.status is Status.FINISHED


def test_a_round_that_takes_the_first_replies_takes_others_in_the_next() -> None:
    spec = make_spec(rounds=6, clients=5, sampling={"clients": 5, "take": 2}, evaluate=False)

    _, records = simulate_here(spec, FIVE)

    taken = [clients(record.participants) for record in records if isinstance(record, RoundCommitted)]
    assert {len(names) for names in taken} == {2}
    assert len(set(taken)) > 1


def test_a_round_that_takes_the_first_replies_takes_the_next_where_one_fails() -> None:
    spec = make_spec(
        rounds=8,
        clients=5,
        sampling={"clients": 5, "take": 3},
        evaluate=False,
        training={"batch_size": 25},
        set_aside_after=0,
    )

    _, records = simulate_here(spec, FIVE)

    committed = [record for record in records if isinstance(record, RoundCommitted)]
    assert any(isinstance(record, ClientsOut) for record in records)
    assert {len(record.participants) for record in committed} == {3}
    assert "ant" not in {one.client for record in committed for one in record.participants}


def test_clients_beyond_those_that_register_are_refused_and_the_run_goes_on() -> None:
    outcome, records = simulate_here(make_spec(clients=3), FIVE)

    admitted = [record for record in records if isinstance(record, ClientsAdmitted)]
    ready = [record for record in records if isinstance(record, ClientsReady)]
    assert [len(record.clients) for record in admitted] == [3]
    assert ready[0].clients == ("ant", "bee", "cat")
    assert outcome.status is Status.FINISHED


def test_registration_that_is_open_for_a_while_is_not_waited_for() -> None:
    began = time.monotonic()

    outcome, records = simulate_here(make_spec(register={"min_clients": 2, "timeout": 3600}), FIVE)

    (admitted,) = [record for record in records if isinstance(record, ClientsAdmitted)]
    assert [name for name, _ in admitted.clients] == ["ant", "bee", "cat", "dog", "eel"]
    assert outcome.status is Status.FINISHED
    assert time.monotonic() - began < 1800


@pytest.mark.parametrize("register", [{"min_clients": 6}, {"max_clients": 7, "min_clients": 2}])
def test_a_run_that_waits_for_more_clients_than_there_are_is_refused(register: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"the run waits for .* clients \(run.register\), and 5 are simulated"):
        simulate_here(make_spec(register=register), FIVE)


def test_data_that_the_model_does_not_fit_end_the_run_with_the_reason() -> None:
    table = make_spec(clients=2).model_dump(by_alias=True)
    spec = RunSpec.parse({**table, "model": {"kind": "sklearn-sgd", "config": {"kind": "classifier"}}}, "test")

    outcome, _ = simulate_here(spec, {name: FIVE[name] for name in ("ant", "bee")})

    assert outcome.status is Status.FAILED
    assert "a classifier needs the classes" in outcome.reason


def test_two_clients_of_one_name_and_no_clients_at_all_are_refused() -> None:
    twice = [VirtualClient("ant", FIVE["ant"])] * 2

    with pytest.raises(ConfigError, match="two virtual clients are named 'ant'"):
        simulate(make_spec(clients=2), twice)
    with pytest.raises(ConfigError, match="there are no clients to simulate"):
        simulate(make_spec(clients=2), [])


def test_a_client_without_samples_is_refused() -> None:
    class Empty(InMemoryDataset, register=False):
        n_samples = 0

    with pytest.raises(DataError, match="virtual client 'ant' has no samples"):
        VirtualClient("ant", Data(Empty(np.ones((1, 2)))))


def test_without_a_seed_two_simulations_draw_other_batches() -> None:
    spec = make_spec(seed=None)

    first, _ = simulate_here(spec, FIVE | {})
    second, _ = simulate_here(spec, FIVE | {})

    assert first.weights != second.weights


def clients(results: tuple[ClientResult, ...]) -> tuple[str, ...]:
    return tuple(one.client for one in results)
