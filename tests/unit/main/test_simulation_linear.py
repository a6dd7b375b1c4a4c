"""Rounds of linear models without a learner: the learner's own bits, whatever the loss, the penalty and the batches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fl.client.learner import Data, Learner, Shared, Trained
from fl.client.round_states import RecalledStates
from fl.core.dataset import InMemoryDataset
from fl.core.device import DevicePolicy
from fl.core.model import Model
from fl.core.training import round_generator
from fl.core.vector import NumpyVector
from fl.main.simulation_linear import LinearRounds
from fl.run.spec import RunSpec

SEED = b"s" * 32
N_SAMPLES = 37


def spec_of(model: dict[str, Any], *, training: dict[str, Any] | None = None, optim: Any = 0.05, **run: Any) -> RunSpec:
    return RunSpec.parse(
        {
            "model": {"kind": "sklearn-sgd", "config": model},
            "optim": {"client_opt": optim},
            "run": {"rounds": 3, "training": training or {"batch_size": 10}, **run},
        },
        "test",
    )


def data_of(model: dict[str, Any], *, classes: int = 2, weighted: bool = False) -> Data:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(N_SAMPLES, 5)).astype(model.get("dtype", "float64"))
    y = rng.normal(size=N_SAMPLES) if model["kind"] == "regressor" else rng.permutation(np.arange(N_SAMPLES) % classes)
    weights = rng.uniform(0.5, 2.0, size=N_SAMPLES) if weighted else None
    return Data(InMemoryDataset(x, y, weights, expose_classes=model["kind"] == "classifier"))


def both(spec: RunSpec, data: Data) -> tuple[Trained, Trained]:
    """The third round of a learner, and of what does without one, from the same weights."""
    info = data.train.get_data_specs()
    zeros = Model.registry.get(spec.model.kind).initial_weights(spec.model.config, info)
    assert zeros is not None
    rng = np.random.default_rng(1)
    start = NumpyVector(zeros.layout, rng.normal(size=zeros.flat.size).astype(zeros.flat.dtype))
    shared = Shared(info, zeros.layout)
    learner = Learner(spec, shared, data, seed=SEED, run="r", device=DevicePolicy(), states=RecalledStates())
    linear = LinearRounds.of(spec, shared)
    assert linear is not None
    samples = linear.prepare(data)
    assert samples is not None
    alone = linear.train(samples, start, round_generator(SEED, run="r", round_=3))
    assert alone is not None
    return learner.train(3, start), alone


MODELS: dict[str, dict[str, Any]] = {
    "log loss": {"kind": "classifier", "loss": "log_loss", "penalty": None},
    "log loss in float32": {"kind": "classifier", "loss": "log_loss", "penalty": None, "dtype": "float32"},
    "hinge with L1": {"kind": "classifier", "loss": "hinge", "penalty": "l1", "alpha": 0.01},
    "squared hinge with L2": {"kind": "classifier", "loss": "squared_hinge", "penalty": "l2", "alpha": 0.1},
    "modified huber with both": {"kind": "classifier", "loss": "modified_huber", "penalty": "elasticnet"},
    "without an intercept": {"kind": "classifier", "loss": "log_loss", "fit_intercept": False},
    "squared error": {"kind": "regressor", "loss": "squared_error"},
    "huber": {"kind": "regressor", "loss": "huber", "epsilon": 0.3},
    "epsilon insensitive": {"kind": "regressor", "loss": "epsilon_insensitive"},
}
BATCHES: dict[str, dict[str, Any]] = {
    "in order": {"batch_size": 10},
    "with a remainder": {"batch_size": 10, "drop_remainder": False, "n_epoch": 2},
    "all samples": {"batch_size": 64, "drop_remainder": False, "n_epoch": 3},
    "shuffled": {"batch_size": 10, "shuffle": True, "n_epoch": 3},
    "with replacement": {"batch_size": 10, "replacement": True, "n_epoch": 2},
    "some steps": {"batch_size": 10, "n_epoch": None, "n_steps": 7},
    "steps before epochs": {"batch_size": 10, "n_epoch": 9, "n_steps": 5, "shuffle": True},
    "epochs before steps": {"batch_size": 10, "n_epoch": 2, "n_steps": 50},
}


@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("model", MODELS)
def test_a_round_has_the_learner_s_bits_and_counts(model: str, batches: str) -> None:
    by_learner, alone = both(spec_of(MODELS[model], training=BATCHES[batches]), data_of(MODELS[model]))

    assert alone.update == by_learner.update
    assert alone.update.flat.tobytes() == by_learner.update.flat.tobytes()
    mine, theirs = alone.result, by_learner.result
    assert (mine.n_steps, mine.n_samples, mine.n_epoch) == (theirs.n_steps, theirs.n_samples, theirs.n_epoch)


@pytest.mark.parametrize("model", ["log loss", "hinge with L1", "squared hinge with L2"])
def test_many_classes_and_weighted_samples_too(model: str) -> None:
    data = data_of(MODELS[model], classes=4, weighted=True)

    by_learner, alone = both(spec_of(MODELS[model], training=BATCHES["shuffled"]), data)

    assert alone.update.flat.tobytes() == by_learner.update.flat.tobytes()


MORE: dict[str, Callable[[], RunSpec]] = {
    "a module": lambda: spec_of(MODELS["huber"], optim={"lrate": 0.1, "modules": ["adam"]}),
    "a regularizer": lambda: spec_of(MODELS["huber"], optim={"lrate": 0.1, "regularizers": ["ridge"]}),
    "a schedule": lambda: spec_of(MODELS["huber"], optim={"lrate": {"name": "exponential", "base": 0.1, "rate": 0.9}}),
    "a limit of time": lambda: spec_of(MODELS["huber"], training={"batch_size": 4, "timeout": 60.0}),
    "batches by chance": lambda: spec_of(MODELS["huber"], training={"batch_size": 4, "poisson": True}),
    "compression": lambda: spec_of(MODELS["huber"], compression="bf16"),
}


@pytest.mark.parametrize("what", MORE)
def test_a_run_that_needs_more_than_plain_steps_is_left_to_learners(what: str) -> None:
    data = data_of(MODELS["huber"])
    info = data.train.get_data_specs()
    layout = Model.registry.get("sklearn-sgd").initial_weights(MODELS["huber"], info)
    assert layout is not None

    assert LinearRounds.of(MORE[what](), Shared(info, layout.layout)) is None


def test_data_that_a_learner_would_refuse_or_convert_are_left_to_it() -> None:
    spec = spec_of(MODELS["squared error"], training={"batch_size": 100})
    data = data_of(MODELS["squared error"])
    info = data.train.get_data_specs()
    layout = Model.registry.get("sklearn-sgd").initial_weights(MODELS["squared error"], info)
    assert layout is not None
    linear = LinearRounds.of(spec, Shared(info, layout.layout))
    assert linear is not None
    rng = np.random.default_rng(0)

    assert linear.prepare(data) is None  # too few samples for a batch
    assert linear.prepare(Data(InMemoryDataset(rng.normal(size=(200, 4)), np.ones(200)))) is None  # other features
    assert linear.prepare(Data(InMemoryDataset(rng.normal(size=(200, 5)).astype("f4"), np.ones(200)))) is None
    assert linear.prepare(Data(InMemoryDataset(rng.normal(size=(200, 5))))) is None  # no target
    assert linear.prepare(Data(InMemoryDataset(rng.normal(size=(200, 5)), np.ones(200)))) is not None


def test_a_round_that_diverges_is_left_to_a_learner_which_says_so() -> None:
    spec = spec_of(MODELS["squared error"], training={"batch_size": 10, "n_epoch": 200}, optim=1e6)
    data = data_of(MODELS["squared error"])
    info = data.train.get_data_specs()
    start = Model.registry.get("sklearn-sgd").initial_weights(MODELS["squared error"], info)
    assert start is not None
    linear = LinearRounds.of(spec, Shared(info, start.layout))
    assert linear is not None
    samples = linear.prepare(data)
    assert samples is not None

    with np.errstate(all="ignore"):
        assert linear.train(samples, start, np.random.default_rng(0)) is None
