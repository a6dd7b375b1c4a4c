"""Whole runs against what they must equal: plain SGD, and each other."""

import numpy as np
import pytest

from fl.client.learner import shared_seed
from fl.core.dataset import Batch
from fl.core.model.sklearn import SklearnSGDModel
from fl.core.training import round_generator
from fl.core.vector import NumpyVector
from fl.run.events import RoundCommitted, Status
from fl.run.spec import RunSpec
from tests.integration.world import make_spec, of_kind, regression, run_here

THREE = {name: regression(seed) for seed, name in enumerate(("ant", "bee", "cat"))}


def plain_sgd(spec: RunSpec, client: str, *, lrate: float = 0.05, batch_size: int = 8) -> np.ndarray:
    """Squared-error SGD in bare numpy: the batches of that client's seed, no federation."""
    x, y = (np.asarray(part) for part in THREE[client].train.take(slice(None))[:2])
    coef, intercept = np.zeros(x.shape[1]), 0.0
    for round_ in range(1, spec.run.rounds + 1):
        rng = round_generator(shared_seed(spec.run.seed or 0, client), run="", round_=round_)
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch_size):
            part = order[start : start + batch_size]
            error = x[part] @ coef + intercept - y[part]
            coef, intercept = coef - lrate * error @ x[part] / len(part), intercept - lrate * error.mean()
    return np.array([*coef, intercept])


async def test_fedavg_with_one_client_is_plain_sgd(memory_url: str) -> None:
    spec = make_spec(rounds=4, clients=1)

    outcome, _ = await run_here(memory_url, spec, {"ant": THREE["ant"]})

    assert outcome.weights is not None
    assert outcome.best_round == 4
    np.testing.assert_allclose(outcome.weights.flat, plain_sgd(spec, "ant"), rtol=0, atol=1e-12)


async def test_equal_clients_with_one_step_a_round_are_sgd_on_the_union(memory_url: str) -> None:
    spec = make_spec(rounds=5, training={"batch_size": 40, "drop_remainder": False})

    outcome, _ = await run_here(memory_url, spec, THREE)

    parts = [data.train.take(slice(None)) for data in THREE.values()]
    x, y = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    model = SklearnSGDModel.from_parameters(kind="regressor", loss="squared_error", penalty=None)
    model.initialize(THREE["ant"].train.get_data_specs())
    for _ in range(5):
        model.apply_updates(model.compute_batch_gradients(Batch(x, y)) * 0.05)
    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, model.get_weights().flat, rtol=0, atol=1e-12)


@pytest.mark.rabbitmq
async def test_both_brokers_give_the_same_bits(memory_url: str, rabbit_url: str) -> None:
    spec = make_spec(rounds=3)

    embedded, _ = await run_here(memory_url, spec, THREE)
    over_rabbitmq, _ = await run_here(rabbit_url, spec, THREE)

    assert embedded.weights is not None
    assert embedded.weights == over_rabbitmq.weights
    assert embedded.history.table() == over_rabbitmq.history.table()


@pytest.mark.rabbitmq
async def test_weights_too_big_for_a_message_travel_as_blobs_and_give_the_same_bits(
    memory_url: str, rabbit_url: str
) -> None:
    n_features = 50_000  # 400 kB in float64
    datasets = {name: regression(seed, n=12, n_features=n_features) for seed, name in enumerate(("ant", "bee"))}
    spec = make_spec(rounds=2, clients=2)
    start = NumpyVector.from_arrays({"coef": np.full((1, n_features), 0.001), "intercept": np.zeros(1)})

    embedded, _ = await run_here(memory_url, spec, datasets, weights=start)
    over_rabbitmq, _ = await run_here(rabbit_url, spec, datasets, weights=start)

    assert embedded.weights is not None
    assert embedded.weights.layout.nbytes > 256 * 1024
    assert embedded.weights == over_rabbitmq.weights


async def test_every_round_is_committed_once_with_every_client(broker_url: str) -> None:
    outcome, records = await run_here(broker_url, make_spec(rounds=3), THREE)

    assert outcome.status is Status.FINISHED
    commits = [(one.round, one.kind.value) for one in of_kind(records, RoundCommitted)]
    assert commits == [(round_, kind) for round_ in (1, 2, 3) for kind in ("train", "evaluate")]
    assert all([part.client for part in one.participants] == list(THREE) for one in of_kind(records, RoundCommitted))


async def test_the_global_loss_is_that_of_the_union_of_held_out_data(memory_url: str) -> None:
    outcome, _ = await run_here(memory_url, make_spec(rounds=1), THREE)

    assert outcome.weights is not None
    coef, intercept = outcome.weights.flat[:-1], outcome.weights.flat[-1]
    parts = [data.held_out.take(slice(None)) for data in THREE.values()]
    squares = np.concatenate([(part.x @ coef + intercept - part.y) ** 2 for part in parts])
    row = outcome.history.table()[-1]
    assert row["loss"] == pytest.approx(squares.mean() / 2, rel=1e-12)
    assert row["mse"] == pytest.approx(squares.mean(), rel=1e-12)


async def test_a_run_ends_early_and_leaves_its_best_weights(memory_url: str) -> None:
    spec = make_spec(rounds=50, early_stop={"tolerance": 0.5, "patience": 2})

    outcome, records = await run_here(memory_url, spec, THREE)

    losses = [one.loss for one in of_kind(records, RoundCommitted) if one.loss is not None]
    assert outcome.reason.startswith("early stopping")
    assert len(losses) < 50
    assert losses[outcome.best_round - 1] == min(losses)


async def test_momentum_at_the_server_goes_on_from_round_to_round(memory_url: str) -> None:
    spec = make_spec(rounds=3, clients=1, training={"batch_size": 40, "drop_remainder": False})
    table = spec.model_dump(by_alias=True)
    table["optim"]["server_opt"] = {"lrate": 1.0, "modules": [["momentum", {"beta": 0.5}]]}
    spec = RunSpec.parse(table, "test")

    outcome, _ = await run_here(memory_url, spec, {"ant": THREE["ant"]})

    batch = THREE["ant"].train.take(slice(None))
    model = SklearnSGDModel.from_parameters(kind="regressor", loss="squared_error", penalty=None)
    model.initialize(THREE["ant"].train.get_data_specs())
    velocity = np.zeros_like(model.get_weights().flat)
    for _ in range(3):
        gradient = model.compute_batch_gradients(batch)
        velocity = 0.5 * velocity + 0.05 * gradient.flat
        model.apply_updates(NumpyVector(gradient.layout, velocity.copy()))
    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, model.get_weights().flat, rtol=0, atol=1e-12)


@pytest.mark.parametrize("compression", ["none", "bf16"])
@pytest.mark.parametrize("n_features", [1_000, 12_000, 50_000])
async def test_weights_may_come_inside_a_message_or_in_a_stream_whichever_way_the_updates_go(
    memory_url: str, n_features: int, compression: str
) -> None:
    """Submitted weights are in a stream from 16 KiB on, those of a round from 256 KiB on, compressed updates later."""
    data = {name: regression(seed, n=2, n_features=n_features) for seed, name in enumerate(("ant", "bee"))}
    spec = make_spec(rounds=2, clients=2, evaluate=False, compression=compression)
    start = NumpyVector.from_arrays({"coef": np.zeros((1, n_features)), "intercept": np.zeros(1)})

    outcome, records = await run_here(memory_url, spec, data, weights=start)

    assert outcome.status is Status.FINISHED
    assert [len(one.participants) for one in of_kind(records, RoundCommitted)] == [2, 2]
