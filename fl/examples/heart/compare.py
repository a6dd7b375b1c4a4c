"""What federation is worth: models judged by the same patients, hospital by hospital and together."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fl.core.dataset import Batch
from fl.core.model import Model
from fl.core.vector import NumpyVector
from fl.examples.heart.hospitals import Hospital, Patients
from fl.examples.heart.rivals import Rivals, facts
from fl.run.spec import ModelConfig


@dataclass(frozen=True, slots=True)
class Score:
    """How a model did on some patients: sums, so that scores of several hospitals add up."""

    n: int = 0
    correct: int = 0
    loss_sum: float = 0.0

    def __add__(self, other: "Score") -> "Score":
        return Score(self.n + other.n, self.correct + other.correct, self.loss_sum + other.loss_sum)

    @property
    def accuracy(self) -> float:
        return self.correct / self.n

    @property
    def log_loss(self) -> float:
        return self.loss_sum / self.n


@dataclass(frozen=True, slots=True)
class Row:
    """One hospital's patients judged by three models, and all hospitals' patients judged by its own model."""

    place: str
    federated: Score
    own: Score
    central: Score
    own_of_all: Score


@dataclass(frozen=True, slots=True)
class Comparison:
    """A row a hospital, and what the rows come to together."""

    rows: tuple[Row, ...]

    @property
    def federated(self) -> Score:
        """The federated model, of all patients."""
        return _total(row.federated for row in self.rows)

    @property
    def central(self) -> Score:
        """The central model, of all patients."""
        return _total(row.central for row in self.rows)

    @property
    def own(self) -> Score:
        """Every hospital's own model, of its own patients only."""
        return _total(row.own for row in self.rows)

    @property
    def mean_own_of_all(self) -> float:
        """The accuracy of an own model on the patients of all hospitals: the mean over the own models."""
        return float(np.mean([row.own_of_all.accuracy for row in self.rows]))


def compare(
    config: ModelConfig,
    hospitals: Sequence[Hospital],
    *,
    federated: NumpyVector,
    rivals: Rivals,
    part: Callable[[Hospital], Patients] = lambda hospital: hospital.held_out,
) -> Comparison:
    """Judge all models by the held-out patients, or by another part of the hospitals' patients."""

    def judge(weights: NumpyVector, chosen: Iterable[Hospital]) -> Score:
        return _total(score(config, weights, part(hospital)) for hospital in chosen)

    return Comparison(
        tuple(
            Row(
                place=hospital.place,
                federated=judge(federated, [hospital]),
                own=judge(rivals.own[hospital.name], [hospital]),
                central=judge(rivals.central, [hospital]),
                own_of_all=judge(rivals.own[hospital.name], hospitals),
            )
            for hospital in hospitals
        )
    )


def score(config: ModelConfig, weights: NumpyVector, patients: Patients) -> Score:
    """How the model of these weights does on some patients."""
    model = Model.registry.get(config.kind).from_config(config.config)
    model.initialize(facts(patients))
    model.set_weights(weights)
    raw = model.forward(Batch(patients.x, patients.y, None))
    predicted = model.to_predictions(raw) > 0.5
    losses = model.loss_function(patients.y, raw)
    return Score(len(patients), int(np.count_nonzero(predicted == patients.y)), float(np.sum(losses)))


def _total(scores: Iterable[Score]) -> Score:
    return sum(scores, Score())
