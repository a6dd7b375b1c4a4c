"""The same clinics with a model of each framework: federated, in one place, and each alone."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.metrics import r2_score

from broker.connect import open_session
from fl.client.setup import site_from_data
from fl.core.dataset import Batch
from fl.core.model import Model
from fl.core.vector import NumpyVector
from fl.examples.alone import train_alone
from fl.examples.diabetes.clinics import Clinic, Patients, together
from fl.main.embedded import run_embedded
from fl.run.spec import RunSpec
from fl.submit.submission import prepare

MODELS: Final[Mapping[str, Mapping[str, Any]]] = {
    "scikit-learn": {"kind": "sklearn-sgd", "config": {"kind": "regressor", "loss": "squared_error"}},
    "torch": {"kind": "torch", "config": {"factory": "fl.examples.diabetes.torch_net:network"}},
    "Keras": {"kind": "tensorflow", "config": {"factory": "fl.examples.diabetes.keras_net:network"}},
}


@dataclass(frozen=True, slots=True)
class Result:
    """R² on the patients held out: 1 is perfect, 0 as good as telling everybody the mean, and below 0 worse."""

    federated: float
    central: float
    alone: float
    """Of each clinic's own model; the mean over the clinics."""


def spec_of(framework: str, *, clinics: int, rounds: int, seed: int) -> RunSpec:
    """One epoch a round, in shuffled batches of 16; a clinic counts as much as it has patients."""
    return RunSpec.parse(
        {
            "name": "diabetes",
            "model": MODELS[framework],
            "optim": {"preset": "fedavg", "client_opt": 0.01},
            "run": {
                "rounds": rounds,
                "register": clinics,
                "training": {"batch_size": 16, "shuffle": True, "drop_remainder": False},
                "seed": seed,
                "gpu": False,  # which would not be faster for so few patients
            },
            "metrics": ["r2"],
        },
        "diabetes",
    )


async def compare(url: str, spec: RunSpec, clinics: Mapping[str, Clinic], held_out: Patients) -> Result:
    """Train by `spec` in all three ways, the federated one over the broker at `url`."""
    everybody = together(clinics).data
    info = everybody.train.get_data_specs()
    own = [train_alone(spec, name, clinic.data, info=info)[0] for name, clinic in clinics.items()]
    central, _ = train_alone(spec, "central", everybody, info=info)
    return Result(
        federated=r_squared(spec, await federated(url, spec, clinics), held_out),
        central=r_squared(spec, central, held_out),
        alone=float(np.mean([r_squared(spec, weights, held_out) for weights in own])),
    )


async def federated(url: str, spec: RunSpec, clinics: Mapping[str, Clinic]) -> NumpyVector:
    """The weights of the best round."""
    sites = [await site_from_data(name, clinic.data) for name, clinic in clinics.items()]
    start = _model(spec, together(clinics).train).get_weights().to_numpy()
    submission = prepare(spec, start, sender="diabetes", now=time.time())
    outcome = await run_embedded(submission, sites, lambda name: open_session(url, name=name))
    weights = outcome.require().weights
    assert weights is not None, "a run that finished has weights"
    return weights


def r_squared(spec: RunSpec, weights: NumpyVector, patients: Patients) -> float:
    """How well a model of these weights predicts their progression."""
    model = _model(spec, patients)
    model.set_weights(weights)
    y_true, y_pred, _ = model.compute_batch_predictions(Batch(patients.x, patients.y))
    return float(r2_score(y_true, y_pred))


def _model(spec: RunSpec, patients: Patients) -> Model:
    model: Model = Model.registry.get(spec.model.kind).from_config(spec.model.config)
    model.initialize(Clinic(patients, patients).data.train.get_data_specs())
    return model
