"""Algorithms and frameworks on the same unlike sites, against training in one place."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from broker.connect import open_session
from fl.client.setup import site_from_data
from fl.core.dataset import Batch
from fl.core.metrics import MetricSet
from fl.core.model import Model
from fl.core.vector import NumpyVector
from fl.examples.alone import train_alone
from fl.examples.digits.shares import N_LABELS, Form, Shares
from fl.main.embedded import run_embedded
from fl.run.events import Kind, RoundCommitted
from fl.run.spec import RunSpec
from fl.submit.history import Happened
from fl.submit.submission import prepare

ALGORITHMS: Final = ("fedavg", "fedprox", "scaffold", "fedyogi")
NEAR: Final = 0.03
"""How close to central training an accuracy is said to have reached it."""


@dataclass(frozen=True, slots=True)
class Framework:
    """A model of one framework, and the rates it learns well at."""

    form: Form
    model: Mapping[str, Any]
    lrate: float
    server_lrate: float
    """Of adaptive server optimizers."""


FRAMEWORKS: Final = {
    "scikit-learn": Framework(
        "row",
        {"kind": "sklearn-sgd", "config": {"kind": "classifier", "loss": "log_loss", "dtype": "float32"}},
        lrate=0.1,
        server_lrate=0.1,
    ),
    "torch": Framework(
        "channels first",
        {"kind": "torch", "config": {"factory": "fl.examples.digits.torch_net:cnn"}},
        lrate=0.1,
        server_lrate=0.05,
    ),
    "Keras": Framework(
        "channels last",
        {"kind": "tensorflow", "config": {"factory": "fl.examples.digits.keras_net:cnn"}},
        lrate=0.1,
        server_lrate=0.03,
    ),
}


@dataclass(frozen=True, slots=True)
class Result:
    """How often a model is right: on what was watched, round by round, and on the test images at its best round."""

    watched: tuple[float, ...]
    test: float

    def rounds_to(self, accuracy: float) -> int | None:
        """The first round that is as good; None if none is."""
        return next((round_ for round_, reached in enumerate(self.watched, start=1) if reached >= accuracy), None)


def spec_of(framework: Framework, algorithm: str, *, rounds: int, sites: int, seed: int) -> RunSpec:
    """Two epochs a round, in shuffled batches of 16."""
    adaptive = {"server_opt": framework.server_lrate} if algorithm in {"fedadagrad", "fedadam", "fedyogi"} else {}
    return RunSpec.parse(
        {
            "name": f"digits-{algorithm}",
            "model": framework.model,
            "optim": {"preset": algorithm, "client_opt": framework.lrate, **adaptive},
            "run": {
                "rounds": rounds,
                "register": sites,
                "training": {"batch_size": 16, "n_epoch": 2, "shuffle": True, "drop_remainder": False},
                "seed": seed,
            },
            "metrics": [["multi-classif", {"labels": list(range(N_LABELS))}]],
        },
        "digits",
    )


async def federated(url: str, framework: Framework, shares: Shares, spec: RunSpec) -> Result:
    """Train at the sites, over the broker at `url`."""
    watched: list[float] = []

    def note(happened: Happened) -> None:
        record = happened.record
        if isinstance(record, RoundCommitted) and record.kind is Kind.EVALUATE:
            watched.extend(one.values[0] for one in record.metrics if one.name == "accuracy")

    sites = [await site_from_data(name, shares.of(name, framework.form)) for name in shares.train]
    start = model_of(spec, framework, shares).get_weights().to_numpy()
    submission = prepare(spec, start, sender="digits", now=time.time())
    outcome = await run_embedded(submission, sites, lambda name: open_session(url, name=name), on_event=note)
    weights = outcome.require().weights
    assert weights is not None, "a run that finished has weights"
    return Result(tuple(watched), accuracy(spec, weights, framework, shares))


def central(framework: Framework, shares: Shares, spec: RunSpec) -> Result:
    """Train in one place with the images of all sites, as often, by plain SGD."""
    data = shares.of_all(framework.form)
    weights, evaluations = train_alone(spec, "central", data, info=data.train.get_data_specs())
    watched = []
    for one in evaluations:
        metrics = MetricSet.from_specs([(plugin.name, plugin.config) for plugin in spec.metrics])
        metrics.merge(one.metrics)
        watched.append(float(metrics.result()["accuracy"]))
    return Result(tuple(watched), accuracy(spec, weights, framework, shares))


def accuracy(spec: RunSpec, weights: NumpyVector, framework: Framework, shares: Shares) -> float:
    """How often a model of these weights is right about the test images."""
    model = model_of(spec, framework, shares)
    model.set_weights(weights)
    y_true, scores, _ = model.compute_batch_predictions(Batch(shares.test.images(framework.form), shares.test.y))
    return float(np.mean(np.argmax(scores, axis=1) == y_true))


def model_of(spec: RunSpec, framework: Framework, shares: Shares) -> Model:
    """The model of `spec`, with the weights that it starts from."""
    model: Model = Model.registry.get(spec.model.kind).from_config(spec.model.config)
    model.initialize(shares.of_all(framework.form).train.get_data_specs())
    return model
