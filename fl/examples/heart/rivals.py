"""What the federated model is compared with: each hospital's own model, and one trained on everybody's patients.

They come about as it does: the same spec, the same rounds of training steps by `fl.core.training.train_round`, every
training patient looked at equally often, and of all rounds the weights with the lowest loss on the patients that are
watched. An own model is that of a federation of one hospital; the central model that of one who has all patients, as
the hospitals have standardised them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fl.client.learner import Data, Learner, Shared, shared_seed
from fl.client.round_states import RecalledStates
from fl.core.data_info import DataInfo
from fl.core.dataset import InMemoryDataset
from fl.core.device import DevicePolicy
from fl.core.model import Model
from fl.core.vector import NumpyVector
from fl.errors import ConfigError
from fl.examples.heart.hospitals import Hospital, Patients, union
from fl.examples.heart.schema import FEATURES
from fl.run.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Rivals:
    """Weights of each hospital's own model, by its name, and of the central one."""

    own: Mapping[str, NumpyVector]
    central: NumpyVector


def train_rivals(spec: RunSpec, hospitals: Sequence[Hospital]) -> Rivals:
    """Train them by `spec`. Raises `ConfigError` where that has no seed, since nobody could do it again."""
    own = {
        hospital.name: train_alone(spec, hospital.name, train=hospital.train, valid=hospital.valid)
        for hospital in hospitals
    }
    train = union(hospital.train for hospital in hospitals)
    valid = union(hospital.valid for hospital in hospitals)
    return Rivals(own, train_alone(spec, "central", train=train, valid=valid))


def train_alone(spec: RunSpec, name: str, *, train: Patients, valid: Patients) -> NumpyVector:
    """The weights that a run of `spec` leaves whose only client has these patients."""
    if spec.run.seed is None:
        raise ConfigError("comparing models needs a seed: set run.seed")
    data = Data(InMemoryDataset(train.x, train.y), InMemoryDataset(valid.x, valid.y))
    model = Model.registry.get(spec.model.kind).from_config(spec.model.config)
    model.initialize(facts(train))
    weights = best = model.get_weights().to_numpy()
    learner = Learner(
        spec,
        Shared(facts(train), weights.layout),
        data,
        seed=shared_seed(spec.run.seed, name),
        run="",
        device=DevicePolicy(),
        states=RecalledStates(),
    )
    lowest = math.inf
    for round_ in range(1, spec.run.rounds + 1):
        weights = weights - learner.train(round_, weights, counted=round_ - 1).update
        watched = learner.evaluate(weights)
        loss = watched.loss_sum / watched.weight_sum
        if loss <= lowest:
            best, lowest = weights, loss
    return best


def facts(patients: Patients) -> DataInfo:
    """What a model must know of these data."""
    return DataInfo(n_samples=len(patients), n_features=len(FEATURES), classes=(0, 1))
