"""The diabetes data of scikit-learn, dealt to clinics: the largest has many times the patients of the smallest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.datasets import load_diabetes

from fl.client.learner import Data
from fl.core.dataset import InMemoryDataset
from fl.core.dataset.split import by_size
from fl.core.vector import Array

CREDIT: Final = "Diabetes, B. Efron, T. Hastie, I. Johnstone and R. Tibshirani (2004), as scikit-learn ships it"

SCALES: Final = {
    "age": (50, 15),
    "sex": (1.5, 0.5),
    "bmi": (26, 4),
    "bp": (95, 15),
    "s1": (190, 35),
    "s2": (115, 30),
    "s3": (50, 13),
    "s4": (4, 1.3),
    "s5": (4.6, 0.5),
    "s6": (90, 12),
}
"""What clinics agree on beforehand: a usual value and deviation of each column, in round figures."""
TARGET_SCALE: Final = (150, 80)
"""The same of the progression, which is a score from 25 to 346."""

LEAST: Final = 10
"""Patients of the smallest clinic, training and watched ones together."""
WATCHED: Final = 0.2
"""The part of a clinic's patients whose loss says which round was best."""


@dataclass(frozen=True, slots=True)
class Patients:
    """`x` of shape (n, 10), and the progression `y` of shape (n,); both scaled, and float32."""

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Array | slice) -> "Patients":
        return Patients(self.x[index], self.y[index])


@dataclass(frozen=True, slots=True)
class Clinic:
    """What one clinic learns from, and what it watches."""

    train: Patients
    valid: Patients

    @property
    def data(self) -> Data:
        return Data(InMemoryDataset(self.train.x, self.train.y), InMemoryDataset(self.valid.x, self.valid.y))


def load_clinics(n: int = 6, *, seed: int = 0) -> tuple[Mapping[str, Clinic], Patients]:
    """Clinics by name, of lognormal sizes, and a quarter of all patients, whom no training and no choice sees."""
    rng = np.random.default_rng(seed)
    measured, progression = load_diabetes(return_X_y=True, scaled=False)
    middle, spread = np.array(list(SCALES.values())).T
    x, y = (measured - middle) / spread, (progression - TARGET_SCALE[0]) / TARGET_SCALE[1]
    everybody = Patients(x.astype(np.float32), y.astype(np.float32))[rng.permutation(len(y))]
    n_held_out = len(y) // 4
    held_out, others = everybody[:n_held_out], everybody[n_held_out:]
    shares = by_size(len(others), n, min_samples=LEAST, rng=rng)
    return {f"clinic-{number}": _clinic(others[share]) for number, share in enumerate(shares, start=1)}, held_out


def together(clinics: Mapping[str, Clinic]) -> Clinic:
    """One clinic with everybody's patients."""
    return Clinic(
        _union([clinic.train for clinic in clinics.values()]), _union([clinic.valid for clinic in clinics.values()])
    )


def _clinic(patients: Patients) -> Clinic:
    n_valid = round(WATCHED * len(patients))
    return Clinic(patients[n_valid:], patients[:n_valid])


def _union(parts: list[Patients]) -> Patients:
    return Patients(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]))
