"""Our part in `tests.bench.privacy_peer`: whole runs in this process, without a broker."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fl.client.learner import Data
from fl.core.dataset import Batch, InMemoryDataset
from fl.core.model.torch import TorchModel
from fl.core.privacy.accounting import Spending, epsilon
from fl.core.vector import Array, NumpyVector, Vector
from fl.main.simulation import simulate
from fl.main.simulation_crowd import VirtualClient
from fl.run.events import ClientsReady
from fl.run.spec import RunSpec
from fl.run.terms import Terms
from fl.submit.history import Happened
from tests.bench.privacy_trial import Learned, Samples, Trial, read_samples


class NotedModel(TorchModel):
    """Keeps the mean square of the elements of each update, of all the sites of a run, whose model is one."""

    name = "bench-noted-torch"
    squares: ClassVar[list[float]] = []

    def apply_updates(self, updates: Vector) -> None:
        self.squares.append(float(np.square(updates.to_numpy().flat, dtype=np.float64).mean()))
        super().apply_updates(updates)


def learn(trial: Trial, folder: Path) -> Learned:
    """Raises `FluffleError`."""
    sites, test = read_samples(folder / trial.file)
    datasets = {name: InMemoryDataset(x, y, expose_classes=True) for name, (x, y) in sites.items()}
    model, terms = NotedModel(*trial.network()), dict[str, Terms]()

    def note(happened: Happened) -> None:
        if isinstance(happened.record, ClientsReady):
            terms.update(happened.record.terms)

    begin = time.monotonic()
    NotedModel.squares.clear()
    outcome = simulate(
        spec_of(trial, model, n_sites=len(sites)),
        [VirtualClient(name, Data(dataset)) for name, dataset in datasets.items()],
        weights=model.get_weights().to_numpy(),
        on_event=note,
    ).require()
    seconds = time.monotonic() - begin
    assert outcome.weights is not None, "a run that finished has weights"
    return Learned.of_steps(
        # those of all sites follow each other, and each site makes as many steps: this is as many as one of them makes
        NotedModel.squares[:: len(sites)],
        lrate=trial.lrate,
        accuracy=accuracy(model, outcome.weights, test),
        seconds=seconds,
        **spending(trial, terms, {name: dataset.n_samples for name, dataset in datasets.items()}),
    )


def spec_of(trial: Trial, model: TorchModel, *, n_sites: int) -> RunSpec:
    """Evaluated never, so that the weights of the last round are the result."""
    run = {
        "rounds": trial.rounds,
        "register": n_sites,
        "seed": trial.seed,
        "training": trial.training(),
        "evaluate": {"frequency": 0},
        "privacy": trial.privacy(),
    }
    config = {"kind": NotedModel.name, "config": model.get_config()}
    return RunSpec.parse({"model": config, "optim": {"client_opt": trial.lrate}, "run": run}, "bench")


def accuracy(model: TorchModel, weights: NumpyVector, test: Samples) -> float:
    model.set_weights(weights)
    scores: Array = model.compute_batch_predictions(Batch(*test))[1]
    return float(np.mean(scores.argmax(axis=1) == test[1]))


def spending(trial: Trial, terms: Mapping[str, Terms], n_samples: Mapping[str, int]) -> dict[str, Any]:
    """What the accountant says of the site that has spent most."""
    said = []
    for name, one in terms.items():
        spent = Spending(one.noise_multiplier, trial.batch_size / n_samples[name], one.planned_steps)
        cost = epsilon([spent], delta=trial.delta, accountant="rdp")
        said.append({"epsilon": cost, "noise_multiplier": one.noise_multiplier})
    return max(said, key=lambda one: one["epsilon"], default={})
