"""Rounds: the laws that tie federated training to training in one place, effort, and randomness."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fl.core.aggregator import AveragingAggregator
from fl.core.dataset import Batch, Batching, Dataset, InMemoryDataset
from fl.core.metrics import MetricSet
from fl.core.model.sklearn import SklearnSGDModel
from fl.core.optimizer import Optimizer
from fl.core.training import Effort, evaluate_round, round_generator, train_round
from fl.core.vector import NumpyVector
from fl.errors import ConfigError, DataError

TASKS: dict[str, dict[str, Any]] = {
    "regression": {"kind": "regressor", "loss": "squared_error"},
    "binary": {"kind": "classifier", "loss": "log_loss", "penalty": "elasticnet", "alpha": 0.01},
    "multi-class": {"kind": "classifier", "loss": "modified_huber", "penalty": "l1", "alpha": 0.01},
}
CLASSES = {"binary": 2, "multi-class": 4}


def dataset(task: str, n_samples: int = 60, seed: int = 0) -> InMemoryDataset:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_samples, 5))
    if task == "regression":
        return InMemoryDataset(x, x @ rng.normal(size=5))
    y = np.concatenate([np.arange(CLASSES[task]), rng.integers(CLASSES[task], size=n_samples - CLASSES[task])])
    return InMemoryDataset(x, y, expose_classes=True)


def model(task: str, of: Dataset) -> SklearnSGDModel:
    made = SklearnSGDModel.from_parameters(**TASKS[task])
    made.initialize(of.get_data_specs())
    return made


def train(
    made: SklearnSGDModel, on: Dataset, effort: Effort, batching: Batching, optimizer: Optimizer, round_: int
) -> Any:
    rng = round_generator(b"seed", run="r", round_=round_)
    return train_round(made, optimizer, on, effort=effort, batching=batching, rng=rng, clock=lambda: 0.0)


@pytest.mark.parametrize("task", TASKS)
def test_federated_averaging_of_one_client_is_plain_sgd(task: str) -> None:
    # Given plain SGD over three rounds' batches, in one go
    data, batching, effort = dataset(task), Batching(8, shuffle=True), Effort(n_epoch=2)
    central = model(task, data)
    for round_ in range(3):
        rng = round_generator(b"seed", run="r", round_=round_)
        for _ in range(2):
            for batch in data.generate_batches(batch_size=8, shuffle=True, rng=rng):
                central.apply_updates(central.compute_batch_gradients(batch) * 0.1)
    # When one client trains for three rounds, and a server averages its updates
    weights, client = model(task, data).get_weights(), Optimizer(0.1)
    server = Optimizer(1.0)
    for round_ in range(3):
        local = model(task, data)
        local.set_weights(weights)
        result = train(local, data, effort, batching, client, round_)
        fold = AveragingAggregator().start(weights.layout)
        fold.add(weights - local.get_weights(), client="only", n_steps=result.n_steps, n_samples=result.n_samples)
        update = fold.finish()
        assert update is not None
        weights = weights - server.compute_updates(weights, update)
    # Then both have the same weights
    np.testing.assert_allclose(weights.flat, central.get_weights().flat, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_equal_clients_of_one_step_are_sgd_on_the_union(task: str) -> None:
    # Given four clients of 15 samples each, and their union
    union = dataset(task)
    parts = [union.take(slice(start, start + 15)) for start in range(0, 60, 15)]
    central, weights = model(task, union), model(task, union).get_weights()
    for _ in range(5):
        # When each takes one step with all its samples, and a server averages
        fold = AveragingAggregator().start(weights.layout)
        for i, part in enumerate(parts):
            local = model(task, union)
            local.set_weights(weights)
            result = train(local, _Fixed(part), Effort(n_steps=1), Batching(15), Optimizer(0.1), 0)
            fold.add(weights - local.get_weights(), client=str(i), n_steps=result.n_steps, n_samples=result.n_samples)
        update = fold.finish()
        assert update is not None
        weights = weights - update
        # And one step is taken with the union
        Optimizer(0.1).run_train_step(central, union.take(slice(None)))
    # Then both have the same weights
    np.testing.assert_allclose(weights.flat, central.get_weights().flat, rtol=1e-10, atol=1e-12)


class _Fixed(Dataset, register=False):
    """One batch an epoch, or none."""

    name = "fixed"

    def __init__(self, batch: Batch | None) -> None:
        self.batch = batch

    @property
    def n_samples(self) -> int:
        return len(self.batch.x) if self.batch else 0

    def get_data_specs(self) -> Any:
        raise NotImplementedError

    def describe(self) -> None:
        return None

    def take(self, index: Any) -> Batch:
        raise NotImplementedError

    def generate_batches(self, batch_size: int, **_: Any) -> Iterator[Batch]:
        return iter([self.batch] if self.batch else [])


def ticking(step: float = 1.0) -> Any:
    """A clock that goes on by `step` seconds each time it is read."""
    seconds = iter(np.arange(0.0, 1e6, step))
    return lambda: float(next(seconds))


@pytest.mark.parametrize(
    ("effort", "n_steps", "n_epoch"),
    [
        (Effort(), 6, 1),
        (Effort(n_epoch=3), 18, 3),
        (Effort(n_steps=4), 4, 0),
        (Effort(n_steps=6), 6, 1),
        (Effort(n_epoch=None, n_steps=20), 20, 3),
        (Effort(n_epoch=0, n_steps=7, timeout_s=0), 7, 1),
        (Effort(n_epoch=9, n_steps=20), 20, 3),
        (Effort(n_epoch=None, timeout_s=3.0), 3, 0),
        (Effort(n_epoch=None, timeout_s=0.001), 1, 0),
    ],
)
def test_training_ends_at_the_first_limit_after_at_least_one_step(effort: Effort, n_steps: int, n_epoch: int) -> None:
    data = dataset("regression")
    result = train_round(
        model("regression", data),
        Optimizer(0.01),
        data,
        effort=effort,
        batching=Batching(10),
        rng=np.random.default_rng(0),
        clock=ticking(),
    )
    assert (result.n_steps, result.n_epoch, result.n_samples) == (n_steps, n_epoch, 10 * n_steps)
    assert result.seconds > 0


def test_a_round_without_a_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match="would never end"):
        Effort(n_epoch=None, n_steps=0)


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        Effort(n_epoch=-1)


@pytest.mark.parametrize(("n_steps", "same"), [(1, True), (2, False)])
def test_the_optimizer_knows_the_weights_of_the_rounds_start(n_steps: int, same: bool) -> None:
    # Given weights that are not zero, and FedProx, which does nothing where a round starts
    data = dataset("regression")
    made = [model("regression", data) for _ in range(2)]
    # When one model trains with it and one without
    for each, regularizers in zip(made, (["fedprox"], None), strict=True):
        each.set_weights(each.get_weights() + 1.0)
        train(each, data, Effort(n_steps=n_steps), Batching(10), Optimizer(0.1, regularizers=regularizers), 0)
    # Then their first step is the same, and no other
    assert (made[0].get_weights() == made[1].get_weights()) == same


def test_an_empty_poisson_batch_is_a_step() -> None:
    data = dataset("regression", n_samples=5)
    result = train(model("regression", data), data, Effort(n_steps=40), Batching(1, poisson=True), Optimizer(0.01), 0)
    assert result.n_steps == 5
    result = train(model("regression", data), data, Effort(None, 200), Batching(1, poisson=True), Optimizer(0.01), 0)
    assert result.n_steps == 200
    assert 100 < result.n_samples < 300


def test_data_that_gives_no_batch_is_an_error_and_no_endless_loop() -> None:
    data = dataset("regression")
    with pytest.raises(DataError, match="an epoch without a batch"):
        train(model("regression", data), _Fixed(None), Effort(), Batching(1), Optimizer(0.1), 0)


@pytest.mark.parametrize(
    "batching", [Batching(8, shuffle=True), Batching(8, poisson=True), Batching(8, replacement=True)]
)
def test_a_round_done_again_gives_the_same_weights(batching: Batching) -> None:
    def once() -> NumpyVector:
        made = model("binary", data)
        train(made, data, Effort(), batching, Optimizer(0.1), 7)
        return made.get_weights()

    data = dataset("binary")
    assert once() == once()


def test_no_two_seeds_runs_rounds_or_purposes_share_their_randomness() -> None:
    draws = [
        round_generator(seed, run=run, round_=round_, purpose=purpose).integers(2**62)
        for seed, run, round_, purpose in [
            (b"a", "r", 1, "batches"),
            (b"b", "r", 1, "batches"),
            (b"a", "s", 1, "batches"),
            (b"a", "r", 2, "batches"),
            (b"a", "r", 1, "noise"),
            (b"ar", "", 1, "batches"),
            (b"a", "r1", 1, "batches"),
        ]
    ]
    assert len(set(draws)) == len(draws)


def test_the_derivation_of_randomness_is_frozen() -> None:
    # a client that was upgraded in mid-run must draw the batches it drew before
    assert round_generator(b"seed", run="run", round_=3).bit_generator.random_raw(2).tolist() == FROZEN


FROZEN = [14061781043922492629, 12074342064341291440]


@pytest.mark.parametrize("task", TASKS)
def test_an_evaluation_sums_losses_and_metrics_over_all_samples(task: str) -> None:
    # Given a model with some weights
    data = dataset(task)
    made = model(task, data)
    train(made, data, Effort(), Batching(10), Optimizer(0.1), 0)
    metrics = MetricSet.from_specs(["loss"])
    # When it is evaluated in batches that do not divide the samples
    result = evaluate_round(made, metrics, data, batching=Batching(7, drop_remainder=False), clock=ticking())
    # Then nothing is left out
    whole = data.take(slice(None))
    assert whole.y is not None
    losses = made.loss_function(whole.y, made.forward(whole))
    assert result.n_samples == 60
    assert result.weight_sum == 60
    assert result.loss_sum == pytest.approx(losses.sum())
    assert metrics.result()["loss"] == pytest.approx(losses.mean())
    assert result.metrics.keys() == metrics.get_state().keys()


def test_an_evaluation_weighs_losses_by_sample_weights() -> None:
    data = InMemoryDataset(np.eye(2), [1.0, 3.0], s_wght=[1.0, 0.5])
    result = evaluate_round(model("regression", data), MetricSet([]), data, clock=ticking())
    assert (result.loss_sum, result.weight_sum, result.n_samples) == (0.5 + 0.5 * 4.5, 1.5, 2)


def test_an_evaluation_starts_from_metrics_without_samples() -> None:
    data, metrics = dataset("regression"), MetricSet.from_specs(["mse"])
    for _ in range(2):
        evaluate_round(model("regression", data), metrics, data, clock=ticking())
    assert metrics.result()["mse/n"] == 60


def test_an_evaluation_may_be_cut_short() -> None:
    data = dataset("regression")
    made = model("regression", data)
    for effort in (Effort(n_steps=2), Effort(timeout_s=2.0)):
        result = evaluate_round(made, MetricSet([]), data, effort=effort, batching=Batching(7), clock=ticking())
        assert result.n_samples == 14


@pytest.mark.parametrize("options", [{"shuffle": True}, {"poisson": True}, {"replacement": True}])
def test_an_evaluation_on_random_samples_is_refused(options: dict[str, bool]) -> None:
    data = dataset("regression")
    with pytest.raises(ConfigError, match="each sample once"):
        evaluate_round(model("regression", data), MetricSet([]), data, batching=Batching(7, **options), clock=ticking())
