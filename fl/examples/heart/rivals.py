"""What the federated model is compared with: each hospital's own model, and one trained on everybody's patients.

They come about as it does: the same spec, the same rounds of training steps by `fl.core.training.train_round`, every
training patient looked at equally often, and of all rounds the weights with the lowest loss on the patients that are
watched. An own model is that of a federation of one hospital; the central model that of one who has all patients, as
the hospitals have standardised them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fl.client.learner import Data
from fl.core.data_info import DataInfo
from fl.core.dataset import InMemoryDataset
from fl.core.vector import NumpyVector
from fl.examples import alone
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
    """The weights that a run of `spec` leaves whose only client has these patients. Raises `ConfigError`."""
    data = Data(InMemoryDataset(train.x, train.y), InMemoryDataset(valid.x, valid.y))
    weights, _ = alone.train_alone(spec, name, data, info=facts(train))
    return weights


def facts(patients: Patients) -> DataInfo:
    """What a model must know of these data."""
    return DataInfo(n_samples=len(patients), n_features=len(FEATURES), classes=(0, 1))
