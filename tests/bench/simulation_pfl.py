"""pfl's part in `tests.bench.simulation`: run by the interpreter of its own environment, it prints seconds a round.

The model is the same logistic regression in numpy as the bare loop's, within pfl's simulated backend: one full-batch
step of every client in a round, and their mean.
"""

import json
import sys
import time
from typing import Any

import numpy as np
from pfl.aggregate.simulate import SimulatedBackend  # type: ignore[import-not-found]  # installed elsewhere
from pfl.algorithm.base import NNAlgorithmParams  # type: ignore[import-not-found]  # likewise
from pfl.algorithm.federated_averaging import FederatedAveraging  # type: ignore[import-not-found]  # likewise
from pfl.callback.base import TrainingProcessCallback  # type: ignore[import-not-found]  # likewise
from pfl.data.dataset import Dataset  # type: ignore[import-not-found]  # likewise
from pfl.data.federated_dataset import FederatedDataset  # type: ignore[import-not-found]  # likewise
from pfl.data.sampling import get_user_sampler  # type: ignore[import-not-found]  # likewise
from pfl.hyperparam.base import NNTrainHyperParams  # type: ignore[import-not-found]  # likewise
from pfl.internal.ops import numpy_ops  # type: ignore[import-not-found]  # likewise
from pfl.internal.ops.selector import set_framework_module  # type: ignore[import-not-found]  # likewise
from pfl.metrics import Metrics  # type: ignore[import-not-found]  # likewise
from pfl.model.base import StatefulModel  # type: ignore[import-not-found]  # likewise
from pfl.stats import MappedVectorStatistics  # type: ignore[import-not-found]  # likewise

RATE = 0.1


class Logistic(StatefulModel):  # type: ignore[misc]  # its base is installed elsewhere
    """Weights and bias in one vector."""

    def __init__(self, size: int) -> None:
        self.weights = np.zeros(size)

    def get_parameters(self, placeholders: Any = None) -> MappedVectorStatistics:
        del placeholders
        return MappedVectorStatistics({"w": self.weights.copy()})

    def set_parameters(self, w: Any) -> None:
        self.weights = w["w"].copy()

    def get_model_difference(self, other_parameters: Any, clone: bool = False) -> MappedVectorStatistics:
        del clone
        return MappedVectorStatistics({"w": self.weights - other_parameters["w"]})

    def apply_model_update(self, statistics: Any) -> tuple["Logistic", Metrics]:
        self.weights = self.weights + statistics["w"]
        return self, Metrics()

    def evaluate(self, dataset: Any, name_formatting_fn: Any, eval_params: Any = None) -> Metrics:
        del dataset, name_formatting_fn, eval_params
        return Metrics()

    def save(self, dir_path: str) -> None: ...

    def load(self, dir_path: str) -> None: ...

    def step(self, x: Any, y: Any) -> None:
        error = (1 / (1 + np.exp(-(x @ self.weights[:-1] + self.weights[-1]))) - y) / len(y)
        self.weights = self.weights - RATE * np.append(error @ x, error.sum())


class OneStep(FederatedAveraging):  # type: ignore[misc]  # its base is installed elsewhere
    """Federated averaging whose local training is one step on all of a client's data."""

    def train_one_user(
        self, initial_model_state: Any, model: Any, user_dataset: Any, central_context: Any
    ) -> tuple[MappedVectorStatistics, Metrics]:
        del central_context
        model.step(*user_dataset.raw_data)
        return model.get_model_difference(initial_model_state), Metrics()


class Stopwatch(TrainingProcessCallback):  # type: ignore[misc]  # its base is installed elsewhere
    """CPU seconds at the end of each round."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def after_central_iteration(
        self, aggregate_metrics: Any, model: Any, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        del aggregate_metrics, model, central_iteration
        self.at.append(time.process_time())
        return False, Metrics()


def main(n_clients: int, n_parameters: int, n_samples: int, rounds: int) -> None:
    set_framework_module(numpy_ops)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_clients, n_samples, n_parameters - 1))
    y = rng.integers(2, size=(n_clients, n_samples))
    users = list(range(n_clients))
    data = FederatedDataset(lambda user: Dataset((x[user], y[user])), get_user_sampler("minimize_reuse", users))
    watch = Stopwatch()
    OneStep().run(
        NNAlgorithmParams(rounds, evaluation_frequency=rounds + 1, train_cohort_size=n_clients, val_cohort_size=0),
        SimulatedBackend(training_data=data, val_data=data),
        Logistic(n_parameters),
        NNTrainHyperParams(local_batch_size=None, local_num_epochs=1, local_learning_rate=RATE),
        callbacks=[watch],
        send_metrics_to_platform=False,
    )
    print(json.dumps(np.diff(watch.at).tolist()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
